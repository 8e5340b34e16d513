"""Numbers that pages quote are those of the records and studies under reports/, rounded as they stand there."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headclaims.benchmarks import history
from headclaims.record.entries import ClaimEntry
from headclaims.record.reading import read_record
from headclaims.tests.claims_run import ROOT, SET, catalogue
from headclaims.tests.markdown_pages import cells
from headclaims.trials import counterfeits, coverage, power
from headclaims.trials.folder import readme_marks

TRIALS, EXAMPLES = ROOT / "reports" / "trials", ROOT / "reports" / "examples"
STATISTICS, PLOTS, PERFORMANCE = "docs/statistics.md", "docs/why-not-just-plot-it.md", "docs/performance.md"


def text(page: str) -> str:
    """A page's text on one line, as its sentences run."""
    return " ".join((ROOT / page).read_text(encoding="utf-8").split())


def study(name: str) -> Any:
    return json.loads((TRIALS / f"{name}.json").read_text(encoding="utf-8"))


def claims(name: str) -> dict[str, ClaimEntry]:
    return {claim.id: claim for claim in read_record(EXAMPLES / name).claims}


def numbers(name: str, claim: str, population: str) -> list[float]:
    """The members of a null, as a page draws them."""
    content = json.loads((EXAMPLES / name / "figures.json").read_text(encoding="utf-8"))
    nulls = content["claims"][claim]["nulls"]
    return next(null["values"] for null in nulls if null["population"] == population)


