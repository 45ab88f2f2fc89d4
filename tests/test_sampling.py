"""Who is drawn is drawn apart, and what is drawn is true."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_logs import BASE, Log, random_log

from twotower.data.dataset import Dataset
from twotower.data.logs.discoveries import FirstStreams
from twotower.data.sample import Pairs, Sample
from twotower.data.samples.drawn_users import draw_users
from twotower.data.samples.quotas import active_quota
from twotower.data.samples.sample_config import SampleConfig
from twotower.data.samples.sampling import automatic_alpha, sample
from twotower.errors import InputError


@pytest.fixture(scope="module")
def log() -> Log:
    return random_log()


@pytest.fixture(scope="module")
def dataset(log, tmp_path_factory) -> Dataset:
    return log.write(tmp_path_factory.mktemp("sampling") / "log")


def drawn(dataset: Dataset, config: SampleConfig) -> Sample:
    sample(dataset, config, overwrite=True)
    return Sample(dataset)


def as_set(pairs: Pairs, only: np.ndarray | None = None) -> set[tuple[int, ...]]:
    """Day, user, title and label of each pair, of some users only if so wished."""
    rows = zip(
        pairs.day.tolist(), pairs.user.tolist(), pairs.title.tolist(), pairs.label.tolist(), strict=True
    )
    return {row for row in rows if only is None or row[1] in only}


# ---------------------------------------------------------------- users


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 999), st.floats(0.05, 0.8), st.floats(0.05, 1.0), st.floats(0.0, 2.0), st.integers(0, 99)
)
def test_test_random_and_active_users_are_disjoint(log_seed, test_share, random_share, active, seed):
    log = random_log(log_seed, n_users=60, n_events=150)
    config = SampleConfig(random_share, active, test_share, window=4, seed=seed)
    users = draw_users(log_as_dataset(log), FirstStreams.read(log), config)
    assert len(set(users.train.tolist())) == len(users.train) == len(users.active)
    assert not set(users.train.tolist()) & set(users.test.tolist())
    assert len(users.test) == max(1, round(test_share * 60))
    assert (~users.active).sum() == max(1, round(random_share * (60 - len(users.test))))
    assert (np.diff(users.train) > 0).all() and (np.diff(users.test) > 0).all()


def log_as_dataset(log: Log) -> Dataset:
    """What ``draw_users`` reads of a dataset, without writing one."""
    log.n_territories, log.has_time = log.availability.shape[1], True
    return log


def test_active_users_have_a_first_stream_in_the_window(dataset, log):
    first = log.first_streams()
    for window in (1, 3, 60):
        users = draw_users(dataset, FirstStreams.read(log), replace(BASE, window=window, active_users=8))
        recent = {user for (user, _), day in first.items() if 10 - window <= day < 10 and day >= 0}
        assert set(users.train[users.active].tolist()) <= recent


def test_a_shorter_window_leaves_fewer_to_draw(dataset, log):
    first = FirstStreams.read(log)
    pools = [
        draw_users(dataset, first, replace(BASE, window=w, active_users=99.0)).active.sum()
        for w in (1, 3, 60)
    ]
    assert pools[0] < pools[1] < pools[2]


def test_random_users_are_the_same_however_many_active_ones_are_added(dataset, log):
    first = FirstStreams.read(log)
    few, many = (draw_users(dataset, first, replace(BASE, active_users=m)) for m in (0, 30))
    np.testing.assert_array_equal(few.train[~few.active], many.train[~many.active])
    np.testing.assert_array_equal(few.test, many.test)
    assert few.active.sum() == 0 and many.active.sum() == 30


def test_test_users_are_the_same_whatever_is_drawn_to_train_on(dataset, log):
    first = FirstStreams.read(log)
    one, other = draw_users(dataset, first, BASE), draw_users(dataset, first, replace(BASE, random_users=7))
    np.testing.assert_array_equal(one.test, other.test)
    assert set(other.train[~other.active].tolist()) < set(one.train[~one.active].tolist())


def test_choosing_leaves_test_users_alone_and_random_users_as_they_are(dataset, log):
    first = FirstStreams.read(log)
    usual, choosing = (draw_users(dataset, first, replace(BASE, choosing=choice)) for choice in (False, True))
    usual_test, judged, taught = (set(who.tolist()) for who in (usual.test, choosing.test, choosing.train))
    assert len(judged) == 50 and not judged & (usual_test | taught) and not taught & usual_test
    np.testing.assert_array_equal(choosing.train[~choosing.active], usual.train[~usual.active])


def test_the_users_to_choose_by_are_the_same_whatever_is_trained_on(dataset, log):
    first = FirstStreams.read(log)
    configs = replace(BASE, choosing=True), replace(BASE, choosing=True, random_users=60, active_users=0)
    one, other = (draw_users(dataset, first, config) for config in configs)
    np.testing.assert_array_equal(one.test, other.test)


def test_somebody_must_be_left_to_choose_by(dataset, log):
    with pytest.raises(InputError, match="random_users = 130: that leaves no 50 users to choose settings by"):
        draw_users(dataset, FirstStreams.read(log), replace(BASE, choosing=True, random_users=130))


def test_the_seed_decides_who_is_drawn(dataset, log):
    first = FirstStreams.read(log)
    one, again, other = (draw_users(dataset, first, replace(BASE, seed=seed)) for seed in (1, 1, 2))
    for a, b, c in zip(one, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_active_users_are_any_of_their_territory(dataset, log):
    first = FirstStreams.read(log)
    users = draw_users(dataset, first, replace(BASE, quota="proportional"))
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
    users = draw_users(dataset, FirstStreams.read(log), replace(BASE, active_users=40))
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


# ---------------------------------------------------------------- positives


def test_positives_are_exactly_the_first_streams_of_the_days(dataset, log):
    it = drawn(dataset, BASE)
    for pairs, users, first_day, end_day in (
        (it.train_pairs(), it.train_users, 0, 10),
        (it.test_pairs(), it.test_users, 10, 13),
    ):
        expected = {
            (day, user, title, 1.0)
            for (user, title), day in log.first_streams().items()
            if first_day <= day < end_day and user in users
        }
        positives = pairs.take(pairs.label == 1)
        assert as_set(positives) == expected and len(positives) == len(expected)


def test_pairs_of_training_and_test_share_neither_users_nor_days(dataset):
    it = drawn(dataset, BASE)
    train, test = it.train_pairs(), it.test_pairs()
    assert set(train.user.tolist()) <= set(it.train_users.tolist())
    assert set(test.user.tolist()) <= set(it.test_users.tolist())
    assert not set(train.user.tolist()) & set(test.user.tolist())
    assert it.train_days == list(range(10)) and it.test_days == [10, 11, 12]


def test_without_test_days_test_users_are_tested_on_the_training_days(log, tmp_path):
    day = np.where(log.day < 5, -1, 0)  # no timestamps: half of each user's pairs are history
    timeless = replace(log, day=day, launch_day=np.zeros(log.n_titles, int), train_days=1, test_days=0)
    it = drawn(timeless.write(tmp_path / "log", has_time=False), BASE)
    assert it.train_days == it.test_days == [0]
    assert not set(it.train_users.tolist()) & set(it.test_users.tolist())
    assert it.test_pairs().label.sum() == sum(
        day == 0 and user in it.test_users for (user, _), day in timeless.first_streams().items()
    )


# ---------------------------------------------------------------- negatives


@pytest.mark.parametrize("negatives", ["own", "population"])
def test_no_negative_was_ever_watched_or_could_not_have_been(dataset, log, negatives):
    it = drawn(dataset, replace(BASE, negatives=negatives))
    for pairs in (it.train_pairs(), it.test_pairs()):
        assert set(np.unique(pairs.label)) == {0.0, 1.0}
        rows = as_set(pairs.take(pairs.label == 0))
        assert len(rows) == (pairs.label == 0).sum(), "drawn twice on a day"
        assert all(title in log.could_watch(user, day) for day, user, title, _ in rows)


def test_each_positive_has_alpha_negatives_of_its_own_user_on_its_day(dataset, log):
    pairs = drawn(dataset, BASE).train_pairs()
    for day, user in {(day, user) for day, user, _, _ in as_set(pairs)}:
        here = pairs.label[(pairs.day == day) & (pairs.user == user)]
        n_positives = here.sum()
        assert (here == 0).sum() == min(3 * n_positives, len(log.could_watch(user, day)))
        assert here[: int(n_positives)].all(), "positives first"


@pytest.mark.parametrize(("negatives", "alpha"), [("own", 0.5), ("population", 0.05)])
def test_fractions_of_alpha_are_right_on_average(dataset, negatives, alpha):
    config = replace(BASE, alpha=alpha, test_users=10, random_users=150, negatives=negatives)
    trains = [sample(dataset, replace(config, seed=seed), overwrite=True).train for seed in range(4)]
    drawn, positives = (sum(getattr(train, kind).sum() for train in trains) for kind in ("negatives", "positives"))
    assert drawn / positives == pytest.approx(alpha, rel=0.12)


def test_negatives_of_the_population_are_as_many_in_each_territory_but_of_anybody(dataset, log):
    summary = sample(dataset, replace(BASE, negatives="population"), overwrite=True)
    wanted = 3 * (summary.train.positives + summary.test.positives)
    np.testing.assert_array_equal(
        summary.train.negatives + summary.test.negatives + summary.shortfall, wanted
    )
    pairs = Sample(dataset).train_pairs()
    has_positive = set(pairs.user[pairs.label == 1].tolist())
    assert set(pairs.user[pairs.label == 0].tolist()) - has_positive
    own = drawn(dataset, BASE).train_pairs()
    assert set(own.user[own.label == 0].tolist()) <= set(own.user[own.label == 1].tolist())


def test_automatic_alpha_is_users_over_daily_first_time_streamers(dataset, log):
    streamers = [
        len({user for (user, _), first in log.first_streams().items() if first == day}) for day in range(10)
    ]
    expected = 200 / np.mean(streamers)
    assert automatic_alpha(dataset, FirstStreams.read(log)) == pytest.approx(expected)
    summary = sample(dataset, replace(BASE, alpha="auto"), overwrite=True)
    assert summary.alpha == Sample(dataset).config["drawn"]["alpha"] == pytest.approx(expected)


# ---------------------------------------------------------------- samples that are compared


@pytest.mark.parametrize("negatives", ["own", "population"])
def test_samples_with_the_same_seed_share_their_test_pairs(dataset, negatives):
    base = replace(BASE, negatives=negatives)
    digests = {
        drawn(dataset, config).test_pairs().digest()
        for config in (
            base,
            replace(base, active_users=0),
            replace(base, random_users=9, quota="equal", window=2),
        )
    }
    assert len(digests) == 1
    assert drawn(dataset, replace(base, seed=1)).test_pairs().digest() not in digests


def test_upsampling_adds_the_pairs_of_active_users_and_changes_no_other(dataset):
    without = drawn(dataset, replace(BASE, active_users=0)).train_pairs()
    upsampled = drawn(dataset, BASE)
    random_users = upsampled.train_users[~upsampled.active]
    assert as_set(without) == as_set(upsampled.train_pairs(), only=random_users)
    assert as_set(without) < as_set(upsampled.train_pairs())


def test_the_same_seed_writes_the_same_bytes(dataset, log, tmp_path):
    other_place = log.write(tmp_path / "elsewhere")
    for config in (BASE, replace(BASE, negatives="population", alpha="auto")):
        sample(dataset, config, overwrite=True)
        sample(other_place, config, overwrite=True)
        one, other = (
            {
                p.relative_to(d.path): p.read_bytes()
                for p in d.path.glob("samples/default/**/*")
                if p.is_file()
            }
            for d in (dataset, other_place)
        )
        assert one == other and len(one) > 30


# ---------------------------------------------------------------- what is told


def test_the_summary_counts_what_was_written(dataset, log):
    summary = sample(dataset, BASE, overwrite=True)
    it = Sample(dataset)
    kinds = {
        "random": (it.train_users[~it.active], it.train_pairs()),
        "active": (it.train_users[it.active], it.train_pairs()),
        "test": (it.test_users, it.test_pairs()),
    }
    for kind, (users, pairs) in kinds.items():
        counts = getattr(summary, kind)
        of_kind = pairs.take(np.isin(pairs.user, users))
        for label, expected in ((1, counts.positives), (0, counts.negatives)):
            territory = log.user_territory[of_kind.user[of_kind.label == label]]
            np.testing.assert_array_equal(np.bincount(territory, minlength=4), expected)
        np.testing.assert_array_equal(np.bincount(log.user_territory[users], minlength=4), counts.users)
    np.testing.assert_array_equal(summary.audience, np.bincount(log.user_territory))
    assert it.config["quota"] == "adaptive" and it.config["drawn"] == {
        "alpha": 3.0, "random_users": 40, "active_users": 20, "test_users": 50,
    }  # fmt: skip


def test_sampling_says_where_it_is(dataset):
    stages = []
    sample(dataset, BASE, lambda stage, done, total: stages.append((stage, done, total)), overwrite=True)
    for expected in (("finding first streams", 14, 14), ("drawing train pairs", 10, 10)):
        assert expected in stages
    assert stages[-1] == ("drawing test pairs", 3, 3)
