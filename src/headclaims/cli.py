"""The command `headclaims`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from headclaims.audits import ROOT
from headclaims.bench_history import MARKS, draw_scaling, draw_trend, figures, read_runs, trend, worse
from headclaims.errors import BadInput
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
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except BadInput as error:
        print(f"headclaims: {error}", file=sys.stderr)
        return 2


def _report(folder: Path) -> int:
    # Drawing takes a library that the other commands don't need.
    from headclaims.report.page import write_page

    print(write_page(folder))
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
