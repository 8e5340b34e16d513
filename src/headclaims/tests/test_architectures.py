"""Every architecture that the README names, audited whole on a random small model built from its config alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from headclaims.fleet.workers import audit
from headclaims.tests.claims_run import SET, catalogue
from headclaims.tests.record_schema import departures
from headclaims.tests.small_models import ARCHITECTURES, BOS, UNKNOWN, VOCABULARY, WORDS, build
from headclaims.tests.test_full import capped_scores, normalised_queries, saved

# Of the weights of the head alone, whatever the words: the others need more words than a small tokenizer has, or a
# category head.
OF_WEIGHTS = ("skew-adds-no-self-attention", "skew-is-weaker", "half-the-eigenvalues-negative", "inertia")
BEHAVIOUR = ("category-score-lowest", "category-score-outlier", "attends-within-category", "suppresses-self")
ROTARY = {name for name, architecture in ARCHITECTURES.items() if architecture.rotary}


def sliding_window() -> Any:
    """A window of eight tokens, half of a prompt."""
    return transformers.MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        num_hidden_layers=2,
        intermediate_size=80,
        sliding_window=8,
    )


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The words of the small models' tokenizer, as a word file."""
    path = tmp_path_factory.mktemp("words") / "words.toml"
    lists = "\n".join(f"{name} = {json.dumps(list(members))}" for name, members in WORDS.categories.items())
    path.write_text(f"[categories]\n{lists}\n", encoding="utf-8")
    return path


def claims_of(folder: Path, words: Path) -> dict[str, dict[str, Any]]:
    """The claims of a whole audit, checked for form."""
    options = ["--words", str(words), "--prompts", "12", "--seq-len", "16", "--no-cache"]
    record = audit(SET, ["--checkpoint", str(folder), "--head", "L1H1", *options])
    assert departures(record) == []
    assert record["complete"]
    claims = {claim["id"]: claim for claim in record["claims"]}
    assert list(claims) == list(catalogue())
    assert all(claim["reason"] for claim in claims.values() if claim["verdict"] == "not assessable")
    return claims


def byte_level(folder: Path) -> None:
    """A tokenizer of the small models' words for an architecture that brings its own way to split text."""
    pieces, merges = [UNKNOWN, BOS, "Ġ", *sorted(set("".join(WORDS.words)))], []
    for word in WORDS.words:
        for end in range(1, len(word) + 1):
            joined = "Ġ" + word[:end]
            if joined not in pieces:
                pieces.append(joined)
                merges.append((joined[:-1], joined[-1]))
    made = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges, unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token=BOS, eos_token=BOS, unk_token=UNKNOWN)
    fast.save_pretrained(folder)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_audited_whole(name: str, words: Path, tmp_path: Path) -> None:
    """What needs no more than the head's weights and its attention is assessed; algebra holds; offsets are variants."""
    model = build(name, tmp_path / name)
    if name == "qwen2":
        byte_level(model.folder)
    claims = claims_of(model.folder, words)
    few = {"category-score-outlier"} if name == "neox" else set()  # nine heads in all, where ten are wanted
    for claim_id in {*OF_WEIGHTS, *BEHAVIOUR, "falls-back-to-bos"} - few:
        assert claims[claim_id]["verdict"] in ("supported", "not supported", "undecided"), claim_id
    for claim_id in ("inertia", "skew-adds-no-self-attention"):
        assert (claims[claim_id]["verdict"], claims[claim_id]["flags"]) == ("supported", ["by construction"])
    survey = next(n for n in claims["category-score-lowest"]["nulls"] if n["population"] == "Gaussian survey")
    assert (survey["n"], survey["p_least"]) == (199, 1 / 200)
    offsets = [variant["name"] for variant in claims["skew-is-weaker"]["variants"]]
    assert offsets == ([f"offset {d}" for d in (1, 4, 16, 48)] if name in ROTARY else [])


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (normalised_queries, "normalised per head"),
        (capped_scores, "capped"),
        (sliding_window, "sees the last 8 tokens of the prompts' 16"),
    ],
    ids=["query-key-norms", "soft-caps", "sliding-window"],
)
def test_what_is_said_of_the_bilinear_form_is_not_assessable_where_it_is_not_the_score(
    config: Callable[[], Any], why: str, words: Path, tmp_path: Path
) -> None:
    """Attention can be had all the same: claims about it are assessed."""
    saved(config(), tmp_path / "model")
    claims = claims_of(tmp_path / "model", words)
    for claim_id in OF_WEIGHTS:
        assert claims[claim_id]["verdict"] == "not assessable"
        assert why in claims[claim_id]["reason"]
    for claim_id in (*BEHAVIOUR[:1], *BEHAVIOUR[2:], "falls-back-to-bos"):
        assert claims[claim_id]["verdict"] in ("supported", "not supported", "undecided"), claim_id


def test_a_window_as_long_as_the_prompts_changes_nothing(words: Path, tmp_path: Path) -> None:
    config = sliding_window()
    config.sliding_window = 16
    saved(config, tmp_path / "model")
    assert claims_of(tmp_path / "model", words)["inertia"]["verdict"] == "supported"
