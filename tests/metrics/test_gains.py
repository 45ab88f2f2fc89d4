"""Relative gains: the paper's own table as a check, runs matched by seed, and what stays undefined."""

import warnings

import numpy as np
import pytest

from twotower.metrics.averages import spread
from twotower.metrics.bootstrap import without_replicates
from twotower.metrics.gains import match_runs, relative_gain
from twotower.metrics.significance import UNDECIDED, summarise


def test_a_gain_is_relative_to_the_baseline():
    assert relative_gain(0.3, 0.2) == pytest.approx(50)
    assert relative_gain(0.2, 0.3) == pytest.approx(-100 / 3)
    assert relative_gain(0.2, 0.2) == 0


def test_what_is_undefined_on_either_side_has_no_gain():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(relative_gain([np.nan, 0.1, np.nan], [0.1, np.nan, np.nan])).all()


def test_runs_of_the_same_seed_are_matched_and_others_are_left_out():
    assert match_runs([2, 1, 3], [1, 2]) == [(0, 1), (1, 0)]
    assert match_runs([5], [5]) == [(0, 0)]


@pytest.mark.parametrize(
    "method, baseline, pairs",
    [([1, 2], [3, 4], [(0, 0), (1, 1)]), ([1, 1], [1, 1], [(0, 0), (1, 1)]), ([1, 2], [3], [(0, 0)])],
)
def test_runs_without_common_seeds_are_matched_in_order(method, baseline, pairs):
    assert match_runs(method, baseline) == pairs


def test_gains_without_replicates_have_means_and_no_intervals():
    """The first two territories of the paper's Table 2, and one without positives on the first day."""
    days = np.array([[9.88, 34.05, np.nan], [35.30, 65.27, 2.0], [31.99, 16.36, 4.0]])
    gains = without_replicates(np.stack([days, days + 1]), np.full((2, 3), 7.0))
    found = summarise(gains, np.array([True, True, False]), np.ones(3, bool))
    np.testing.assert_allclose(found.average, [25.72 + 0.5, 38.56 + 0.5, 3.5], atol=0.01)
    np.testing.assert_allclose(found.spread, spread(np.array([[0.0], [1.0]]))[0])
    for undefined in (found.low, found.high, found.p, found.p_adjusted):
        assert np.isnan(undefined).all()
    assert found.verdict.tolist() == [UNDECIDED] * 3
    assert (found.major.won, found.major.evaluated, found.all.evaluated) == (2, 2, 3)
    assert found.overall.mean == 7.0 and np.isnan([found.major.low, found.overall.high]).all()
