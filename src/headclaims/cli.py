"""The command `headclaims`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from headclaims.benchmarks.history import MARKS, draw_scaling, draw_trend, figures, read_runs, trend, worse
from headclaims.errors import BadInput
from headclaims.fleet.audits import PROCESSES, ROOT, homologues
from headclaims.fleet.compare import FORMATS, load
from headclaims.fleet.emergence import write as write_emergence
from headclaims.fleet.homology import COLUMNS
from headclaims.fleet.plan import Plan
from headclaims.fleet.sweep import failures, forget_failures
from headclaims.fleet.sweep import sweep as run_sweep
from headclaims.report.page import write_page
from headclaims.report.readme import into_readme


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit status is 2, with one line, for what it can't read."""
    parser = argparse.ArgumentParser(prog="headclaims", description="What audits and benchmarks left.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    bench = commands.add_parser("bench", help="the trend of benchmark ratios by commit; status 1 where one got worse")
    bench.add_argument("folder", nargs="?", type=Path, default=ROOT / "reports" / "benchmarks", help="of the records")
    bench.set_defaults(run=lambda options: _bench(options.folder))
    report = commands.add_parser("report", help="write index.html anew from the record in a report folder")
    report.add_argument(
        "folder", type=Path, metavar="DIR", help="with claims.json and, from a run with --html, figures.json"
    )
    report.set_defaults(run=lambda options: _report(options.folder))
    compare = commands.add_parser("compare", help="records side by side: claims down, checkpoints across")
    compare.add_argument(
        "records", nargs="+", type=Path, metavar="A", help="claims.json, report folders, or folders of such"
    )
    compare.add_argument("--format", choices=list(FORMATS), default="text", help="default: %(default)s")
    compare.add_argument(
        "--mixed", action="store_true", help="compare records of different settings all the same, and say so"
    )
    compare.set_defaults(run=lambda options: _compare(options.records, options.format, options.mixed))
    sweep = commands.add_parser("sweep", help="the audits of a plan, as many at once as there are processors")
    sweep.add_argument("plan", type=Path, metavar="PLAN.toml", help="see the README")
    sweep.add_argument("--scheduler", metavar="tcp://…", help="of a Dask cluster; default: processes of this machine")
    sweep.add_argument(
        "--workers", type=_number, metavar="N", default=PROCESSES, help="processes; default: %(default)s"
    )
    sweep.add_argument("--again", action="store_true", help="try audits again that failed")
    sweep.set_defaults(run=lambda options: _sweep(options.plan, options.scheduler, options.workers, options.again))
    alike = commands.add_parser("homologues", help="the heads of a checkpoint ranked by likeness to a head of another")
    alike.add_argument("target", metavar="A", help="checkpoint of the head, as --checkpoint takes it")
    alike.add_argument("other", metavar="B", help="checkpoint whose heads are ranked")
    alike.add_argument("--head", metavar="LxHy", default="L1H5", help="of A; default: %(default)s")
    alike.add_argument("--words", default="write-up", help="as for pytest claims/; default: %(default)s")
    alike.add_argument("--prompts", default="32", help="default: %(default)s")
    alike.add_argument("--top", type=_number, default=10, metavar="N", help="heads shown; default: %(default)s")
    alike.set_defaults(run=_homologues)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (BadInput, OSError) as error:
        print(f"headclaims: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("headclaims: stopped; what is done is kept", file=sys.stderr)
        return 130


def _report(folder: Path) -> int:
    print(write_page(folder))
    return 0


def _compare(paths: Sequence[Path], form: str, mixed: bool) -> int:
    print(FORMATS[form](load(paths, mixed)))
    return 0


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; wanted a whole number, 1 or more")
    return int(text)


def _sweep(path: Path, scheduler: str | None, n: int, again: bool) -> int:
    plan = Plan.read(path)
    if again:
        forget_failures(plan)
    now, before = run_sweep(plan, scheduler, n)
    failed = failures(plan)
    for name, reason in failed.items():
        print(f"{name}: {reason}")
    done = f"{len(plan.jobs) - len(failed)} with a record, {len(failed)} failed"
    print(f"{len(plan.jobs)} audits: {done}; {now} run now, {before} done before; in {plan.report_dir}")
    page = write_emergence(plan)
    if page is not None:
        print(f"by training step: {page}")
    return 1 if failed else 0


def _homologues(options: argparse.Namespace) -> int:
    same = ["--words", options.words, "--prompts", options.prompts]
    found = homologues(
        ["--checkpoint", options.target, "--head", options.head, *same],
        ["--checkpoint", options.other, "--head", "L0H0", *same],
    )
    print(tabulate(found.rows(options.top), COLUMNS, disable_numparse=True))
    return 0


def _bench(folder: Path) -> int:
    runs = read_runs(folder)
    if not runs:
        raise BadInput(f"{folder}: no benchmark record; wanted some of `make bench`")
    print(trend(runs))
    draw_trend(runs, folder / "trend.svg")
    draw_scaling(runs[-1], folder / "scaling.svg")
    whole = len(runs[-1].benchmarks) == max(len(run.benchmarks) for run in runs)
    if whole and folder.resolve() == (ROOT / "reports" / "benchmarks").resolve():
        into_readme(MARKS, figures(runs[-1]))
    complaints = worse(runs)
    for line in complaints:
        print(f"headclaims: worse: {line}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
