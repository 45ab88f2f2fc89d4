"""All users against all titles: the scores of the model itself, exactly the best of them, and none that is barred."""

from itertools import pairwise

import numpy as np
import pytest
from best_by_sorting import best_by_sorting
from networks import TERRITORIES, make_network

from twotower.core.config import HEADS, ModelConfig
from twotower.data.batches import Batcher
from twotower.model import retrieval
from twotower.model.engine.topk import NO_TITLE
from twotower.model.retrieval import Candidates, Retrieval, Users

N, T, K = 40, 23, 3  # users, titles, groups


def make_problem(rng, threads=1, **shape):
    """A network, tables of users and titles, and the group of each user."""
    model = ModelConfig(**{"hidden": 8, "groups": K, "head": "lowrank", "rank": 2, "title_bias": True} | shape)
    network = make_network(model, rng, threads=threads)
    for name, value in network.running.items():
        value += rng.uniform(0, 0.5, value.shape).astype(np.float32) * (1 if ".var" in name else -1)
    users, titles = rng.standard_normal((N, 4), np.float32), rng.standard_normal((T, 6), np.float32)
    group = rng.integers(0, model.groups, N)
    return network, users, titles, group


def free_choice(found: Retrieval, group: np.ndarray) -> Candidates:
    """Everybody may have everything."""
    return Candidates(found.bias, group, np.zeros(len(group) + 1, np.int64), np.empty(0, np.int32))


def all_logits(found: Retrieval, users: Users) -> np.ndarray:
    """The whole matrix of <U, V>, (n, T)."""
    z = np.full((len(users.rows), len(found.V)), np.nan, np.float32)

    def keep(who, first, dots):
        z[who, first : first + dots.shape[1]] = dots

    found.scan(users, keep)
    return z


@pytest.fixture(params=[256, 7])
def blocks(request, monkeypatch):
    """Titles in one block, and in several with a ragged last one."""
    monkeypatch.setattr(retrieval, "TITLE_BLOCK", request.param)


