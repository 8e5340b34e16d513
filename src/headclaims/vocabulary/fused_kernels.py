"""Kernels of `vocabulary.fused`, in Triton's language: its compiler takes no types, and no names but constants.

A program is one row, in one warp, and holds 1024 successive scores of it, 32 in each of its 32 lanes: four successive
ones in eight places. What a lane holds is a group, and all is added up by lane, so that no lane waits for another.
`highest` [row, group] are the highest scores of groups; `near_groups` [row, NEAR] and `groups`, `which` and `best`
[row, MOST] have room for some groups or keys a row, and how many there would be is counted in `near` and `found`. Keys
are given by factor, [factor, key], as those of a group lie close together then.
"""

from __future__ import annotations

import triton
import triton.language as tl

PLACES, LANES, TOGETHER = tl.constexpr(8), tl.constexpr(32), tl.constexpr(4)
GROUP, BLOCK = tl.constexpr(32), tl.constexpr(1024)
NEAR = tl.constexpr(32)
"""Room in a row for groups that hold a key near the own one."""
ROOM = tl.constexpr(128)
"""Bins in memory, a power of 2."""


@triton.jit
def _products(queries, row, keys_by_factor, key, there, n_keys, width):
    """Compute Σ_f q_f k_f of queries and keys in float64, pair by pair, in the order of f."""
    total = tl.zeros(key.shape, tl.float64)
    # Unrolled, so that several loads are under way.
    for f in tl.range(0, width, loop_unroll_factor=16):
        total += tl.load(queries + row * width + f) * tl.load(keys_by_factor + f * n_keys + key, mask=there, other=0.0)
    return total


@triton.jit
def pair_products(queries, keys_by_factor, row, key, out, n_pairs, n_keys, width, PAIRS: tl.constexpr):
    """Compute `_products` of some pairs."""
    pair = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    there = pair < n_pairs
    i = tl.load(row + pair, mask=there, other=0)
    j = tl.load(key + pair, mask=there, other=0)
    tl.store(out + pair, _products(queries, i, keys_by_factor, j, there, n_keys, width), mask=there)


@triton.jit(do_not_specialize=["n_columns", "first_key", "n_groups"])
def fold(
    tile,
    stride,
    n_columns,
    first_key,
    n_groups,
    places,
    own,
    low,
    high,
    above,
    near,
    near_groups,
    peak,
    total,
    highest,
    CAP: tl.constexpr,
    CAUSAL: tl.constexpr,
):
    """Fold a tile into its rows: keys above the own one, peak and Σ exp, the highest score of each group; near groups.

    The own score takes the place of the product with the own key, `places`. Near is a group with a score from `low` to
    `high`, as that of the own key is: its keys are not counted here. The last block's scores after `n_columns` are to
    be −∞.
    """
    row = tl.program_id(0)
    place = tl.load(places + row)
    own_score = tl.load(own + row)
    lowest = tl.load(low + row)
    uppermost = tl.load(high + row)
    # Subtraction keeps the order: what is near is not farther than this.
    reach = tl.maximum(uppermost - own_score, own_score - lowest)
    n_near = tl.load(near + row)
    before = tl.load(peak + row)
    lane = tl.arange(0, LANES)
    far = tl.arange(0, PLACES) * (LANES * TOGETHER)
    offset = far[:, None, None] + (lane * TOGETHER)[None, :, None] + tl.arange(0, TOGETHER)[None, None, :]
    n_above = tl.zeros([LANES], tl.float32)
    top = tl.zeros([LANES], before.dtype) + before
    mass = tl.zeros([LANES], tl.float64)
    for start in range(0, n_columns, BLOCK):
        key = first_key + start + offset
        score = tl.load(tile + row * stride + start + offset)
        if CAUSAL:
            score = tl.where(key <= place, score, float("-inf"))
        if (place >= first_key + start) & (place < first_key + start + BLOCK):
            score = tl.where(key == place, own_score, score)
        group = (first_key + start) // GROUP + lane
        is_near = tl.min(tl.min(tl.abs(score - own_score), 2), 0) <= reach
        n_above += tl.where(is_near, 0.0, tl.sum(tl.sum(tl.where(score > uppermost, 1.0, 0.0), 2), 0))
        number = tl.sum(is_near.to(tl.int32), 0)
        if number > 0:
            slot = n_near + tl.cumsum(is_near.to(tl.int32), 0) - 1
            tl.store(near_groups + row * NEAR + slot, group, mask=is_near & (slot < NEAR))
            n_near += number
        of_group = tl.max(tl.max(score, 2), 0)
        tl.store(highest + row * n_groups + group, of_group)
        if CAP > 0:
            t = tl.exp(-2 * tl.abs(score.to(tl.float64)) / CAP)
            size = CAP * (1 - t) / (1 + t)
            value = tl.where(score == float("-inf"), float("-inf"), tl.where(score < 0, -size, size))
            new = tl.maximum(top, tl.max(tl.max(value, 2), 0))
        else:
            value = score
            new = tl.maximum(top, of_group)
        terms = tl.exp(value - new[None, :, None])
        mass = mass * tl.exp(top - new).to(tl.float64) + tl.sum(tl.sum(terms, 2), 0).to(tl.float64)
        top = new
    highest_of_row = tl.max(top, 0)
    sum_of_tile = tl.sum(mass * tl.exp(top - highest_of_row).to(tl.float64), 0)
    tl.store(total + row, tl.load(total + row) * tl.exp(before - highest_of_row).to(tl.float64) + sum_of_tile)
    tl.store(peak + row, highest_of_row)
    tl.store(above + row, tl.load(above + row) + tl.sum(n_above, 0).to(tl.int32))
    tl.store(near + row, n_near)


