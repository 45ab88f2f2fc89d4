"""Simple rivals: hand-computed scores, what they may not know, and runs of an experiment."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from tiny_experiments import run_tiny

from twotower.core.errors import InputError
from twotower.data.memory.knowledge import Knowledge, ones, viewers_of
from twotower.data.memory.memory import TERMS, Memory, training_terms
from twotower.data.memory.neighbours import cosine_neighbours, keep_largest
from twotower.data.memory.rates import PSEUDO_USERS, log_rates
from twotower.data.memory.regression import RIDGE, logistic_regression
from twotower.data.sample import Pairs
from twotower.experiments.rivals.ease import Ease, ease_weights
from twotower.experiments.rivals.factorisation import CONFIDENCE, DECAY, solve
from twotower.experiments.rivals.neighbours import ItemKNN
from twotower.experiments.rivals.popularity import Popular
from twotower.experiments.rivals.registry import RIVALS, Calibrated, blocks
from twotower.training.run import RunReader

USERS, TITLES, TERRITORIES = 60, 12, 4


def make_known(rng, users=USERS, titles=TITLES, days=3) -> Knowledge:
    """Random history and labels; the last title is missing in the last territory."""
    history = sp.csr_array((rng.random((users, titles)) < 0.3).astype(np.float32))
    user, title = np.divmod(rng.permutation(users * titles)[: users * 4], titles)
    pairs = Pairs(
        user.astype(np.int64),
        title.astype(np.int32),
        rng.integers(0, 2, len(user)).astype(np.float32),
        rng.integers(0, days, len(user)).astype(np.int32),
    )
    availability = np.ones((titles, TERRITORIES), bool)
    availability[-1, -1] = False
    territory = rng.integers(0, TERRITORIES, users)
    return Knowledge(history, pairs, territory, np.array([0, 0, 1, 1]), availability, np.zeros(titles, np.int32))


def test_a_territory_borrows_from_its_group_and_a_group_from_the_world(rng):
    known = make_known(rng)
    viewers = viewers_of(known.watched, known.territory, 4)
    watched, there = known.watched.toarray(), known.availability[:, known.territory].T  # (U, T)
    world = (watched.sum(0) + 0.5) / (there.sum(0) + 1)
    np.testing.assert_allclose(np.exp(log_rates(viewers, known, "world")), np.tile(world, (4, 1)), rtol=1e-5)
    group = known.group[known.territory]
    of_first = (watched[group == 0].sum(0) + PSEUDO_USERS * world) / (there[group == 0].sum(0) + PSEUDO_USERS)
    np.testing.assert_allclose(np.exp(log_rates(viewers, known, "group"))[0], of_first, rtol=1e-5)
    own = known.territory == 1
    of_second = (watched[own].sum(0) + PSEUDO_USERS * of_first) / (own.sum() + PSEUDO_USERS)
    np.testing.assert_allclose(np.exp(log_rates(viewers, known, "territory"))[1], of_second, rtol=1e-5)
    user = int(np.flatnonzero(own)[0])
    np.testing.assert_allclose(np.exp(Popular(known, "territory").scores(np.array([user])))[0], of_second, rtol=1e-5)


def test_recent_popularity_counts_the_last_labels_alone(rng):
    known = make_known(rng, days=30)
    late = known.pairs.take(known.pairs.label > 0)
    late = late.take(late.day >= np.quantile(late.day, 0.9, method="lower"))
    of_late, of_all = (viewers_of(matrix, known.territory, 4)
                       for matrix in (ones(late.user, late.title, known.history.shape), known.labels))  # fmt: skip
    expected = log_rates(of_late, known, "territory")
    np.testing.assert_array_equal(Popular(known, "recent").table, expected)
    assert not np.array_equal(expected, log_rates(of_all, known, "territory"))


def test_neighbours_are_cosines_without_the_title_itself(rng):
    known = make_known(rng)
    X = known.watched.toarray()
    cosine = X.T @ X / np.sqrt(np.outer(X.sum(0), X.sum(0)))
    np.fill_diagonal(cosine, 0)
    np.testing.assert_allclose(cosine_neighbours(known.together()).toarray(), cosine, rtol=1e-5)
    history = known.history.toarray()[:7]
    expected = history @ cosine / np.sqrt(np.maximum(history.sum(1, keepdims=True), 1))
    np.testing.assert_allclose(ItemKNN(known).scores(np.arange(7)), expected, rtol=1e-4, atol=1e-6)
    kept = keep_largest(sp.csr_array(cosine), 3).toarray()
    largest = np.sort(cosine, axis=1)[:, -3:]
    np.testing.assert_allclose(np.sort(kept, axis=1)[:, -3:], largest, rtol=1e-5)
    assert ((kept == 0) | (kept >= largest[:, :1] * (1 - 1e-6))).all()


def test_ease_predicts_each_title_from_the_others_best(rng):
    known = make_known(rng)
    X, B = known.watched.toarray().astype(np.float64), ease_weights(known.together().users, decay=5.0)
    assert not np.diag(B).any()
    for title in (0, 5):  # ridge regression of one title on all others
        others = np.delete(np.arange(TITLES), title)
        A = X[:, others]
        expected = np.linalg.solve(A.T @ A + 5 * np.eye(len(others)), A.T @ X[:, title])
        np.testing.assert_allclose(B[others, title], expected, rtol=1e-3, atol=1e-4)


def test_ease_beyond_its_limit_knows_the_most_watched_titles(rng, monkeypatch):
    known = make_known(rng)
    whole = Ease(known).scores(np.arange(USERS))
    monkeypatch.setattr("twotower.experiments.rivals.ease.MOST_TITLES", 5)
    most = np.argsort(-known.watched.sum(0), kind="stable")[:5]
    part = Ease(known).scores(np.arange(USERS))
    assert part.shape == whole.shape and not part[:, np.setdiff1d(np.arange(TITLES), most)].any()
    assert part[:, most].any(axis=0).all()


def test_alternating_least_squares_solves_its_normal_equations(rng):
    watched = make_known(rng).watched
    Y = rng.standard_normal((TITLES, 4)).astype(np.float32)
    X = solve(np.zeros((USERS, 4), np.float32), Y, watched, steps=12)
    for user in (0, 17):
        seen = Y[watched[[user]].indices].astype(np.float64)
        A = Y.T @ Y + CONFIDENCE * seen.T @ seen + DECAY * np.eye(4)
        np.testing.assert_allclose(X[user], np.linalg.solve(A, (1 + CONFIDENCE) * seen.sum(0)), rtol=1e-2, atol=1e-3)


def test_the_regression_is_that_of_scikit_learn(rng):
    X = rng.standard_normal((500, 3)) * [1, 10, 0.1] + [0, 5, 1]
    y = (rng.random(500) < 1 / (1 + np.exp(-(X @ [1, -0.2, 4] + 0.5)))).astype(np.float32)
    weights, bias = logistic_regression(X, y)
    standard = (X - X.mean(0)) / X.std(0)
    theirs = LogisticRegression(C=1 / (RIDGE * len(y)), tol=1e-9).fit(standard, y)
    np.testing.assert_allclose(X @ weights + bias, theirs.decision_function(standard), rtol=1e-4, atol=1e-4)


def test_a_constant_term_has_no_weight(rng):
    X = np.c_[rng.standard_normal(200), np.full(200, 0.1, np.float32)]
    weights, bias = logistic_regression(X, (X[:, 0] > 0).astype(np.float32))
    assert np.isfinite(bias) and abs(weights[1]) < 1e-6


def test_pairs_are_cut_into_blocks_of_users(rng):
    user = rng.integers(0, 40, 300)
    seen = np.zeros(300, int)
    for index, users, row in blocks(user, 7):
        seen[index] += 1
        assert len(users) <= 7
        np.testing.assert_array_equal(users[row], user[index])
    assert (seen == 1).all()


def test_terms_of_pairs_are_those_of_users_and_territories(rng):
    memory = Memory.of(make_known(rng))
    user, title = rng.integers(0, USERS, 50), rng.integers(0, TITLES, 50)
    for standardised in (False, True):
        if standardised:
            memory.standardise(memory.of_pairs(user, title))
        m = memory.of_pairs(user, title)
        w = rng.standard_normal(len(TERMS)).astype(np.float32)
        both = memory.of_users(user, w) + memory.of_territories(w)[memory.territory[user]]
        np.testing.assert_allclose(both[np.arange(50), title], m @ w, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(m.mean(0), 0, atol=1e-4)


def test_no_label_counts_itself(rng):
    """Labels are random, and a title has so few that its own one would tell it apart."""
    known = make_known(rng, users=400, titles=200)

    def separation(m, labels):
        weights, bias = logistic_regression(m, labels)
        return np.corrcoef(m @ weights + bias, labels)[0, 1]

    assert separation(training_terms(known), known.pairs.label) < 0.15
    leaky = Memory.of(known).of_pairs(known.pairs.user, known.pairs.title)
    assert separation(leaky, known.pairs.label) > 0.4


@pytest.mark.parametrize("name", RIVALS)
def test_calibrated_scores_keep_the_ranking_and_agree_between_pairs_and_users(rng, name):
    known = make_known(rng)
    rival = Calibrated(name, known)
    users = np.arange(20)
    table = rival.of_users(users)
    assert table.shape == (20, TITLES) and table.dtype == np.float32 and np.isfinite(table).all()
    user, title = np.repeat(users, TITLES), np.tile(np.arange(TITLES), 20)
    np.testing.assert_allclose(rival.of_pairs(user, title), table.ravel(), rtol=1e-4, atol=1e-4)
    raw = rival.rival.scores(users).ravel()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(table.ravel()[order]) >= -1e-4).all()


def test_rivals_are_runs_of_an_experiment(tiny_world, tmp_path):
    record = run_tiny(tiny_world, tmp_path / "e", methods="upsampled,mtl,popular,counts")
    names = [method["name"] for method in record["methods"]]
    assert names == ["upsampled", "mtl", "popular", "counts"]
    assert {("mtl", "popular"), ("mtl", "counts")} <= {(g["method"], g["baseline"]) for g in record["gains"]}
    runs = [RunReader(tmp_path / f"e/runs/counts-{seed}") for seed in (0, 1)]
    np.testing.assert_array_equal(runs[0].scores, runs[1].scores)
    assert record["bias"]["popular"]["overall"]["global_share"][0] is not None
    with pytest.raises(InputError, match="counts is a simple rival without a network"):
        _ = runs[0].weights_path
    assert any("earn" in sentence for sentence in record["summary"][:1])
