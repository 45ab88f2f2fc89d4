"""Who goes through which head: by geography, by viewing, by chance, and at random regardless of territory."""

from types import SimpleNamespace

import numpy as np
import pytest

from twotower.core.errors import InputError
from twotower.core.presets import PRESETS
from twotower.data.dataset import Dataset
from twotower.data.grouping import random_groups, viewing_groups, viewing_profiles
from twotower.data.sample import Sample
from twotower.data.territories import look_up
from twotower.experiments.gains import TestSet
from twotower.experiments.methods import BASELINES, DEFAULT_METHODS, METHODS, SAMPLES, choose_roles, find_methods
from twotower.experiments.setup import Setup
from twotower.training.job import choose_groups, shuffled_heads
from twotower.training.predict import evaluate_pairs, user_groups

NAMES = ("United States", "Germany", "Japan", "Brazil", "India", "France")


def territories():
    found = look_up(NAMES)
    found.users[:] = (600, 500, 400, 300, 200, 100)
    return found


def two_tastes(rng) -> np.ndarray:
    """Positives (6, 40): even territories watch the first titles more, odd ones the others."""
    taste = np.where(np.arange(40) < 20, 4.0, 1.0)
    rates = np.stack([taste if c % 2 == 0 else taste[::-1] for c in range(6)]) * 30
    return rng.poisson(rates)


def test_territories_that_watch_alike_share_a_group(rng):
    group = viewing_groups(territories(), two_tastes(rng), np.ones((40, 6), bool), 2)
    assert group.tolist() == [0, 1, 0, 1, 0, 1]


def test_what_a_territory_does_not_have_says_nothing_of_its_taste(rng):
    positives, availability = two_tastes(rng), np.ones((40, 6), bool)
    availability[5:20, 0] = False  # much of what the first territory would watch
    positives[0, 5:20] = 0
    assert viewing_groups(territories(), positives, availability, 2).tolist() == [0, 1, 0, 1, 0, 1]
    assert not viewing_profiles(positives, availability)[0, 5:20].any()


def test_a_territory_with_few_positives_has_a_short_profile(rng):
    positives = two_tastes(rng)
    positives[5] = 0
    positives[5, 0] = 1
    length = np.linalg.norm(viewing_profiles(positives, np.ones((40, 6), bool)), axis=1)
    assert length[5] < 0.2 * length[:5].min() and length.max() == pytest.approx(1)


def test_no_positives_at_all_still_make_groups():
    group = viewing_groups(territories(), np.zeros((6, 4), int), np.ones((4, 6), bool), 3)
    assert sorted(group.tolist()) == [0, 0, 1, 1, 2, 2]


def test_random_groups_are_of_one_size_and_of_the_seed():
    draws = [random_groups(territories(), 3, np.random.default_rng(seed)) for seed in (0, 0, 1, 2, 3)]
    assert all(sorted(draw.tolist()) == [0, 0, 1, 1, 2, 2] for draw in draws)
    assert draws[0].tolist() == draws[1].tolist()
    assert len({tuple(draw) for draw in draws}) > 1
    with pytest.raises(InputError, match="7 groups for 6 territories"):
        random_groups(territories(), 7, np.random.default_rng(0))


def test_shuffled_users_go_through_other_heads_and_live_where_they_lived(tiny_world):
    dataset = Dataset.open(tiny_world)
    groups = choose_groups(dataset.territories, 2)
    shuffled = shuffled_heads(dataset, 0)
    before, after = (user_groups(data, groups, 2) for data in (dataset, shuffled))
    assert np.count_nonzero(before != after) > 0.2 * dataset.n_users
    assert np.bincount(before).tolist() == np.bincount(after).tolist(), "heads are as large as before"
    assert (shuffled.user_territory == dataset.user_territory).all()
    assert (dataset.head_territory == dataset.user_territory).all(), "the dataset itself is as it was"


def test_shuffled_users_are_judged_where_they_live(tiny_world, rng):
    dataset = Dataset.open(tiny_world)
    shuffled, groups = shuffled_heads(dataset, 0), np.zeros(dataset.n_territories, np.int64)
    pairs = Sample(dataset).test_pairs()
    scores = rng.standard_normal(len(pairs), np.float32)
    method, baseline = (evaluate_pairs(data, groups, pairs, scores).territories for data in (shuffled, dataset))
    np.testing.assert_array_equal(method.pairs, baseline.pairs)
    np.testing.assert_array_equal(method.pr_auc, baseline.pr_auc)


