"""The scorecard: what is said of a sentence, for every outcome of its claims and for mixtures."""

import re
from typing import Any

import pytest

from headclaims.claim.claim_set import ClaimSet
from headclaims.claim.shipped import find_sets
from headclaims.record.entries import ClaimEntry, NullEntry, Outcome, VariantEntry
from headclaims.report.markdown import markdown
from headclaims.report.scorecard import OUTCOME_SIGNS, headword, scorecard
from headclaims.statistics.verdict import Flag, Verdict
from headclaims.tests.test_markdown import page_of, record


def entry(claim_id: str, verdict: Verdict | None = Verdict.SUPPORTED, **parts: Any) -> ClaimEntry:
    """A claim of a record."""
    return ClaimEntry(claim_id, "Group", "It holds", "Somewhere", verdict, **parts)


def others(p: float, n: int = 143, population: str = "other heads") -> list[NullEntry]:
    """One null."""
    return [NullEntry(population, n, p)]


FOUND = entry("found", flags=[Flag.DISTINCTIVE], nulls=others(1 / 144), p_adjusted=1 / 144)
PARTIAL = entry("partial", nulls=others(1 / 144))  # of a run of some claims: rare, by a p that is not adjusted
COMMON = entry("common", flags=[Flag.NOT_DISTINCTIVE], nulls=others(76 / 144), p_adjusted=0.53)
HALVES = entry("halves", flags=[Flag.NOT_DISTINCTIVE], nulls=others(0.79, 99, "random halves"), p_adjusted=0.82)
# The larger p of two decides: 3 of 72 heads, not 1 of 1,000 draws.
NEARLY = entry(
    "nearly",
    flags=[Flag.NOT_DISTINCTIVE],
    nulls=[*others(3 / 72, 71), *others(0.001, 999, "Gaussian heads")],
    p_adjusted=0.0614,
)
# 1 − (1 − 2/144)^144: no share of heads.
CHOSEN = entry("chosen", flags=[Flag.NOT_DISTINCTIVE], nulls=others(1 - (142 / 144) ** 144), p_adjusted=0.9)
ALGEBRA = entry("algebra", flags=[Flag.BY_CONSTRUCTION])
RIVAL = entry("rival")
SHORT = entry("short", flags=[Flag.NULL_TOO_SMALL, Flag.NO_INTERVAL], nulls=others(1 / 12, 11))
LACKS_NULL = entry("lacks", flags=[Flag.NULL_MISSING], nulls=[NullEntry("other heads", None, None)])
SOME_HEADS = entry(
    "some", flags=[Flag.DISTINCTIVE, Flag.PART_OF_THE_MODEL], nulls=others(0.001, 999, "labels"), p_adjusted=0.001
)
CONDITIONAL = entry(
    "variant",
    flags=[Flag.DISTINCTIVE, Flag.CONDITIONAL],
    nulls=others(1 / 144),
    p_adjusted=1 / 144,
    variants=[VariantEntry("commas", 0.5, True), VariantEntry("and", -0.5, False), VariantEntry("zero", -1.0, False)],
)
FAILS = entry("fails", Verdict.NOT_SUPPORTED)
FAILS_TOO = entry("fails-too", Verdict.NOT_SUPPORTED)
OPEN = entry("open", Verdict.UNDECIDED, reason="about 99 prompts would decide, there were 32; null 'x' missing")
LACKING = entry("lacking", Verdict.NOT_ASSESSABLE, reason="needs qk: the file holds attention only")
LACKING_TOO = entry("lacking-too", Verdict.NOT_ASSESSABLE, reason="needs qk: the file holds attention only")
NO_WORDS = entry("no-words", Verdict.NOT_ASSESSABLE, reason="no common words under this tokenizer")
NO_ROWS = entry("no-rows", Verdict.NOT_ASSESSABLE, reason="no row of the prompts has kin")
BROKEN = entry("broken", None, reason="error: out of luck")


