"""False alarms: how often each claim is found of heads that mean nothing.

`headclaims trials false-alarms [N]` audits N random checkpoints (`checkpoint.planted.random_weights`): half
of them with a clustered embedding, half at L1H5 and half with `--head auto`, half under each word list, on sixteen
prompts of 32 tokens. A claim that is *found* where p ≤ 0.05 against every null should be found in at most 5 % of them;
more than the 99 % quantile of that binomial is too many. Writes `reports/trials/false-alarms.json` and `.md`, and
the table of the README.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy import stats
from tabulate import tabulate

from headclaims.checkpoint.planted.random_weights import save_random
from headclaims.files import as_json, write_atomically
from headclaims.fleet.cluster import in_workers
from headclaims.fleet.workers import audit
from headclaims.report.readme import into_readme
from headclaims.trials.folder import README, TRIALS

CHECKPOINTS = 200
NOMINAL, LEVEL = 0.05, 0.01
PROMPTS = ["--prompts", "16", "--seq-len", "32"]  # a quarter of the words of a default run: the study takes minutes
MARKS = ("<!-- false alarms -->", "<!-- end of false alarms -->")


@dataclass(frozen=True)
class Row:
    """The number of checkpoints on which a claim was assessed, supported, supported but not distinctive, and found."""

    claim: str
    assessed: int
    supported: int
    not_distinctive: int
    found: int


def options(seed: int) -> list[str]:
    """Return the options of the audit of a seed's random checkpoint."""
    head = ["--head", "auto"] if seed // 2 % 2 else []
    words = "held-out" if seed // 4 % 2 else "write-up"
    return ["--seed", str(seed), "--words", words, "--no-cache", *PROMPTS, *head]


@dataclass(frozen=True)
class Job:
    """The audit by a claim set of the random checkpoint of a seed, clustered where that is odd."""

    claim_set: Path
    seed: int


def run(job: Job) -> dict[str, Any]:
    """Draw a random checkpoint and return the record of its audit."""
    with tempfile.TemporaryDirectory() as folder:
        save_random(Path(folder), job.seed, clustered=job.seed % 2 == 1)
        return audit(job.claim_set, ["--checkpoint", folder, *options(job.seed)])


def is_found(claim: Mapping[str, Any]) -> bool:
    """Return whether a claim of a record is supported, distinctive, not by construction and not conditional."""
    flags = set(claim["flags"])
    return claim["verdict"] == "supported" and "distinctive" in flags and not flags & {"by construction", "conditional"}


def tally(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Count verdicts claim by claim over records, in the order of the claim set."""
    rows = []
    for entries in zip(*(record["claims"] for record in records), strict=True):
        supported = [entry for entry in entries if entry["verdict"] == "supported"]
        rows.append(
            Row(
                entries[0]["id"],
                sum(entry["verdict"] != "not assessable" for entry in entries),
                len(supported),
                sum("not distinctive" in entry["flags"] for entry in supported),
                sum(is_found(entry) for entry in entries),
            )
        )
    return rows


def most_allowed(n: int) -> int:
    """Return on how many of n random checkpoints a claim may be found before 5 % is refuted at the 1 % level."""
    return int(stats.binom.ppf(1 - LEVEL, n, NOMINAL))


def table(rows: Sequence[Row], n: int) -> str:
    """Return the counts as a Markdown table."""
    head = ["claim", "assessed", "supported", "of these not distinctive", "found"]
    return (
        f"{n} random checkpoints; more than {most_allowed(n)} found would refute 5 % at the 1 % level.\n\n"
        + tabulate([list(asdict(row).values()) for row in rows], head, tablefmt="github")
        + "\n"
    )


def main(claim_set: Path, n: int = CHECKPOINTS) -> int:
    """Run the study of a claim set on n checkpoints; the exit status is 1 where a claim is found too often."""
    rows = tally(in_workers(run, [Job(claim_set, seed) for seed in range(n)], "random checkpoints"))
    content = {"checkpoints": n, "most_allowed": most_allowed(n), "claims": [asdict(row) for row in rows]}
    write_atomically(TRIALS / "false-alarms.json", as_json(content))
    write_atomically(TRIALS / "false-alarms.md", table(rows, n))
    into_readme(README, MARKS, table(rows, n))
    print(table(rows, n))
    too_often = [row.claim for row in rows if row.found > most_allowed(n)]
    for claim in too_often:
        print(f"headclaims: {claim} is found more often than 5 % allows", file=sys.stderr)
    return 1 if too_often else 0
