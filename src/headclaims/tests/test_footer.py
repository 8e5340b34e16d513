"""The verdict table of a terminal: a claim's verdict, what was measured, and no line wider than eighty columns."""

from headclaims.record.entries import NullEntry
from headclaims.report.footer import FOUND, WIDTH, footer, headline
from headclaims.statistics.verdict import Flag, Verdict
from headclaims.tests.test_markdown import CLAIMS, entry


def test_the_footer_has_a_claim_s_verdict_and_below_it_the_rest() -> None:
    lines = footer([*CLAIMS, entry("found", flags=[Flag.DISTINCTIVE], measured={"ratio": 2.5})])
    assert [line.text for line in lines] == [
        "claim                                      verdict",
        "    measured [95 %]; reported; null p; flags; why",
        "-" * 80,
        "full                                       supported",
        "    gap 1.302 [1.235, 2]; reported 0.6, 1.347; null p 0.02, –; null missing,",
        "    conditional",
        "    variants that disagree: offset 4",
        "errored                                    error",
        "    error: out of luck",
        "skipped                                    not assessable",
        "    needs qk: the file holds recorded attention only",
        "bare                                       supported",
        "    count 33",
        "found                                      supported      found",
        "    ratio 2.5; distinctive",
    ]
    assert [line.claim for line in lines if line.claim] == [*CLAIMS, lines[-2].claim]


def test_no_line_of_the_footer_is_wider_than_a_terminal() -> None:
    """The longest id that there is, every flag, nulls, and a reason without an end."""
    wide = entry(
        "position-and-attention-jointly-irrelevant",
        verdict=Verdict.NOT_ASSESSABLE,
        flags=list(Flag),
        measured={"paired_difference": -0.000123456},
        interval=[-1.2345e-5, 1.2345e-5],
        reported={str(i): 1.2345 for i in range(9)},
        nulls=[NullEntry("other heads", 48, 0.000123456)] * 9,
        reason="because " * 60 + "x" * 200,
    )
    assert max(len(line.text) for line in footer([wide])) == 80


def test_the_headline_counts() -> None:
    assert headline({"assessed": 5, "supported": 4, "found": 1}, 8) == "5 of 8 claims assessed, 4 supported, 1 found"


def test_what_found_means_fits_a_line() -> None:
    assert FOUND.startswith("found: ")
    assert len(FOUND) <= WIDTH


def test_the_footer_of_no_claims_has_its_head_alone() -> None:
    assert len(footer([])) == 3
