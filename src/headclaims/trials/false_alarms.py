"""False alarms: how often claims come out of heads that mean nothing, in each kind of audit.

`headclaims trials false-alarms [N] [--set NAME]` audits N random checkpoints (`checkpoint.planted.random_weights`) in
each stratum of a claim set: with a clustered embedding or not, at a named head (the set's, or where its planted one is)
or with `--head auto`, under each word list of a set that has some. A checkpoint has two layers of ten heads of width
8, and is audited in all strata of its embedding, so that eight hundred audits are done within twenty minutes by two
processors. Prompts are of 32 tokens, 16 at a named head and 40 under auto. Of each claim two outcomes are counted:

- *found*, as the headline counts: what it should be in at most 5 % of checkpoints;
- *alone*: supported, with an unadjusted p ≤ 0.05 against all its nulls and no flag that keeps it from being found.
  Among twenty heads p can be 0.05 at the least, so that hardly any claim is found after adjustment over all of them:
  this is the stricter trial of a claim and its nulls.

In no stratum may either be more frequent than the 99 % quantile of that binomial; pooled strata could hide one another.
Of audits it is told how many found anything at all. Writes `reports/trials/false-alarms.json`, `.md` and `.svg` (the
distribution of p, a panel a null population, a line a claim), and the table of `reports/trials/README.md`; those of a
set other than the first that ships into a folder of its name.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy import stats
from tabulate import tabulate

from headclaims.checkpoint.planted.random_weights import Sizes, save_random
from headclaims.claim.claim_set import WORDS_FOLDER, ClaimSet
from headclaims.files import as_json, write_atomically
from headclaims.fleet.cluster import in_workers
from headclaims.fleet.workers import audit
from headclaims.record.entries import ClaimEntry
from headclaims.record.settle import settle
from headclaims.report.readme import into_readme
from headclaims.report.svg import drawing
from headclaims.statistics.verdict import Verdict
from headclaims.trials.folder import README, has_place, is_first, readme_marks, reports_of

CHECKPOINTS = 100  # a stratum
SIZES = Sizes(2, 10, 8, 128)  # twenty heads, of which each is the most extreme one with a chance of exactly 5 %
NOMINAL, LEVEL = 0.05, 0.01


@dataclass(frozen=True)
class Stratum:
    """A kind of audit: of a clustered embedding or not, of a head that was named or looked for, under a word list.

    `words` is empty for a set without lists of its own; `head` is the one that is named, None for the set's default.
    """

    clustered: bool
    auto: bool
    words: str
    head: str | None = None

    @property
    def name(self) -> str:
        """What a table calls it."""
        parts = ["clustered" if self.clustered else "plain", "auto" if self.auto else "named", self.words]
        return ", ".join(part for part in parts if part)

    def options(self, seed: int) -> list[str]:
        """Return the options of the audit of a seed's checkpoint."""
        named = ["--head", self.head] if self.head else []
        head = ["--head", "auto", "--prompts", "40"] if self.auto else [*named, "--prompts", "16"]
        words = ["--words", self.words] if self.words else []
        return ["--seed", str(seed), *words, "--seq-len", "32", *head]


def strata(claim_set: ClaimSet) -> tuple[Stratum, ...]:
    """Return the kinds of audits that a claim set is tried in, its own word list before others."""
    folder, about = claim_set.folder / WORDS_FOLDER, claim_set.write_up
    lists = sorted((path.stem for path in folder.glob("*.toml")), key=lambda name: (name != about.words, name))
    head = about.planted.head if about.planted else None
    return tuple(Stratum(*kind, head) for kind in product((False, True), (False, True), lists or [""]))


