"""`--head auto`: chosen on the words of another list, and judged on the run's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headclaims.audit.audit import Audit
from headclaims.audit.heads import HEAD_SCORES
from headclaims.audit.prepare import auto_head
from headclaims.audit.settings import Settings
from headclaims.audit.workspace import Workspace
from headclaims.cache import Cache
from headclaims.checkpoint.interface import Capability, Checkpoint, Head, Sizes
from headclaims.prompts.category import CategoryPrompts
from headclaims.tests.word_lists import word_lists

RECORDED = [["<s>", " red", " dog"], ["<s>", " cat", " blue"], ["<s>", " sun", " sad"]]


class Tokenizer(Checkpoint):
    """Evidence with a tokenizer that knows the words of some lists, or with recorded prompts."""

    kind, spec, name, bos = "folder", "made/up", "up", 0
    sizes = Sizes(2, 2, 8, 4)

    def __init__(self, words: Sequence[str], recorded: list[list[str]] | None = None) -> None:
        self.ids = {f" {word}": i + 1 for i, word in enumerate(words)}
        self.recorded = recorded
        self.lacks = {} if recorded is None else {Capability.INTERVENTIONS: "recorded"}

    @property
    def recorded_tokens(self) -> list[list[str]] | None:
        return self.recorded

    def single_token(self, text: str) -> int | None:
        return self.ids.get(text)


def opened(checkpoint: Checkpoint, **settings: Any) -> Workspace:
    """A workspace that looks for a head."""
    return Workspace(Settings(**{"head": "auto", "prompts": 6, **settings}), checkpoint, word_lists(), Cache(None))


def knowing(*lists: str) -> Tokenizer:
    """Evidence whose tokenizer knows the words of built-in lists."""
    return Tokenizer([word for name in lists for word in word_lists().load(name).words])


def chosen_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> CategoryPrompts:
    """The prompts that the head is chosen on, of four the third."""
    asked: list[CategoryPrompts] = []

    def score(_: Workspace, prompts: CategoryPrompts) -> tuple[list[Head], np.ndarray]:
        asked.append(prompts)
        return [Head(layer, index) for layer in range(2) for index in range(2)], np.array([2.0, 3.0, 1.0, 4.0])

    monkeypatch.setitem(HEAD_SCORES, "made up", score)
    assert auto_head(workspace, {"lowest": "made up"}) == Head(1, 0)
    assert auto_head(workspace, {"highest": "made up"}) == Head(1, 1)
    first, second = asked
    assert np.array_equal(first.word_at, second.word_at)
    return first


@pytest.mark.parametrize(("run", "other"), [("write-up", "held-out"), ("held-out", "write-up")])
def test_a_head_is_chosen_on_the_other_list_and_judged_on_all_prompts(
    run: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = opened(knowing("write-up", "held-out"), words=run)
    prompts = chosen_on(workspace, monkeypatch)
    assert (prompts.words.name, len(prompts)) == (other, 6)
    assert (workspace.prompts.words.name, len(workspace.prompts)) == (run, 6)
    assert prompts.tokens is not None
    assert workspace.prompts.tokens is not None
    # BOS alone is in both.
    assert set(prompts.tokens.flat) & set(workspace.prompts.tokens.flat) == {0}
    assert workspace.chosen_on == f"the words {other}"


def test_for_a_list_of_the_user_s_it_is_the_built_in_one_with_fewer_words_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three fruits are the write-up's, one month is held out: it is chosen on held-out words, less that month."""
    (tmp_path / "own.toml").write_text(
        '[categories]\nfruits = ["apple", "banana", "grape"]\nmonths = ["May", "dog", "cat"]\n', encoding="utf-8"
    )
    workspace = opened(knowing("write-up", "held-out"), words=str(tmp_path / "own.toml"))
    prompts = chosen_on(workspace, monkeypatch)
    assert prompts.words.name == "held-out"
    assert "May" not in prompts.words.words
    assert "June" in prompts.words.words


def test_without_another_list_that_counts_it_is_chosen_on_one_half(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = opened(Tokenizer(["red", "blue", "green", "happy", "sad", "angry"]), words="write-up")
    prompts = chosen_on(workspace, monkeypatch)
    assert (prompts.words.name, prompts.numbers.tolist()) == ("write-up", [0, 1, 2])
    assert workspace.prompts.numbers.tolist() == [3, 4, 5]
    assert workspace.chosen_on == "one half of the prompts"


def test_recorded_prompts_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = opened(Tokenizer([], RECORDED))
    monkeypatch.setattr(workspace.checkpoint, "attention_layers", lambda: [0, 1])
    assert chosen_on(workspace, monkeypatch).numbers.tolist() == [0]
    assert workspace.prompts.numbers.tolist() == [1, 2]
    assert workspace.chosen_on == "one half of the prompts"


def test_a_head_that_was_named_is_judged_on_all_prompts() -> None:
    for head in ("L0H1", "all", None):
        workspace = opened(knowing("write-up", "held-out"), head=head)
        assert len(workspace.prompts) == 6
        assert workspace.chosen_on is None


def test_the_header_says_what_the_head_was_chosen_on() -> None:
    workspace = opened(knowing("write-up", "held-out"))
    header = Audit(workspace, Head(1, 0), "auto").header()
    assert header[1] == "target head: L1H0, chosen by auto, on the words held-out"
    assert header[3] == "prompts: 6 x 64, words write-up, seed 0"
