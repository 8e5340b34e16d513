"""Every page: no dead link, no sentence to be read twice, footers as their records have them."""

import re
from dataclasses import asdict
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from headclaims.record.reading import read_record
from headclaims.report.footer import footer, headline
from headclaims.tests.claims_run import ROOT
from headclaims.tests.markdown_pages import Block, anchors, blocks, links, pages, sentences

MOST_LINES, MOST_WORDS = 150, 35
TO_READ = [page for page in pages() if page == "README.md" or Path(page).parts[0] == "docs"]


def words(sentence: str) -> list[str]:
    """What a reader reads one by one: runs with a letter or a digit in them."""
    return [word for word in sentence.split() if re.search(r"\w", word)]


def test_there_are_pages() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/quickstart.md", "reports/trials/README.md"} <= set(pages())


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", TO_READ)
def test_sentences_are_short(page: str) -> None:
    assert {len(words(one)): one for one in sentences(page) if len(words(one)) > MOST_WORDS} == {}


@pytest.mark.parametrize("page", pages())
def test_no_link_is_dead(page: str) -> None:
    """Within the repository: the file, and the heading. Of others the form alone, without a network."""
    dead = []
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            if parts.scheme not in ("https", "mailto") or not (parts.netloc or parts.path):
                dead.append(link)
            continue
        target = (ROOT / page).parent / unquote(parts.path) if parts.path else ROOT / page
        target = target.resolve()
        if (
            not target.exists()
            or not target.is_relative_to(ROOT)
            or (parts.fragment and parts.fragment not in anchors(target.relative_to(ROOT).as_posix()))
        ):
            dead.append(link)
    assert dead == []


SHOWN = [(page, block) for page in pages() for block in blocks(page) if "from" in block.directives]


@pytest.mark.parametrize(("page", "block"), SHOWN, ids=[f"{page}:{block.line}" for page, block in SHOWN])
def test_a_footer_that_is_shown_is_that_of_its_record(page: str, block: Block) -> None:
    record = read_record((ROOT / block.directives["from"]).parent)
    lines = [line.text for line in footer(record.claims)]
    lines.append(headline(asdict(record.counts), record.evidence_of))
    shown = [line for line in block.text.splitlines() if line != "…"]
    assert shown
    assert [line for line in shown if line not in lines] == []


def test_what_is_read_of_markdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page by hand: the readers above find what is wrong with it."""
    page = tmp_path / "page.md"
    prose = "# One two\n\n# One two!\n\nA [link](x.md#y). It *ends.* Next `a.b c`?\nYes.\n\n"
    text = f"{prose}<!-- long; write: a -->\n```toml\nx\n```\n"
    page.write_text(text, encoding="utf-8")
    monkeypatch.setattr("headclaims.tests.markdown_pages.ROOT", tmp_path)
    assert anchors("page.md") == ["one-two", "one-two-1"]
    assert list(links("page.md")) == ["x.md#y"]
    assert sentences("page.md")[2:] == ["A link.", "It ends.", "Next a.b c?", "Yes."]
    assert blocks("page.md") == [Block("toml", "x\n", 9, {"long": "", "write": "a"})]
