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
from headclaims.tests.small_configs import saved_small
from headclaims.tests.small_models import ARCHITECTURES, BOS, UNKNOWN, VOCABULARY, WORDS, build, tokenizer
from headclaims.tests.test_full import capped_scores, norm_after_attention, normalised_queries, saved

# Of the weights of the head alone, whatever the words: the others need more words than a small tokenizer has, or a
# category head.
OF_WEIGHTS = ("skew-adds-no-self-attention", "skew-is-weaker", "half-the-eigenvalues-negative", "inertia")
OF_PARTS = ("symmetric-part-sufficient", "steering-works-in-the-model")
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


def claims_of(folder: Path, words: Path, head: str = "L1H1") -> dict[str, dict[str, Any]]:
    """The claims of a whole audit, checked for form."""
    return {claim["id"]: claim for claim in record_of(folder, words, head)["claims"]}


def record_of(folder: Path, words: Path, head: str = "L1H1") -> dict[str, Any]:
    """The record of a whole audit, checked for form."""
    options = ["--words", str(words), "--prompts", "12", "--seq-len", "16", "--no-cache"]
    record = audit(SET, ["--checkpoint", str(folder), "--head", head, *options])
    assert departures(record) == []
    assert record["complete"]
    claims = {claim["id"]: claim for claim in record["claims"]}
    assert list(claims) == list(catalogue())
    assert all(claim["reason"] for claim in claims.values() if claim["verdict"] == "not assessable")
    return record


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
    [(normalised_queries, "normalised"), (norm_after_attention, "normalised"), (capped_scores, "capped")],
    ids=["norms-by-head", "norms-over-all-heads", "soft-caps"],
)
def test_what_is_said_of_W_QK_is_not_assessable_where_it_is_not_the_score(
    config: Callable[[], Any], why: str, words: Path, tmp_path: Path
) -> None:
    """Attention can be had all the same: claims about it are assessed, beside Gaussian heads with the same norms."""
    saved(config(), tmp_path / "model")
    claims = claims_of(tmp_path / "model", words)
    for claim_id in (*OF_WEIGHTS, *OF_PARTS):
        assert claims[claim_id]["verdict"] == "not assessable"
        assert "needs qk: " in claims[claim_id]["reason"]
        assert f"{why}: W_QK alone is not the score" in claims[claim_id]["reason"].replace(" before their product", "")
    for claim_id in (*BEHAVIOUR[:1], *BEHAVIOUR[2:], "falls-back-to-bos"):
        assert claims[claim_id]["verdict"] in ("supported", "not supported", "undecided"), claim_id
    survey = next(n for n in claims["category-score-lowest"]["nulls"] if n["population"] == "Gaussian survey")
    assert (survey["n"], survey["p_least"]) == (199, 1 / 200)


def test_a_window_shorter_than_the_prompts_leaves_the_score(words: Path, tmp_path: Path) -> None:
    """What two tokens score is there as far as the window sees: offsets beyond it are no variants."""
    saved(sliding_window(), tmp_path / "model")
    claims = claims_of(tmp_path / "model", words)
    for claim_id in OF_WEIGHTS:
        assert claims[claim_id]["verdict"] in ("supported", "not supported", "undecided"), claim_id
    assert [variant["name"] for variant in claims["skew-is-weaker"]["variants"]] == ["offset 1", "offset 4"]


def test_a_window_as_long_as_the_prompts_changes_nothing(words: Path, tmp_path: Path) -> None:
    config = sliding_window()
    config.sliding_window = 16
    saved(config, tmp_path / "model")
    assert claims_of(tmp_path / "model", words)["inertia"]["verdict"] == "supported"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("lfm2", "L3H1"),
        *(
            pytest.param(name, head, marks=pytest.mark.long)
            for name, head in (("deepseek3", "L1H1"), ("falcon", "L1H1"), ("phi3", "L1H1"), ("qwen3-next", "L3H1"))
        ),
    ],
)
def test_models_of_other_kinds_are_audited_whole(name: str, head: str, words: Path, tmp_path: Path) -> None:
    """Hybrids, latent attention, one key head for all, queries and keys in one matrix: no claim ends in an error."""
    saved_small(name, tmp_path / "model")
    claims = claims_of(tmp_path / "model", words, head)
    for claim_id in (*BEHAVIOUR[:1], *BEHAVIOUR[2:], "falls-back-to-bos"):
        assert claims[claim_id]["verdict"] in ("supported", "not supported", "undecided"), claim_id


@pytest.mark.slow
def test_eos_in_place_of_bos_is_said_and_left_out_as_a_variant(words: Path, tmp_path: Path) -> None:
    model = build("gpt2", tmp_path / "model")
    made = tokenizer()
    made.bos_token = None
    made.save_pretrained(model.folder)
    record = record_of(model.folder, words)
    assert record["checkpoint"]["prompts_begin_with"] == "EOS"
    claims = {claim["id"]: claim for claim in record["claims"]}
    assert "no token in front" in [variant["name"] for variant in claims["falls-back-to-bos"]["variants"]]