@triton.jit(do_not_specialize=["n_groups"])
def choose(
    highest,
    n_groups,
    rounding,
    least,
    groups,
    n_chosen,
    K: tl.constexpr,
    GROUPS: tl.constexpr,
    MOST: tl.constexpr,
):
    """Choose the groups of a row that may hold one of its K best keys.

    Of each of the K groups with the highest scores one key at least is as high, up to rounding, as the last of these
    groups' highest: a key whose product in float64 is below `least` is none of the K best.
    """
    row = tl.program_id(0)
    bound = tl.load(rounding + row)
    group = tl.arange(0, GROUPS)
    value = tl.load(highest + row * n_groups + group, mask=group < n_groups, other=float("-inf"))
    rest = value
    kth = tl.max(rest, 0)
    for _ in range(K - 1):
        # Groups that are as high as one another go together, so that this may be lower than the K-th.
        rest = tl.where(rest == kth, float("-inf"), rest)
        kth = tl.max(rest, 0)
    lowest = kth.to(tl.float64) - bound
    reaches = (value.to(tl.float64) >= lowest - bound) & (value > float("-inf"))
    slot = tl.cumsum(reaches.to(tl.int32), 0) - 1
    tl.store(groups + row * MOST + slot, group, mask=reaches & (slot < MOST))
    tl.store(n_chosen + row, tl.sum(reaches.to(tl.int32), 0))
    tl.store(least + row, lowest)


@triton.jit
def _keys_of(group):
    """Return the keys of a group."""
    held = tl.arange(0, GROUP)
    offset = held // TOGETHER * (LANES * TOGETHER) + held % TOGETHER
    return group // LANES * BLOCK + group % LANES * TOGETHER + offset


@triton.jit(do_not_specialize=["n_keys"])
def decide(
    queries,
    keys_by_factor,
    n_keys,
    width,
    places,
    own,
    near,
    near_groups,
    above,
    least,
    groups,
    n_chosen,
    which,
    best,
    found,
    CAUSAL: tl.constexpr,
    MOST: tl.constexpr,
):
    """Compute in float64 what float32 leaves in doubt of a row: keys of near groups that are above, and the best keys.

    The latter, and some more, are in no order.
    """
    row = tl.program_id(0)
    place = tl.load(places + row)
    own_score = tl.load(own + row)
    n_above = tl.load(above + row)
    for one in range(0, tl.minimum(tl.load(near + row), NEAR)):
        key = _keys_of(tl.load(near_groups + row * NEAR + one))
        seen = (key < n_keys) & (key != place)
        if CAUSAL:
            seen = seen & (key <= place)
        score = _products(queries, row, keys_by_factor, key, seen, n_keys, width)
        higher = seen & ((score > own_score) | ((score == own_score) & (key < place)))
        n_above += tl.sum(higher.to(tl.int32), 0)
    tl.store(above + row, n_above)
    lowest = tl.load(least + row)
    number = 0
    for one in range(0, tl.minimum(tl.load(n_chosen + row), MOST)):
        key = _keys_of(tl.load(groups + row * MOST + one))
        seen = key < n_keys
        if CAUSAL:
            seen = seen & (key <= place)
        score = _products(queries, row, keys_by_factor, key, seen, n_keys, width)
        score = tl.where(key == place, own_score, score)
        enters = seen & (score >= lowest)
        slot = number + tl.cumsum(enters.to(tl.int32), 0) - 1
        tl.store(which + row * MOST + slot, key.to(tl.int64), mask=enters & (slot < MOST))
        tl.store(best + row * MOST + slot, score, mask=enters & (slot < MOST))
        number += tl.sum(enters.to(tl.int32), 0)
    tl.store(found + row, number)


