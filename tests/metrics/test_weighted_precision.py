"""Weighted average precision against numbers worked out by hand, against duplicated rows, and against the plain one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.metrics.average_precision import average_precision, average_precision_by
from twotower.metrics.weighted_precision import LANES, Ranking, weighted_average_precision

EXAMPLES = examples(60)


@st.composite
def weighted_pairs(draw):
    """Labels, scores with many ties or none, and whole weights, some of them 0."""
    n = draw(st.integers(1, 30))

    def column(values):
        return draw(st.lists(values, min_size=n, max_size=n))

    tied, free = st.sampled_from([-2.5, -0.0, 0.0, 0.25, 7.0, np.inf]), st.floats(-1e3, 1e3, width=32)
    scores = column(draw(st.sampled_from([tied, free])))
    return np.array(column(st.integers(0, 1))), np.array(scores, np.float32), np.array(column(st.integers(0, 3)))


@pytest.mark.parametrize(
    "labels, scores, weight, expected",
    [
        ([1, 0], [2, 1], [5, 9], 1.0),
        ([0, 1], [2, 1], [2, 1], 1 / 3),  # two negatives above the positive
        ([0, 1], [2, 1], [0, 1], 1.0),  # the negative does not count
        ([1, 0, 1], [3, 2, 1], [2, 1, 1], (2 * 1 + 1 * 3 / 4) / 3),
        ([1, 0, 1], [3, 2, 1], [0, 1, 1], 1 / 2),
        ([1, 0, 0], [1, 1, 0], [1, 3, 8], 1 / 4),  # a tie: one of four, and what is below does not matter
        ([0, 1, 1, 0], [1, 1, 1, 1], [1, 2, 0, 1], 1 / 2),
    ],
)
def test_values_worked_out_by_hand(labels, scores, weight, expected):
    found = weighted_average_precision(np.array(labels), np.array(scores, np.float32), np.array(weight))
    assert found == pytest.approx(expected, abs=1e-15)


@EXAMPLES
@given(weighted_pairs())
def test_weights_of_one_give_average_precision_bit_for_bit(case):
    labels, scores, weight = case
    found = weighted_average_precision(labels, scores, np.ones_like(weight))
    np.testing.assert_array_equal(found, average_precision(labels, scores))


@EXAMPLES
@given(weighted_pairs())
def test_a_weight_is_as_good_as_so_many_rows(case):
    labels, scores, weight = case
    repeated = average_precision(np.repeat(labels, weight), np.repeat(scores, weight))
    np.testing.assert_array_equal(weighted_average_precision(labels, scores, weight), repeated)


@EXAMPLES
@given(weighted_pairs(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(case, random):
    order = list(range(len(case[0])))
    random.shuffle(order)
    np.testing.assert_array_equal(
        weighted_average_precision(*(column[order] for column in case)), weighted_average_precision(*case)
    )


def test_each_cell_gets_what_its_own_pairs_get():
    rng = np.random.default_rng(0)
    labels, user, cell = rng.random(400) < 0.3, rng.integers(0, 50, 400), rng.integers(0, 6, 400)
    scores = rng.integers(0, 20, 400).astype(np.float32)
    labels[cell == 2] = False
    weight = rng.integers(0, 4, 50).astype(np.int32)
    ranking = Ranking(labels, scores, user, cell, 8)  # cells 6 and 7 never occur
    times = weight[user]
    rows = [np.repeat(np.flatnonzero(cell == k), times[cell == k]) for k in range(8)]
    expected = [average_precision(labels[repeated], scores[repeated]) for repeated in rows]
    np.testing.assert_array_equal(ranking.average_precision(weight[:, None])[:, 0], expected)
    ones = ranking.average_precision(np.ones((50, 1), np.int32))
    np.testing.assert_array_equal(ones[:, 0], average_precision_by(labels, scores, cell, 8))


def one_weighting(weight, labels, scores, user):
    """Average precision of one list under one weighting, pair by pair: what the kernel does for many at once."""
    positives = retrieved = total = 0
    for score in np.unique(scores[labels])[::-1]:
        block = int(weight[user[labels & (scores == score)]].sum())
        positives += block
        retrieved = int(weight[user[scores >= score]].sum())
        total += block * (positives / retrieved) if block else 0.0
    return total / positives if positives else np.nan


@pytest.mark.parametrize("n_weightings", [1, 3, LANES])
def test_many_weightings_at_once_give_the_bits_of_each_alone(n_weightings):
    rng = np.random.default_rng(n_weightings)
    labels, user = rng.random(300) < 0.2, rng.integers(0, 40, 300)
    scores = np.concatenate([rng.normal(size=200), rng.integers(0, 4, 100)]).astype(np.float32)  # some tied
    weight = rng.integers(0, 4, (40, n_weightings))
    found = Ranking(labels, scores, user, np.zeros(300, int), 1).average_precision(weight)
    assert found.shape == (1, n_weightings)
    np.testing.assert_array_equal(found[0], [one_weighting(of_one, labels, scores, user) for of_one in weight.T])


def test_positives_with_one_score_in_two_cells_are_two_blocks():
    ranking = Ranking(np.array([1, 1]), np.zeros(2, np.float32), np.arange(2), np.array([0, 1]), 2)
    np.testing.assert_array_equal(ranking.average_precision(np.ones((2, 1), np.int32)), [[1.0], [1.0]])


@pytest.mark.parametrize("labels, weight", [([0, 0], [1, 1]), ([1, 0], [0, 1]), ([], [])])
def test_without_a_positive_that_counts_there_is_no_value(labels, weight):
    weight = np.array(weight, int)
    assert np.isnan(weighted_average_precision(np.array(labels), np.zeros(len(labels), np.float32), weight))


@pytest.mark.parametrize("weight", [[1.0, 1.0], [1, -1], [1]])
def test_weights_are_whole_numbers_one_a_pair(weight):
    with pytest.raises(InputError, match="weights"):
        weighted_average_precision(np.array([1, 0]), np.array([2.0, 1.0]), np.array(weight))
