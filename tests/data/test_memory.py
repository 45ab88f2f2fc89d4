"""Memory of users and titles: what is left out, what is empty, and what a file must hold."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.memory import factors, neighbours
from twotower.data.memory.factors import FACTORS, SCALES, Factors
from twotower.data.memory.files import load_memory, save_memory
from twotower.data.memory.knowledge import FOLDS, Knowledge, ones
from twotower.data.memory.memory import BLOCKS, TERMS, TITLE_TERMS, Memory, blocks_of_days, training_terms
from twotower.data.memory.neighbours import (
    NEIGHBOURS,
    cosine_neighbours,
    profile_cosines,
    profile_scores,
)
from twotower.data.memory.regression import logistic_regression
from twotower.data.memory.together import Together, count_together, parts
from twotower.data.sample import Pairs

USERS, TITLES = 90, 11


def known_of(rng, territories=3, titles=TITLES, history=0.2, group=None, rate=0.3, days=1) -> Knowledge:
    user, title = np.repeat(np.arange(USERS), titles), np.tile(np.arange(titles, dtype=np.int32), USERS)
    label, day = (rng.random(len(user)) < rate).astype(np.float32), rng.integers(0, days, len(user)).astype(np.int32)
    watched = sp.csr_array((rng.random((USERS, titles)) < history).astype(np.float32))
    group = np.zeros(territories, np.int64) if group is None else np.array(group)
    where = rng.integers(0, territories, USERS), group, np.ones((titles, territories), bool)
    return Knowledge(watched, Pairs(user, title, label, day), *where, np.zeros(titles, np.int32))


def test_shares_of_labels_are_as_high_in_training_as_in_scoring(rng):
    """A third of the labels is left out of a training pair's terms, and so are the users that have them."""
    known = known_of(rng, history=0)
    m, full = training_terms(known), Memory.of(known).of_pairs(known.pairs.user, known.pairs.title)
    for level in ("world", "group", "territory"):
        column = TERMS.index(f"labels, {level}")
        assert abs(m[:, column].mean() - full[:, column].mean()) < 0.05