@dataclass(frozen=True)
class Job:
    """The audits by a claim set of the random checkpoint of a seed, one a stratum: of one kind of embedding all."""

    claim_set: Path
    strata: tuple[Stratum, ...]
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What became of one claim on one checkpoint; `nulls` maps null populations to their p."""

    claim: str
    assessed: bool
    supported: bool
    alone: bool
    found: bool
    nulls: Mapping[str, float]


def outcome(entry: ClaimEntry) -> Outcome:
    """Return the outcome of an entry of a record."""
    alone = replace(entry)
    settle([alone], whole=True)  # as if the set had no other claim: p, adjusted for one, stays as it is
    p_values = {null.population: null.p for null in entry.nulls if null.p is not None}
    return Outcome(entry.id, entry.assessed, entry.verdict is Verdict.SUPPORTED, alone.found, entry.found, p_values)


def run(job: Job) -> list[list[Outcome]]:
    """Draw a random checkpoint, audit it in each stratum, and return the outcome of each claim.

    What audits of one checkpoint have in common, such as the maps of all its heads, they share by a cache of their own.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as shared:
        save_random(Path(folder), job.seed, job.strata[0].clustered, SIZES)
        with patch.dict(os.environ, HEADCLAIMS_CACHE=shared):
            options = [["--checkpoint", folder, *stratum.options(job.seed)] for stratum in job.strata]
            records = [audit(job.claim_set, every) for every in options]
    return [[outcome(ClaimEntry.from_json(entry)) for entry in record["claims"]] for record in records]


@dataclass(frozen=True)
class Count:
    """On how many checkpoints of a stratum a claim was assessed, supported, alone a false alarm, and found."""

    assessed: int
    supported: int
    alone: int
    found: int


Counts = dict[str, dict[str, Count]]
"""Counts by claim, then by the name of the stratum."""


def tally(results: Mapping[str, Sequence[Sequence[Outcome]]]) -> Counts:
    """Count outcomes by claim and stratum; `results` maps a stratum's name to the outcomes of its audits."""
    counts: Counts = defaultdict(dict)
    for name, audits in results.items():
        for of_claim in zip(*audits, strict=True):
            counts[of_claim[0].claim][name] = Count(
                *(sum(getattr(one, what) for one in of_claim) for what in ("assessed", "supported", "alone", "found"))
            )
    return dict(counts)


def most_allowed(n: int) -> int:
    """Return on how many of n random checkpoints a claim may come out before 5 % is refuted at the 1 % level."""
    return int(stats.binom.ppf(1 - LEVEL, n, NOMINAL))


def too_often(counts: Counts, n: int) -> list[str]:
    """Return a line for each claim and stratum of n checkpoints in which it came out more often than 5 % allows."""
    return [
        f"{claim} ({name}): {getattr(count, what)} of {n} {what}, 5 % allows {most_allowed(n)}"
        for claim, of_claim in counts.items()
        for name, count in of_claim.items()
        for what in ("alone", "found")
        if getattr(count, what) > most_allowed(n)
    ]


def table(counts: Counts, n: int) -> str:
    """Return the counts over all strata, and those of the worst stratum, as a Markdown table."""
    rows = []
    for claim, of_claim in counts.items():
        every = list(of_claim.values())
        summed = [sum(getattr(count, what) for count in every) for what in ("assessed", "supported", "alone", "found")]
        worst = [max(getattr(count, what) for count in every) for what in ("alone", "found")]
        rows.append([claim, *summed[:3], worst[0], summed[3], worst[1]])
    head = ["claim", "assessed", "supported", "alone at p ≤ 0.05", "worst stratum", "found", "worst stratum"]
    return (
        f"{max(map(len, counts.values()))} strata of {n} random checkpoints; in one stratum more than "
        f"{most_allowed(n)} would refute 5 % at the 1 % level.\n\n" + tabulate(rows, head, tablefmt="github") + "\n"
    )


def found_at_all(results: Mapping[str, Sequence[Sequence[Outcome]]]) -> dict[str, dict[str, float]]:
    """Return by stratum the share of audits that found any claim, and the mean number of claims found."""
    numbers = {name: [sum(one.found for one in every) for every in audits] for name, audits in results.items()}
    return {
        name: {"share": float(np.mean(np.array(found) > 0)), "mean": float(np.mean(found))}
        for name, found in numbers.items()
    }


