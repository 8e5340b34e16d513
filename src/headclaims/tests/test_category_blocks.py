"""Blocks and the diagonal of grouped tokens: over all pairs by brute force, the scatter identity, and by hand."""

import math

import numpy as np
import pytest

from headclaims.measures.category_blocks import block_auc, block_distance, diagonal, relative_depths

GROUP = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2])


def auc_by_pairs(scores: np.ndarray, group: np.ndarray, queries: list[int]) -> float:
    """The share of pairs, an in-group and a cross-group score of these queries, that the in-group one wins."""
    tokens = range(len(group))
    inside = [scores[i, j] for i in queries for j in tokens if i != j and group[i] == group[j]]
    across = [scores[i, j] for i in queries for j in tokens if group[i] != group[j]]
    return float(np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a in inside for b in across]))


@pytest.mark.parametrize("values", [3, 1000])
def test_block_auc_compares_all_pairs(values: int) -> None:
    """With three values most pairs are ties; own scores are no part of it."""
    draw = np.random.default_rng(values)
    scores = draw.integers(values, size=(9, 9)).astype(float)
    auc = block_auc(scores, GROUP)
    assert auc == pytest.approx(auc_by_pairs(scores, GROUP, list(range(9))), rel=1e-12)
    np.fill_diagonal(scores, 1e6)
    assert block_auc(scores, GROUP) == pytest.approx(auc, rel=1e-12)


def test_block_auc_at_its_ends() -> None:
    same = np.equal.outer(GROUP, GROUP).astype(float)
    assert block_auc(same, GROUP) == 1.0
    assert block_auc(-same, GROUP) == 0.0
    assert block_auc(np.zeros((9, 9)), GROUP) == 0.5


def test_block_auc_of_two_groups_by_hand() -> None:
    """In-group scores 4, 1, 3, 2; across 2, 2, 0, 0, 5, 0, 0, 0: they win 7, 5, 7 and 5 + 2/2 of 8."""
    scores = np.array([[9, 4, 2, 2], [1, 9, 0, 0], [5, 0, 9, 3], [0, 0, 2, 9]], dtype=float)
    assert block_auc(scores, np.array([0, 0, 1, 1])) == pytest.approx((7 + 5 + 7 + 6) / 32)


def distance_by_loops(scores: np.ndarray, group: np.ndarray, tokens: list[int]) -> float:
    """(m_in − m_out)/√(s²_in + s²_out) of the off-diagonal scores among some tokens."""
    inside = [scores[i, j] for i in tokens for j in tokens if i != j and group[i] == group[j]]
    across = [scores[i, j] for i in tokens for j in tokens if group[i] != group[j]]
    return float((np.mean(inside) - np.mean(across)) / math.sqrt(np.var(inside) + np.var(across)))


@pytest.mark.parametrize("seed", range(3))
def test_block_distance_by_loops(seed: int) -> None:
    """A group is left out as queries and as keys; own scores are no part of it; the level of scores neither."""
    scores = np.random.default_rng(seed).gamma(2.0, size=(9, 9)) + 50
    of = block_distance(scores, GROUP)
    assert of.value == pytest.approx(distance_by_loops(scores, GROUP, list(range(9))), rel=1e-9)
    wanted = [distance_by_loops(scores, GROUP, np.flatnonzero(g != GROUP).tolist()) for g in range(3)]
    assert of.left_out["groups"].ravel() == pytest.approx(np.array(wanted), rel=1e-9)
    np.fill_diagonal(scores, 1e3)
    assert block_distance(scores, GROUP).value == pytest.approx(of.value, rel=1e-9)


def test_block_distance_of_two_groups_by_hand() -> None:
    """In-group scores 4, 1, 3, 2: mean 2.5, variance 1.25; across 2, 2, 0, 0, 5, 0, 0, 0: 9/8 and 33/8 − 81/64."""
    scores = np.array([[9, 4, 2, 2], [1, 9, 0, 0], [5, 0, 9, 3], [0, 0, 2, 9]], dtype=float)
    d = (2.5 - 9 / 8) / math.sqrt(1.25 + 33 / 8 - 81 / 64)
    assert block_distance(scores, np.array([0, 0, 1, 1])).value == pytest.approx(d)


