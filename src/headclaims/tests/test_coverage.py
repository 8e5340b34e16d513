"""Coverage: made-up rows are what they say, a tenth of the table holds, and an interval that is too narrow is found."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from headclaims.cli import main
from headclaims.statistics.resampling import OverUnits, Resampled
from headclaims.statistics.rows import GroupedRows
from headclaims.trials import coverage, simulated
from headclaims.trials.coverage import (
    N_TRIALS,
    SHARES,
    SKEWS,
    UNITS,
    Cell,
    Job,
    cover,
    draw,
    jobs,
    short,
    summary,
    table,
)
from headclaims.trials.simulated import GROUPS, PROMPTS, ROWS, WORDS, World


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("part", [1.0, 0.5])
def test_effects_have_mean_0_variance_1_and_their_skew(skew: float, part: float) -> None:
    draw, times = np.random.default_rng(0), round(1 / part)
    effects = sum(World(0.0, skew, 5).effects(draw, (400_000,), part) for _ in range(times))
    assert np.mean(effects) == pytest.approx(0, abs=0.01)
    assert np.var(effects) == pytest.approx(1, abs=0.02)
    assert stats.skew(effects) == pytest.approx(skew, abs=0.1)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_means_have_their_standard_error_and_its_share_between_categories(share: float) -> None:
    """Over 4,000 draws: a variance of 4 and a tenth for cells; without cells a category's part is its share."""
    world, draw = World(share, 0.0, 8), np.random.default_rng(1)
    rows = [world.rows(draw, [3.0], [2.0]) for _ in range(4000)]
    means = [float(r.sums.sum() / r.counts.sum()) for r in rows]
    assert np.mean(means) == pytest.approx(3, abs=0.12)
    # Numbers of rows differ between cells, which adds some thousandths.
    assert np.var(means) == pytest.approx(4 * 1.1, rel=0.08)
    assert rows[0].counts.sum() == PROMPTS * 63
    assert rows[0].counts[..., -1].sum() == 0
    by_category = [r.sums[0, :, :-1].sum(axis=0) / r.counts[0, :, :-1].sum(axis=0) for r in rows]
    between = np.mean([c.var(ddof=1) / 8 for c in by_category])
    # Cells and prompts' effects, unevenly met, add their part.
    assert between == pytest.approx(4 * (share + 0.1), rel=0.15, abs=0.25)


def test_differences_to_a_shared_mean_have_their_standard_error() -> None:
    world, draw = World(0.5, 1.0, 8), np.random.default_rng(2)
    found = np.array(
        [
            r.means(np.ones((1, PROMPTS)))[0]
            for r in (world.rows(draw, [0.0, 6.0, 6.0], [0.0, 1.0, 1.0]) for _ in range(3000))
        ]
    )
    differences = found[:, 1:] - found[:, :1]
    assert differences.mean(axis=0) == pytest.approx([6, 6], abs=0.08)
    assert differences.var(axis=0) == pytest.approx([1.1, 1.1], rel=0.12)
    assert np.corrcoef(differences.T)[0, 1] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("name", GROUPS)
def test_groups_have_the_truth_that_they_state(name: str) -> None:
    """Of two hundred groups, the statistic is the truth to within four of its own standard errors."""
    for skew in (0.0, 1.0):
        estimate, truth = GROUPS[name](World(0.5, skew, 200), np.random.default_rng(5))
        interval = estimate.interval()
        assert interval is not None
        assert truth is not None
        assert abs(estimate.value - truth) < 4 * interval.half_width / 1.96
        assert interval.half_width < 0.25


@pytest.mark.parametrize("name", ROWS)
def test_rows_have_the_truth_that_they_state(name: str) -> None:
    """The mean of six hundred audits of 24 categories; the least of several tied ones is below each in the mean."""
    draw = np.random.default_rng(6)
    values, truths = zip(
        *((e.value, t) for e, t in (ROWS[name](World(0.25, 0.0, 24), draw) for _ in range(600))), strict=True
    )
    error = np.std(values) / 600**0.5
    assert len(set(truths)) == 1
    biased = name in ("gap, runners-up tied", "gap, runners-up spread", "smaller of two", "outlier ratio")
    assert np.mean(values) <= truths[0] + 4 * error + (0.05 if name == "outlier ratio" else 0.02)
    assert biased or np.mean(values) == pytest.approx(truths[0], abs=4 * error + 0.05)


def test_the_table_has_every_cell() -> None:
    every = jobs(7)
    assert len(every) == len({(j.statistic, j.world) for j in every}) == 8 * 5 * 3 * 4 + 2 * 2 * 3
    assert {j.trials for j in every} == {7}
    assert len({j.seed for j in every}) == len(every)
    assert N_TRIALS == 1000
    assert (SHARES, SKEWS, UNITS) == ((0, 0.25, 0.5, 0.75, 1), (0, 1, 2), (5, 8, 16, 24))