# ---------------------------------------------------------------- the scores


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("shape", [{}, {"output": "relu", "learned_logit": False, "title_bias": False}], ids=str)
def test_scores_are_those_that_the_model_gives_to_pairs(rng, head, shape, blocks):
    groups = 1 if head == "none" and "title_bias" in shape else K
    network, users, titles, group = make_problem(rng, **shape | {"head": head, "groups": groups})
    territory = np.arange(N) % TERRITORIES
    batcher = Batcher(users, titles, group, groups, N * T, user_territory=territory, n_territories=TERRITORIES)
    batch = batcher.batch(
        np.repeat(np.arange(N), T), np.tile(np.arange(T), N).astype(np.int32), np.zeros(N * T, np.float32)
    )
    expected = np.empty(N * T, np.float32)
    expected[batch.order] = network.predict(batch)

    found = Retrieval(network, titles)
    everybody = Users(users, np.arange(N), group, territory)
    ranked, scores = found.top(T, everybody, free_choice(found, group))
    np.testing.assert_array_equal(np.sort(ranked, axis=1), np.tile(np.arange(T), (N, 1)))
    np.testing.assert_allclose(scores, np.take_along_axis(expected.reshape(N, T), ranked, axis=1), rtol=1e-4, atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_the_best_are_the_best_of_all(rng, blocks):
    network, users, titles, group = make_problem(rng)
    found, everybody = Retrieval(network, titles), Users(users, np.arange(N), group)
    z = all_logits(found, everybody) * network.params["logit.scale"][0] + found.bias[group]
    for k in (1, 5, T):
        ranked, scores = found.top(k, everybody, free_choice(found, group))
        expected_titles, expected = best_by_sorting(z, k)
        np.testing.assert_array_equal(ranked, expected_titles)
        np.testing.assert_array_equal(scores, expected)


def test_any_number_of_threads_gives_the_same_bits(rng, monkeypatch):
    monkeypatch.setattr(retrieval, "TITLE_BLOCK", 5)
    results = []
    for threads in (1, 2, 3):
        network, users, titles, group = make_problem(np.random.default_rng(3), threads)
        many = np.random.default_rng(4).integers(0, N, 1500)
        found = Retrieval(network, titles)
        results.append(found.top(4, Users(users, many, group[many]), free_choice(found, group[many])))
        network.threads.close()
    for other in results[1:]:
        np.testing.assert_array_equal(results[0][0], other[0])
        np.testing.assert_array_equal(results[0][1], other[1])


def test_a_head_reaches_the_users_of_its_own_group_alone(rng):
    network, users, titles, group = make_problem(rng)
    everybody = Users(users, np.arange(N), group)
    before = all_logits(Retrieval(network, titles), everybody)
    network.params["head.Q"][1] += 1
    changed = (all_logits(Retrieval(network, titles), everybody) != before).any(axis=1)
    np.testing.assert_array_equal(changed, group == 1)


def test_half_precision_and_memory_maps_score_like_plain_tables(rng, tmp_path):
    network, users, titles, group = make_problem(rng)
    scores = []
    for table in (users.astype(np.float16), users.astype(np.float16).astype(np.float32)):
        np.save(tmp_path / "users.npy", table)
        mapped = np.load(tmp_path / "users.npy", mmap_mode="r")
        found = Retrieval(network, titles.astype(table.dtype).astype(np.float16))
        scores.append(all_logits(found, Users(mapped, np.arange(N), group)))
    np.testing.assert_array_equal(*scores)


def test_users_are_scored_in_the_order_asked_for_and_as_often(rng):
    network, users, titles, group = make_problem(rng)
    found, rows = Retrieval(network, titles), np.array([7, 31, 7, 0])
    everybody = all_logits(found, Users(users, np.arange(N), group))
    some = all_logits(found, Users(users, rows, group[rows]))
    np.testing.assert_allclose(some, everybody[rows], rtol=1e-5, atol=1e-6)


def test_nobody_gets_nothing(rng):
    network, users, titles, _ = make_problem(rng)
    found, none = Retrieval(network, titles), np.empty(0, np.int64)
    ranked, scores = found.top(3, Users(users, none, none), free_choice(found, none))
    assert ranked.shape == scores.shape == (0, 3)


# ---------------------------------------------------------------- what may be recommended


def test_what_is_barred_or_seen_is_never_among_the_best(rng, blocks):
    network, users, titles, group = make_problem(rng)
    found, everybody = Retrieval(network, titles), Users(users, np.arange(N), group)
    kind = rng.integers(0, 5, N)
    allowed, seen = rng.random((5, T)) < 0.6, rng.random((N, T)) < 0.3
    offset = np.where(allowed, np.float32(0.25), np.float32(-np.inf))
    seen_start = np.concatenate([[0], np.cumsum(seen.sum(axis=1))])
    choice = Candidates(offset, kind, seen_start, np.nonzero(seen)[1].astype(np.int32))
    ranked, scores = found.top(6, everybody, choice)

    z = all_logits(found, everybody) * network.params["logit.scale"][0] + np.float32(0.25)
    expected_titles, expected = best_by_sorting(np.where(allowed[kind] & ~seen, z, -np.inf), 6)
    np.testing.assert_array_equal(ranked, expected_titles)
    np.testing.assert_array_equal(scores, expected)


def test_a_user_who_may_have_nothing_gets_nothing(rng):
    network, users, titles, group = make_problem(rng)
    found = Retrieval(network, titles)
    offset = np.full((2, T), -np.inf, np.float32)
    offset[1, 9] = 0
    choice = free_choice(found, group)._replace(offset=offset, kind=np.arange(N) % 2)
    ranked, scores = found.top(2, Users(users, np.arange(N), group), choice)
    assert (ranked[::2] == NO_TITLE).all() and np.isneginf(scores[::2]).all()
    assert (ranked[1::2] == [9, NO_TITLE]).all()


# ---------------------------------------------------------------- manners


def test_progress_counts_users_to_the_last(rng, monkeypatch):
    monkeypatch.setattr(retrieval, "PRODUCTS", 1)
    network, users, titles, group = make_problem(rng)
    many, seen = rng.integers(0, N, 2000), []
    found = Retrieval(network, titles, lambda *where: seen.append(where))
    assert seen[-1] == ("embedding titles", T, T)
    seen.clear()
    found.top(2, Users(users, many, group[many]), free_choice(found, group[many]), lambda *w: seen.append(w))
    assert len(seen) > 3 and seen[-1] == ("scoring users", 2000, 2000)
    assert all(before[1] < after[1] for before, after in pairwise(seen))


def test_what_does_not_fit_is_refused(rng):
    network, users, titles, group = make_problem(rng)
    found, everybody = Retrieval(network, titles), Users(users, np.arange(N), group)
    choice = free_choice(found, group)
    with pytest.raises(ValueError, match=r"titles: float32 \(23, 5\), expected .* of width 6"):
        Retrieval(network, titles[:, :5])
    with pytest.raises(ValueError, match=r"users: float64 \(40, 4\)"):
        found.top(1, everybody._replace(table=users.astype(float)), choice)
    with pytest.raises(ValueError, match=r"group has shape \(3,\), expected \(40,\)"):
        found.top(1, everybody._replace(group=group[:3]), choice)
    with pytest.raises(IndexError, match="rows goes from 1 to 40, expected 0 to 39"):
        found.top(1, everybody._replace(rows=np.arange(N) + 1), choice)
    with pytest.raises(IndexError, match="group goes from"):
        found.top(1, everybody._replace(group=group + 1), choice)
    with pytest.raises(ValueError, match=r"offset has shape \(3, 22\), expected \(any, 23\)"):
        found.top(1, everybody, choice._replace(offset=found.bias[:, 1:].copy()))
    with pytest.raises(ValueError, match=r"kind has shape \(39,\), expected \(40,\)"):
        found.top(1, everybody, choice._replace(kind=group[1:]))
    with pytest.raises(ValueError, match="seen_start: expected bounds that ascend from 0 to 2"):
        starts = np.r_[0, 2, 1, np.full(N - 2, 2)]  # the second user's titles would end before they begin
        found.top(1, everybody, choice._replace(seen_start=starts, seen=np.array([0, 1])))
    with pytest.raises(ValueError, match="rows is float64, expected integers"):
        found.top(1, everybody._replace(rows=np.full(N, 1.9)), choice)
    for k in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"k {k}: expected a whole number of at least 1"):
            found.top(k, everybody, choice)
    with pytest.raises(IndexError, match="kind goes from"):
        found.top(1, everybody, choice._replace(kind=group + K))
    with pytest.raises(ValueError, match="seen_start: expected bounds that ascend from 0 to 0"):
        found.top(1, everybody, choice._replace(seen_start=np.arange(N + 1) // N))