def stand_there(page: str, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        assert sentence in text(page), sentence


def between(page: Path, marks: tuple[str, str]) -> str:
    return page.read_text(encoding="utf-8").split(marks[0])[1].split(marks[1])[0].strip()


@pytest.mark.parametrize(
    ("marks", "file"),
    [
        (coverage.MARKS, "coverage.md"),
        (readme_marks("false alarms", None), "false-alarms.md"),
        (power.MARKS, "power.md"),
    ],
)
def test_tables_of_the_trials_are_the_last_ones(marks: tuple[str, str], file: str) -> None:
    table = between(TRIALS / "README.md", marks)
    assert table.count("\n") > 5
    assert (TRIALS / file).read_text(encoding="utf-8").strip().startswith(table)


def test_the_table_of_counterfeits_is_the_last_one() -> None:
    matrix = study("matrix")
    expected = counterfeits.Expected.read(SET / counterfeits.COUNTERFEITS_FILE, list(catalogue()))
    table = counterfeits.killers_table(expected, matrix["found"], list(matrix["killers"])).strip()
    assert between(TRIALS / "README.md", readme_marks("counterfeits", None)) == table


@pytest.mark.parametrize("folder", [ROOT / "reports" / "benchmarks", ROOT / "reports" / "benchmarks" / "accelerator"])
def test_the_table_of_benchmarks_is_the_last_one(folder: Path) -> None:
    runs = history.read_runs(folder)
    assert between(folder / "README.md", history.MARKS) == history.figures(history.last_whole(runs)).strip()


def test_half_of_the_eigenvalues() -> None:
    """The README's first result, and the first trap."""
    claim = claims("gpt2-small")["half-the-eigenvalues-negative"]
    count, others = claim.measured["count"], numbers("gpt2-small", "half-the-eigenvalues-negative", "other heads")
    every = np.array([*others, count])
    as_many = int((every >= count).sum())
    gaussian = numbers("gpt2-small", "half-the-eigenvalues-negative", "Gaussian heads")
    assert len(every) == 144
    stand_there("README.md", [f"64 leading eigenvalues of L1H5 in GPT-2 small {count:.0f} are negative"])
    stand_there("README.md", [f"So many or more are negative in {as_many} of the model's {len(every)} heads"])
    stand_there(
        PLOTS,
        [
            f"On the real weights {count:.0f} of the 64 leading ones are negative",
            f"Over the model's 144 heads the count runs from {every.min():.0f} to {every.max():.0f}, with a median of "
            f"{np.median(every):.0f}. {as_many} of them have {count:.0f} or more.",
            f"have {np.mean(gaussian):.1f} ± {np.std(gaussian):.1f}.",
        ],
    )


def test_what_was_recorded_of_gpt2() -> None:
    by_id = claims("gpt2-small")
    kin, communities = by_id["attends-within-category"], by_id["communities-are-semantic"]
    assert communities.interval is not None
    low, high = communities.interval
    stand_there(
        "README.md",
        [
            f"gives words of the same category {kin.measured['ratio']:.1f} times their share",
            f"(adjusted mutual information {communities.measured['ami']:.2f}, 95 % interval {low:.2f} to {high:g})",
        ],
    )
    assert kin.nulls[0].n == 11
    assert not any(claim.found for claim in by_id.values())


def test_what_other_models_gave() -> None:
    smollm2, gemma = (text(f"reports/examples/{name}.md") for name in ("smollm2", "gemma3"))
    counts = [re.search(r"31 empirical: (\d+) assessed, (\d+) supported, 0 found", page) for page in (smollm2, gemma)]
    (assessed, supported), (assessed_there, supported_there) = (of.groups() for of in counts if of is not None)
    stand_there(
        "README.md",
        [
            f"Of {assessed} claims that could be assessed {supported} are supported and none is found",
            f"of Gemma's L7H0 {supported_there} of {assessed_there}, and none is found",
        ],
    )
    assert re.search(r"suppresses-self \| log_ratio -1\.31 \[[^]]*\] \| [^|]*\| not supported", smollm2)


def test_an_induction_head_of_a_real_model() -> None:
    """What README says of SmolLM2's L18H6, and of the trained series at the steps where verdicts turn."""
    by_id = claims("smollm2-induction")
    score, keys = by_id["prefix-matching"], by_id["keys-carry-it"]
    assert score.found
    assert by_id["previous-token-head-exists"].found
    assert score.nulls[0].p == pytest.approx(1 / (score.nulls[0].n + 1))  # none gives more
    assert {name for name, one in by_id.items() if one.verdict == "not supported"} == {"keys-carry-it", "copies"}
    stand_there(
        "README.md",
        [
            f"gives {score.measured['score']:.2f} of its attention to what followed",
            f"None of {score.nulls[0].n} other heads gives more",
            f"(a ratio of {keys.measured['ratio']:.2f})",
        ],
    )
    row = re.search(
        r"\| prefix-matching +\| score ([\d.]+) .*\| supported +\| distinctive", text("reports/examples/gemma3.md")
    )
    assert row is not None
    stand_there("README.md", [f"is alike, with {float(row[1]):.2f}"])
    turns = text("reports/trials/induction_heads/emergence.md")
    assert re.search(r"\| prefix-matching +\| step 600: not supported → supported", turns)
    assert re.search(r"\| previous-token-head-exists +\| .*step 800: undecided → supported", turns)
    stand_there("README.md", ["from step 600 on, and its previous-token head is there from 800 on"])


def test_coverage() -> None:
    """Means over statistics, as the table has them; the least cell up to skew 1, and at skew 2."""
    cells = study("coverage")["cells"]
    rates: dict[float, dict[str, list[float]]] = {}
    for cell in cells:
        rates.setdefault(cell["skew"], {}).setdefault(cell["statistic"], []).append(cell["hits"] / cell["trials"])
    means = [100 * np.mean([np.mean(of) for of in rates[skew].values()]) for skew in (0.0, 1.0, 2.0)]
    least = {skew: min(min(of) for of in by.values()) for skew, by in rates.items()}
    stand_there(
        STATISTICS,
        [
            f"is {means[0]:.0f} % at skew 0, {means[1]:.0f} % at skew 1 and {means[2]:.0f} % at skew 2",
            f"up to skew 1 is {100 * min(least[0.0], least[1.0]):.1f} %; at skew 2 it is {100 * least[2.0]:.1f} %",
        ],
    )


def test_false_alarms() -> None:
    content = study("false-alarms")
    alone = {name: max(of["alone"] for of in strata.values()) for name, strata in content["claims"].items()}
    assert all(of["found"] == 0 for strata in content["claims"].values() for of in strata.values())
    worst = max(alone, key=lambda name: alone[name])
    per_stratum, strata = content["checkpoints_a_stratum"], len(next(iter(content["claims"].values())))
    assert (per_stratum, strata) == (100, 8)
    stand_there(
        STATISTICS,
        [
            f"audits {per_stratum * strata} of them in eight strata of a hundred",
            f"up to {content['most_allowed']} of a hundred are compatible with that",
            f"at most {alone[worst]} of a hundred, for `{worst}`",
            "of no claim, in no stratum, even once",
        ],
    )


def test_power() -> None:
    """The last column of the table of the trials."""
    rows = [
        cells(line)
        for line in (TRIALS / "power.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and "planted" not in line
    ]
    noticed = {(row[0], row[1]): row[-1] for row in rows}
    quoted = [
        cells(line)
        for line in (ROOT / STATISTICS).read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (suppression|category|positional|attention-0) ", line)
    ]
    stated = {(row[0], name.removesuffix(" is given up")): row[2] for row in quoted for name in row[1].split(", ")}
    assert stated == noticed


def test_benchmarks() -> None:
    table = between(ROOT / "reports" / "benchmarks" / "README.md", history.MARKS)
    head, _, *lines = map(cells, table.strip().splitlines())
    rows = {name: dict(zip(head[1:], row, strict=True)) for name, *row in lines}
    columns = ("time / bound", "time / dense way", "growth / dense way")
    bound, dense, growth = (rows["sweep_and_the_dense_way[16384]"][column] for column in columns)
    stand_there(
        PERFORMANCE,
        [
            f"a sweep takes {bound} times the bare product, {dense} of the time of the dense way, "
            f"and {growth} of its memory",
            f"24 audits of the planted checkpoint a plan takes {rows['plan']['time / one by one']} of the time",
        ],
    )
    last = history.read_runs(ROOT / "reports" / "benchmarks" / "accelerator")[-1]
    sweep, curve = (f"{last.ratios[f'{name} / bound']:.2f}" for name in ("sweep", "similarity"))
    thousandths = f"{1000 * last.benchmarks['sweep']['seconds']:.0f}"
    stand_there(
        PERFORMANCE,
        [
            f"{sweep} times its bare products, {thousandths} thousandths of a second",
            f"{curve} times its bound",
        ],
    )