def test_a_tenth_of_the_table_covers() -> None:
    """A hundred trials in each of a tenth of the cells up to skew 1, each above 93 % but for chance: 1 in 10,000."""
    chosen = [job for job in jobs(100) if job.world.skew <= 1][::10]
    assert {job.statistic for job in chosen} >= set(ROWS | GROUPS)
    for cell in map(cover, chosen):
        assert stats.binom.cdf(cell.hits, cell.trials, 0.93) > 1e-4, cell


@pytest.mark.parametrize("name", WORDS)
def test_intervals_of_words_cover(name: str) -> None:
    cell = cover(Job(name, World(0.5, 1.0, 300), 100, 3))
    assert stats.binom.cdf(cell.hits, 100, 0.93) > 1e-4
    assert 0 < cell.truth_error < 0.02


def narrow(world: World, generator: np.random.Generator) -> tuple[Resampled | OverUnits, float]:
    """A mean over groups whose interval takes tokens within groups as units: what this study is there to find."""
    effects = world.effects(generator, (world.units, 1)) + 0.2 * generator.standard_normal((world.units, 6))
    tokens = effects.ravel()
    return OverUnits("words", float(tokens.mean()), (tokens.sum() - tokens) / (len(tokens) - 1)), 0.0


def test_an_interval_that_is_too_narrow_falls_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(coverage.DRAWN, "narrow", narrow)
    cell = cover(Job("narrow", World(1.0, 0.0, 8), 200, 0))
    assert 0.4 < cell.coverage < 0.75
    assert cell.hits + cell.above + cell.below == 200
    assert short([cell]) == [cell]


def made_up(coverage_of: float, skew: float = 0.0, share: float = 0.0, name: str = "d") -> Cell:
    """A cell of a thousand trials."""
    hits = round(1000 * coverage_of)
    return Cell(name, skew, 5, share, 1000, hits, 1000 - hits, 0, 2.0, 0.0)


def test_skew_2_is_shown_and_not_held() -> None:
    """Of one cell 1 % of 93 % is 911 of a thousand, by the binomial."""
    assert stats.binom.cdf(910, 1000, 0.93) < 0.01 < stats.binom.cdf(911, 1000, 0.93)
    assert short([made_up(0.911)]) == []
    assert short([made_up(0.910)]) == [made_up(0.910)]
    assert short([made_up(0.5, skew=2.0)]) == []


def test_cells_counted_below_are_drawn_again() -> None:
    """Ten times as often, from seeds of their own; not those of skew 2."""
    every = jobs(1000)[:12]
    assert {job.world.skew for job in every} == {0, 1, 2}
    cells = [made_up(0.92 if number in (2, 5, 11) else 0.93, job.world.skew) for number, job in enumerate(every)]
    again = coverage.counted_again(every, cells)
    assert [(job.world, job.trials) for job in again] == [(every[n].world, 10_000) for n in (2, 5)]
    assert not {job.seed for job in again} & {job.seed for job in every}


def test_tables_by_hand() -> None:
    cells = [made_up(0.95), made_up(0.93, share=1.0), made_up(0.9, skew=2.0), made_up(0.96, skew=1.0)]
    (line,) = [line for line in summary(cells).splitlines() if line.startswith("| d ")]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == ["d", "0.940 (0.930)", "0.960 (0.960)", "0.900 (0.900)"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(cells).splitlines() if "| d" in line]
    assert rows[0] == ["d", "0", "5", "0.950", "–", "–", "–", "0.930"]
    assert rows[2] == ["d", "2", "5", "0.900", "–", "–", "–", "–"]


def test_the_figure_shows_every_statistic_and_is_the_same_twice(tmp_path: Path) -> None:
    cells = [made_up(0.95, skew, share, name) for skew in SKEWS for share in SHARES for name in coverage.DRAWN]
    for name in ("a", "b"):
        draw(cells, tmp_path / f"{name}.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert all(name in text for name in simulated.ROWS | simulated.GROUPS | simulated.WORDS)


def test_the_command_writes_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    readme = tmp_path / "reports/trials/README.md"
    readme.parent.mkdir(parents=True)
    readme.write_text(f"before\n{coverage.MARKS[0]}\n{coverage.MARKS[1]}\n", encoding="utf-8")
    monkeypatch.setattr(coverage, "jobs", lambda trials: jobs(trials)[:12])
    monkeypatch.setattr(coverage, "in_workers", lambda work, every, _: [work(job) for job in every])
    assert main(["trials", "coverage", "20"]) == 0
    written = json.loads((tmp_path / "reports/trials/coverage.json").read_text(encoding="utf-8"))
    assert (written["trials"], len(written["cells"])) == (20, 12)
    assert "| ratio of means " in readme.read_text(encoding="utf-8")
    assert {path.name for path in (tmp_path / "reports/trials").iterdir()} == {
        "README.md",
        "coverage.json",
        "coverage.md",
        "coverage.svg",
    }
    assert "ratio of means" in capsys.readouterr().out


def test_a_grouped_row_is_of_the_class_that_claims_use() -> None:
    assert isinstance(World(0.5, 1.0, 5).rows(np.random.default_rng(0), [1.0], [0.1]), GroupedRows)
