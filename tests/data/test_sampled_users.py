"""Who is drawn: disjoint, by the seed alone, active users by quota, and the same ones whatever else is drawn."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from toy_logs import BASE, Log, random_log

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.first_streams import FirstStreams
from twotower.data.sampling.quotas import active_quota
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampled_users import sample_users
from twotower.data.sampling.sampler import sample


@pytest.fixture(scope="module")
def log() -> Log:
    return random_log()


@pytest.fixture(scope="module")
def dataset(log, tmp_path_factory) -> Dataset:
    return log.write(tmp_path_factory.mktemp("users") / "log")


@examples(60)
@given(st.integers(0, 999), st.floats(0.05, 0.8), st.floats(0.05, 1.0), st.floats(0.0, 2.0), st.integers(0, 99))
def test_test_random_and_active_users_are_disjoint(log_seed, test_share, random_share, active, seed):
    log = random_log(log_seed, n_users=60, n_events=150)
    shares = (f"{100 * share!r}%" for share in (random_share, active, test_share))
    config = SampleConfig(*shares, window=4, seed=seed)
    users = sample_users(log_as_dataset(log), FirstStreams.read(log), config)
    assert len(set(users.train.tolist())) == len(users.train) == len(users.active)
    assert not set(users.train.tolist()) & set(users.test.tolist())
    assert len(users.test) == max(1, round(test_share * 60))
    assert (~users.active).sum() == max(1, round(random_share * (60 - len(users.test))))
    assert (np.diff(users.train) > 0).all() and (np.diff(users.test) > 0).all()


def log_as_dataset(log: Log) -> Dataset:
    """What ``sample_users`` reads of a dataset, without writing one."""
    log.n_territories, log.has_time = log.availability.shape[1], True
    return log


def test_active_users_have_a_first_stream_in_the_window(dataset, log):
    first = log.first_streams()
    for window in (1, 3, 60):
        users = sample_users(dataset, FirstStreams.read(log), replace(BASE, window=window, active_users=8))
        recent = {user for (user, _), day in first.items() if 10 - window <= day < 10 and day >= 0}
        assert set(users.train[users.active].tolist()) <= recent


def test_a_shorter_window_leaves_fewer_to_draw(dataset, log):
    first = FirstStreams.read(log)
    pools = [
        sample_users(dataset, first, replace(BASE, window=w, active_users="9900%")).active.sum() for w in (1, 3, 60)
    ]
    assert pools[0] < pools[1] < pools[2]


def test_random_users_are_the_same_however_many_active_ones_are_added(dataset, log):
    first = FirstStreams.read(log)
    few, many = (sample_users(dataset, first, replace(BASE, active_users=m)) for m in (0, 30))
    np.testing.assert_array_equal(few.train[~few.active], many.train[~many.active])
    np.testing.assert_array_equal(few.test, many.test)
    assert few.active.sum() == 0 and many.active.sum() == 30


def test_test_users_are_the_same_whatever_is_drawn_to_train_on(dataset, log):
    first = FirstStreams.read(log)
    one, other = sample_users(dataset, first, BASE), sample_users(dataset, first, replace(BASE, random_users=7))
    np.testing.assert_array_equal(one.test, other.test)
    assert set(other.train[~other.active].tolist()) < set(one.train[~one.active].tolist())


def test_choosing_leaves_test_users_alone_and_random_users_as_they_are(dataset, log):
    first = FirstStreams.read(log)
    usual, dev_users = (sample_users(dataset, first, replace(BASE, dev_users=choice)) for choice in (False, True))
    usual_test, judged, taught = (set(who.tolist()) for who in (usual.test, dev_users.test, dev_users.train))
    assert len(judged) == 50 and not judged & (usual_test | taught) and not taught & usual_test
    np.testing.assert_array_equal(dev_users.train[~dev_users.active], usual.train[~usual.active])


def test_the_users_to_choose_by_are_the_same_whatever_is_trained_on(dataset, log):
    first = FirstStreams.read(log)
    configs = replace(BASE, dev_users=True), replace(BASE, dev_users=True, random_users=60, active_users=0)
    one, other = (sample_users(dataset, first, config) for config in configs)
    np.testing.assert_array_equal(one.test, other.test)


def test_somebody_must_be_left_to_choose_by(dataset, log):
    with pytest.raises(InputError, match="--random-users 130: no 50 users are left for --dev-users"):
        sample_users(dataset, FirstStreams.read(log), replace(BASE, dev_users=True, random_users=130))


def test_the_seed_decides_who_is_drawn(dataset, log):
    first = FirstStreams.read(log)
    one, again, other = (sample_users(dataset, first, replace(BASE, seed=seed)) for seed in (1, 1, 2))
    for a, b, c in zip(one, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_active_users_are_any_of_their_territory(dataset, log):
    first = FirstStreams.read(log)
    users = sample_users(dataset, first, replace(BASE, quota="proportional"))
    others = np.setdiff1d(np.arange(200), np.concatenate([users.test, users.train[~users.active]]))
    pool = others[first.count(0, 10)[others] > 0]
    drawn_place = np.isin(pool, users.train[users.active]).nonzero()[0] / len(pool)
    assert 0.3 < drawn_place.mean() < 0.7 and drawn_place.max() > 0.8


def test_quotas_decide_where_active_users_come_from(dataset):
    summaries = {
        quota: sample(dataset, replace(BASE, quota=quota), overwrite=True)
        for quota in ("proportional", "equal", "adaptive")
    }
    users = {quota: summary.active.users for quota, summary in summaries.items()}
    assert all(counts.sum() == 20 for counts in users.values())
    assert users["proportional"][0] > users["equal"][0] > users["adaptive"][0]
    assert users["equal"].max() - users["equal"].min() <= 1
    lowest = {quota: summary.train.positives.min() for quota, summary in summaries.items()}
    assert lowest["adaptive"] > lowest["proportional"]
    spread = {quota: summary.spread() for quota, summary in summaries.items()}
    assert len({before for before, _ in spread.values()}) == 1, "random users are the same in all"
    assert spread["adaptive"][1] < spread["equal"][1] < spread["proportional"][1]


def test_the_adaptive_quota_fills_up_from_what_the_random_users_bring(dataset, log):
    users = sample_users(dataset, FirstStreams.read(log), replace(BASE, active_users=40))
    random, active = users.train[~users.active], users.train[users.active]
    brings, recently = np.zeros((2, 200))
    for (user, _), day in log.first_streams().items():
        brings[user] += 0 <= day < 10
        recently[user] += max(0, 10 - BASE.window) <= day < 10
    pool = np.setdiff1d(np.flatnonzero(recently), np.concatenate([users.test, random]))
    home = log.user_territory
    available = np.bincount(home[pool], minlength=4)
    per_user = np.bincount(home[pool], brings[pool], 4) / available
    expected = active_quota("adaptive", 40, available, np.bincount(home[random], brings[random], 4), per_user)
    assert np.bincount(home[active], minlength=4).tolist() == expected.tolist()


def test_a_share_of_active_users_takes_no_more_than_there_are(dataset):
    summary = sample(dataset, replace(BASE, active_users="5000%"), overwrite=True)
    assert 20 < summary.active.users.sum() < 110
