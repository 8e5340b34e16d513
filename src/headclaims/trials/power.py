"""Power: how strong a property must be for its claim to notice.

`headclaims trials power [SEEDS]` plants four properties in strengths from none to all of what the planted
checkpoint (or the counterfeit that leaks) has, in ten steps, in as many seeds, and audits the claims concerned,
verdicts alone, on half as many prompts as a default run has. Beside the shares that come out supported stands the
strength from which on a claim notices in 80 %: supports what is planted, or no longer supports that a leak is nothing.
Writes `reports/trials/power.json`, `.md` and `.svg`, and the table of `reports/trials/README.md`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from scipy import stats
from tabulate import tabulate

from headclaims.checkpoint.planted.counterfeits.ablation import AttentionZeroFed, Positional
from headclaims.checkpoint.planted.folder import save
from headclaims.checkpoint.planted.vocabulary import vocabulary
from headclaims.checkpoint.planted.weights import PlantedWeights
from headclaims.files import as_json, write_atomically
from headclaims.fleet.cluster import in_workers
from headclaims.fleet.workers import audit
from headclaims.report.readme import into_readme
from headclaims.report.svg import drawing
from headclaims.trials.folder import README, TRIALS

SEEDS = 20
NOTICED = 0.8
STRENGTHS = tuple(tenth / 10 for tenth in range(11))
MARKS = ("<!-- power -->", "<!-- end of power -->")


def _suppression(strength: float) -> type[PlantedWeights]:
    return type("Suppression", (PlantedWeights,), {"depth": PlantedWeights.depth * strength})


def _category(strength: float) -> type[PlantedWeights]:
    return type("Category", (PlantedWeights,), {"same": PlantedWeights.same * strength})


def _positional(strength: float) -> type[PlantedWeights]:
    return type("PositionalLeak", (Positional,), {"bias": Positional.bias * strength})


def _attention(strength: float) -> type[PlantedWeights]:
    fed = AttentionZeroFed.from_attention * strength
    rest = AttentionZeroFed.from_embedding + AttentionZeroFed.from_attention - fed
    return type("AttentionLeak", (AttentionZeroFed,), {"from_attention": fed, "from_embedding": rest})


@dataclass(frozen=True)
class Property:
    """A property that can be planted in any strength: weights, the unit of full strength, the claims concerned."""

    weights: Callable[[float], type[PlantedWeights]]
    unit: str
    claims: tuple[str, ...]
    leak: bool = False
    """Whether its claims say that there is no such thing."""


PROPERTIES = {
    "suppression": Property(_suppression, "D = 0.85 nats", ("suppresses-self", "dark-diagonal")),
    "category": Property(_category, "kin at 6 nats", ("attends-within-category", "category-blocks")),
    "positional leak": Property(_positional, "a key bias of ±2 nats", ("position-embedding-irrelevant",), leak=True),
    "attention-0 leak": Property(_attention, "a fifth of the category", ("first-attention-irrelevant",), leak=True),
}


@dataclass(frozen=True)
class Dose:
    """One checkpoint of the study, and the claim set that audits it."""

    claim_set: Path
    name: str
    strength: float
    seed: int


def verdicts(dose: Dose) -> dict[str, str]:
    """Map the claims concerned to their verdicts on one dose, whose checkpoint ends with the target's layer."""
    property_ = PROPERTIES[dose.name]
    made = property_.weights(dose.strength)(vocabulary(), np.random.default_rng(dose.seed))
    made.kinds = made.kinds[:2]  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), made)
        options = ["--checkpoint", folder, "--seed", str(dose.seed), "--prompts", "16", "--verdicts-only", "--no-cache"]
        record = audit(dose.claim_set, options, property_.claims)
    return {claim["id"]: claim["verdict"] for claim in record["claims"]}


Shares = dict[str, dict[str, list[float]]]