def test_the_terms_of_a_users_pairs_do_not_depend_on_any_label_of_the_user(rng):
    known = known_of(rng)
    before = training_terms(known)
    for user in (0, 41):
        own = known.pairs.user == user
        other = Pairs(known.pairs.user, known.pairs.title, np.where(own, 1 - known.pairs.label, known.pairs.label),
                      known.pairs.day)  # fmt: skip
        after = training_terms(known.only(other))
        np.testing.assert_array_equal(after[own], before[own])
        assert not np.array_equal(after, before)
    assert sorted(np.bincount(known.fold).tolist()) == [USERS // FOLDS] * FOLDS


def test_where_there_are_days_a_pair_knows_the_labels_of_earlier_days_alone(rng):
    known = known_of(rng, days=20)
    before, day, block = training_terms(known), known.pairs.day, blocks_of_days(known.pairs.day)
    assert [day[block == b].max() < day[block == b + 1].min() for b in range(BLOCKS - 1)] == [True] * (BLOCKS - 1)
    for changed in range(BLOCKS):
        label = np.where(block == changed, 1 - known.pairs.label, known.pairs.label).astype(np.float32)
        after = training_terms(known.only(replace(known.pairs, label=label)))
        same = [np.array_equal(after[block == b], before[block == b]) for b in range(BLOCKS)]
        assert same[1 : changed + 1] == [True] * changed and not any(same[changed + 1 :])


def test_how_many_days_labels_are_of_does_not_matter(rng):
    """Half of the days have half of the labels, of the same titles."""
    known = known_of(rng, days=20)
    half = Memory.of(known.only(known.pairs.take(known.pairs.day < 10)))
    column = TERMS.index("labels, world")
    assert abs(half.tables[column].mean() - Memory.of(known).tables[column].mean()) < 0.05


@pytest.mark.parametrize(
    "changes",
    [{"history": 0}, {"days": 20}, {"territories": 1}, {"titles": 2}, {"titles": 1}, {"group": [0, 2, 2]}, {"rate": 0},
     {"rate": 1}],
    ids=str,
)
def test_terms_are_finite_however_little_is_known(rng, changes):
    known = known_of(rng, **changes)
    memory = Memory.of(known)
    terms = memory.standardise(training_terms(known))
    assert np.isfinite(terms).all() and np.abs(terms).max() < 1e3
    w = rng.normal(size=(USERS, len(TERMS))).astype(np.float32)
    scores = memory.logits(np.arange(USERS), w)
    pairs = memory.of_pairs(known.pairs.user, known.pairs.title)
    expected = (pairs * w[known.pairs.user]).sum(1)
    np.testing.assert_allclose(scores[known.pairs.user, known.pairs.title], expected, rtol=1e-3, atol=1e-3)


def test_scores_of_histories_are_sparse_products(rng):
    history = sp.csr_array((rng.random((7, 30)) < 0.3).astype(np.float32))
    weights = sp.random_array((30, 30), density=0.2, format="csr", dtype=np.float32, rng=rng)
    expected = history.toarray() @ weights.toarray()
    np.testing.assert_allclose(profile_scores(history, weights), expected, rtol=1e-5, atol=1e-6)
    length = np.maximum(history.sum(1), 1)[:, None]
    np.testing.assert_allclose(profile_cosines(history, weights), expected / length**0.5, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="weights"):
        profile_scores(history, weights[:, :20])


@pytest.mark.parametrize("share", [0, 4, 10**9], ids=["sparse", "both", "dense"])
def test_scores_of_all_titles_are_those_of_pairs_however_weights_are_stored(rng, monkeypatch, share):
    """Over several blocks of titles, with ReLU units, within 1e-5."""
    monkeypatch.setattr(neighbours, "DENSE_SHARE", share)
    T, H, users = 2 * neighbours.UNIT_BLOCK + 77, 5, np.arange(40, dtype=np.int64)
    watched = sp.csr_array((rng.random((40, T)) < 0.02).astype(np.float32))
    drawn = sp.random_array((T, T), density=0.2, format="csr", dtype=np.float32, rng=rng)
    uneven = sp.diags_array((rng.random(T) < 0.5).astype(np.float32))  # rows with many neighbours and with none
    cosines = sp.csr_array(uneven @ drawn)
    cosines.eliminate_zeros()
    drawn_factors = Factors(*rng.standard_normal((2, T, FACTORS)).astype(np.float32))
    tables = rng.standard_normal((len(TITLE_TERMS), 3, T)).astype(np.float32)
    memory = Memory(watched, rng.integers(0, 3, 40), tables, cosines, drawn_factors)
    user, title = np.repeat(users, T), np.tile(np.arange(T, dtype=np.int32), 40)
    memory.standardise(memory.of_pairs(user, title))
    m = memory.of_pairs(user, title).astype(np.float64)
    w, v = (0.1 * rng.standard_normal((40, size)).astype(np.float32) for size in (len(TERMS), H))
    A = 0.1 * rng.standard_normal((len(TERMS) + 1, H)).astype(np.float32)
    hidden = np.maximum(m @ A[:-1] + A[-1], 0)
    expected = (m * w[user]).sum(1) + (hidden * v[user]).sum(1)
    found = memory.logits(users, w, memory.layer(A), v)
    np.testing.assert_allclose(found.reshape(-1), expected, rtol=1e-5, atol=1e-5)


DAMAGES = {
    "no array": lambda kept: {name: value for name, value in kept.items() if name != "scored"},
    "indices too large": lambda kept: kept | {"cosines.indices": kept["cosines.indices"] + 1},
    "negative indices": lambda kept: kept | {"cosines.indices": kept["cosines.indices"] - 1},
    "indices not sorted": lambda kept: kept | {"cosines.indices": kept["cosines.indices"][::-1].copy()},
    "fractional indices": lambda kept: kept | {"cosines.indices": kept["cosines.indices"].astype(float)},
    "bounds too short": lambda kept: kept | {"cosines.indptr": kept["cosines.indptr"][:-1]},
    "bounds beyond the data": lambda kept: kept | {"cosines.indptr": kept["cosines.indptr"] * 2},
    "NaN": lambda kept: kept | {"tables": np.full_like(kept["tables"], np.nan)},
    "infinite": lambda kept: kept | {"scored": np.full_like(kept["scored"], np.inf)},
    "doubles": lambda kept: kept | {"mean": kept["mean"].astype(float)},
    "spread 0": lambda kept: kept | {"spread": kept["spread"] * 0},
    "cosine below 0": lambda kept: kept | {"cosines.data": -kept["cosines.data"]},
    "other factors": lambda kept: kept | {"watched": kept["watched"][:, :-1].copy()},
    "other titles": lambda kept: kept | {"tables": kept["tables"][:, :, :-1].copy()},
    "other terms": lambda kept: kept | {"mean": kept["mean"][:-1]},
}


@pytest.fixture
def saved(tiny_world, tmp_path):
    data, rng = Dataset.open(tiny_world), np.random.default_rng(0)
    user, title = rng.integers(0, data.n_users, 900), rng.integers(0, data.n_titles, 900).astype(np.int32)
    pairs = Pairs(user, title, np.ones(900, np.float32), np.zeros(900, np.int32))
    where = np.asarray(data.user_territory).astype(np.int64), np.zeros(data.n_territories, np.int64)
    history = ones(user[:400], title[:400], (data.n_users, data.n_titles))
    memory = Memory.of(Knowledge(history, pairs, *where, np.asarray(data.availability), np.asarray(data.launch_day)))
    save_memory(memory, tmp_path / "memory.npz")
    return data, memory, tmp_path / "memory.npz"


def test_a_file_holds_all_but_the_users(saved):
    data, memory, path = saved
    found = load_memory(path, data)
    np.testing.assert_array_equal(found.tables, memory.tables)
    np.testing.assert_array_equal(found.cosines.toarray(), memory.cosines.toarray())
    np.testing.assert_array_equal(found.factors, memory.factors)
    assert np.diff(found.cosines.indptr).max() <= NEIGHBOURS and len(found.tables) == len(TITLE_TERMS)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_before_it_is_used(saved, damage):
    data, _, path = saved
    with np.load(path) as kept:
        np.savez(path, **DAMAGES[damage](dict(kept)))
    with pytest.raises(InputError, match=r"memory\.npz: not the memory of 6 territories and 30 titles"):
        load_memory(path, data)


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_file_cut_short_is_refused(saved, share):
    data, _, path = saved
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"memory\.npz"):
        load_memory(path, data)


