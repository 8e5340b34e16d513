"""The target on templates, prompts whose words stand with separators between them: variants of behaviour claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from headclaims.cache import kept
from headclaims.checkpoint.interface import Capability, Checkpoint, Head
from headclaims.errors import NotAssessable
from headclaims.measures.category_score import Survey, survey
from headclaims.measures.three_rules import PairSurvey, survey_pairs
from headclaims.prompts.category import CategoryPrompts
from headclaims.prompts.matched import MatchedPairs, SuccessionPrompts, matched_pairs, succession_prompts
from headclaims.prompts.templates import parted, separator_tokens, words_in

if TYPE_CHECKING:
    from headclaims.audit.audit import Audit

Evidence = TypeVar("Evidence")
Measure = TypeVar("Measure")
FEWEST_AT_ONCE = 16


def assessed(evidence: Mapping[str, Evidence], measure: Callable[[Evidence], Measure]) -> dict[str, Measure]:
    """Return what is measured of each template's evidence, without the templates on which it cannot be assessed."""
    measured = {}
    for name, one in evidence.items():
        try:
            measured[name] = measure(one)
        except NotAssessable:
            continue
    return measured


class Templates:
    """Evidence by template, `commas` and `and`; none under `--verdicts-only`, or where prompts can't be chosen.

    Prompts have as many tokens as the audit's, and so half as many words. A template whose separator is no single
    token is left out.
    """

    def __init__(self, audit: Audit) -> None:
        self.audit = audit

    @cached_property
    def _separators(self) -> dict[str, int]:
        audit = self.audit
        if audit.settings.verdicts_only or Capability.INTERVENTIONS in audit.checkpoint.lacks:
            return {}
        return separator_tokens(audit.checkpoint.single_token)

    @cached_property
    def surveys(self) -> dict[str, Survey]:
        """What all heads attend to on each template of the audit's prompts."""
        return {name: survey for name, (survey, _) in self._runs.items()}

    @cached_property
    def patterns(self) -> dict[str, tuple[CategoryPrompts, np.ndarray]]:
        """Prompts of each template and the target's attention [prompt, query, key] on them."""
        return {name: (survey.prompts, pattern) for name, (survey, pattern) in self._runs.items()}

    @cached_property
    def _runs(self) -> dict[str, tuple[Survey, np.ndarray]]:
        """Both, taken together: all heads' patterns of a template are held until those of others take their place."""
        audit, workspace, runs = self.audit, self.audit.workspace, {}
        for name, token in self._separators.items():
            surveyed = workspace.survey(parted(audit.prompts, token))
            runs[name] = surveyed, workspace.pattern(surveyed.prompts, audit.target)
        return runs

    @cached_property
    def pairs(self) -> dict[str, PairSurvey]:
        """What the target gives to BOS in matched pairs of each template."""
        audit = self.audit
        checkpoint, s, n = audit.checkpoint, audit.settings, len(audit.prompts)
        length = 2 * words_in(s.seq_len)  # a pair ends with a word

        def drawn(separator: int) -> PairSurvey:
            words = words_in(length) + 1
            pairs = matched_pairs(audit.words, checkpoint.single_token, checkpoint.bos, n, words, s.seed)
            both = MatchedPairs(*(parted(side, separator, length) for side in (pairs.without, pairs.with_kin)))
            return surveyed_pairs(audit, both)

        return assessed(self._separators, drawn)

    @cached_property
    def successions(self) -> dict[str, tuple[Survey, SuccessionPrompts]]:
        """The target on prompts of each template that hold successions."""
        audit = self.audit
        checkpoint, s, n = audit.checkpoint, audit.settings, len(audit.prompts)

        def drawn(separator: int) -> tuple[Survey, SuccessionPrompts]:
            bare = succession_prompts(
                audit.workspace.word_list,
                audit.words,
                checkpoint.single_token,
                checkpoint.bos,
                n,
                words_in(s.seq_len) + 1,
                s.seed,
            )
            prompts = SuccessionPrompts(parted(bare.prompts, separator, s.seq_len), bare.place)
            return surveyed_successions(audit, prompts)

        return assessed(self._separators, drawn)


def surveyed_successions(audit: Audit, drawn: SuccessionPrompts) -> tuple[Survey, SuccessionPrompts]:
    """Return what the target attends to on prompts that hold successions, with the prompts."""
    pattern = audit.workspace.pattern(drawn.prompts, audit.target)
    return survey(drawn.prompts, (audit.target,), [(slice(None), torch.from_numpy(pattern)[:, None])]), drawn


def surveyed_pairs(audit: Audit, pairs: MatchedPairs, others: Sequence[Head] = ()) -> PairSurvey:
    """Return what the target, first, and other heads give to BOS in matched pairs.

    Heads of the same layers have it from the same runs: theirs is kept as well, whichever of them is the target next.
    """
    target, heads = audit.target, (audit.target, *others)
    every = [head for head in audit.workspace.model_heads if others or head.layer == target.layer]
    bos = audit.cached(pair_arrays, audit.checkpoint, pairs, every)["bos"]
    return PairSurvey(pairs, heads, bos[[every.index(head) for head in heads]])


@kept("pairs", version=4)
def pair_arrays(checkpoint: Checkpoint, pairs: MatchedPairs, heads: Sequence[Head]) -> dict[str, np.ndarray]:
    """Return what heads give to BOS from the last position of matched pairs: [head, side, pair]."""
    at_once = checkpoint.sizes.prompts_at_once(pairs.without.length, FEWEST_AT_ONCE)
    return {"bos": survey_pairs(checkpoint, pairs, heads, at_once).bos}
