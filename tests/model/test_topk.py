"""The best titles so far: exact whatever the blocks, the lower title where logits tie, and never what is no number."""

import numpy as np
from best_by_sorting import best_by_sorting
from hypothesis import given
from hypothesis import strategies as st
from networks import seeds
from profiles import examples

from twotower.metrics.recommended import top_titles
from twotower.model.engine.topk import NO_TITLE, update_top_k


def kept(z: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each row of logits (n, T), of which nothing has been seen, in one block."""
    n = len(z)
    titles, scores = np.full((n, k), NO_TITLE, np.int32), np.full((n, k), -np.inf, np.float32)
    update_top_k(titles, scores, np.arange(n), z, 0, np.zeros(n + 1, np.int64), np.empty(0, np.int32))
    return titles, scores


@given(seed=seeds, rows=st.integers(0, 4), titles=st.integers(0, 200), k=st.integers(1, 12), values=st.integers(1, 60))
def test_of_equal_logits_the_lower_title_comes_first(seed, rows, titles, k, values):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, values, (rows, titles)).astype(np.float32)
    z[rng.random(z.shape) < 0.1] = -np.inf
    ranked, scores = kept(z, k)
    expected_titles, expected = best_by_sorting(z, k)
    np.testing.assert_array_equal(ranked, expected_titles)
    np.testing.assert_array_equal(scores, expected)


def test_what_is_not_a_number_is_never_the_best(rng):
    z = rng.standard_normal((3, 150)).astype(np.float32)
    z[0, :140], z[1, 77] = np.nan, np.inf
    ranked, _ = kept(z, 20)
    assert set(ranked[0, :10]) == set(range(140, 150)) and (ranked[0, 10:] == NO_TITLE).all()
    assert ranked[1, 0] == 77


@examples(60)
@given(st.integers(0, 9999), st.integers(1, 12))
def test_popularity_bias_is_measured_on_the_titles_that_are_recommended(seed, k):
    rng = np.random.default_rng(seed)
    n, T = rng.integers(1, 9), rng.integers(k, 30)
    scores = rng.integers(0, rng.integers(1, 30), (n, T)).astype(np.float32)
    allowed = rng.random((n, T)) < rng.random()
    found = top_titles(scores, allowed, k)
    expected, _ = kept(np.where(allowed, scores, np.float32(-np.inf)), k)
    np.testing.assert_array_equal(found, expected)
