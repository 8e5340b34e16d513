"""claims.md: what was audited, a row a claim, and nothing left out or taken for markup."""

import re
from typing import Any

from headclaims.record.entries import ClaimEntry, NullEntry, VariantEntry, counts
from headclaims.report.markdown import COLUMNS, markdown, rows
from headclaims.statistics.verdict import Flag, Verdict


def entry(claim_id: str = "a-claim", **parts: Any) -> ClaimEntry:
    """An entry, with a verdict unless one is given."""
    return ClaimEntry(claim_id, "Group", "It holds", "Section 1", **{"verdict": Verdict.SUPPORTED} | parts)


FULL = entry(
    "full",
    flags=[Flag.NULL_MISSING, Flag.CONDITIONAL],
    measured={"gap": 1.302493, "score": 0.57448},
    interval=[1.23456, 2.0],
    reported={"gap": 0.6, "score": 1.3473},
    nulls=[NullEntry("other heads", 48, 0.0204, 0.02041, 3, 0.5), NullEntry("Gaussian heads", None, None)],
    variants=[VariantEntry("offset 1", 0.25, True), VariantEntry("offset 4", -0.5, False)],
    reason="variants that disagree: offset 4",
    wanted={"gap": "> 0"},
    p_adjusted=0.03,
)
COMMON = entry(
    "common", flags=[Flag.NOT_DISTINCTIVE], measured={"x": 1.0}, nulls=[NullEntry("other heads", 49, 0.5, 0.02)]
)
ERRORED = entry("errored", verdict=None, reason="error: out of luck")
SKIPPED = entry("skipped", verdict=Verdict.NOT_ASSESSABLE, reason="needs qk: the file holds recorded attention only")
BARE = entry("bare", measured={"count": 33.0})
CLAIMS = [FULL, ERRORED, SKIPPED, BARE]


def record(complete: bool = True, **checkpoint: Any) -> dict[str, Any]:
    """As much of a record as the page shows."""
    return {
        "complete": complete,
        "checkpoint": {
            "spec": "shared/file.safetensors",
            "kind": "recorded-attention",
            "name": "file",
            "revision": None,
            "fingerprint": None,
            "capabilities": ["tokens", "attention"],
        }
        | checkpoint,
        "target": {"layer": 1, "head": 5, "label": "L1H5", "chosen_by": "auto", "chosen_on": "the words b@d"},
        "evidence_of": "discovery",
        "counts": counts(CLAIMS) | {"found": 1},
        "settings": {"prompts": 32, "seq_len": 64, "words": "write-up", "seed": 7},
        "suite": {"name": "headclaims", "version": "0.1.0", "commit": "abc123"},
        "started": "2025-01-01T00:00:00+00:00",
    }


def page_of(claims: list[ClaimEntry], why: str | None = None, complete: bool = True, **checkpoint: Any) -> str:
    """The page of a record."""
    return markdown(record(complete, **checkpoint), claims, "32 x 64", why)


def test_a_row_has_each_column_s_cell() -> None:
    assert COLUMNS == ("claim", "reported", "measured [95 %]", "null p", "verdict", "flags")
    assert rows(CLAIMS) == [
        [
            "full",
            "0.6, 1.347",
            "gap 1.302 [1.235, 2]",
            "0.02, – (adjusted 0.03)",
            "supported",
            "null missing, conditional",
        ],
        ["errored", "–", "–", "–", "error", ""],
        ["skipped", "–", "–", "–", "not assessable", ""],
        ["bare", "–", "count 33", "–", "supported", ""],
    ]


