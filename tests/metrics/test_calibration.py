"""Calibration: a pair scored 0.3 should be positive three times in ten."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.metrics.calibration import bin_of, calibration_by, reliability, user_histograms

LABELS = np.array([0, 1, 1, 1, 0])
P = np.array([0.1, 0.2, 0.9, 1.0, 0.8])


def test_the_curve_and_the_error_by_hand():
    found = reliability(LABELS, P, bins=2)
    assert found.pairs.tolist() == [2, 3] and found.edges.tolist() == [0, 0.5, 1]
    np.testing.assert_allclose(found.predicted, [0.15, 0.9])
    np.testing.assert_allclose(found.observed, [1 / 2, 2 / 3])
    assert found.ece == pytest.approx(2 / 5 * 0.35 + 3 / 5 * (0.9 - 2 / 3))
    assert found.excess == pytest.approx(P.mean() - LABELS.mean())


def test_the_error_and_the_excess_of_each_key_by_hand():
    ece, excess = calibration_by(LABELS, P, np.array([0, 0, 1, 1, 0]), 3, bins=2)
    # key 0: 0.1 + 0.2 − 1 = −0.7 below 0.5, and 0.8 above it; key 1: 0.9 + 1.0 − 2 = −0.1; key 2 has no pairs
    np.testing.assert_allclose(ece, [1.5 / 3, 0.1 / 2, np.nan])
    np.testing.assert_allclose(excess, [0.1 / 3, -0.1 / 2, np.nan])


def test_the_error_of_a_key_is_that_of_its_pairs_alone():
    rng = np.random.default_rng(0)
    key, p = rng.integers(0, 4, 500), rng.random(500).astype(np.float32)
    labels = rng.random(500) < p**2
    ece, excess = calibration_by(labels, p, key, 4)
    for k in range(4):
        alone = reliability(labels[key == k], p[key == k])
        assert (ece[k], excess[k]) == (pytest.approx(alone.ece), pytest.approx(alone.excess))


def test_a_key_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="row 1 holds 3, expected 0 to 2"):
        calibration_by(LABELS, P, np.array([0, 3, 0, 0, 0]), 3)


def test_promising_too_much_is_an_excess_above_0():
    assert reliability(np.array([0, 0, 1, 0]), np.array([0.9, 0.8, 0.9, 0.2]), bins=4).excess == pytest.approx(0.45)
    assert reliability(np.array([1, 1, 1, 0]), np.array([0.9, 0.8, 0.9, 0.2]), bins=4).excess == pytest.approx(-0.05)


def test_empty_bins_are_undefined_and_cost_nothing():
    found = reliability(LABELS, P, bins=10)
    assert found.pairs.tolist() == [0, 1, 1, 0, 0, 0, 0, 0, 1, 2]
    assert np.isnan(found.predicted[[0, 3]]).all() and np.isfinite(found.ece)
    assert np.isnan(found.observed[0])


def test_a_calibrated_model_has_no_error_however_bad_its_ranking():
    assert reliability(np.array([1, 0, 0, 0]), np.full(4, 0.25)).ece == 0
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    assert reliability(rng.random(200_000) < p, p).ece < 0.01
    assert reliability(rng.random(200_000) < p**2, p).ece == pytest.approx(1 / 2 - 1 / 3, abs=0.01)


@examples(50)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=1), st.integers(1, 30))
def test_the_error_is_at_least_the_excess_and_at_most_one(pairs, bins):
    labels, p = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs], np.float32)
    found = reliability(labels, p, bins)
    assert abs(found.excess) - 1e-6 <= found.ece <= 1 + 1e-6
    assert found.pairs.sum() == len(pairs)


def test_one_belongs_to_the_last_bin_and_an_edge_to_the_bin_above():
    assert bin_of(np.array([0, 0.25, 0.5, 1.0]), 4).tolist() == [0, 1, 2, 3]


def test_without_pairs_everything_is_undefined():
    found = reliability(np.empty(0), np.empty(0))
    assert np.isnan(found.ece) and np.isnan(found.excess)


def test_logits_are_refused():
    with pytest.raises(InputError, match=r"from -1\.0 to 2\.0, expected 0 to 1"):
        reliability(np.array([0, 1]), np.array([-1.0, 2.0]))
    with pytest.raises(InputError, match="NaN"):
        reliability(np.array([0, 1]), np.array([np.nan, 0.5]))


def test_users_are_counted_by_the_probability_of_each_allowed_title(rng):
    p, allowed = rng.random((50, 6)).astype(np.float32), rng.random((50, 6)) < 0.7
    counts = user_histograms(p, allowed, bins=7)
    for t in range(6):
        assert counts[t].tolist() == np.histogram(p[allowed[:, t], t], np.linspace(0, 1, 8))[0].tolist()
    with pytest.raises(InputError, match=r"allowed: bool \(50, 5\), expected \(50, 6\)"):
        user_histograms(p, allowed[:, :5])
