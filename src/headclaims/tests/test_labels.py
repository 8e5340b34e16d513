"""Labels in plots: what a reader can see, and nothing that is taken for a tag."""

import pytest

from headclaims.report.labels import folded, plain, short, visible
from headclaims.tests.report_folders import HOSTILE


@pytest.mark.parametrize(
    ("token", "shown"),
    [(" red", "red"), ("red", "red"), ("\n", "\\n"), (" ", "' '"), ("", "''"), ("\x00a", "\\x00a"), ("<b>&", "<b>&")],
)
def test_a_token_is_shown_as_a_reader_can_see_it(token: str, shown: str) -> None:
    assert visible(token) == shown


def test_a_long_token_is_cut_short_beside_an_axis() -> None:
    assert short(" twelve letters") == " twelve lette…"
    assert short(" fourteen is it"[:14]) == " fourteen is i"
    assert len(short(HOSTILE)) == 14


def test_tags_and_entities_are_plain() -> None:
    assert plain("<a href='x'>&lt;") == "&lt;a href='x'&gt;&amp;lt;"


def test_long_ids_are_folded_at_their_hyphens() -> None:
    assert folded("position-and-attention-jointly-irrelevant") == "position-and-<br>attention-jointly-<br>irrelevant"
    assert folded("inertia") == "inertia"
