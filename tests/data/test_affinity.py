"""The truth of a synthetic world, and the pull of a shift on it."""

import shutil

import numpy as np
import pytest

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.grouping import geographic_groups
from twotower.data.synthetic.affinity import TASTE_DIM, Affinity, make_affinity, make_turns, true_affinity
from twotower.data.synthetic.catalogue import KINDS, make_catalogue
from twotower.data.synthetic.simulate import simulate
from twotower.data.synthetic.world import WorldConfig, make_territories

TOY = {"users": 500, "titles": 40, "territories": 20, "user_dim": 8, "title_dim": 8}


def truth_of(seed=0, **settings):
    config = WorldConfig(**settings)
    territories = make_territories(config, np.random.default_rng(1))
    catalogue = make_catalogue(config, territories, np.random.default_rng(2))
    group = geographic_groups(territories, config.groups)
    return make_affinity(config, catalogue, group, np.random.default_rng(seed)), catalogue


def some_users(truth, n=300):
    rng = np.random.default_rng(5)
    return rng.standard_normal((n, TASTE_DIM), np.float32), rng.integers(len(truth.group), size=n)


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5, 1.0])
def test_a_turn_is_a_rotation_by_the_shift(shift):
    for turn in make_turns(4, shift, np.random.default_rng(0)):
        assert turn @ turn.T == pytest.approx(np.eye(TASTE_DIM), abs=1e-12)
        assert np.trace(turn) / TASTE_DIM == pytest.approx(np.cos(shift * np.pi / 2), abs=1e-12)


def test_without_a_shift_all_places_are_alike():
    still, _ = truth_of(**TOY, shift=0.0)
    assert np.array_equal(still.turn, np.broadcast_to(np.eye(TASTE_DIM, dtype=np.float32), still.turn.shape))
    offered = np.isfinite(still.appeal)
    favour = np.where(offered, still.appeal, np.nan)
    assert np.array_equal(np.nanmin(favour, axis=0), np.nanmax(favour, axis=0))


def test_a_shift_moves_appeals_in_proportion_and_most_of_it_by_groups():
    world = {**TOY, "territories": 100, "titles": 1000, "local": 0.0, "regional": 0.0}
    still, small, large = (truth_of(**world, shift=shift)[0] for shift in (0.0, 0.25, 0.75))
    assert np.array_equal(still.title_taste, large.title_taste)
    pull, three_pulls = small.appeal - still.appeal, large.appeal - still.appeal  # (C, T)
    assert three_pulls == pytest.approx(3 * pull, abs=1e-5)
    of_group = np.stack([three_pulls[still.group == g].mean(axis=0) for g in range(4)])
    assert of_group.std() == pytest.approx(0.75, rel=0.1)
    assert (three_pulls - of_group[still.group]).std() == pytest.approx(0.75 * 1.2, rel=0.1)


def test_groups_of_an_unshifted_world_agree_and_those_of_a_shifted_one_do_not():
    def agreement(shift):
        truth, _ = truth_of(**TOY, shift=shift, groups=2)
        taste, _ = some_users(truth, 2000)
        liked = [taste @ turn.T @ truth.title_taste.T for turn in truth.turn]
        return np.corrcoef(liked[0].ravel(), liked[1].ravel())[0, 1]

    assert agreement(0.0) == pytest.approx(1.0)
    assert agreement(0.5) == pytest.approx(0.5, abs=0.2)
    assert abs(agreement(1.0)) < 0.3


def test_shares_are_the_softmax_of_what_the_formula_says():
    truth, catalogue = truth_of(**TOY)
    taste, territory = some_users(truth, 50)
    favourite = truth.favourites(territory, np.random.default_rng(6))
    shares = truth.shares(taste, favourite, territory)
    for u, c in enumerate(territory):
        turned = truth.turn[truth.group[c]].astype(float) @ taste[u]
        weight = {
            t: np.exp(turned @ truth.title_taste[t] + truth.appeal[c, t] + 3 * (truth.collection[t] == favourite[u]))
            for t in np.flatnonzero(catalogue.availability[:, c])
        }
        expected = np.zeros(len(catalogue))
        expected[list(weight)] = np.array(list(weight.values())) / sum(weight.values())
        assert shares[u] == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_the_strength_of_taste_is_the_deviation_of_affinity():
    for strength in (0.0, 1.5):
        truth, _ = truth_of(**TOY, taste=strength)
        taste, _ = some_users(truth, 5000)
        assert (taste @ truth.title_taste.T).std(axis=0) == pytest.approx(strength, rel=0.05)


def test_a_favourite_collection_has_a_title_in_the_territory_and_all_of_those_are_someones():
    truth, catalogue = truth_of(**TOY)
    _, territory = some_users(truth, 4000)
    favourite = truth.favourites(territory, np.random.default_rng(7))
    for c in range(len(truth.group)):
        there = set(catalogue.collection[catalogue.availability[:, c]].tolist())
        assert set(favourite[territory == c].tolist()) == there


def test_local_titles_are_loved_at_home_and_popularity_has_a_heavy_tail():
    truth, catalogue = truth_of(users=1000, titles=3000, shift=0.0)
    at_home = truth.appeal[catalogue.home, np.arange(3000)]
    mean = {name: at_home[catalogue.kind == k].mean() for k, name in enumerate(KINDS)}
    assert mean["local"] > mean["regional"] + 1 > mean["global"] + 1.5
    popularity = np.exp(truth.appeal[0, catalogue.kind == 0])
    assert np.sort(popularity)[-len(popularity) // 10 :].sum() > 0.35 * popularity.sum()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("affinity") / "world", WorldConfig(**TOY))


def test_the_true_affinity_of_pairs_is_the_log_of_their_shares(world, monkeypatch):
    rng = np.random.default_rng(3)
    users, titles = rng.integers(world.n_users, size=700), rng.integers(world.n_titles, size=700)
    shares = Affinity.read(world).shares(*map(world.truth, ("user_taste", "user_favourite")), world.user_territory)
    with np.errstate(divide="ignore"):
        expected = np.log(shares[users, titles])
    whole = true_affinity(world, users, titles)
    assert whole == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr("twotower.data.synthetic.affinity.BLOCK_PAIRS", 64)
    assert true_affinity(world, users, titles) == pytest.approx(whole, rel=1e-5)


def test_the_true_affinity_is_minus_infinity_where_a_title_is_not_offered(world):
    users, titles = np.divmod(np.arange(world.n_users * world.n_titles), world.n_titles)
    offered = world.availability[titles, world.user_territory[users]]
    assert np.array_equal(np.isfinite(true_affinity(world, users, titles)), offered)


def test_no_pairs_have_no_affinity(world):
    assert true_affinity(world, np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0,)


def test_a_dataset_without_truth_is_named(world, tmp_path):
    shutil.copytree(world.path, tmp_path / "log")
    bare = Dataset.open(tmp_path / "log")
    shutil.rmtree(tmp_path / "log" / "truth")
    with pytest.raises(InputError, match=r"truth/user_taste\.npy: missing"):
        true_affinity(bare, np.zeros(1, np.int64), np.zeros(1, np.int64))
