"""The command `headclaims`. A subcommand's machinery is imported when it runs: `--help` waits for none of it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headclaims.errors import BadInput
from headclaims.refusal import refusal

DTYPES = ("float32", "bfloat16", "float16")
FORMATS = ("text", "markdown", "json", "html")
STUDIES = ("counterfeits", "coverage", "false-alarms", "power")
BENCHMARKS = Path("reports/benchmarks")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit status is 2, with one line, for what it can't read."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(given)
    options, rest = parser.parse_known_args(given)
    if rest and given[:1] != ["audit"]:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        status = int(options.run(options, rest))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever reads has had enough, as in `| head`: what is still to be written at the end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (BadInput, OSError) as error:
        print(refusal(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("headclaims: stopped; what is done is kept", file=sys.stderr)
        return 130


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of all subcommands; the one that was given says whether `audit` has to know its settings."""
    parser = argparse.ArgumentParser(prog="headclaims", description="Audit claims about attention heads.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    audit = commands.add_parser(
        "audit",
        help="audit a checkpoint: pytest on the claim sets that ship, or on one of your own",
        epilog="Whatever else is given goes to pytest: -n 2, -k NAME, -x, …",
        allow_abbrev=False,
    )
    _audit_arguments(audit, whole=given[:1] == ["audit"])
    _evidence_commands(commands)
    new = commands.add_parser("new", help="write a small claim set that runs into a new folder")
    new.add_argument("folder", type=Path, metavar="FOLDER", help="a new folder, or an empty one")
    new.set_defaults(run=lambda options, _: _new(options.folder))
    catalogue = commands.add_parser("catalogue", help="write the catalogue of a claim set into its README.md")
    catalogue.add_argument("claim_set", metavar="SET", help="claim set that ships, or a folder")
    catalogue.set_defaults(run=lambda options, _: _catalogue(options.claim_set))
    report = commands.add_parser("report", help="write index.html anew from the record in a report folder")
    report.add_argument(
        "folder", type=Path, metavar="DIR", help="with claims.json and, from a run with --page, figures.json"
    )
    report.set_defaults(run=lambda options, _: _report(options.folder))
    compare = commands.add_parser("compare", help="records side by side: claims down, checkpoints across")
    compare.add_argument(
        "records", nargs="+", type=Path, metavar="A", help="claims.json, report folders, or folders of such"
    )
    compare.add_argument("--format", choices=FORMATS, default="text", help="default: %(default)s")
    compare.add_argument(
        "--mixed", action="store_true", help="compare records of different settings all the same, and say so"
    )
    compare.add_argument("--set", dest="claim_set", metavar="NAME", help="only the records of this claim set")
    compare.set_defaults(
        run=lambda options, _: _compare(options.records, options.format, options.mixed, options.claim_set)
    )
    sweep = commands.add_parser("sweep", help="the audits of a plan, as many at once as there are processors")
    sweep.add_argument("plan", type=Path, metavar="PLAN.toml", help="see docs/sweeps-and-clusters.md")
    sweep.add_argument("--scheduler", metavar="tcp://…", help="of a Dask cluster; default: processes of this machine")
    sweep.add_argument("--workers", type=_number, metavar="N", help="processes; default: one a processor")
    sweep.add_argument("--again", action="store_true", help="try audits again that failed")
    sweep.set_defaults(run=lambda options, _: _sweep(options.plan, options.scheduler, options.workers, options.again))
    alike = commands.add_parser("homologues", help="the heads of a checkpoint ranked by likeness to a head of another")
    alike.add_argument("target", metavar="A", help="checkpoint of the head, as --checkpoint takes it")
    alike.add_argument("other", metavar="B", help="checkpoint whose heads are ranked")
    alike.add_argument("--head", metavar="LxHy", help="of A; default: the claim set's")
    alike.add_argument("--set", metavar="NAME", help="claim set whose words are used; default: the first that ships")
    alike.add_argument("--words", help="as for an audit; default: the claim set's")
    alike.add_argument("--prompts", default="32", help="default: %(default)s")
    alike.add_argument("--top", type=_number, default=10, metavar="N", help="heads shown; default: %(default)s")
    alike.set_defaults(run=lambda options, _: _homologues(options))
    trials = commands.add_parser(
        "trials", help="what the claims are worth: counterfeits, coverage, false alarms, power"
    )
    trials.add_argument("study", choices=STUDIES, help="run in a checkout, which keeps what was found")
    trials.add_argument(
        "names", nargs="*", metavar="NAME", help="counterfeits, or how many trials, checkpoints or seeds"
    )
    trials.add_argument(
        "--set", metavar="NAME", help="claim set under trial; default: the first that ships, for counterfeits all"
    )
    trials.set_defaults(run=lambda options, _: _trials(options.study, options.names, options.set))
    bench = commands.add_parser("bench", help="the trend of benchmark ratios by commit; status 1 where one got worse")
    bench.add_argument("folder", nargs="?", type=Path, default=BENCHMARKS, help="of the records; default: %(default)s")
    bench.set_defaults(run=lambda options, _: _bench(options.folder))
    return parser


