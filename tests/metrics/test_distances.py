"""Distances of distributions: by hand, and by their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.metrics.distances import distance

SCORES = st.lists(st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=30)


def test_distances_by_hand():
    found = distance(np.array([0.5, 0.5, 1.0, 1.0]), np.array([0.0, 0.5]))
    assert found.ks == 0.5  # at 0: none of method, half of baseline
    assert found.wasserstein == 0.5 * 0.5 + 0.5 * 0.5
    assert found.shift == 0.75 - 0.25


def test_a_shift_of_all_scores_is_their_distance():
    scores = np.random.default_rng(0).random(100)
    found = distance(scores + 0.25, scores)
    assert found.wasserstein == pytest.approx(0.25) and found.shift == pytest.approx(0.25)


def test_scores_that_move_apart_have_a_distance_without_a_shift():
    found = distance(np.array([0.0, 1.0]), np.array([0.5, 0.5]))
    assert found == (0.5, 0.5, 0.0)


@examples(100)
@given(SCORES, SCORES)
def test_they_follow_their_definitions(a, b):
    x = np.sort(np.concatenate([a, b]))
    gap = np.abs(np.mean(a <= x[:, None], axis=1) - np.mean(b <= x[:, None], axis=1))  # |F − G| at each score
    assert distance(a, b).ks == pytest.approx(gap.max(), abs=1e-12)
    assert distance(a, b).wasserstein == pytest.approx(gap[:-1] @ np.diff(x), abs=1e-12)
    assert distance(a, a) == (0, 0, 0)
    there, back = distance(a, b), distance(b, a)
    assert there.ks == back.ks and there.shift == -back.shift
    assert there.wasserstein >= abs(there.shift) - 1e-12


def test_matrices_are_taken_as_all_their_scores():
    a, b = np.random.default_rng(1).random((2, 5, 4)).astype(np.float32)
    assert distance(a, b) == distance(a.ravel(), b.ravel())


def test_without_scores_it_is_undefined_and_nan_is_refused():
    assert np.isnan(distance(np.empty(0), np.ones(2))).all()
    with pytest.raises(InputError, match="baseline: 1 scores are not finite"):
        distance(np.ones(2), np.array([1.0, np.nan]))
