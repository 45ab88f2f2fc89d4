"""Relative gains: the paper's own table as a check, matches by seed, and what stays undefined."""

import warnings

import numpy as np
import pytest

from twotower.metrics.averages import spread
from twotower.metrics.gains import Method, gains_over, match_runs, relative_gain

ALL = slice(None)


def method_of(by_day, seeds=None, name="m"):
    """A method from its PR-AUC (S, N, C); pooled figures are the means over days."""
    by_day = np.array(by_day, float)
    pooled = by_day.mean(axis=1)
    return Method(
        name=name,
        seeds=list(range(len(by_day))) if seeds is None else seeds,
        by_day=by_day,
        pooled=pooled,
        overall=pooled.mean(axis=1),
        macro=pooled.mean(axis=1),
    )


def test_a_gain_is_relative_to_the_other():
    assert relative_gain(0.3, 0.2) == pytest.approx(50)
    assert relative_gain(0.2, 0.3) == pytest.approx(-100 / 3)
    assert relative_gain(0.2, 0.2) == 0


def test_what_is_undefined_on_either_side_has_no_gain():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(relative_gain([np.nan, 0.1, np.nan], [0.1, np.nan, np.nan])).all()


def test_the_average_is_that_of_the_papers_table_2():
    # T1 and T3 of "MTL vs Baseline": three test days and the printed averages
    gains = np.array([[9.88, -7.72], [35.30, -21.18], [31.99, 11.39]])
    baseline = np.array([[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]])
    found = gains_over(method_of([baseline * (1 + gains / 100)]), method_of([baseline]))
    np.testing.assert_allclose(found.by_day, gains, atol=1e-12)
    np.testing.assert_allclose(found.average, [25.72, -5.83], atol=0.01)
    assert (found.won(ALL), found.defined(ALL)) == (1, 2)
    assert found.mean(ALL)[0] == pytest.approx((25.72 - 5.83) / 2, abs=0.01)


def test_a_day_without_positives_is_left_out_of_the_average():
    method, baseline = [[[0.2, np.nan], [np.nan, np.nan]]], [[[0.1, np.nan], [np.nan, np.nan]]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = gains_over(method_of(method), method_of(baseline))
        np.testing.assert_allclose(found.average, [100, np.nan])
        assert (found.won(ALL), found.defined(ALL)) == (1, 1)
        assert found.mean(ALL)[0] == pytest.approx(100)
        assert np.isnan(found.mean(np.array([1]))[0])


def test_means_and_wins_are_those_of_the_territories_asked_for():
    found = gains_over(method_of([[[0.2, 0.1, 0.1]]]), method_of([[[0.1, 0.2, 0.1]]]))
    assert found.won(ALL) == 1, "a tie is not won"
    assert found.mean(np.array([1, 2]))[0] == pytest.approx(-25)
    assert (found.won(np.array([1, 2])), found.defined(np.array([1, 2]))) == (0, 2)


def test_runs_of_the_same_seed_meet_each_other():
    assert match_runs([3, 1, 2], [1, 2, 3]) == ([(0, 2), (1, 0), (2, 1)], True)
    baseline = np.array([0.1, 0.2, 0.4]).reshape(3, 1, 1)
    found = gains_over(method_of(1.5 * baseline, [1, 2, 3]), method_of(baseline, [1, 2, 3]))
    assert found.same_seeds
    np.testing.assert_allclose(found.average, [50])
    np.testing.assert_allclose(found.spread, [0], atol=1e-12)  # what the seed decides for both cancels out


@pytest.mark.parametrize("method, baseline", [([1, 2], [1, 3]), ([1, 1], [1, 1]), ([1, 2], [1])])
def test_otherwise_each_run_meets_each(method, baseline):
    pairs, same_seeds = match_runs(method, baseline)
    assert not same_seeds
    assert len(pairs) == len(set(pairs)) == len(method) * len(baseline)


def test_the_spread_is_the_standard_deviation_over_matches():
    baseline = np.full((3, 2, 2), 0.2)
    gains = np.array([[10.0, 0.0], [20.0, 0.0], [60.0, 30.0]])  # per match and territory
    found = gains_over(method_of(baseline * (1 + gains[:, None] / 100)), method_of(baseline))
    np.testing.assert_allclose(found.average, [30, 10])
    np.testing.assert_allclose(found.spread, gains.std(axis=0, ddof=1))
    mean, mean_spread = found.mean(ALL)
    assert mean == pytest.approx(20)
    assert mean_spread == pytest.approx(np.std([5, 10, 45], ddof=1))


def test_a_single_run_has_no_spread():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = gains_over(method_of([[[0.2]]]), method_of([[[0.1]]]))
        assert np.isnan(found.spread).all() and np.isnan(found.mean(ALL)[1])
        assert np.isnan(spread(np.array([1.0])))