def test_a_column_that_is_constant_but_for_rounding_has_no_weight():
    """A constant column of float32 is one only up to its last digit; divided by that it would be the largest of all."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((6, 14)).astype(np.float32)
    X[:, 5] = np.float32(-0.577) + np.arange(6, dtype=np.float32) * np.float32(6e-7)
    weights, bias = logistic_regression(X, np.array([1, 0, 0, 1, 0, 0], np.float32))
    assert np.isfinite(weights).all() and abs(bias) < 30 and np.abs(weights).max() < 30


def test_what_labels_add_to_the_counts_is_as_if_all_were_counted_at_once(rng):
    known = known_of(rng)
    for some in (known, known.without_labels_of(1), known.only(known.pairs.take(known.pairs.day < 0))):
        expected = Together.of(count_together(some.watched))
        np.testing.assert_array_equal(some.together().users, expected.users)
        np.testing.assert_array_equal(some.together().cosine, expected.cosine)
        X = some.watched.toarray()
        np.testing.assert_array_equal(expected.users, X.T @ X)


def test_terms_of_a_pair_are_the_same_alone_and_among_all_of_its_user(rng):
    memory = Memory.of(known_of(rng))
    user, title = (part.ravel() for part in np.indices((USERS, memory.history.shape[1])))
    together = memory.of_pairs(user, title)
    for i in range(0, len(user), 37):
        np.testing.assert_array_equal(memory.of_pairs(user[i : i + 1], title[i : i + 1])[0], together[i])
    with pytest.raises(IndexError, match="title goes"):
        memory.of_pairs(user[:1], title[:1] + memory.history.shape[1])
    with pytest.raises(IndexError, match="user goes"):
        memory.of_pairs(user[:1] - 1, title[:1])


def test_neighbours_of_equal_knowledge_are_kept_and_those_of_another_are_not(rng, monkeypatch):
    known, asked = known_of(rng), []
    together = Knowledge.together
    monkeypatch.setattr(Knowledge, "together", lambda *given: asked.append(1) or together(*given))
    monkeypatch.setattr(neighbours, "_kept", OrderedDict())
    first, again = neighbours.neighbours_of(known), neighbours.neighbours_of(replace(known, of_history=None))
    assert first is again and len(asked) == 1
    np.testing.assert_array_equal(first.cosines.toarray(), cosine_neighbours(known.together()).toarray())
    with pytest.raises(ValueError, match="read-only"):
        first.factors.scored[0] = 1
    for other in (known.without_labels_of(0), replace(known, history=known.history[::-1], of_history=None)):
        found = neighbours.neighbours_of(other)
        assert found.factors.scored.any() and np.abs(found.factors.scored - first.factors.scored).max() > 0
    monkeypatch.setattr(neighbours, "KEPT_BYTES", 1)
    neighbours.neighbours_of(known.without_labels_of(2))
    assert len(neighbours._kept) == 1, "the last asked for stays, however large"


def test_what_is_known_of_many_titles_is_what_is_known_of_few(rng, monkeypatch):
    known = known_of(rng)
    few = neighbours.neighbours_of(known)
    monkeypatch.setattr(neighbours, "MOST_TITLES", 5)
    many = neighbours.neighbours_of(known)
    np.testing.assert_allclose(many.cosines.toarray(), few.cosines.toarray(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(many.factors.scored, few.factors.scored, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("whole", [True, False], ids=["all eigenvectors", "Lanczos"])
@pytest.mark.parametrize("sparse", [False, True])
def test_factors_are_the_projection_on_the_leading_eigenvectors(rng, monkeypatch, whole, sparse):
    """Against the singular vectors of the log itself; a title that nobody watched has none."""
    monkeypatch.setattr(factors, "WHOLE", 1000 if whole else 0)
    X = (rng.random((300, 300)) < 0.2 * rng.random(300)).astype(np.float32)
    X[:, 7] = 0
    viewers = X.sum(0)
    unit = X / np.sqrt(np.maximum(viewers, 1))
    V = np.linalg.svd(unit.astype(np.float64))[2][:FACTORS].T
    root = np.sqrt(np.maximum(viewers, 1))
    cosine = unit.T @ unit
    np.fill_diagonal(cosine, 0)
    found = Factors.of(sp.csr_array(cosine) if sparse else cosine, viewers)
    for r in SCALES:
        expected = V[:, :r] @ V[:, :r].T / root[:, None] * root
        np.testing.assert_allclose(found.watched[:, :r] @ found.scored[:, :r].T, expected, atol=2e-4)
    assert not found.watched[7].any() and found.watched[8].any()
    history = sp.csr_array(X[:5])
    expected = X[:5] @ found.watched / np.sqrt(np.maximum(X[:5].sum(1, keepdims=True), 1))
    np.testing.assert_allclose(found.profiles(*parts(history)[:2]), expected, rtol=1e-4, atol=1e-6)
    moved = found.take(np.array([8, -1, 300]))
    np.testing.assert_array_equal(moved.scored[0], found.scored[8])
    assert moved.scored.shape == (3, FACTORS) and not moved.scored[1:].any()
