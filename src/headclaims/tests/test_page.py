"""The page of a record: what it says on top, that it is whole, and that text of a checkpoint is text."""

import re
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from headclaims.cli import main
from headclaims.record.entries import ClaimEntry
from headclaims.report.page import write_page
from headclaims.statistics.verdict import Flag, Verdict
from headclaims.tests.report_folders import HOSTILE, claim, claims, edited, suite_records, write_folder


class Outline(HTMLParser):
    """The page's text outside of scripts and styles, its attributes, and the ids of its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.attributes, self.ids, self.tags = "", [], [], []
        self._silent = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._silent = tag in ("script", "style")
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._silent = False
        self.text += " " if tag in ("td", "th", "p") else ""

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.text += data

    @property
    def on_top(self) -> str:
        """What stands before the table of verdicts, the contents left out, in single spaces."""
        return " ".join(self.text.split("audit of an attention head")[1].split("Verdicts")[0].split())


def page_of(folder: Path, entries: list[ClaimEntry] | None = None, **options: bool) -> str:
    """The page of a folder written by hand, with records of the suite beside it."""
    suite_records(folder)
    return write_page(write_folder(folder, entries, **options)).read_text(encoding="utf-8")


def test_each_claim_has_a_line_and_a_section(tmp_path: Path) -> None:
    outline = Outline(page_of(tmp_path))
    links = [value for tag, name, value in outline.attributes if (tag, name) == ("a", "href")]
    in_table = links[links.index("#token-map") + 1 :][: len(claims())]
    assert in_table == [f"#claim-{one.id}" for one in claims()]
    # Nothing of the page leads nowhere.
    assert {link.removeprefix("#") for link in links} <= set(outline.ids)
    assert {f"claim-{one.id}" for one in claims()} <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert "4 of 5 empirical claims assessed" in " ".join(outline.text.split())
    assert "gap 1.5 [1, 2]" in outline.text
    for said in ("✓ supported", "✗ not supported", "? undecided", "– not assessable"):
        assert said in " ".join(outline.text.split())


def test_the_scorecard_stands_first_and_leads_to_its_claims(tmp_path: Path) -> None:
    """A sentence of several claims, one of which this run left out; a record without sentences has no scorecard."""
    assert "scorecard" not in Outline(page_of(tmp_path / "none")).ids
    folder = write_folder(tmp_path / "some")
    sentences = [
        {"says": HOSTILE, "claims": ["fails"], "outcome": "not supported", "answer": "not supported: fails"},
        {"says": "So it is", "claims": ["open", "absent"], "outcome": "undecided", "answer": f"undecided: {HOSTILE}"},
    ]
    edited(folder, lambda content: content.update(scorecard=sentences))
    page = write_page(folder).read_text(encoding="utf-8")
    assert HOSTILE not in page
    outline = Outline(page)
    top = outline.on_top
    assert f"{HOSTILE}. ✗ not supported: fails 1 claim" in top
    assert f"So it is. ? undecided: {HOSTILE} 2 claims openabsent" in top
    assert top.index("So it is") < top.index("empirical claims assessed")
    links = [value for tag, name, value in outline.attributes if (tag, name) == ("a", "href")]
    assert "#claim-absent" not in links
    assert links.count("#claim-open") == 3


def test_a_section_has_what_was_measured_and_what_was_wanted(tmp_path: Path) -> None:
    text = " ".join(Outline(page_of(tmp_path)).text.split())
    section = text[text.index("category-score-lowest ✓ supported It holds") :]
    for said in (
        "Definition. As defined by </script>",
        "gap 1.5 [1, 2] > 0 0.6",
        "share 0.25 – ≤ 0.5 –",
        "other heads 35 0.0278 0.0278 0.5 of 3",
        "Gaussian heads missing – –",
        "E zero 0.5 ✓ holds",
        "-0.5 ✗ does not hold",
        "Null distributions, L1H2 marked at 1.25",
    ):
        assert said in section, said


@pytest.mark.parametrize(
    ("entries", "complete", "said"),
    [
        ([claim("a", measured={"x": 1.0})], False, "Incomplete: the run was cut short"),
        ([claim("a", None, reason="error: out of luck")], False, "1 claim ended in an error."),
        (
            [claim("a", Verdict.NOT_ASSESSABLE, reason="no weights")] * 1,
            True,
            "1 claim not assessable on this evidence.",
        ),
        ([claim("a", Verdict.UNDECIDED, measured={"x": 1.0}, interval=[0.0, 2.0])], True, "1 claim undecided."),
        (
            [claim(name, Verdict.NOT_SUPPORTED, measured={"x": 1.0}, interval=[0.0, 2.0]) for name in "ab"],
            True,
            "2 claims not supported.",
        ),
    ],
)
def test_what_a_reader_has_to_know_stands_on_top(
    tmp_path: Path, entries: list[ClaimEntry], complete: bool, said: str
) -> None:
    outline = Outline(page_of(tmp_path, entries, complete=complete, with_figures=False))
    assert said in outline.on_top
    assert ("Incomplete" in outline.on_top) is not complete
    assert "There is no figures.json beside the record" in outline.on_top


def test_an_interval_without_width_is_said_to_be_one(tmp_path: Path) -> None:
    text = " ".join(Outline(page_of(tmp_path, [claim("a", measured={"x": 1.0}, interval=[1.0, 1.0])])).text.split())
    assert "x 1 (units don't differ)" in text
    assert "[1, 1]" not in text


def test_a_record_without_blemish_has_no_notice(tmp_path: Path) -> None:
    entries = [claim("category-score-lowest", flags=[Flag.DISTINCTIVE], measured={"gap": 1.5})]
    outline = Outline(page_of(tmp_path, entries))
    assert not [
        value for _, name, value in outline.attributes if name == "class" and "notice" in (value or "").split()
    ][1:]
    assert "1 found" in outline.on_top


def test_text_of_a_checkpoint_is_escaped_everywhere(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert HOSTILE not in page
    outline = Outline(page)
    assert HOSTILE in outline.text
    assert "img" not in outline.tags
    # What plotly brings aside, the scripts are the data, the library and the page's own.
    assert outline.tags.count("script") == 3
    assert not [name for _, name, _ in outline.attributes if name.startswith("on")]


def test_the_page_asks_nobody_for_anything(tmp_path: Path) -> None:
    outline = Outline(page_of(tmp_path))
    asked = [
        v for _, name, v in outline.attributes if name in ("src", "href") and not (v or "").startswith(("#", "data:"))
    ]
    assert asked == []
    (policy,) = [v for _, name, v in outline.attributes if name == "content" and "default-src" in (v or "")]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert not re.search(r"@import|url\(", page_of(tmp_path).split("</style>")[0])


def test_figures_are_named_captioned_and_described(tmp_path: Path) -> None:
    outline = Outline(page_of(tmp_path))
    drawn = [value for tag, name, value in outline.attributes if (tag, name) == ("div", "data-figure")]
    buttons = [value for tag, name, value in outline.attributes if (tag, name) == ("button", "data-figure")]
    assert {"head-scores", "nulls-category-score-lowest", "counterfeits", "power", "benchmarks"} <= set(drawn)
    assert sorted(buttons) == sorted([*drawn, "token-map"])
    described = re.findall(r'<div class="plots [^>]* role="img" aria-label="([^"]+)"', page_of(tmp_path))
    assert len(described) == len(drawn)


def test_a_page_is_written_anew_by_the_command_within_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path)
    start = time.monotonic()
    assert main(["report", str(folder)]) == 0
    assert time.monotonic() - start < 30
    assert capsys.readouterr().out.strip() == str(folder / "index.html")
    assert (folder / "index.html").stat().st_size < 7e6


def test_without_igraph_the_page_says_so_and_has_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    outline = Outline(page_of(tmp_path))
    assert "the token map needs igraph" in outline.on_top
    assert "token-map" not in outline.ids
    assert "head-scores" in outline.ids