def table_of(page: str) -> list[list[str]]:
    """The cells of a page's table, split where markdown splits: at pipes that aren't escaped."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_page_has_the_table_and_what_was_audited() -> None:
    page = page_of(CLAIMS)
    assert page.startswith("# Claims about L1H5 of file\n")
    assert (
        "**4 empirical: 2 assessed, 2 supported, 1 found (reproduced).**\n\nFound: supported under every variant, "
        in page
    )
    assert "`shared/file.safetensors` (recorded-attention), revision –, fingerprint `–`" in page
    assert "tokens, attention" in page
    assert "- target head: L1H5, chosen by auto, on the words b&#64;d\n" in page
    assert "- prompts: 32 x 64, words write-up, seed 7" in page
    assert "headclaims 0.1.0, commit `abc123`, 2025-01-01T00:00:00+00:00" in page
    cells = table_of(page)
    assert cells[0] == list(COLUMNS)
    assert [row[0] for row in cells[2:]] == ["full", "errored", "skipped", "bare"]
    assert cells[2] == rows(CLAIMS)[0]
    assert all(len(row) == len(COLUMNS) for row in cells)


def test_groups_have_rows_of_their_own_where_there_are_several() -> None:
    other = ClaimEntry("other", "A | group", "It holds", "Section 2", Verdict.SUPPORTED)
    cells = table_of(page_of([FULL, BARE, other]))
    assert [row[0] for row in cells[2:]] == ["**Group**", "full", "bare", "**A \\| group**", "other"]
    assert all(len(row) == len(COLUMNS) for row in cells)


def test_the_page_has_a_section_for_each_claim() -> None:
    page = page_of(CLAIMS)
    assert page.count("<details>") == page.count("</details>") == 1
    assert page.index("| claim") < page.index("<details>") < page.index("\n## ")
    sections = {part.splitlines()[0]: part for part in page.split("\n## ")[1:]}
    assert list(sections) == ["full", "errored", "skipped", "bare"]
    assert all("It holds (Section 1)" in part for part in sections.values())
    full = sections["full"].splitlines()
    assert "- gap: 1.302493, wanted > 0" in full
    assert "- score: 0.57448" in full
    assert "- null other heads (n = 48): p = 0.0204 (least possible 0.02041); of its layer (n = 3): p = 0.5" in full
    assert "- adjusted p = 0.03" in full
    assert not any("resolution" in line for line in full)
    assert "- resolution: p 0.02 at least" in page_of([COMMON]).splitlines()
    assert any(line.startswith("- null Gaussian heads") and line.endswith("missing") for line in full)
    assert "- variant offset 1: 0.25, holds" in full
    assert "- variant offset 4: -0.5, does not hold" in full
    assert "- variants that disagree: offset 4" in full
    assert "- error: out of luck" in sections["errored"].splitlines()
    assert "- not assessable: needs qk: the file holds recorded attention only" in sections["skipped"].splitlines()
    assert "- count: 33.0" in sections["bare"].splitlines()


def test_an_incomplete_record_says_so_before_its_table() -> None:
    assert "ncomplete" not in page_of(CLAIMS)
    page = page_of(CLAIMS, complete=False)
    assert "**Incomplete:" in page
    assert page.index("Incomplete") < page.index("| claim")


def test_the_page_says_how_the_checkpoint_came_to_be_chosen() -> None:
    why = "no --checkpoint given; the hub has gpt2"
    assert f"\n- {why}\n" in page_of(CLAIMS, why)
    assert "None" not in page_of(CLAIMS)


def test_revision_and_fingerprint_are_shown_where_there_are_any() -> None:
    page = page_of(CLAIMS, revision="main", fingerprint="6c45")
    assert "revision main, fingerprint `6c45`" in page


def test_a_pipe_in_a_cell_breaks_no_row() -> None:
    odd = entry("a|claim", measured={"max |x|": 1.0})
    page = page_of([odd, BARE])
    cells = table_of(page)
    assert [len(row) for row in cells] == [6, 6, 6, 6]
    assert cells[2][0].replace("\\|", "|").replace("&#124;", "|") == "a|claim"
    assert "supported" in cells[2][4]


def test_a_table_of_no_claims_is_a_table() -> None:
    assert table_of(page_of([]))[0] == list(COLUMNS)


def test_text_of_a_checkpoint_is_no_markup() -> None:
    """Pasted into an issue, a name must not call people, link, or draw a picture."""
    name = "<img src=x>![a](http://b)@everyone`x"
    page = page_of([entry(verdict=Verdict.NOT_ASSESSABLE, reason=f"{name}\n# big")], why=name, name=name)
    title, reason = (
        page.splitlines()[0],
        next(line for line in page.splitlines() if line.startswith("- not assessable")),
    )
    for line in (title, reason):
        assert "<" not in line
        assert "@" not in line
        assert "](" not in line
        assert "`" not in line
    assert title == "# Claims about L1H5 of &lt;img src=x>![a]&#40;http://b)&#64;everyone&#96;x"
    assert "\n# big" not in page


def test_a_path_with_backticks_is_code_all_the_same() -> None:
    assert "- checkpoint: ``` a``b`c ``` (recorded-attention)" in page_of([], spec="a``b`c")