def test_blocks_of_normal_scores_lie_a_quantile_of_the_auc_apart() -> None:
    draw = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 6)
    scores = draw.normal(size=(360, 360)) + 1.2816 * math.sqrt(2) * np.equal.outer(group, group)
    assert block_auc(scores, group) == pytest.approx(0.90, abs=0.01)
    assert block_distance(scores, group).value == pytest.approx(1.2816, abs=0.05)


@pytest.mark.parametrize("level", [0.0, 3.7])
def test_scores_alike_but_for_rounding_have_no_distance(level: float) -> None:
    scores = level * (1 + 1e-7 * np.random.default_rng(0).standard_normal((9, 9)))
    assert block_distance(scores, GROUP).value == 0.0
    # Told apart by groups alone, they are as far apart as can be said.
    assert block_distance(np.equal.outer(GROUP, GROUP) + level, GROUP).value > 1e4


def bilinear(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random vectors of `GROUP`'s tokens and a random W, with a skew part."""
    draw = np.random.default_rng(seed)
    return draw.normal(size=(9, 5)) + 3 * draw.normal(size=(3, 5))[GROUP], draw.normal(size=(5, 5))


def test_the_scatter_identity() -> None:
    """D = −tr(B S_w), S_w the mean over groups of 3, 4 and 2 of scatter/(n − 1); skew part and biases cancel."""
    x, W = bilinear(2)
    scatter = np.zeros((5, 5))
    for g, n in enumerate((3, 4, 2)):
        away = x[g == GROUP] - x[g == GROUP].mean(axis=0)
        scatter += sum(np.outer(a, a) for a in away) / (n - 1) / 3
    expected = -np.trace((W + W.T) / 2 @ scatter)
    assert abs(expected) > 0.1
    measured, of_skew = diagonal(x @ W @ x.T, GROUP), diagonal(x @ (W - W.T) @ x.T, GROUP)
    assert pytest.approx(expected, rel=1e-10) == measured.D.value
    assert abs(of_skew.D.value) < 1e-10
    draw = np.random.default_rng(3)
    biased = x @ W @ x.T + draw.normal(size=(9, 1)) + draw.normal(size=(1, 9))
    assert pytest.approx(expected, rel=1e-10) == diagonal(biased, GROUP).D.value


# Two groups. Of {0, 1}: row means off the diagonal 3 and 1, own 1 and 2: differences 2 and −1. Of {2, 3, 4}: off the
# diagonal 2, 3 and 4 in the mean, own 0, 0 and 6: 2, 3 and −2.
BY_HAND = np.array([[1, 3, 9, 9, 9], [1, 2, 9, 9, 9], [9, 9, 0, 1, 3], [9, 9, 2, 0, 4], [9, 9, 3, 5, 6]], dtype=float)
TWO_GROUPS = np.array([0, 0, 1, 1, 1])


def test_two_groups_by_hand() -> None:
    of = diagonal(BY_HAND, TWO_GROUPS)
    assert of.difference.tolist() == [2, -1, 2, 3, -2]
    assert pytest.approx((0.5 + 1.0) / 2) == of.D.value
    assert of.size.tolist() == [2, 2, 3, 3, 3]
    # [[1, 3], [1, 2]] centred by rows (means 2, 1.5), columns (1, 2.5) and the whole (1.75): ±0.25 throughout.
    assert of.square[:2] == pytest.approx([0.125, 0.125])
    # [[0, 1, 3], [2, 0, 4], [3, 5, 6]]: rows 4/3, 2, 14/3, columns 5/3, 2, 13/3, the whole 8/3; in thirds
    # [[-1, 1, 0], [3, -4, 1], [-2, 3, -1]].
    assert of.square[2:] == pytest.approx([2 / 9, 26 / 9, 14 / 9])
    spread = math.sqrt((0.25 + 42 / 9) / (4 + 9))
    assert of.relative_depth == pytest.approx(0.75 / spread)


def test_D_is_a_mean_over_groups_with_student_s_interval() -> None:
    """Differences 0.5 and 1 of the two groups: 0.75 ± t(1) · 0.25."""
    interval = diagonal(BY_HAND, TWO_GROUPS).D.interval()
    assert interval is not None
    assert interval.unit == "groups"
    assert (interval.low, interval.high) == pytest.approx((0.75 - 12.7062 / 4, 0.75 + 12.7062 / 4), rel=1e-5)


def test_depth_is_positive_iff_the_diagonal_is_dark() -> None:
    """Identity scores of n tokens a group: D = ∓1, and double centring leaves n − 1 of n² squares' sum."""
    group = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    spread = math.sqrt(3 / 16)
    assert diagonal(np.eye(8), group).relative_depth == pytest.approx(-1 / spread)
    assert diagonal(5 - np.eye(8), group).relative_depth == pytest.approx(1 / spread)


def test_depth_depends_on_neither_scale_nor_biases_nor_cross_group_scores() -> None:
    x, W = bilinear(4)
    scores = x @ W @ x.T
    depth = diagonal(scores, GROUP).relative_depth
    draw = np.random.default_rng(5)
    assert diagonal(100 * scores, GROUP).relative_depth == pytest.approx(depth, rel=1e-9)
    assert diagonal(-scores, GROUP).relative_depth == pytest.approx(-depth, rel=1e-9)
    biased = scores + draw.normal(size=(9, 1)) + draw.normal(size=(1, 9))
    assert diagonal(biased, GROUP).relative_depth == pytest.approx(depth, rel=1e-9)
    across = np.where(np.equal.outer(GROUP, GROUP), scores, draw.normal(size=(9, 9)))
    assert diagonal(across, GROUP).relative_depth == pytest.approx(depth, rel=1e-12)


def test_groups_need_not_lie_together() -> None:
    """Tokens and their scores in another order give their own values in that order."""
    order = np.array([4, 0, 3, 1, 2])
    of = diagonal(BY_HAND[np.ix_(order, order)], TWO_GROUPS[order])
    assert of.difference.tolist() == [-2, 2, 3, -1, 2]
    assert pytest.approx(0.75) == of.D.value


def test_scores_all_alike_have_depth_zero() -> None:
    assert diagonal(np.full((9, 9), 2.5), GROUP).relative_depth == 0.0


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="group of one"):
        diagonal(np.eye(3), np.array([0, 0, 1]))


