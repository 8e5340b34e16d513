"""The verdict table of a terminal: a claim's verdict, what was measured, and no line wider than eighty columns."""

import textwrap

from headclaims.record.entries import ClaimEntry, NullEntry
from headclaims.report.footer import FOUND, WIDTH, footer, headline
from headclaims.statistics.verdict import Flag, Verdict
from headclaims.tests.test_markdown import CLAIMS, entry


def test_the_footer_has_a_claim_s_verdict_and_below_it_the_rest() -> None:
    lines = footer([*CLAIMS, entry("found", flags=[Flag.DISTINCTIVE], measured={"ratio": 2.5})])
    assert [line.text for line in lines] == [
        "claim                                      verdict",
        "    measured [95 %]; reported; null p; flags; resolution; why",
        "-" * 80,
        "full                                       supported",
        "    gap 1.302 [1.235, 2]; reported 0.6, 1.347; null p 0.02, – (adjusted 0.03);",
        "    null missing, conditional",
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


COUNTS = {"empirical": 32, "assessed": 30, "supported": 26, "found": 14, "identities": 4, "identities_hold": 3}


def test_the_headline_counts_identities_apart() -> None:
    said = "32 empirical: 30 assessed, 26 supported, 14 found"
    assert headline(COUNTS, "replication") == f"{said} (replicated); 3 of 4 identities hold"
    assert headline(COUNTS, "discovery") == f"{said} (reproduced); 3 of 4 identities hold"
    assert headline(COUNTS, None) == f"{said}; 3 of 4 identities hold"
    assert headline(COUNTS | {"identities": 0}, "discovery") == f"{said} (reproduced)"
    # Nothing that was found is neither reproduced nor replicated; a run of some claims names those of the set.
    none = COUNTS | {"found": 0, "identities": 0}
    assert headline(none, "discovery", 36) == "36 empirical: 30 assessed, 26 supported, 0 found"


def test_what_found_means_fits_three_lines() -> None:
    assert FOUND.startswith("found: ")
    assert len(textwrap.wrap(FOUND, WIDTH)) <= 3


def test_the_footer_says_what_could_have_been_seen() -> None:
    claim = entry(
        "common",
        flags=[Flag.NOT_DISTINCTIVE],
        measured={"gap": 0.5},
        interval=[0.25, 0.75],
        nulls=[NullEntry("other heads", 47, 0.5, 1 / 48)],
        p_adjusted=0.55,
        p_adjusted_least=0.0625,
        half_width=0.25,
    )
    assert [line.text.strip() for line in footer([claim])[4:]] == [
        "gap 0.5 [0.25, 0.75]; null p 0.5 (adjusted 0.55); not distinctive;",
        "resolution ± 0.25, adjusted p 0.062 at least",
    ]


def test_the_footer_of_no_claims_has_its_head_alone() -> None:
    assert len(footer([])) == 3


def test_on_a_wide_terminal_a_claim_is_a_line() -> None:
    """At 160 columns; what does not fit stands below in the same column."""
    reason = "no common words under this tokenizer, " * 3
    wordy = entry("wordy", verdict=Verdict.NOT_ASSESSABLE, reason=reason.strip())
    lines = footer([*CLAIMS, entry("found", flags=[Flag.DISTINCTIVE], measured={"ratio": 2.5}), wordy], 160)
    beside = " " * 65
    assert [line.text + line.rest for line in lines] == [
        f"{'claim':43}{'verdict':22}measured [95 %]; reported; null p; flags; resolution; why",
        "-" * 160,
        f"{'full':43}{'supported':22}gap 1.302 [1.235, 2]; reported 0.6, 1.347; null p 0.02, – (adjusted 0.03); "
        "null missing,",
        f"{beside}conditional; variants that disagree: offset 4",
        f"{'errored':43}{'error':22}error: out of luck",
        f"{'skipped':43}{'not assessable':22}needs qk: the file holds recorded attention only",
        f"{'bare':43}{'supported':22}count 33",
        f"{'found':43}{'supported':15}found  ratio 2.5; distinctive",
        f"{'wordy':43}{'not assessable':22}"
        + ", ".join(["no common words under this tokenizer"] * 2 + ["no common words"]),
        f"{beside}under this tokenizer,",
    ]
    # Only verdicts are in colour.
    assert [line.text.split()[0] for line in lines if line.claim] == [claim.id for claim in CLAIMS] + ["found", "wordy"]
    assert not any("gap" in line.text for line in lines)


def test_groups_are_headings_where_there_are_several() -> None:
    other = ClaimEntry("other", "Another group", "It holds", "Section 2", Verdict.SUPPORTED)
    for width in (80, 160):
        lines = footer([*CLAIMS[:1], other], width)
        headings = [line.text for line in lines if line.is_heading]
        assert headings == ["-- Group", "-- Another group"]
        texts = [line.text.split()[0] for line in lines if line.claim or line.is_heading]
        assert texts == ["--", "full", "--", "other"]
    assert not any(line.is_heading for line in footer(CLAIMS))


def test_no_terminal_is_too_narrow() -> None:
    assert footer(CLAIMS, 40) == footer(CLAIMS)
    assert max(len(line.text + line.rest) for line in footer(CLAIMS, 140)) <= 140
