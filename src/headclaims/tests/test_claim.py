"""One claim under a made-up audit: what is judged, what is entered, and what a reader of a failure is told."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headclaims.audit.audit import Audit
from headclaims.checkpoint.interface import Head
from headclaims.claim.claim import Claim, errored, new_entry, not_assessable
from headclaims.errors import BadInput, NotAssessable, NotSupported
from headclaims.report.figures.line import Line
from headclaims.statistics.nulls import Null
from headclaims.statistics.resampling import Interval, OverUnits, per_prompt
from headclaims.statistics.verdict import Flag, NullStatistic, Threshold, VariantResult, Verdict
from headclaims.tests.small_sets import small_set

ELSEWHERE, REPORTED_ON = "abd", "abc"
"""Fingerprints: of another checkpoint, and of the one that the set reports on."""
# Twelve prompts' values around 0.25; irregular, so that hardly a resample's mean ties with it.
VALUES = np.array([-1.1533, -0.7213, -0.4519, -0.2447, -0.1327, 0.0641, 0.1459, 0.3571, 0.6427, 1.0487, 1.5511, 1.9733])


class MadeUp(Audit):
    """As much of an audit as a claim asks: the head, its checkpoint, the seed."""

    def __init__(self, label: str, fingerprint: str | None, seed: int) -> None:
        head = Head.parse(label)
        assert head is not None
        self.target, self._fingerprint, self._seed = head, fingerprint, seed

    lacking: str | None = None

    @property
    def heads_lacking(self) -> str | None:
        return self.lacking

    @property
    def settings(self) -> Any:
        return SimpleNamespace(seed=self._seed)

    @property
    def checkpoint(self) -> Any:
        return SimpleNamespace(spec="some/model", fingerprint={self.target.layer: self._fingerprint}.__getitem__)


class Known(OverUnits):
    """A statistic whose value and interval are known."""

    def __init__(self, value: float, low: float, high: float) -> None:
        super().__init__("words", value, np.zeros(2))
        self.__dict__["ends"] = (low, high)

    def interval(self) -> Interval:
        return Interval(*self.__dict__["ends"], "words")


def known(value: float, low: float, high: float) -> Known:
    """A statistic of this value and interval."""
    return Known(value, low, high)


def made(
    folder: Path, claim_id: str = "first", label: str = "L1H2", fingerprint: str | None = ELSEWHERE, seed: int = 0
) -> Claim:
    """A claim of the small set."""
    return Claim(claim_id, small_set(folder), MadeUp(label, fingerprint, seed))


def failure(claim: Claim, *arguments: Any, **options: Any) -> list[str]:
    """What a check that is not supported tells, by lines."""
    with pytest.raises(NotSupported) as raised:
        claim.check(*arguments, **options)
    return str(raised.value).splitlines()


def test_a_claim_begins_with_what_is_known_of_it(tmp_path: Path) -> None:
    claim = made(tmp_path)
    assert not claim.concluded
    assert asdict(claim.entry) == {
        "id": "first",
        "group": "Group",
        "statement": "The first holds",
        "source": "section 1",
        "verdict": None,
        "flags": [],
        "measured": {},
        "interval": None,
        "reported": None,
        "nulls": [],
        "variants": [],
        "reason": None,
        "seconds": 0.0,
        "p_adjusted": None,
        "p_adjusted_least": None,
        "wanted": {},
        "half_width": None,
    }


def test_what_holds_is_supported_and_passes(tmp_path: Path) -> None:
    claim = made(tmp_path)
    claim.check("gap", 0.25)
    assert claim.concluded
    assert (claim.entry.verdict, claim.entry.flags, claim.entry.reason) == (Verdict.SUPPORTED, [], None)
    assert (claim.entry.measured, claim.entry.interval) == ({"gap": 0.25}, None)


def test_what_does_not_hold_says_claim_measured_wanted_and_audited(tmp_path: Path) -> None:
    claim = made(tmp_path)
    assert failure(claim, "gap", -0.25) == [
        "first: not supported",
        "  claim     The first holds",
        "  measured  gap -0.25",
        "  wanted    gap > 0",
        "  audited   L1H2 of some/model",
    ]
    assert claim.concluded
    assert claim.entry.verdict is Verdict.NOT_SUPPORTED
    assert claim.entry.measured == {"gap": -0.25}


def test_the_whole_interval_has_to_hold(tmp_path: Path) -> None:
    claim = made(tmp_path)
    claim.check("gap", known(0.5, 0.125, 0.75))
    assert claim.entry.verdict is Verdict.SUPPORTED
    assert claim.entry.interval == [0.125, 0.75]
    assert failure(made(tmp_path), "gap", known(-0.5, -0.75, -0.125))[:3] == [
        "first: not supported",
        "  claim     The first holds",
        "  measured  gap -0.5, 95 % [-0.75, -0.125] over words",
    ]


def test_an_interval_that_straddles_the_threshold_is_undecided(tmp_path: Path) -> None:
    claim = made(tmp_path)
    assert failure(claim, "gap", known(0.5, -0.25, 0.75)) == [
        "first: undecided",
        "  claim     The first holds",
        "  measured  gap 0.5, 95 % [-0.25, 0.75] over words",
        "  wanted    gap > 0",
        "  audited   L1H2 of some/model",
        "  note      gap: more words would decide",
    ]
    assert claim.entry.verdict is Verdict.UNDECIDED


def test_an_interval_over_prompts_is_student_s(tmp_path: Path) -> None:
    """The lower end is below 0, so that more prompts would decide."""
    claim = made(tmp_path)
    lines = failure(claim, "gap", per_prompt(VALUES))
    low, high = stats.t.interval(0.95, 11, VALUES.mean(), stats.sem(VALUES))
    assert claim.entry.interval == pytest.approx([low, high], abs=1e-6)
    # The interval's lower half narrows with the square root of the number of prompts until it ends at 0.
    needed = 12 * ((VALUES.mean() - low) / VALUES.mean()) ** 2
    assert lines[-1] == f"  note      about {max(13, math.ceil(needed))} prompts would decide, there were 12"


def test_under_ten_prompts_the_value_decides(tmp_path: Path) -> None:
    claim = made(tmp_path)
    claim.check("gap", per_prompt(VALUES[3:]))  # nine
    assert claim.entry.flags == [Flag.NO_INTERVAL]
    assert claim.entry.interval is None


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1), np.float64(1)], ids=lambda v: type(v).__name__)
def test_a_number_may_be_python_s_or_numpy_s(tmp_path: Path, value: Any) -> None:
    claim = made(tmp_path)
    more = {"of": value, "whether": np.bool_(True)}
    claim.check(
        "gap", value, measured=more, conditions={"share": value / 4}, variants=[claim.variant("zero", "gap", value)]
    )
    assert claim.entry.flags == []
    entered = json.loads(json.dumps(asdict(claim.entry)))
    assert entered["measured"] == {"gap": 1, "of": 1, "whether": 1, "share": 0.25}
    assert entered["measured"]["whether"] is not True
    assert entered["variants"] == [{"name": "zero", "measured": 1, "holds": True}]


NOT_FINITE: dict[str, Mapping[str, Any]] = {
    "gap": {"value": math.nan},
    "gap over words": {"value": known(1.0, 0.5, math.inf)},
    "share": {"value": 1.0, "conditions": {"share": -math.inf}},
    "score": {"value": 1.0, "measured": {"score": math.nan}},
    "variant zero": {"value": 1.0, "variants": [VariantResult("zero", math.nan, False)]},
    "smaller gap": {"value": 1.0, "compared": NullStatistic("smaller gap", math.nan, "high")},
}


@pytest.mark.parametrize("name", NOT_FINITE)
def test_what_is_no_finite_number_is_refused_by_name(tmp_path: Path, name: str) -> None:
    claim = made(tmp_path)
    with pytest.raises(ValueError, match=rf"^{name.removesuffix(' over words')} .*wanted (a )?finite number"):
        claim.check("gap", **NOT_FINITE[name])
    assert not claim.concluded
    assert claim.entry == new_entry(claim.claim_set, "first")


def test_conditions_have_to_hold_as_well(tmp_path: Path) -> None:
    claim = made(tmp_path)
    claim.check("gap", 1.0, conditions={"share": 0.25})
    assert claim.entry.verdict is Verdict.SUPPORTED
    assert list(claim.entry.measured.items()) == [("gap", 1.0), ("share", 0.25)]
    assert failure(made(tmp_path), "gap", 1.0, conditions={"share": 0.75}) == [
        "first: not supported",
        "  claim     The first holds",
        "  measured  gap 1",
        "  wanted    gap > 0, share ≤ 0.5",
        "  audited   L1H2 of some/model",
        "  note      share 0.75 is not ≤ 0.5",
    ]


def test_a_condition_with_an_interval_enters_its_ends(tmp_path: Path) -> None:
    claim = made(tmp_path)
    claim.check("gap", 1.0, conditions={"share": known(0.25, 0.125, 0.375)})
    assert claim.entry.measured == {"gap": 1.0, "share": 0.25, "share_low": 0.125, "share_high": 0.375}
    assert claim.entry.interval is None
    claim = made(tmp_path)
    failure(claim, "gap", 1.0, conditions={"share": known(0.25, 0.125, 0.625)})
    assert claim.entry.verdict is Verdict.UNDECIDED


def test_a_second_limit_on_the_statistic_is_no_further_number(tmp_path: Path) -> None:
    claim = made(tmp_path)
    claim.check("gap", 0.25, conditions={"share": 0.25})
    assert claim.entry.measured == {"gap": 0.25}
    failure(made(tmp_path), "gap", 0.75, conditions={"share": 0.75})


def test_further_numbers_follow_the_statistic(tmp_path: Path) -> None:
    claim = made(tmp_path)
    claim.check("gap", 1.0, measured={"of": 12, "score": 0.5}, conditions={"share": 0.25})
    assert list(claim.entry.measured.items()) == [("gap", 1.0), ("of", 12), ("score", 0.5), ("share", 0.25)]


def test_a_variant_that_disagrees_makes_the_verdict_conditional(tmp_path: Path) -> None:
    claim = made(tmp_path)
    assert claim.variant("zero", "gap", -0.5) == VariantResult("zero", -0.5, False)
    assert claim.variant("size", "share", 0.5) == VariantResult("size", 0.5, True)
    claim.check("gap", 1.0, variants=[claim.variant("zero", "gap", -0.5), claim.variant("one", "gap", 0.5)])
    assert claim.entry.verdict is Verdict.SUPPORTED
    assert claim.entry.flags == [Flag.CONDITIONAL]
    assert claim.entry.reason == "variants that disagree: zero"
    assert [asdict(variant) for variant in claim.entry.variants] == [
        {"name": "zero", "measured": -0.5, "holds": False},
        {"name": "one", "measured": 0.5, "holds": True},
    ]


def test_a_verdict_against_the_claim_is_conditional_where_a_variant_holds(tmp_path: Path) -> None:
    claim = made(tmp_path)
    lines = failure(claim, "gap", -1.0, variants=[claim.variant("zero", "gap", 0.5)])
    assert claim.entry.flags == [Flag.CONDITIONAL]
    assert lines[-1] == "  note      variants that disagree: zero"


def test_what_is_by_construction_is_said_to_be(tmp_path: Path) -> None:
    """By findings.toml, whether it is assessed or not: it is counted apart."""
    stated = small_set(tmp_path)
    stated.claims["first"].by_construction = True
    claim = Claim("first", stated, MadeUp("L1H2", ELSEWHERE, 0))
    assert claim.entry.flags == [Flag.BY_CONSTRUCTION]
    claim.check("gap", 1.0)
    assert claim.entry.flags == [Flag.BY_CONSTRUCTION]
    assert not_assessable(stated, "first", NotAssessable("no weights")).flags == [Flag.BY_CONSTRUCTION]
    assert errored(stated, "first", "no luck").flags == [Flag.BY_CONSTRUCTION]


@pytest.mark.parametrize("lacking", [None, "the evidence holds 12 of the model's 144 heads"])
def test_a_claim_about_all_heads_asks_the_audit_which_it_has(tmp_path: Path, lacking: str | None) -> None:
    claim = made(tmp_path)
    claim.audit.lacking = lacking  # type: ignore[attr-defined]
    claim.check("gap", 1.0, about_all_heads=True)
    assert claim.entry.flags == ([] if lacking is None else [Flag.PART_OF_THE_MODEL])
    assert claim.entry.reason == lacking
    claim = made(tmp_path)
    claim.audit.lacking = lacking  # type: ignore[attr-defined]
    claim.check("gap", 1.0)
    assert claim.entry.flags == []


def test_thresholds_and_the_half_width_are_entered(tmp_path: Path) -> None:
    claim = made(tmp_path)
    claim.check("gap", known(0.5, 0.125, 0.75), conditions={"share": 0.25})
    assert claim.entry.wanted == {"gap": "> 0", "share": "≤ 0.5"}
    assert claim.entry.half_width == 0.3125


def test_nulls_are_compared_with_the_statistic(tmp_path: Path) -> None:
    """Of 39 members two are as high: p is 3/40, and could be 1/40."""
    claim = made(tmp_path)
    null = Null("other heads", np.array([1.0, 2.0, *[0.0] * 37]))
    claim.check("gap", 1.0, nulls=[null, Null("Gaussian heads", None, "no weights")])
    assert [asdict(entry) for entry in claim.entry.nulls] == [
        {"population": "other heads", "n": 39, "p": 3 / 40, "p_least": 1 / 40, "n_layer": None, "p_layer": None},
        {"population": "Gaussian heads", "n": None, "p": None, "p_least": None, "n_layer": None, "p_layer": None},
    ]
    assert claim.entry.flags == [Flag.NULL_MISSING]
    assert claim.entry.reason == "null 'Gaussian heads' missing: no weights"


def test_nulls_are_compared_with_another_value_where_one_is_given(tmp_path: Path) -> None:
    """Of 39 members none is as low as −1: p is 1/40."""
    claim = made(tmp_path)
    claim.check("gap", 1.0, nulls=[Null("heads", np.zeros(39))], compared=NullStatistic("smaller gap", -1.0, "low"))
    (null,) = claim.entry.nulls
    assert null.p == 1 / 40


def test_a_statistic_without_threshold_ends_the_run(tmp_path: Path) -> None:
    claim = made(tmp_path)
    line = f"{tmp_path.resolve()}/thresholds.toml: no threshold of 'size' in [first], which has gap, share"
    for wrong in (
        lambda: claim.check("size", 1.0),
        lambda: claim.check("gap", 1.0, conditions={"size": 1.0}),
        lambda: claim.variant("zero", "size", 1.0),
        lambda: claim.threshold("size"),
    ):
        with pytest.raises(BadInput) as refused:
            wrong()
        assert str(refused.value) == line
    assert not claim.concluded
    assert [claim.has_threshold(name) for name in ("gap", "share", "size")] == [True, True, False]


def test_a_threshold_can_be_multiplied_and_replaced(tmp_path: Path) -> None:
    claim = made(tmp_path, "second")
    assert claim.threshold("size") == Threshold("|·| ≤", 0.125)
    assert claim.threshold("size", times=3.0) == Threshold("|·| ≤", 0.375)
    claim.check("size", -0.25, threshold=claim.threshold("size", times=3.0))
    assert claim.entry.verdict is Verdict.SUPPORTED
    claim = made(tmp_path, "second")
    assert failure(claim, "size", -0.25)[3] == "  wanted    size |·| ≤ 0.125"
    claim.check("anything", 1.0, threshold=Threshold("≥", 1.0))
    assert claim.entry.measured == {"anything": 1.0}


def test_reported_numbers_and_lists_are_those_of_the_write_up_s_head(tmp_path: Path) -> None:
    claim = made(tmp_path, fingerprint=REPORTED_ON)
    assert claim.entry.reported == {"gap": 1.5, "share": 0.5}
    assert claim.published == {"red": [" blue", " green"]}
    for label, fingerprint in (("L1H3", REPORTED_ON), ("L1H2", ELSEWHERE), ("L1H2", None)):
        claim = made(tmp_path, label=label, fingerprint=fingerprint)
        assert claim.entry.reported is None
        assert claim.published == {}
        claim.check("gap", 1.5)
        assert claim.entry.reason is None
    assert made(tmp_path, "second", fingerprint=REPORTED_ON).entry.reported is None


@pytest.mark.parametrize(
    ("gap", "note"),
    [
        (1.75, "reported gap 1.5 ± 0.25 met: 1.75"),
        (1.25, "reported gap 1.5 ± 0.25 met: 1.25"),
        (1.7501, "reported gap 1.5 ± 0.25 not met: 1.7501"),
        (1.2499, "reported gap 1.5 ± 0.25 not met: 1.2499"),
    ],
)
def test_a_reported_number_is_met_within_its_tolerance_or_not(tmp_path: Path, gap: float, note: str) -> None:
    claim = made(tmp_path, fingerprint=REPORTED_ON)
    claim.check("gap", gap)
    assert claim.entry.verdict is Verdict.SUPPORTED
    assert claim.entry.reason == note


def test_reported_numbers_follow_what_else_is_noted(tmp_path: Path) -> None:
    claim = made(tmp_path, fingerprint=REPORTED_ON)
    lines = failure(claim, "gap", 1.5, conditions={"share": 0.625})
    notes = "share 0.625 is not ≤ 0.5; reported gap 1.5 ± 0.25 met: 1.5; reported share 0.5 ± 0.125 met: 0.625"
    assert lines[-1] == f"  note      {notes}"
    assert claim.entry.reason == notes


def line() -> Line:
    return Line("Trend", "Rising.", np.array([1, 2]), {"a": np.array([0.5, 1.5])})


def lacking() -> Line:
    raise NotAssessable("no weights")


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_figures_are_drawn_once_the_verdict_is_settled(tmp_path: Path, value: float) -> None:
    """Whatever it is; what can't be drawn says why, and costs nothing else."""
    claim, asked = made(tmp_path), []

    def broken() -> Line:
        asked.append(claim.entry.verdict)
        raise RuntimeError("out of luck")

    claim.draw(trend=line, lacking=lacking)
    claim.draw(broken=broken)
    try:
        claim.check("gap", value, nulls=[Null("heads", np.zeros(19))])
    except NotSupported:
        assert value < 0
    settled, before = claim.entry.verdict, asdict(claim.entry)
    assert asked == []
    figures = claim.figures()
    assert asked == [settled]
    assert asdict(claim.entry) == before
    assert {name: form.form for name, form in figures.drawn.items()} == {"trend": "line"}
    assert figures.undrawn == {"lacking": "no weights", "broken": "RuntimeError: out of luck"}
    assert figures.definition == "gap > 0"
    assert [(part.statistic, part.value, part.wanted) for part in figures.parts] == [("gap", value, "> 0")]
    assert [null.population for null in figures.nulls] == ["heads"]


def test_a_claim_that_was_not_measured_has_figures_without_numbers(tmp_path: Path) -> None:
    claim = made(tmp_path)
    claim.draw(trend=line)
    figures = claim.figures()
    assert list(figures.drawn) == ["trend"]
    assert (figures.parts, figures.nulls, figures.definition) == ([], [], "gap > 0")


def test_a_claim_that_cannot_be_assessed_says_why(tmp_path: Path) -> None:
    entry = not_assessable(small_set(tmp_path), "second", NotAssessable("needs qk: no weights"))
    assert (entry.id, entry.group, entry.statement) == ("second", "Claims", "The second holds")
    assert (entry.verdict, entry.reason) == (Verdict.NOT_ASSESSABLE, "needs qk: no weights")


@pytest.mark.parametrize(
    ("message", "reason"),
    [("ValueError: no\nluck", "error: ValueError: no"), ("", "error: ")],
)
def test_a_test_that_ends_in_an_error_has_no_verdict(tmp_path: Path, message: str, reason: str) -> None:
    entry = errored(small_set(tmp_path), "first", message)
    assert (entry.id, entry.verdict, entry.reason, entry.measured) == ("first", None, reason, {})