def _evidence_commands(commands: Any) -> None:
    """Add the subcommands that write evidence for those who don't have the model."""
    record = commands.add_parser("record", help="write a model's attention on a text into a file that can be audited")
    record.add_argument("checkpoint", metavar="MODEL", help="hub id, local folder, .gguf file or planted")
    record.add_argument("--text", type=Path, required=True, metavar="FILE", help="a prompt a line")
    record.add_argument("--no-bos", action="store_true", help="prompts begin with their text; default: with BOS")
    record.add_argument("--layers", type=_layers, metavar="0,1", help="default: all")
    record.add_argument(
        "--dtype", choices=DTYPES, default=DTYPES[0], help="that patterns are stored in; default: %(default)s"
    )
    record.add_argument("--device", default="cpu", metavar="D", help="torch device the model runs on")
    record.set_defaults(run=lambda options, _: _record(options))
    extract = commands.add_parser("extract", help="write the query and key weights of some layers into such a file")
    extract.add_argument("checkpoint", metavar="MODEL", help="hub id, local folder, .gguf file or planted")
    extract.add_argument("--layers", type=_layers, required=True, metavar="0,1")
    extract.add_argument(
        "--embedding", action="store_true", help="of GPT-2 also the token embedding, and the MLPs before the deepest"
    )
    extract.set_defaults(run=lambda options, _: _extract(options))
    for command, kind in ((record, "attention"), (extract, "weights")):
        command.add_argument("--output", type=Path, metavar="O", help=f"default: <model>-{kind}.safetensors")
        command.add_argument("--revision", metavar="R", help="branch, tag or commit of a hub id")


def _record(options: argparse.Namespace) -> int:
    from headclaims.checkpoint.recording import record

    o = options
    print(record(o.checkpoint, o.text, o.output, o.layers, not o.no_bos, o.dtype, o.revision, o.device))
    return 0


def _extract(options: argparse.Namespace) -> int:
    from headclaims.checkpoint.extract import extract

    print(extract(options.checkpoint, options.layers, options.output, options.embedding, options.revision))
    return 0


def _layers(text: str) -> list[int]:
    if not all(part.isascii() and part.isdecimal() and len(part) < 7 for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r}; wanted layers from 0, with commas between")
    return [int(part) for part in text.split(",")]


