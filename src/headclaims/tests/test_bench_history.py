"""Benchmark history: what is read of records, what is named as worse, and what is shown."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from headclaims.benchmarks.history import (
    Run,
    draw_scaling,
    draw_trend,
    figures,
    last_whole,
    read_runs,
    trend,
    worse,
    write_trend,
)
from headclaims.cli import main
from headclaims.errors import BadInput
from headclaims.tests.markdown_pages import cells


def record(commit: str, when: str, dirty: bool = False, **ratios: float) -> dict[str, Any]:
    """As pytest-benchmark writes it, of one benchmark a ratio."""
    return {
        "commit_info": {"id": commit * 40, "dirty": dirty},
        "datetime": when,
        "machine_info": {"cpu": "one", "threads": 2},
        "benchmarks": [
            {
                "name": f"test_{name}",
                "group": "vocabulary",
                "stats": {"min": 2.0},
                "extra_info": {"ratio_to_bound": ratio, "peak_growth": 3 * 2**20, "flops": 1.0},
            }
            for name, ratio in ratios.items()
        ],
    }


def run(**ratios: float) -> Run:
    return Run(
        "a" * 7, "2026", "one", {n: {"group": "g", "seconds": 1.0, "ratio_to_bound": r} for n, r in ratios.items()}
    )


def test_records_are_read_in_the_order_of_their_time(tmp_path: Path) -> None:
    (tmp_path / "machine").mkdir()
    (tmp_path / "machine" / "1.json").write_text(json.dumps(record("b", "2026-02-01", True, sweep=2.0)))
    (tmp_path / "machine" / "2.json").write_text(json.dumps(record("a", "2026-01-01", sweep=1.5, load=4)))
    (tmp_path / "accelerator" / "machine").mkdir(parents=True)
    (tmp_path / "accelerator" / "machine" / "1.json").write_text("a history of its own")
    (tmp_path / "accelerator" / "trend.json").write_text("no record")
    first, last = read_runs(tmp_path)
    assert (first.commit, last.commit) == ("a" * 7, "b" * 7 + "+")
    assert first.ratios == {"sweep / bound": 1.5, "load / bound": 4.0}
    lines = [line.split() for line in trend([first, last]).splitlines()]
    assert ["sweep", "/", "bound", "1.5", "2"] in lines
    assert ["load", "/", "bound", "4", "–"] in lines


@pytest.mark.parametrize("text", ["{", "[]", '{"benchmarks": [], "commit_info": null}', '{"benchmarks": [{}]}'])
def test_what_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(BadInput, match=r"odd\.json: no record of pytest-benchmark"):
        read_runs(tmp_path)
    assert main(["bench", str(tmp_path)]) == 2


def test_a_run_of_some_benchmarks_is_not_the_last_of_all() -> None:
    first, second = run(a=1.0, b=2.0), run(a=3.0, b=4.0)
    assert last_whole([first, second, run(a=9.0)]) is second


def test_thirty_per_cent_above_the_median_of_five_is_worse() -> None:
    """Of 9 1 2 3 4 5 the five before have the median 3: 3.9 is not worse, 3.91 is; absolute seconds never are."""
    before = [run(sweep=ratio) for ratio in (9.0, 1.0, 2.0, 3.0, 4.0, 5.0)]
    assert worse([*before, run(sweep=3.9)]) == []
    assert worse([*before, run(sweep=3.91)]) == ["sweep / bound: 3.91, 1.30 times the median of the last 5"]
    assert worse([run(other=1.0), run(sweep=99.0)]) == []
    assert worse([run(sweep=1.0)]) == worse([]) == []
    elsewhere = Run("a", "2026", "another", {"sweep": {"group": "g", "seconds": 1.0, "ratio_to_bound": 0.1}})
    assert worse([elsewhere, run(sweep=1.0)]) == []
    slow = Run("a", "2027", "one", {"sweep": {"group": "g", "seconds": 1e9, "ratio_to_bound": 1.0}})
    assert worse([run(sweep=1.0), slow]) == []


def test_the_command_says_what_got_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, ratio in enumerate((2.0, 2.1, 2.0)):
        (tmp_path / f"{number}.json").write_text(json.dumps(record("a", f"2026-01-0{number + 1}", sweep=ratio)))
    assert main(["bench", str(tmp_path)]) == 0
    assert "sweep / bound" in capsys.readouterr().out
    assert "sweep / bound" in (tmp_path / "trend.svg").read_text(encoding="utf-8")
    (tmp_path / "9.json").write_text(json.dumps(record("b", "2026-02-01", sweep=2.8)))
    assert main(["bench", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "headclaims: worse: sweep / bound: 2.8, 1.40 times the median of the last 3\n"
    shutil.rmtree(tmp_path)
    assert main(["bench", str(tmp_path)]) == 2
    assert "no benchmark record" in capsys.readouterr().err


def test_the_trend_is_kept_for_pages_and_is_no_record(tmp_path: Path) -> None:
    """Of the ratios that the last run has, scaling left out; written anew beside the records, and not read as one."""
    for number, ratios in enumerate(({"sweep": 2.0, "gone": 1.0}, {"sweep": 3.0, "load": 4.0})):
        (tmp_path / f"{number}.json").write_text(json.dumps(record("ab"[number], f"2026-01-0{number + 1}", **ratios)))
    for _ in range(2):
        assert main(["bench", str(tmp_path)]) in (0, 1)
        content = json.loads((tmp_path / "trend.json").read_text(encoding="utf-8"))
        assert content == {
            "schema": 1,
            "runs": [
                {"commit": "a" * 7, "when": "2026-01-01", "ratios": {"sweep / bound": 2.0}},
                {"commit": "b" * 7, "when": "2026-01-02", "ratios": {"sweep / bound": 3.0, "load / bound": 4.0}},
            ],
        }
    scaling = {"one": {"group": "scaling", "seconds": 1.0, "ratio_to_bound": 1.0}}
    write_trend([Run("a", "2026", "one", scaling)], tmp_path / "none.json")
    assert json.loads((tmp_path / "none.json").read_text(encoding="utf-8"))["runs"][0]["ratios"] == {}


def rows(table: str) -> list[list[str]]:
    """A Markdown table's rows, the heading's first."""
    head, _, *body = map(cells, table.strip().splitlines())
    return [head, *body]


def test_figures_are_ratios() -> None:
    entry = {"group": "dense", "seconds": 1.0, "ratio_to_bound": 2.345, "peak_growth": 5 * 2**20}
    scaling = entry | {"group": "scaling"}
    dense = entry | {"ratio_to_dense": 0.02, "memory_to_dense": 0.01}
    shown = figures(Run("a", "2026", "one", {"one": entry, "two": dense, "three": scaling}))
    assert rows(shown) == [
        ["", "time / bound", "time / dense way", "growth", "growth / dense way"],
        ["one", "2.35", "–", "5 MiB", "–"],
        ["two", "2.35", "1/50", "5 MiB", "1/100"],
    ]
    plan = {"group": "audit", "seconds": 1.0, "ratio_to_one_by_one": 0.375}
    shown = figures(Run("a", "2026", "one", {"one": entry | {"peak_growth": 0}, "plan": plan}))
    assert rows(shown) == [
        ["", "time / bound", "time / one by one", "growth"],
        ["one", "2.35", "–", "0 MiB"],
        ["plan", "–", "0.38", "–"],
    ]


def test_scaling_is_drawn_with_its_bound(tmp_path: Path) -> None:
    entries = {
        f"{n} {d} {h}": {
            "group": "scaling", "seconds": n * d * h, "ratio_to_bound": 2.0, "tokens": n, "d_head": d, "heads": h,
            "peak_growth": 0,
        }
        for n, d, h in ((4096, 64, 1), (16_384, 64, 1), (16_384, 16, 1), (16_384, 64, 2))
    }  # fmt: skip
    draw_scaling(Run("a", "2026", "one", entries), tmp_path / "scaling.svg")
    text = (tmp_path / "scaling.svg").read_text(encoding="utf-8")
    assert all(word in text for word in ("tokens", "d_head", "heads", "bare product"))
    draw_scaling(run(sweep=1.0), tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
    draw_trend([run(sweep=1.0), run(sweep=2.0)], tmp_path / "trend.svg")
    assert (tmp_path / "trend.svg").is_file()
