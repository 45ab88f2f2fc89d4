"""The synthetic service as a whole: the log tells the truth, and every option does something."""

import tracemalloc
from dataclasses import fields

import numpy as np
import pytest

from twotower.core.errors import InputError
from twotower.data.dataset import HISTORY, Dataset
from twotower.data.grouping import geographic_groups
from twotower.data.synthetic.affinity import FAVOURITE, Affinity, true_affinity
from twotower.data.synthetic.simulate import simulate
from twotower.data.synthetic.world import WorldConfig
from twotower.metrics.average_precision import average_precision

TOY = {
    "users": 900, "titles": 60, "territories": 24, "history_days": 20, "train_days": 20,
    "user_dim": 32, "title_dim": 16,
}  # fmt: skip


def toy(path, **settings):
    return simulate(path, WorldConfig(**{**TOY, **settings}), overwrite=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return toy(tmp_path_factory.mktemp("simulate") / "toy", users=5000)  # two blocks


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A world of default shape, with fewer users and narrow vectors."""
    config = WorldConfig(users=20_000, user_dim=16, title_dim=16)
    return simulate(tmp_path_factory.mktemp("simulate") / "service", config)


def first_streams_of(dataset):
    """User, title and day of first streams, history too, found the slow and sure way."""
    user, title, day = dataset.all_events()
    order = np.lexsort((day, title, user))
    user, title, day = user[order], title[order], day[order]
    first = np.r_[True, (user[1:] != user[:-1]) | (title[1:] != title[:-1])]
    return user[first], title[first], day[first]


def labelled_pairs(dataset, alpha, rng):
    """First streams of the test days, and alpha titles a stream, drawn evenly from what was never watched."""
    user, title, day = first_streams_of(dataset)
    watched = np.zeros((dataset.n_users, dataset.n_titles), bool)
    watched[user, title] = True
    positive = day >= dataset.train_days
    user, title, day = user[positive], title[positive], day[positive]
    possible = ~watched[user] & dataset.availability.T[dataset.user_territory[user]]
    possible &= dataset.launch_day <= day[:, None]  # (positives, T)
    lot = np.where(possible, rng.random(possible.shape), 2.0)
    negatives = np.argsort(lot, axis=1)[:, :alpha]
    drawn = np.take_along_axis(possible, negatives, axis=1)
    users = np.concatenate([user, np.repeat(user, alpha).reshape(-1, alpha)[drawn]])
    titles = np.concatenate([title, negatives[drawn]])
    return users, titles, (np.arange(len(users)) < len(user)).astype(float)


def test_a_world_is_a_complete_dataset(world):
    assert (world.n_users, world.n_titles, world.n_territories) == (5000, 60, 24)
    assert (world.train_days, world.test_days, world.has_time) == (20, 3, True)
    assert world.user_vectors.shape == (5000, 32) and world.user_vectors.dtype == np.float16
    assert world.title_vectors.shape[0] == 60 and world.title_vectors.shape[1] > 16
    assert world.titles["kind"].count("global") == 21
    assert np.array_equal(np.bincount(world.user_territory, minlength=24), world.territories.users)
    assert (world.territories.group == -1).all()  # grouping is a step of its own
    assert world.manifest["provenance"]["kind"] == "world"
    assert world.manifest["provenance"]["config"]["users"] == 5000
    world.check_vectors()


def test_a_seed_means_one_world_to_the_byte(world, tmp_path):
    same = toy(tmp_path / "same", users=5000)
    assert same.manifest == world.manifest  # with the checksum of every file
    other = toy(tmp_path / "other", users=5000, seed=1)
    assert not set(f["sha256"] for f in other.manifest["files"].values()) & set(
        f["sha256"] for f in world.manifest["files"].values()
    )


def test_more_users_meet_the_same_titles_and_the_first_of_them_the_same_tastes(world, tmp_path):
    more = toy(tmp_path / "more", users=9000)
    assert more.titles["title"] == world.titles["title"]
    assert np.array_equal(more.truth("user_taste")[:4096], world.truth("user_taste")[:4096])


def test_users_of_all_territories_are_mixed(world):
    assert len(set(world.user_territory[:300].tolist())) > 10
    assert abs(np.corrcoef(np.arange(5000), world.user_territory)[0, 1]) < 0.05


def test_titles_are_streamed_where_they_are_offered_and_not_before_their_launch(world):
    user, title, day = world.all_events()
    assert world.availability[title, world.user_territory[user]].all()
    assert (day[world.launch_day[title] > 0] >= world.launch_day[title][world.launch_day[title] > 0]).all()
    assert (world.launch_day >= 0).all() and (world.launch_day > 0).any()


def test_the_truth_counts_the_first_streams_of_the_log(world):
    user, _, day = first_streams_of(world)
    counted = np.zeros((24, 23), np.int64)
    np.add.at(counted, (world.user_territory[user][day >= 0], day[day >= 0]), 1)
    assert np.array_equal(counted, world.truth("first_streams"))


def test_every_day_has_streams_and_many_are_repeats(world):
    assert all(len(world.events(day)[0]) > 50 for day in range(HISTORY, 23))
    user, title, _ = world.all_events()
    distinct = len(np.unique(user.astype(np.int64) * 60 + title))
    assert 0.2 < 1 - distinct / len(user) < 0.6


def test_active_users_stream_most_and_many_stream_nothing_at_all(service):
    user, _, day = first_streams_of(service)
    count = np.bincount(user[day >= 0], minlength=service.n_users)
    assert 0.2 < (count == 0).mean() < 0.6
    assert np.sort(count)[-service.n_users // 10 :].sum() > 0.33 * count.sum()
    rate = service.truth("user_rate")
    assert np.corrcoef(np.log(rate), np.log1p(count))[0, 1] > 0.7


def test_positives_are_as_unequal_as_in_the_paper(service):
    """Table 1: six of 16 majors of order 1M, others down to 10k."""
    positives = service.truth("first_streams")[:, : service.train_days].sum(axis=1)
    assert 1.7 < np.log10(positives[0] / positives[:16].min()) < 2.7
    assert positives[:16].sum() > 0.85 * positives.sum()
    assert (positives[:6] > positives[0] / 10).all()


def test_global_titles_dominate_the_counts_but_locals_are_loved_at_home(service):
    user, title, _ = first_streams_of(service)
    kind = np.array(service.titles["kind"])
    count = np.bincount(title, minlength=service.n_titles)
    assert count[kind == "global"].sum() > 2 * count[kind != "global"].sum()
    top = np.sort(count)[::-1]
    assert top[:30].sum() > 0.35 * count.sum()  # a tenth of the titles
    in_large = np.isin(service.user_territory[user], np.arange(5))
    home = np.bincount(title[in_large], minlength=service.n_titles)
    users_at = service.availability[:, :5] @ service.territories.users[:5]
    reach = home / np.maximum(users_at, 1)  # first streams a user who can watch it
    assert reach[(kind == "local") & (users_at > 0)].mean() > 1.3 * reach[kind == "global"].mean()


def test_the_true_affinity_ranks_unseen_pairs_well_but_not_perfectly(service):
    users, titles, labels = labelled_pairs(service, 4, np.random.default_rng(0))
    base_rate = labels.mean()
    best = average_precision(labels, true_affinity(service, users, titles))
    popularity = np.bincount(service.all_events()[1], minlength=service.n_titles)
    naive = average_precision(labels, popularity[titles].astype(float))
    print(f"PR-AUC: base rate {base_rate:.3f}, popularity {naive:.3f}, true affinity {best:.3f}")
    assert base_rate == pytest.approx(0.2, abs=0.01) and 0.5 < best < 0.75 and 0.25 < naive < 0.4


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_tastes_must_be_turned_for_each_group_exactly_if_there_is_a_shift(shift, tmp_path):
    dataset = toy(tmp_path / "shifted", users=20_000, shift=shift)
    users, titles, labels = labelled_pairs(dataset, 4, np.random.default_rng(0))
    truth = Affinity.read(dataset)
    appeal = truth.appeal[dataset.user_territory[users], titles]
    unturned = (dataset.truth("user_taste")[users] * truth.title_taste[titles]).sum(axis=1)
    loved = FAVOURITE * (dataset.truth("user_favourite")[users] == truth.collection[titles])
    shared = average_precision(labels, appeal + unturned + loved)
    best = average_precision(labels, true_affinity(dataset, users, titles))
    if shift:
        assert best > shared + 0.05
    else:
        assert best == pytest.approx(shared, abs=0.03)  # the same but for the users' totals


def test_grouping_finds_the_groups_whose_tastes_differ(world):
    assert np.array_equal(geographic_groups(world.territories, 4), world.truth("group"))


def explained(target, vectors):
    """Share of the variance of target (n, m) that a linear map of the vectors explains, on the other half."""
    X, half = np.c_[np.asarray(vectors, float), np.ones(len(vectors))], len(vectors) // 2
    weights, *_ = np.linalg.lstsq(X[:half], target[:half], rcond=None)
    unseen = target[half:]
    return 1 - ((X[half:] @ weights - unseen) ** 2).sum() / ((unseen - unseen.mean(axis=0)) ** 2).sum()


def test_user_vectors_know_the_history_and_nothing_later(tmp_path):
    def knowledge(history_days):
        dataset = toy(tmp_path / str(history_days), users=4000, history_days=history_days, streams=0.5)
        user, _, day = dataset.all_events()
        activity = np.log1p(np.bincount(user[day > HISTORY], minlength=4000))[:, None]
        return [explained(target, dataset.user_vectors) for target in (activity, dataset.truth("user_taste"))]

    (blind_activity, blind_taste), (activity, taste) = knowledge(0), knowledge(20)
    assert blind_activity < 0.02 and activity > 0.15
    assert blind_taste < 0.05 and taste > blind_taste + 0.04


def distinct_pairs(dataset):
    user, title, _ = dataset.all_events()
    return len(np.unique(user.astype(np.int64) * dataset.n_titles + title))


# option, a value, another one, and what is larger in the second world
OPTIONS = [
    ("users", 500, 900, lambda d: d.n_users),
    ("titles", 40, 60, lambda d: len(d.title_ids)),
    ("territories", 20, 30, lambda d: len(d.territories)),
    ("groups", 2, 5, lambda d: len(set(d.truth("group").tolist()))),
    ("shift", 0.2, 0.6, lambda d: np.abs(d.truth("turn") - np.eye(16)).max()),
    ("taste", 0.5, 2.0, lambda d: np.linalg.norm(d.truth("title_taste"))),
    ("local", 0.2, 0.4, lambda d: (d.availability.sum(axis=1) == 1).sum()),
    ("regional", 0.1, 0.3, lambda d: d.titles["kind"].count("regional")),
    ("streams", 0.2, 0.4, distinct_pairs),
    ("noise", 20.0, 1.0, lambda d: explained(d.truth("user_taste"), d.user_vectors)),
    ("history_days", 5, 30, lambda d: len(d.history()[0])),
    ("train_days", 5, 20, lambda d: sum(len(d.events(day)[0]) > 0 for day in range(d.train_days))),
    ("test_days", 1, 4, lambda d: sum(len(d.events(20 + day)[0]) > 0 for day in range(d.test_days))),
    ("user_dim", 8, 24, lambda d: d.user_vectors.shape[1]),
    ("title_dim", 8, 24, lambda d: d.title_vectors.shape[1]),
]


@pytest.mark.parametrize(("option", "small", "large", "measure"), OPTIONS, ids=[o[0] for o in OPTIONS])
def test_every_option_does_what_it_says(option, small, large, measure, tmp_path):
    low, high = (toy(tmp_path / str(value), **{option: value}) for value in (small, large))
    assert measure(low) < measure(high)


def test_the_table_of_options_leaves_none_out():
    assert {o[0] for o in OPTIONS} | {"seed"} == {field.name for field in fields(WorldConfig)}


def test_a_log_without_history_or_test_days_is_possible(tmp_path):
    dataset = toy(tmp_path / "w", history_days=0, test_days=0)
    assert len(dataset.history()[0]) == 0 and dataset.test_days == 0
    assert dataset.truth("first_streams").shape == (24, 20)


def test_an_existing_directory_is_only_replaced_when_asked(tmp_path):
    toy(tmp_path / "w", users=100)
    with pytest.raises(InputError, match="exists already"):
        simulate(tmp_path / "w", WorldConfig(**TOY))
    assert Dataset.open(tmp_path / "w").n_users == 100
    assert toy(tmp_path / "w").n_users == 900


def test_a_simulation_that_is_stopped_leaves_nothing(tmp_path):
    def stop(stage, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "w", WorldConfig(**{**TOY, "users": 9000}), progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_the_users(tmp_path):
    calls = []
    simulate(tmp_path / "w", WorldConfig(**{**TOY, "users": 9000}), progress=lambda *call: calls.append(call))
    assert [(done, total) for stage, done, total in calls if stage == "simulating users"] == [
        (0, 9000),
        (4096, 9000),
        (8192, 9000),
        (9000, 9000),
    ]


def test_memory_does_not_grow_with_the_vectors(tmp_path):
    tracemalloc.start()
    try:
        toy(tmp_path / "w", users=40_000, user_dim=512, streams=0.05)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 35e6 < 40_000 * 512 * 2  # bytes of the vectors
