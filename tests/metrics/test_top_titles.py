"""The best titles of each user: exact, and the lower title where scores tie."""

import numpy as np
import pytest

from twotower.core.errors import InputError
from twotower.metrics import top_titles as module
from twotower.metrics.top_titles import NOBODY, count_places, top_titles


def test_many_users_are_worked_on_in_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    scores, allowed = rng.standard_normal((50, 20), np.float32), rng.random((50, 20)) < 0.5
    at_once = top_titles(scores, allowed, 4)
    monkeypatch.setattr(module, "BLOCK", 65)
    np.testing.assert_array_equal(top_titles(scores, allowed, 4), at_once)


def test_a_user_with_few_titles_gets_those_and_then_nobody():
    scores = np.array([[1.0, 3.0, 2.0]], np.float32)
    assert top_titles(scores, np.array([[True, False, True]]), 3).tolist() == [[2, 0, NOBODY]]
    assert top_titles(scores, np.array([[True, True, True]]), 9).tolist() == [[1, 2, 0]]
    assert top_titles(scores, np.zeros((1, 3), bool), 2).tolist() == [[NOBODY, NOBODY]]
    assert top_titles(scores[:, :0], np.zeros((1, 0), bool)).shape == (1, 0)


def test_places_are_counted_by_territory():
    top = np.array([[0, 2], [2, NOBODY], [1, 0]])
    assert count_places(top, np.array([1, 1, 0]), 2, 3).tolist() == [[1, 1, 0], [1, 0, 2]]


def test_scores_that_make_no_sense_are_refused():
    scores = np.zeros((2, 3), np.float32)
    with pytest.raises(InputError, match="expected users × titles"):
        top_titles(scores, np.ones((2, 2), bool))
    with pytest.raises(InputError, match="expected users × titles, and bool"):
        top_titles(scores, np.ones((2, 3)))
    scores[1, 2] = np.nan
    with pytest.raises(InputError, match="NaN for user 1"):
        top_titles(scores, np.ones((2, 3), bool))
    assert top_titles(scores, scores == 0, 1).tolist() == [[0], [0]]  # where it is not allowed, it does not matter
