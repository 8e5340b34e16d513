"""Templates: where separators stand, and what is measured of a model on prompts that have them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

from headclaims.audit.audit import Audit
from headclaims.audit.prepare import Defaults, audits, open_workspace
from headclaims.audit.settings import Settings
from headclaims.audit.templates import assessed
from headclaims.errors import NotAssessable
from headclaims.measures.lowest_score import score_gap
from headclaims.prompts.category import CategoryPrompts, category_prompts, recorded_prompts
from headclaims.prompts.templates import parted, separator_tokens
from headclaims.prompts.words import WordList
from headclaims.tests.evidence_files import recorded_attention, tiny_gpt2
from headclaims.tests.plain_loops import categories_of, rows_of
from headclaims.tests.word_lists import load_words, word_lists

SMALL = WordList("small", {"colours": ("red", "blue", "green"), "animals": ("dog", "cat", "horse")})
DEFAULTS = Defaults("gpt2", "L1H5", {"lowest": "category score"})


def drawn(length: int) -> CategoryPrompts:
    """Three prompts whose words have the ids 10, 11, …, and BOS 7."""
    ids = {" " + word: 10 + at for at, word in enumerate(SMALL.words)}
    return category_prompts(SMALL, ids.get, 7, n_prompts=3, length=length, seed=2)


def test_separators_stand_between_the_first_words() -> None:
    prompts = drawn(8)
    of_commas = parted(prompts, 99)
    assert of_commas.length == 8
    for words, tokens, bare in zip(of_commas.word_at, of_commas.tokens, prompts.word_at, strict=True):  # type: ignore[arg-type]
        a, b, c, d = bare[1:5].tolist()
        assert words.tolist() == [-1, a, -1, b, -1, c, -1, d]
        assert tokens.tolist() == [7, 10 + a, 99, 10 + b, 99, 10 + c, 99, 10 + d]
    assert of_commas.numbers.tolist() == [0, 1, 2]
    assert of_commas.begin_with_bos


def test_an_odd_number_of_tokens_ends_with_a_separator() -> None:
    of_commas = parted(drawn(7), 99)
    assert of_commas.tokens is not None
    assert of_commas.tokens[:, [0, 2, 4, 6]].tolist() == [[7, 99, 99, 99]] * 3
    assert (of_commas.word_at >= 0).astype(int).tolist() == [[0, 1, 0, 1, 0, 1, 0]] * 3


def test_another_length_takes_as_many_words_as_it_holds() -> None:
    assert parted(drawn(5), 99, 8).word_at[:, 1::2].tolist() == drawn(5).word_at[:, 1:].tolist()
    with pytest.raises(ValueError, match="prompts of 5 tokens; wanted 6"):
        parted(drawn(5), 99, 10)
    with pytest.raises(NotAssessable, match="recorded prompts"):
        parted(recorded_prompts(SMALL, [["<s>", " red", " dog"]]), 99)


def test_a_separator_of_several_tokens_leaves_its_template_out() -> None:
    assert separator_tokens({",": 0, " and": 5}.get) == {"commas": 0, "and": 5}
    assert separator_tokens({" and": 5}.get) == {"and": 5}
    assert separator_tokens(lambda _: None) == {}


def test_what_cannot_be_assessed_on_a_template_is_left_out() -> None:
    def root(number: float) -> float:
        if number < 0:
            raise NotAssessable("no root")
        return number**0.5

    assert assessed({"commas": 4.0, "and": -1.0}, root) == {"commas": 2.0}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 of two layers that knows the write-up's words and `and`, no comma."""
    return tiny_gpt2(tmp_path_factory.mktemp("tiny") / "tiny", [*load_words("write-up").words, "and"])


def opened(checkpoint: Path, **settings: Any) -> Audit:
    """An audit of L1H5 on four prompts of 24 tokens."""
    given = Settings(checkpoint=str(checkpoint), prompts=4, seq_len=24, no_cache=True, **settings)
    (audit,) = audits(open_workspace(given, word_lists(), DEFAULTS), DEFAULTS)
    return audit


def test_a_model_on_its_templates(tiny: Path) -> None:
    """Against transformers' own attention and plain loops: the survey, the pattern, and what pairs give to BOS."""
    audit = opened(tiny)
    templates = audit.templates
    model = GPT2LMHeadModel.from_pretrained(tiny, attn_implementation="eager").eval()
    (name,) = templates.surveys
    on = templates.surveys[name]
    assert name == "and"
    prompts, pattern = templates.patterns["and"]
    assert prompts is on.prompts
    assert prompts.length == 24
    with torch.no_grad():
        tokens = torch.from_numpy(np.asarray(prompts.tokens))
        attention = np.stack([layer.numpy() for layer in model(tokens, output_attentions=True).attentions])
    assert pattern == pytest.approx(attention[1, :, 5], abs=1e-4)
    texts = [[None if at < 0 else prompts.words.words[at] for at in indices] for indices in prompts.word_at]
    scores = []
    for layer in range(2):
        for head in range(6):
            rows = [
                row
                for text, one in zip(texts, attention[layer, :, head], strict=True)
                for row in rows_of(text, categories_of(prompts.words), one)
                if row.counted
            ]
            assert len(rows) == 4 * 13  # BOS and twelve words
            scores.append(np.mean([row.score for row in rows]))
    assert on.scores == pytest.approx(scores, abs=1e-3)
    assert score_gap(on, audit.target).value == pytest.approx(min(np.delete(scores, 11)) - scores[11], abs=2e-3)

    pairs = templates.pairs["and"]
    for side, of_side in ((0, pairs.pairs.without), (1, pairs.pairs.with_kin)):
        assert of_side.length == 24
        assert (of_side.word_at[:, 1::2] >= 0).all()
        with torch.no_grad():
            run = model(torch.from_numpy(np.asarray(of_side.tokens)), output_attentions=True)
        assert pairs.bos[0, side] == pytest.approx(run.attentions[1][:, 5, -1, 0].numpy(), abs=1e-4)

    surveyed, successions = templates.successions["and"]
    assert surveyed.prompts is successions.prompts
    assert (successions.prompts.word_at[:, 2::2] == -1).all()


def test_verdicts_alone_and_recordings_have_no_templates(tiny: Path, tmp_path: Path) -> None:
    assert opened(tiny, verdicts_only=True).templates.surveys == {}
    recorded = opened(recorded_attention().write(tmp_path / "recorded.safetensors")).templates
    for evidence in (recorded.surveys, recorded.patterns, recorded.pairs, recorded.successions):
        assert evidence == {}