@pytest.mark.parametrize("name", ["random-groups", "shuffled"])
def test_what_is_drawn_is_drawn_anew_for_each_seed(tiny_world, name):
    dataset = Dataset.open(tiny_world)
    opened = SimpleNamespace(dataset=dataset, plan=SimpleNamespace(groups=3), geography=None)

    def assigned(seed):
        heads, groups = Setup.heads(opened, METHODS[name], seed)
        return heads.head_territory.tobytes(), None if groups is None else groups.tobytes()

    assert assigned(0) == assigned(0) and len({assigned(seed) for seed in range(5)}) > 1


def test_a_territory_is_judged_by_how_many_users_have_positives():
    user = np.repeat(np.arange(120), 4)
    label = (np.arange(480) % 4 == 0).astype(np.float32)
    label[user < 31] = 0
    test = TestSet(label, user, user // 60, np.zeros(len(user), int), 1, np.ones(6, bool), 10, 1)
    found = test.support()
    assert found["users"].tolist() == [60, 60, 0, 0, 0, 0] and found["positives"].tolist() == [29, 60, 0, 0, 0, 0]
    assert found["users_with_positives"].tolist() == [29, 60, 0, 0, 0, 0]
    assert found["evaluated"].tolist() == [False, True, False, False, False, False]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_makes_a_configuration(name):
    method = METHODS[name]
    config = method.config("default", {"model": {"hidden": 16}, "train": {"epochs": 7}}, 4, seed=3)
    assert (config.model.hidden, config.train.epochs, config.train.seed) == (16, 7, 3)
    assert config.model.groups == (4 if method.multi_task else 1)
    assert config.model.multi_task == method.multi_task
    assert method.sample in SAMPLES and method.about.endswith(".") and method.name == name


def test_heads_that_were_asked_for_are_for_multi_task_methods_alone():
    settings = {"model": {"head": "residual", "title_bias": False}}
    assert METHODS["mtl"].config("default", settings, 4, 0).model.head == "residual"
    assert METHODS["upsampled"].config("default", settings, 4, 0).model.head == "none"
    assert METHODS["lowrank"].config("default", settings, 4, 0).model.head == "lowrank", "it is what its name says"
    assert METHODS["mtl"].config("default", {}, 4, 0).model.head == PRESETS["default"].mtl_model["head"]


def test_methods_are_found_by_name_each_once():
    assert [method.name for method in find_methods("mtl, baseline,mtl")] == ["baseline", "mtl"]
    assert [method.name for method in find_methods("all")] == list(METHODS)


def test_roles_fall_to_what_is_there():
    assert choose_roles(list(DEFAULT_METHODS)) == ("mtl", list(BASELINES))
    assert choose_roles(["upsampled", "shuffled"]) == ("shuffled", ["upsampled"])
    assert choose_roles(["more-random", "mtl"]) == ("mtl", ["more-random"])


# ---------------------------------------------------------------- what settings reach


def settings_of(name: str, **model):
    return METHODS[name].config("default", {"model": model}, 4, 0).model


@pytest.mark.parametrize("name", ["upsampled", "mtl"])
def test_offsets_of_titles_and_their_prior_can_be_set_for_all_methods(name):
    assert settings_of(name, title_offsets="none").title_offsets == "none"
    assert settings_of(name, title_offsets="title").title_offsets == "title"
    assert settings_of(name, offset_prior=50.0).offset_prior == 50


@pytest.mark.parametrize("level", ["group", "territory"])
def test_offsets_of_groups_or_territories_are_those_of_multi_task_methods(level):
    assert settings_of("mtl", title_offsets=level).title_offsets == level
    assert settings_of("upsampled", title_offsets=level).title_offsets == "title"


def test_the_prior_of_cells_reaches_the_methods_that_have_some_and_stops_no_other():
    for name, reached in {"mtl": 9, "offsets": 9, "upsampled": 0, "lowrank-bias": 0, "no-offsets": 0}.items():
        assert settings_of(name, group_prior=9.0).group_prior == reached
    assert settings_of("mtl", group_prior=9.0, title_offsets="title").group_prior == 0


def test_a_large_learning_rate_leaves_heads_to_the_experiment():
    config = METHODS["mtl"].config("default", {"train": {"learning_rate": 0.5}}, 4, 0)
    assert config.train.head_decay == 0.2  # a tenth a step
    given = METHODS["mtl"].config("default", {"train": {"head_decay": 3.0}}, 4, 0)
    assert given.train.head_decay == 3