def _audit_arguments(parser: argparse.ArgumentParser, whole: bool) -> None:
    """Add what `audit` takes; its settings only if it is the subcommand, since they take a library to declare."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="as --checkpoint of pytest takes it")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME", help="claim set that ships, or a folder; default: all"
    )
    if whole:
        from headclaims.audit.settings import Settings, description, is_switch, metavar, option

        for name in Settings.model_fields:
            form: dict[str, Any] = {"action": "store_true"} if is_switch(name) else {"metavar": metavar(name)}
            if name != "checkpoint":
                parser.add_argument(option(name), help=description(name), **form)
    parser.set_defaults(run=_audit)


def _audit(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from headclaims.audit.settings import Settings, as_arguments
    from headclaims.claim.shipped import find_sets

    settings = as_arguments({name: getattr(options, name) for name in Settings.model_fields})
    # Nothing is written beside the sets: they may be part of the installed package.
    command = [sys.executable, "-m", "pytest", *map(str, find_sets(options.set)), "-p", "no:cacheprovider"]
    return subprocess.call([*command, *settings, *rest])


def _new(folder: Path) -> int:
    from headclaims.claim.new_set import write_new_set

    for path in write_new_set(folder):
        print(path)
    print(f"next: pytest {folder} --checkpoint planted")
    return 0


def _catalogue(name: str) -> int:
    from headclaims.claim.catalogue import write_catalogue
    from headclaims.claim.shipped import find_sets

    print(write_catalogue(find_sets([name])[0]))
    return 0


def _trials(study: str, names: Sequence[str], claim_set: str | None) -> int:
    from headclaims.claim.shipped import find_sets
    from headclaims.trials import counterfeits, coverage, false_alarms, power

    folders = find_sets([claim_set] if claim_set else [])
    folder = folders[0]
    if study == "counterfeits":
        # Names are those of one set's counterfeits.
        chosen = folders[:1] if names else [one for one in folders if (one / counterfeits.COUNTERFEITS_FILE).is_file()]
        return max(counterfeits.main(one, names) for one in chosen)
    if len(names) > 1 or not all(name.isdecimal() and int(name) for name in names):
        raise BadInput(f"trials {study} {' '.join(names)}: wanted how many, a whole number, 1 or more")
    if study == "coverage":
        return coverage.main(*map(int, names))
    main = {"false-alarms": false_alarms.main, "power": power.main}[study]
    return main(folder, *map(int, names))


def _report(folder: Path) -> int:
    from headclaims.report.page import write_page

    print(write_page(folder))
    return 0


def _compare(paths: Sequence[Path], form: str, mixed: bool, claim_set: str | None) -> int:
    from headclaims.fleet.compare import WRITERS, load

    print(WRITERS[form](load(paths, mixed, claim_set)))
    return 0


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; wanted a whole number, 1 or more")
    return int(text)


def _sweep(path: Path, scheduler: str | None, n: int | None, again: bool) -> int:
    from headclaims.fleet import emergence, specifications
    from headclaims.fleet.plan import Plan
    from headclaims.fleet.sweep import failures, forget_failures, sweep
    from headclaims.fleet.workers import PROCESSORS

    plan = Plan.read(path)
    if again:
        forget_failures(plan)
    now, before = sweep(plan, scheduler, n or PROCESSORS)
    failed = failures(plan)
    for name, reason in failed.items():
        print(f"{name}: {reason}")
    done = f"{len(plan.jobs) - len(failed)} with a record, {len(failed)} failed"
    print(f"{len(plan.jobs)} audits: {done}; {now} run now, {before} done before; in {plan.report_dir}")
    page = emergence.write(plan)
    if page is not None:
        print(f"by training step: {page}")
    page = specifications.write(plan)
    if page is not None:
        print(f"by specification: {page}")
    return 1 if failed else 0


def _homologues(options: argparse.Namespace) -> int:
    from tabulate import tabulate

    from headclaims.audit.settings import Settings
    from headclaims.claim.claim_set import ClaimSet
    from headclaims.claim.shipped import find_sets
    from headclaims.fleet.homology import COLUMNS, ranking

    claim_set = ClaimSet.read(find_sets([options.set] if options.set else [])[0])
    same = {"words": options.words, "prompts": options.prompts}
    target = Settings.of({"checkpoint": options.target, "head": options.head, **same})
    other = Settings.of({"checkpoint": options.other, **same})
    print(tabulate(ranking(target, other, claim_set).rows(options.top), COLUMNS, disable_numparse=True))
    return 0


def _bench(folder: Path) -> int:
    from headclaims.benchmarks.history import (
        MARKS,
        TREND_FILE,
        draw_scaling,
        draw_trend,
        figures,
        last_whole,
        read_runs,
        trend,
        worse,
        write_trend,
    )
    from headclaims.report.readme import into_readme

    runs = read_runs(folder)
    if not runs:
        raise BadInput(f"{folder}: no benchmark record; wanted some of `make bench`")
    print(trend(runs))
    write_trend(runs, folder / TREND_FILE)
    draw_trend(runs, folder / "trend.svg")
    draw_scaling(last_whole(runs), folder / "scaling.svg")
    into_readme(folder / "README.md", MARKS, figures(last_whole(runs)))
    complaints = worse(runs)
    for line in complaints:
        print(f"headclaims: worse: {line}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