@triton.jit(do_not_specialize=["n_columns", "first_row", "first_column"])
def fold_bins(
    cosines,
    scores,
    stride,
    n_columns,
    first_row,
    first_column,
    itself,
    per_unit,
    margin,
    sums,
    pairs,
    doubtful,
    both_of_doubtful,
    n_doubtful,
    AT_ONCE: tl.constexpr,
):
    """Add both scores of each pair i < j of a tile to the bin of its cosine; write down those in doubt.

    `sums` and `pairs` are [row of the tile, bin]; `doubtful` [pair, 2] holds i and j, `both_of_doubtful` what they add.
    Scores of AT_ONCE pairs in a bin are added up in float32, and these sums in float64.
    """
    row = tl.program_id(0)
    i = first_row + row
    of_row = tl.load(itself + i)
    bins = tl.arange(0, ROOM)
    sum_of = tl.load(sums + row * ROOM + bins)
    pairs_of = tl.load(pairs + row * ROOM + bins)
    far = tl.arange(0, AT_ONCE // (LANES * TOGETHER)) * (LANES * TOGETHER)
    near = (tl.arange(0, LANES) * TOGETHER)[:, None] + tl.arange(0, TOGETHER)[None, :]
    offset = far[:, None, None] + near[None, :, :]
    # Pairs before the diagonal are those after it.
    first = tl.maximum(i + 1 - first_column, 0) // AT_ONCE * AT_ONCE
    for start in range(first, n_columns, AT_ONCE):
        column = start + offset
        j = first_column + column
        is_pair = (column < n_columns) & (j > i)
        cosine = tl.load(cosines + row * stride + column, mask=is_pair, other=0.0)
        score = tl.load(scores + row * stride + column, mask=is_pair, other=0.0)
        both = ((score.to(tl.float64) - of_row) - tl.load(itself + j, mask=is_pair, other=0.0)).to(tl.float32)
        place = (cosine + 1) * per_unit
        whole = tl.floor(place)
        beyond = place - whole
        sure = is_pair & (beyond >= margin) & (beyond <= 1 - margin)
        # What is in no bin for sure is in one that is never asked for.
        number = tl.where(sure, whole.to(tl.int32), ROOM)
        lowest = tl.min(tl.min(tl.min(number, 2), 0), 0)
        highest = tl.max(tl.max(tl.max(tl.where(sure, number, -1), 2), 0), 0)
        for one in range(lowest, highest + 1):
            here = number == one
            sum_here = tl.sum(tl.sum(tl.sum(tl.where(here, both, 0.0), 2), 0), 0)
            pairs_here = tl.sum(tl.sum(tl.sum(tl.where(here, 1.0, 0.0), 2), 0), 0)
            sum_of += tl.where(bins == one, sum_here.to(tl.float64), 0.0)
            pairs_of += tl.where(bins == one, 2 * pairs_here.to(tl.int64), 0)
        again = (is_pair & (number == ROOM)).to(tl.int32)
        by_far = tl.sum(again, 2)
        by_lane = tl.sum(by_far, 0)
        before_lane = tl.atomic_add(n_doubtful, tl.sum(by_lane, 0)) + tl.cumsum(by_lane, 0) - by_lane
        before_far = before_lane[None, :] + tl.cumsum(by_far, 0) - by_far
        slot = before_far[:, :, None] + tl.cumsum(again, 2) - 1
        tl.store(doubtful + 2 * slot, i + 0 * slot, mask=again > 0)
        tl.store(doubtful + 2 * slot + 1, j, mask=again > 0)
        tl.store(both_of_doubtful + slot, both, mask=again > 0)
    tl.store(sums + row * ROOM + bins, sum_of)
    tl.store(pairs + row * ROOM + bins, pairs_of)


@triton.jit
def again_in_bins(
    vectors,
    norms,
    doubtful,
    both_of_doubtful,
    n_doubtful,
    d_model,
    per_unit,
    last,
    sums,
    pairs,
    PAIRS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Add pairs in doubt to the bins of their cosines in float64; `sums` and `pairs` are [program, bin]."""
    program = tl.program_id(0)
    n_pairs = tl.load(n_doubtful)
    for start in range(program * PAIRS, n_pairs, tl.num_programs(0) * PAIRS):
        pair = start + tl.arange(0, PAIRS)
        there = pair < n_pairs
        i = tl.load(doubtful + 2 * pair, mask=there, other=0).to(tl.int64)
        j = tl.load(doubtful + 2 * pair + 1, mask=there, other=0).to(tl.int64)
        cosine = tl.zeros([PAIRS], tl.float64)
        for first in range(0, d_model, WIDTH):
            d = first + tl.arange(0, WIDTH)
            mask = there[:, None] & (d < d_model)[None, :]
            x = tl.load(vectors + i[:, None] * d_model + d[None, :], mask=mask, other=0.0).to(tl.float64)
            y = tl.load(vectors + j[:, None] * d_model + d[None, :], mask=mask, other=0.0).to(tl.float64)
            cosine += tl.sum(x * y, 1)
        cosine = cosine / tl.load(norms + i, mask=there, other=1.0) / tl.load(norms + j, mask=there, other=1.0)
        # Equal vectors have cosine 1 up to rounding.
        place = ((tl.minimum(tl.maximum(cosine, -1.0), 1.0) + 1) * per_unit + 1e-9).to(tl.int32)
        number = tl.where(cosine > 1 - 1e-9, last, place)
        both = tl.load(both_of_doubtful + pair, mask=there, other=0.0)
        tl.atomic_add(sums + program * ROOM + number, both.to(tl.float64), mask=there)
        tl.atomic_add(pairs + program * ROOM + number, tl.full([PAIRS], 2, tl.int64), mask=there)