def strata_table(counts: Counts, by_audit: Mapping[str, Mapping[str, float]]) -> str:
    """Return as Markdown each claim's counts by stratum (alone/found), and how many audits found anything."""
    names = list(by_audit)
    rows = [[claim, *(f"{c[name].alone}/{c[name].found}" for name in names)] for claim, c in counts.items()]
    rows.append(["audits that found any claim", *(f"{by_audit[name]['share']:.2f}" for name in names)])
    return "\nalone/found by stratum:\n\n" + tabulate(rows, ["claim", *names], "github", disable_numparse=True) + "\n"


def draw(results: Mapping[str, Sequence[Sequence[Outcome]]], path: Path) -> None:
    """Draw how often p is at most x: one panel a null population, one line a claim, over all strata.

    A sound p lies on the diagonal or below. The three claims with the highest share at 0.05 are named.
    """
    p_values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for audits in results.values():
        for one in (one for every in audits for one in every):
            for population, p in one.nulls.items():
                p_values[population][one.claim].append(p)
    with drawing(path, 3.2 * max(len(p_values), 1), 3.2) as figure:
        panels = figure.subplots(1, max(len(p_values), 1), sharey=True, squeeze=False)[0]
        for panel, (population, of_claims) in zip(panels, sorted(p_values.items()), strict=False):
            highest = sorted(of_claims, key=lambda claim: -float(np.mean(np.array(of_claims[claim]) <= NOMINAL)))[:3]
            for claim, values in of_claims.items():
                ordered = np.sort(values)
                shares = np.arange(1, len(ordered) + 1) / len(ordered)
                panel.step(ordered, shares, where="post", linewidth=0.8, label=claim if claim in highest else None)
            panel.plot([0.005, 1], [0.005, 1], color="black", linewidth=0.6)
            panel.set(title=population, xlabel="p", xscale="log", yscale="log", xlim=(0.005, 1), ylim=(0.005, 1.05))
            panel.legend(fontsize="xx-small", loc="upper left")
        panels[0].set_ylabel("share of checkpoints with at most this p")


def main(claim_set: Path, n: int = CHECKPOINTS) -> int:
    """Run the study of a claim set on n checkpoints a stratum; the exit status is 1 where one comes out too often."""
    read = ClaimSet.read(claim_set)
    kinds, first, reports = strata(read), is_first(read.name), reports_of(read.name)
    by_embedding = [tuple(kind for kind in kinds if kind.clustered is clustered) for clustered in (False, True)]
    jobs = [Job(claim_set, some, 2 * seed + k) for seed in range(n) for k, some in enumerate(by_embedding)]
    results: dict[str, list[list[Outcome]]] = {stratum.name: [] for stratum in kinds}
    for job, audits in zip(jobs, in_workers(run, jobs, "random checkpoints"), strict=True):
        for stratum, outcomes in zip(job.strata, audits, strict=True):
            results[stratum.name].append(outcomes)
    counts, by_audit = tally(results), found_at_all(results)
    complaints = too_often(counts, n)
    content: dict[str, Any] = {
        "checkpoints_a_stratum": n,
        "most_allowed": most_allowed(n),
        "claims": {claim: {name: asdict(c) for name, c in of_claim.items()} for claim, of_claim in counts.items()},
        "audits": by_audit,
        "too_often": complaints,
    }
    write_atomically(reports / "false-alarms.json", as_json(content))
    write_atomically(reports / "false-alarms.md", table(counts, n) + strata_table(counts, by_audit))
    draw(results, reports / "false-alarms.svg")
    marks = readme_marks("false alarms", None if first else read.name)
    if first or has_place(marks):
        into_readme(README, marks, table(counts, n))
    print(table(counts, n) + strata_table(counts, by_audit))
    for line in complaints:
        print(f"headclaims: {line}", file=sys.stderr)
    return 1 if complaints else 0
