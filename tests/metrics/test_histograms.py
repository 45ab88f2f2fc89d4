"""Histograms of what the users of a territory are scored for a title."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.metrics import histograms
from twotower.metrics.histograms import normalised, user_histograms

P = np.array([[0.1, 0.9], [0.6, 1.0], [0.4, 0.0]], np.float32)
HOME = np.array([1, 0, 1])


def test_users_are_counted_by_hand():
    counts, edges = user_histograms(P, HOME, 3, bins=2)
    assert counts.tolist() == [[[0, 1], [0, 1]], [[2, 0], [1, 1]], [[0, 0], [0, 0]]]
    assert counts.dtype == np.uint32 and edges.tolist() == [0, 0.5, 1]


def test_users_who_may_not_have_a_title_are_not_counted():
    counts, _ = user_histograms(P, HOME, 2, bins=2, allowed=np.array([[True, False]] * 3))
    assert counts.tolist() == [[[0, 1], [0, 0]], [[2, 0], [0, 0]]]


def test_shares_add_up_to_one_and_are_undefined_without_users():
    shares = normalised(user_histograms(P, HOME, 3, bins=4)[0])
    np.testing.assert_allclose(shares[:2].sum(axis=-1), 1)
    assert np.isnan(shares[2]).all()


@examples(30)
@given(st.integers(0, 9999))
def test_each_histogram_is_that_of_numpy(seed):
    rng = np.random.default_rng(seed)
    n, T, C = rng.integers(0, 20), rng.integers(1, 6), 3
    p, home = rng.random((n, T)), rng.integers(0, C, n)
    allowed = rng.random((n, T)) < 0.6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histograms, "BLOCK", 3 * T)
        counts, edges = user_histograms(p, home, C, 7, allowed)
    for c in range(C):
        for t in range(T):
            scored = p[(home == c) & allowed[:, t], t]
            np.testing.assert_array_equal(counts[c, t], np.histogram(scored, edges)[0])


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="expected 0 to 1"):
        user_histograms(P - 0.5, HOME, 2)
    with pytest.raises(InputError, match="user_territory: row 0 holds 1, expected 0 to 0"):
        user_histograms(P, HOME, 1)
    with pytest.raises(InputError, match=r"user_territory: .*expected 3 integers"):
        user_histograms(P, HOME[:2], 2)