def supported(doses: Sequence[Dose], found: Sequence[dict[str, str]]) -> Shares:
    """Return, by property and claim, the share of seeds on which the claim was supported at each strength."""
    shares: Shares = {}
    for name, property_ in PROPERTIES.items():
        shares[name] = {}
        for claim in property_.claims:
            of = {
                strength: [
                    verdict[claim] == "supported"
                    for dose, verdict in zip(doses, found, strict=True)
                    if (dose.name, dose.strength) == (name, strength)
                ]
                for strength in STRENGTHS
            }
            shares[name][claim] = [float(np.mean(of[strength])) for strength in STRENGTHS]
    return shares


def noticed_from(at: Sequence[float], leak: bool) -> float | None:
    """Return the strength from which on a claim notices in 80 %, straight between steps; None where it never does.

    `at` are the shares supported by strength. It notices a property by support, a leak by the lack of it.
    """
    noticed = 1 - np.array(at) if leak else np.array(at)
    below = np.flatnonzero(noticed < NOTICED)
    if not len(below):
        return STRENGTHS[0]
    last = int(below[-1])
    if last == len(STRENGTHS) - 1:
        return None
    return float(np.interp(NOTICED, noticed[last : last + 2], STRENGTHS[last : last + 2]))


def least(shares: Shares) -> dict[str, dict[str, float | None]]:
    """Return the strength from which on each claim notices in 80 % (`noticed_from`), by property and claim."""
    return {
        name: {claim: noticed_from(at, PROPERTIES[name].leak) for claim, at in claims.items()}
        for name, claims in shares.items()
    }


def table(shares: Shares) -> str:
    """Return the shares as a Markdown table, a column a strength."""
    smallest = least(shares)

    def cell(strength: float | None) -> str:
        return "–" if strength is None else f"{strength:.2f}"

    rows = [
        [f"{name} ({PROPERTIES[name].unit})", claim, *(f"{share:.2f}" for share in at), cell(smallest[name][claim])]
        for name, claims in shares.items()
        for claim, at in claims.items()
    ]
    head = ["planted, at full strength", "supported", *(f"{strength:g}" for strength in STRENGTHS), "noticed in 80 %"]
    return "\n" + tabulate(rows, head, tablefmt="github", disable_numparse=True) + "\n\n"


def draw(shares: Shares, seeds: int, path: Path) -> None:
    """Draw the shares: one panel a property, one line a claim, with 95 % intervals of the share (Wilson)."""
    with drawing(path, 3.0 * len(shares), 3.0) as figure:
        panels = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
        for panel, (name, claims) in zip(panels, shares.items(), strict=True):
            for (claim, at), marker in zip(claims.items(), cycle("osD"), strict=False):
                low, high = np.array([wilson(share * seeds, seeds) for share in at]).T
                panel.plot(STRENGTHS, at, marker=marker, label=claim)
                panel.fill_between(STRENGTHS, low, high, alpha=0.2, linewidth=0)
            panel.set(title=name, xlabel=f"strength (1: {PROPERTIES[name].unit})", xlim=(0, 1), ylim=(-0.03, 1.03))
            panel.legend(fontsize="x-small", loc="best")
        panels[0].set_ylabel(f"supported, share of {seeds}")


def wilson(hits: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson's score."""
    found = stats.binomtest(round(hits), n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def main(claim_set: Path, seeds: int = SEEDS) -> int:
    """Run the study of a claim set in so many seeds; return the exit status."""
    doses = [Dose(claim_set, name, s, seed) for seed in range(seeds) for name in PROPERTIES for s in STRENGTHS]
    shares = supported(doses, in_workers(verdicts, doses, "doses"))
    content = {"seeds": seeds, "strengths": STRENGTHS, "supported": shares, "noticed_in_80_percent_from": least(shares)}
    write_atomically(TRIALS / "power.json", as_json(content))
    write_atomically(TRIALS / "power.md", table(shares))
    draw(shares, seeds, TRIALS / "power.svg")
    into_readme(README, MARKS, table(shares))
    print(table(shares))
    return 0
