"""Many audits by a plan: in worker processes of this machine, or on a Dask cluster; stopped and gone on with at will.

Each audit has a folder of its own. It is done when that holds a record (of every head under `--head all`) or a reason
why there is none; what is done is not done again. Workers send what an audit leaves, and only the process that was
started writes: workers share no disk with it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from headclaims.errors import BadInput
from headclaims.files import as_json, write_atomically
from headclaims.fleet.cluster import workers
from headclaims.fleet.plan import Job, Plan
from headclaims.fleet.workers import PROCESSORS, audit_files
from headclaims.progress import track
from headclaims.record.reading import read_record
from headclaims.record.record import RECORD_FILE

FAILURE_FILE, DONE_FILE = "failure.json", "done"
OF_MODEL = ("checkpoint", "revision", "step", "dtype", "device", "mutate")
"""Settings by which a worker has to load another model than the one it holds."""


@dataclass(frozen=True)
class Outcome:
    """What became of an audit: the files it left, or why there are none."""

    files: dict[str, str] | None
    reason: str | None


def run_job(claim_sets: Sequence[Path], options: Sequence[str]) -> Outcome:
    """Run an audit in this process and return its files, or why there are none."""
    try:
        return Outcome(audit_files(claim_sets, options), None)
    except BadInput as error:
        return Outcome(None, str(error))
    except Exception as error:
        return Outcome(None, " ".join(f"{type(error).__name__}: {error}".split()))


def is_done(folder: Path) -> bool:
    """Whether an audit's folder holds all that it was to hold."""
    return (folder / DONE_FILE).is_file()


def keep(folder: Path, job: Job, outcome: Outcome) -> None:
    """Write what an audit left, whole: what says that it is done comes last."""
    (folder / FAILURE_FILE).unlink(missing_ok=True)
    for name, text in (outcome.files or {}).items():
        write_atomically(folder / name, text)
    if outcome.files is None:
        failure = {
            "schema": 1,
            "audit": dict(job.about),
            "reason": outcome.reason,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_atomically(folder / FAILURE_FILE, as_json(failure))
    write_atomically(folder / DONE_FILE, "")


def outcomes(client: Any, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
    """What becomes of each audit, as it is done.

    Where a worker dies, every audit that it held is tried once more, by itself and after all others: none fails for
    what another did.
    """
    from distributed import as_completed

    waiting = {_submitted(client, job): job for job in jobs}
    suspects = []
    for future in as_completed(list(waiting), loop=client.loop):
        job = waiting.pop(future)
        outcome = _outcome(future)
        if outcome is None:
            suspects.append(job)
        else:
            yield job, outcome
    for job in suspects:
        yield job, _outcome(_submitted(client, job)) or Outcome(None, "the process that audited it died twice")


def _submitted(client: Any, job: Job) -> Any:
    return client.submit(run_job, job.claim_sets, job.options, key=f"{job.name}-{next(_SUBMITTED)}", pure=False)


_SUBMITTED = count()


def _outcome(future: Any) -> Outcome | None:
    """What a worker made of an audit; None where it died. Raises BadInput where the scheduler is gone."""
    from distributed import CancelledError, KilledWorker

    try:
        found: Outcome = future.result()
    except KilledWorker:
        return None
    except (CancelledError, OSError) as error:
        raise BadInput("the scheduler is gone; what is done is kept, the same command goes on with the rest") from error
    except Exception as error:  # a worker that lacks the suite, say: the others go on
        return Outcome(None, " ".join(f"{type(error).__name__}: {error}".split()))
    finally:
        future.release()
    return found


def by_model(jobs: Sequence[Job]) -> list[Job]:
    """Return audits in an order in which those of one model follow each other, in the plan's order otherwise."""
    first: dict[tuple[str, ...], int] = {}
    models = [tuple(str(job.about.get(key)) for key in OF_MODEL) for job in jobs]
    for place, model in enumerate(models):
        first.setdefault(model, place)
    return [job for _, job in sorted(zip(models, jobs, strict=True), key=lambda pair: first[pair[0]])]


def sweep(plan: Plan, scheduler: str | None = None, n: int = PROCESSORS) -> tuple[int, int]:
    """Run what is left of a plan, one model after the other; returns how many audits that was, and how many were done.

    A worker holds the model that it loaded last, and what audits of one model have in common is computed once.
    """
    todo = [job for job in by_model(plan.jobs) if not is_done(plan.report_dir / job.name)]
    before = len(plan.jobs) - len(todo)
    if todo:
        _check_folder(plan.report_dir)
        with workers(scheduler, min(n, len(todo))) as client:
            for job, outcome in track(outcomes(client, todo), "audits", len(todo)):
                keep(plan.report_dir / job.name, job, outcome)
    return len(todo), before


def _check_folder(folder: Path) -> None:
    """Raise BadInput where no record could be kept, rather than after the first audit."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise BadInput(f"report_dir {str(folder)!r}: {error}; wanted a folder to write into") from error


def failures(plan: Plan) -> dict[str, str]:
    """Why audits of a plan left no record, or none that is complete, by their folder."""
    found = {}
    for job in plan.jobs:
        folder = plan.report_dir / job.name
        if (folder / FAILURE_FILE).is_file():
            found[job.name] = _reason(folder / FAILURE_FILE)
        elif is_done(folder):
            incomplete = [one for one in records(folder) if not read_record(one).complete]
            if incomplete:
                found[job.name] = f"incomplete: {incomplete[0]}"
    return found


def _reason(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["reason"])
    except (ValueError, KeyError, TypeError):
        return f"{path} is damaged"


def forget_failures(plan: Plan) -> None:
    """Let audits that failed be tried again."""
    for name in failures(plan):
        shutil.rmtree(plan.report_dir / name)


def records(folder: Path) -> list[Path]:
    """The folders of records below a folder, in order."""
    return sorted(path.parent for path in folder.rglob(RECORD_FILE))