@pytest.mark.parametrize(
    ("claims", "outcome", "answer"),
    [
        ([FOUND], "found", "found"),
        ([FOUND, RIVAL], "found", "found"),
        ([FOUND, RIVAL, ALGEBRA], "found", "found; by construction: algebra"),
        ([RIVAL], "true", "true; it rules out another reading, and is compared with nothing"),
        ([ALGEBRA], "by construction", "true by construction: algebra, of any head"),
        ([COMMON], "not rare", "true, and not rare: 76 of 144 heads"),
        ([HALVES], "not rare", "true, and not rare: 79 of 100 draws of random halves"),
        (
            [NEARLY],
            "not rare",
            "true, and not shown to be rare: 3 of 72 heads, p 0.061 once adjusted for the other claims",
        ),
        ([CHOSEN], "not rare", "true, and not rare: p 0.8665"),
        ([COMMON, ALGEBRA], "not rare", "true, and not rare: common, 76 of 144 heads"),
        ([FOUND, COMMON], "not rare", "true, and in part not rare: common, 76 of 144 heads"),
        (
            [COMMON, HALVES],
            "not rare",
            "true, and not rare: halves, 79 of 100 draws of random halves; common, 76 of 144 heads",
        ),
        (
            [NEARLY, COMMON, HALVES, CHOSEN],
            "not rare",
            "true, and not rare: chosen, p 0.8665; halves, 79 of 100 draws of random halves; and 2 more",
        ),
        (
            [SHORT],
            "as far as told",
            "true as far as it can be told here: too few prompts for an interval, too few others to compare with",
        ),
        ([FOUND, LACKS_NULL], "as far as told", "true as far as it can be told here: a comparison is missing"),
        (
            [SOME_HEADS],
            "as far as told",
            "true as far as it can be told here: only some heads of the model were seen",
        ),
        (
            [FOUND, LACKING],
            "as far as told",
            "true as far as it can be told here: 1 of 2 claims can't be told (needs qk)",
        ),
        (
            [FOUND, LACKING, LACKING_TOO, NO_ROWS],
            "as far as told",
            "true as far as it can be told here: 3 of 4 claims can't be told (needs qk, no row of the prompts has kin)",
        ),
        (
            [LACKS_NULL, COMMON],
            "as far as told",
            "true as far as it can be told here: a comparison is missing; and not rare: common, 76 of 144 heads",
        ),
        ([CONDITIONAL], "conditional", "true, not under every variant: and, zero"),
        ([CONDITIONAL, FOUND], "conditional", "true, not under every variant: variant (and, zero)"),
        ([LACKING], "not assessable", "can't be told here: needs qk: the file holds attention only"),
        ([LACKING, LACKING_TOO], "not assessable", "can't be told here: needs qk: the file holds attention only"),
        (
            [LACKING, NO_WORDS, NO_ROWS],
            "not assessable",
            "can't be told here: needs qk: the file holds attention only; no common words under this tokenizer; and 1 "
            "more",
        ),
        ([OPEN], "undecided", "undecided: open (about 99 prompts would decide, there were 32)"),
        ([FAILS], "not supported", "not supported: fails"),
        ([FAILS, FAILS_TOO, FOUND, LACKING], "not supported", "not supported: fails, fails-too"),
        (
            [FOUND, OPEN, FAILS],
            "not supported",
            "not supported: fails; undecided: open (about 99 prompts would decide, there were 32)",
        ),
        ([OPEN, LACKING, COMMON], "undecided", "undecided: open (about 99 prompts would decide, there were 32)"),
        ([BROKEN, FAILS], "error", "no answer: broken ended in an error; not supported: fails"),
        ([], "not run", "not asked in this run"),
    ],
)
def test_what_the_evidence_says(claims: list[ClaimEntry], outcome: str, answer: str) -> None:
    ids = [claim.id for claim in claims] or ["absent"]
    (made,) = scorecard([("It is so", ids)], claims)
    assert (made.says, made.claims) == ("It is so", ids)
    assert (made.outcome, made.answer) == (outcome, answer)


def test_a_run_of_some_claims_says_which_it_left_out() -> None:
    """And that p is not adjusted, where that leaves open whether a claim is found."""
    so_far = "true as far as it can be told here: p is not adjusted for the other claims"
    (made,) = scorecard([("It is so", ["partial", "absent"])], [PARTIAL])
    assert (made.outcome, made.answer) == (Outcome.LIMITED, f"{so_far}; not asked in this run: absent")
    common = entry("common", flags=[Flag.NOT_DISTINCTIVE], nulls=others(76 / 144))
    (made,) = scorecard([("It is so", ["common"])], [common])
    assert made.answer == "true, and not rare: 76 of 144 heads"


def test_without_nulls_nothing_is_more_than_true_so_far() -> None:
    bare = entry("bare", flags=[Flag.NULL_MISSING], nulls=[NullEntry("other heads", None, None)])
    (made,) = scorecard([("It is so", ["bare", "algebra"])], [bare, ALGEBRA], verdicts_only=True)
    assert (made.outcome, made.answer) == (
        Outcome.LIMITED,
        "true as far as it can be told here: nulls were not asked",
    )
    (made,) = scorecard([("It is so", ["algebra"])], [bare, ALGEBRA], verdicts_only=True)
    assert made.outcome is Outcome.BY_CONSTRUCTION


def test_a_set_without_sentences_has_no_scorecard() -> None:
    assert scorecard([], [FOUND]) == []
    assert "the write-up says" not in page_of([FOUND])


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("found", "found"),
        ("found; by construction: inertia", "found"),
        ("true, and not rare: 76 of 144 heads", "true, and not rare"),
        ("can't be told here: needs qk: no weights", "can't be told here"),
    ],
)
def test_the_headword_of_an_answer(answer: str, word: str) -> None:
    assert headword(answer) == word


def test_every_outcome_has_a_sign() -> None:
    assert set(OUTCOME_SIGNS) == set(Outcome)
    assert all(len(sign) == 1 for sign in OUTCOME_SIGNS.values())


def test_claims_md_begins_with_it() -> None:
    """Before headline and table; a pipe ends no cell, and a name calls nobody."""
    sentences = [{"says": "It | is so", "answer": "not supported: @a", "claims": ["a"], "outcome": "not supported"}]
    page = markdown(record() | {"scorecard": sentences}, [FOUND], "32 x 64", None)
    lines = page.splitlines()
    assert re.fullmatch(r"\| the write-up says +\| the evidence +\|", lines[2])
    assert re.fullmatch(r"\| It \\\| is so +\| not supported: &#64;a \|", lines[4])
    assert page.index("It \\| is so") < page.index("empirical:") < page.index("| claim ")


@pytest.mark.parametrize("folder", find_sets([]), ids=lambda folder: folder.name)
def test_every_claim_that_ships_answers_a_sentence(folder: object) -> None:
    claim_set = ClaimSet.read(folder)  # type: ignore[arg-type]
    named = [claim for sentence in claim_set.write_up.sentences for claim in sentence.claims]
    assert sorted(named) == sorted(claim_set.claims)
    # One line each on a wide page.
    assert max(len(sentence.says) for sentence in claim_set.write_up.sentences) <= 95