def test_scores_alike_but_for_rounding_have_no_depth() -> None:
    """3.7 everywhere, give or take 1e-7: what float32 leaves of a head that tells no tokens apart."""
    scores = 3.7 + 1e-7 * np.random.default_rng(0).standard_normal((8, 8))
    assert diagonal(scores, np.repeat([0, 1], 4)).relative_depth == 0.0
    assert diagonal(scores, np.repeat([0, 1], 4)).D.value == 0.0
    told_apart = scores - 1e-3 * np.eye(8)
    assert diagonal(told_apart, np.repeat([0, 1], 4)).relative_depth > 1


def test_depths_of_many_heads_are_those_of_each() -> None:
    """Groups of unequal sizes, one head of a scale of its own, one without any scores, one alike but for rounding."""
    draw = np.random.default_rng(4)
    group = np.array([0, 2, 1, 0, 0, 1, 2, 2, 2])
    scores = draw.standard_normal((5, 9, 9))
    scores[1] *= 1e4
    scores[2] = 0
    scores[3] = 1 + 1e-9 * scores[3]
    found = relative_depths(scores, group)
    assert found == pytest.approx(np.array([diagonal(one, group).relative_depth for one in scores]), rel=1e-10)
    assert found[2:4].tolist() == [0.0, 0.0]
