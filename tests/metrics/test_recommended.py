"""The best titles of each user: exact, and the lower title where scores tie."""

import numpy as np
import pytest

from twotower.core.errors import InputError
from twotower.metrics import recommended as module
from twotower.metrics.recommended import NOBODY, RANKING_METRICS, count_places, ranking_metrics, top_titles


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


def some_users(rng, n=40, titles=30, k=10):
    """Scores of users for titles, the best k, and what they watched; some watched nothing."""
    scores = rng.standard_normal((n, titles)).astype(np.float32)
    allowed = rng.random(scores.shape) < 0.7
    watched = (rng.random(scores.shape) < 0.15) & allowed & (np.arange(n) % 5 > 0)[:, None]
    return scores, allowed, watched, top_titles(scores, allowed, k)


@pytest.mark.parametrize("k", [1, 3, 10, 100])
def test_ranking_metrics_are_those_of_trec_eval(rng, k):
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="needs pytrec-eval-terrier: pip install -e '.[test]'")
    scores, allowed, watched, top = some_users(rng, k=k)
    relevant = {str(u): {str(t): 1 for t in np.flatnonzero(row)} for u, row in enumerate(watched) if row.any()}
    run = {u: {str(t): float(scores[int(u), t]) for t in np.flatnonzero(allowed[int(u)])} for u in relevant}
    names = [f"{name}_{k}" for name in ("recall", "ndcg_cut", "map_cut", "success")]
    found = pytrec_eval.RelevanceEvaluator(relevant, set(names)).evaluate(run)
    ours = ranking_metrics(top, *np.nonzero(watched))
    for u, row in enumerate(watched):
        expected = [found[str(u)][name] for name in names] if row.any() else [np.nan] * 4
        np.testing.assert_allclose(ours[:, u], expected)


def test_ndcg_and_map_are_those_of_scikit_learn(rng):
    """Where all titles are allowed and shown, MAP is the mean of average precisions."""
    metrics = pytest.importorskip("sklearn.metrics")
    scores, _, watched, _ = some_users(rng)
    everything = np.ones(scores.shape, bool)
    cut, whole = (ranking_metrics(top_titles(scores, everything, k), *np.nonzero(watched)) for k in (10, 30))
    for u in np.flatnonzero(watched.any(axis=1)):
        ndcg = metrics.ndcg_score(watched[u : u + 1], scores[u : u + 1], k=10)
        assert cut[list(RANKING_METRICS).index("ndcg"), u] == pytest.approx(ndcg)
        precision = metrics.average_precision_score(watched[u], scores[u])
        assert whole[list(RANKING_METRICS).index("map"), u] == pytest.approx(precision)


def test_a_title_that_was_watched_twice_counts_once_and_no_neighbours_title_counts():
    top = np.array([[3, NOBODY], [0, 1]])
    found = ranking_metrics(top, np.array([0, 0, 0, 1]), np.array([3, 3, 2, 3]))
    assert found.T.tolist() == [[0.5, pytest.approx(1 / (1 + 1 / np.log2(3))), 0.5, 1], [0, 0, 0, 0]]
    with pytest.raises(InputError, match="users: row 0 holds 2, expected 0 to 1"):
        ranking_metrics(top, np.array([2]), np.array([0]))
