"""Specification curves: what each claim's statistic is under other word lists, lengths, seeds, templates and ablations.

The specifications of one head are the audits of a plan that differ in these settings, each with the variants that its
record has. A plan that `headclaims sweep` runs for a curve, the primary specification first in every list:

    [[rule]]
    checkpoint = ["gpt2"]
    head = ["L1H5"]
    words = ["write-up", "held-out"]
    seq_len = [64, 32, 128]
    seed = [0, 1, 2]

A claim that is `conditional` in a record disagrees with some variant; here that is a share, of how many it holds under.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headclaims.files import as_json, write_atomically
from headclaims.fleet.plan import Plan
from headclaims.fleet.sweep import records
from headclaims.record.entries import ClaimEntry
from headclaims.record.reading import Record, read_record
from headclaims.report.cells import number
from headclaims.report.figure import Figure, Plot
from headclaims.report.labels import plain
from headclaims.report.plots import BLUE, RED, plot, scatter
from headclaims.report.sheet import Table, sheet
from headclaims.statistics.verdict import Flag, Verdict

VARIED = ("words", "seq_len", "prompts", "seed", "dtype")
"""Settings that make another specification of the same audit."""
MOST_NAMED = 3


@dataclass(frozen=True)
class Specification:
    """A claim under one specification: its settings and the variant in words, its value, and whether it holds."""

    about: str
    value: float
    holds: bool
    is_primary: bool = False


@dataclass(frozen=True)
class Curves:
    """The claims of one head, each with its specifications by rising value; `notices` says what has none."""

    name: str
    claims: Mapping[str, list[Specification]]
    notices: list[str]


def curves(plan: Plan) -> list[Curves]:
    """Return the curves of the heads that a plan audits under several specifications, in the order of the plan."""
    heads: dict[str, list[Record]] = {}
    for job in plan.jobs:
        for folder in records(plan.report_dir / job.name) if "step" not in job.about else []:
            record = read_record(folder)
            name = record.claim_set.name if record.claim_set is not None else ""
            key = f"{record.target.label} of {record.checkpoint.spec}{f', {name}' if name else ''}"
            heads.setdefault(key, []).append(record)
    return [_curves(name, some) for name, some in heads.items() if len(some) > 1]


def _curves(name: str, some: Sequence[Record]) -> Curves:
    """Return the curves of one head; the first record's own definitions are the primary specification."""
    varied = [key for key in VARIED if len({str(record.settings.get(key)) for record in some}) > 1]
    claims: dict[str, list[Specification]] = {}
    missing: dict[str, int] = {}
    for place, record in enumerate(some):
        about = ", ".join(f"{key.replace('_', '-')} {record.settings.get(key)}" for key in varied)
        for claim in record.claims:
            if Flag.BY_CONSTRUCTION in claim.flags:
                continue
            specifications = _specifications(claim, about, is_primary=place == 0)
            claims.setdefault(claim.id, []).extend(specifications)
            missing[claim.id] = missing.get(claim.id, 0) + (not specifications)
    shown = {claim: sorted(some, key=lambda one: one.value) for claim, some in claims.items() if _differ(some)}
    notices = [
        f"{claim} could not be assessed under {n} of {len(some)} settings"
        for claim, n in missing.items()
        if n and claim in shown
    ]
    same = [claim for claim, some in claims.items() if some and claim not in shown]
    notices += [f"the same under every specification: {', '.join(same)}"] if same else []
    return Curves(name, shown, notices)


def _specifications(claim: ClaimEntry, about: str, is_primary: bool) -> list[Specification]:
    """Return a claim of a record as it is defined, and under its variants; nothing where it wasn't assessed."""
    if claim.statistic is None or not claim.assessed:
        return []
    holds = claim.verdict is Verdict.SUPPORTED
    own = Specification(about or "as defined", float(claim.statistic[1]), holds, is_primary)
    variants = [
        Specification(", ".join(filter(None, (about, variant.name))), float(variant.measured), variant.holds)
        for variant in claim.variants
    ]
    return [own, *variants]


def _differ(some: Sequence[Specification]) -> bool:
    return len({(one.value, one.holds) for one in some}) > 1


def share(some: Sequence[Specification]) -> str:
    """Say under how many specifications a claim holds: `17 of 20 (85 %)`."""
    holding = sum(one.holds for one in some)
    return f"{holding} of {len(some)} ({holding / len(some):.0%})".replace("%", " %")


def table(one: Curves) -> Table:
    """Return a row a claim: the share of specifications that it holds under, its values, and where it does not hold."""
    rows = []
    for claim, some in one.claims.items():
        failing = [spec.about for spec in some if not spec.holds]
        more = [f"and {len(failing) - MOST_NAMED} more"] if len(failing) > MOST_NAMED else []
        primary = next((number(spec.value) for spec in some if spec.is_primary), "–")
        where = "; ".join([*failing[:MOST_NAMED], *more])
        rows.append([claim, share(some), primary, number(some[0].value), number(some[-1].value), where])
    head = ["claim", "holds under", "primary", "lowest", "highest", "does not hold under"]
    drawn = figure(one)
    return Table(one.name, head, rows, [drawn] if drawn.plots else [])


def figure(one: Curves) -> Figure:
    """Return a small plot a claim: its values from the lowest to the highest, the primary one marked."""
    plots: list[Plot] = []
    rows: list[list[Any]] = []
    for claim, some in one.claims.items():
        rows += [[claim, spec.about, spec.value, int(spec.holds), int(spec.is_primary)] for spec in some]
        marker = {
            "color": [RED if spec.is_primary else BLUE for spec in some],
            "size": [11 if spec.is_primary else 6 for spec in some],
            "symbol": [("diamond" if spec.is_primary else "circle") + ("" if spec.holds else "-open") for spec in some],
        }
        curve = scatter(
            list(range(1, len(some) + 1)),
            [spec.value for spec in some],
            mode="markers",
            marker=marker,
            customdata=[plain(spec.about) for spec in some],
            hovertemplate="%{customdata}: %{y:.4g}<extra></extra>",
        )
        plots.append(plot([curve], f"{plain(claim)}: {share(some)}", 220, xaxis={"title": "specification"}))
    caption = (
        "The statistic of each claim under every specification, by rising value; filled where the claim holds, the "
        "primary specification a red diamond. What to see: whether it holds under nearly all, and where among them "
        "the primary one lies."
    )
    columns = ["claim", "specification", "value", "holds", "primary"]
    return Figure("Specification curves", caption, caption, plots, columns, rows)


def write(plan: Plan) -> Path | None:
    """Write `specifications.json` and `.html`, and return the latter's path; None where no head has several."""
    heads = curves(plan)
    if not heads:
        return None
    content = [
        {
            "head": one.name,
            "notices": one.notices,
            "claims": {
                claim: {"holds": sum(s.holds for s in some), "specifications": [asdict(s) for s in some]}
                for claim, some in one.claims.items()
            },
        }
        for one in heads
    ]
    write_atomically(plan.report_dir / "specifications.json", as_json({"schema": 1, "curves": content}))
    notices = [f"{one.name}: {notice}." for one in heads for notice in one.notices]
    path = plan.report_dir / "specifications.html"
    write_atomically(path, sheet(f"Specifications: {plan.name}", notices, [table(one) for one in heads]))
    return path
