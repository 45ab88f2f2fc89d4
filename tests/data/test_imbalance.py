"""How unequal territories are, in numbers worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from twotower.data.sampling.imbalance import SampledCounts, SampleSummary, effective_number, max_over_min
from twotower.data.territories import look_up


def summary_of(random, active, users=(900, 90, 9)) -> SampleSummary:
    random, active, zero = np.array(random), np.array(active), np.zeros(3, int)
    territories = replace(look_up(["Germany", "France", "Malta"]), users=np.array(users))
    drawn = (SampledCounts(zero + users, positives, 8 * positives) for users, positives in ((5, random), (2, active)))
    return SampleSummary(territories, np.array(users), *drawn, SampledCounts(zero, zero, zero), 8.0, zero, zero)


def test_equal_territories_count_in_full_and_one_alone_counts_as_one():
    assert effective_number(np.array([7, 7, 7, 7])) == pytest.approx(4)
    assert effective_number(np.array([0, 5, 0])) == pytest.approx(1)
    assert effective_number(np.array([3, 1])) == pytest.approx(1 / (0.75**2 + 0.25**2))
    assert np.isnan(effective_number(np.zeros(3)))


def test_max_over_min_by_hand():
    assert max_over_min(np.array([30, 10, 20])) == 3
    assert max_over_min(np.array([30, 0])) == np.inf
    assert np.isnan(max_over_min(np.zeros(2))) and np.isnan(max_over_min(np.array([])))


def test_active_users_change_the_imbalance():
    summary = summary_of(random=[100, 10, 1], active=[0, 40, 49])
    assert summary.spread() == (100, 2)
    assert summary.effective_territories() == (
        pytest.approx(111**2 / (100**2 + 10**2 + 1)),
        pytest.approx(200**2 / (100**2 + 50**2 + 50**2)),
    )
    assert summary.train.users.tolist() == [7, 7, 7] and summary.train.negatives.tolist() == [800, 400, 400]


def test_majors_have_most_users_and_empty_territories_are_none():
    assert summary_of([1, 1, 1], [0, 0, 0], users=(5, 0, 8)).majors.tolist() == [2, 0]
