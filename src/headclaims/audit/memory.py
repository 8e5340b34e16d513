"""How much memory an audit takes at its peak, before it has begun: for the header of a run."""

from __future__ import annotations

from headclaims.audit.settings import Settings
from headclaims.checkpoint.interface import Checkpoint
from headclaims.measures.top_attended import WHOLE_UP_TO
from headclaims.prompts.words import COMMON_WORDS

PROGRAMS = 0.6e9
"""Bytes of Python, torch, transformers, TransformerLens and compiled code."""
OF_WORDS = 60
"""Bytes a pair of common words, while their scores are computed, compared and made a graph."""
OF_NULLS = 120
"""The same for null populations, a few heads a thread."""
BINS = 12
"""Matrices d_model × d_model that the nulls of the similarity peak need."""
AT_ONCE = 8
"""Prompts whose logits are in memory."""
DRAWN = 25_000
"""Tokens of a large vocabulary whose keys other heads have, as far as one can say before its words are known."""
FLOAT = 4


def peak_memory(checkpoint: Checkpoint, settings: Settings) -> float | None:
    """Return the bytes of memory that an audit is expected to take at its peak; None for evidence that does not run.

    While it loads these are twice the weights, where they are folded in place. Later they are the weights, the
    effective embedding E of the whole vocabulary (three of a small one with nulls: of each variant), and the largest of
    what comes one after the other: the streams of tokens for other heads, what all layers read on the prompts with all
    heads' patterns, and logits.
    """
    weights, s = checkpoint.weight_bytes, checkpoint.sizes
    if weights is None or s.d_vocab is None:
        return None
    large = s.d_vocab > WHOLE_UP_TO
    E = FLOAT * s.d_vocab * s.d_model
    of_words = (OF_WORDS if settings.verdicts_only else OF_NULLS) * COMMON_WORDS**2
    held = weights.held + E * (1 if large or settings.verdicts_only else 3) + of_words
    positions = settings.prompts * settings.seq_len
    patterns = FLOAT * s.n_layers * s.n_heads * positions * settings.seq_len
    logits = 2 * weights.itemsize * min(AT_ONCE, settings.prompts) * settings.seq_len * s.d_vocab
    phases = [patterns + FLOAT * positions * s.d_model, logits]
    if not settings.verdicts_only:
        phases.append(patterns + 2 * FLOAT * s.n_layers * positions * s.d_model)
        phases.append(3 * FLOAT * (DRAWN if large else s.d_vocab) * s.d_model)
        phases.append(2 * BINS * FLOAT * s.d_model**2)
    return PROGRAMS + max(weights.while_loading, held + max(phases))


def memory_in_words(checkpoint: Checkpoint, settings: Settings) -> list[str]:
    """Return a line on the memory of an audit; none for evidence that does not run."""
    peak, weights = peak_memory(checkpoint, settings), checkpoint.weight_bytes
    if peak is None or weights is None:
        return []
    return [f"memory: about {peak / 1e9:.1f} GB at its peak, {weights.held / 1e9:.1f} GB of weights in {weights.type}"]
