"""What is drawn is true: positives, negatives, and what a sample has in common with another."""

from dataclasses import replace

import numpy as np
import pytest
from toy_logs import BASE, Log, random_log

from twotower.data.dataset import Dataset
from twotower.data.first_streams import FirstStreams
from twotower.data.sample import Pairs, Sample
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampler import automatic_alpha, sample


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
    rows = zip(pairs.day.tolist(), pairs.user.tolist(), pairs.title.tolist(), pairs.label.tolist(), strict=True)
    return {row for row in rows if only is None or row[1] in only}


# ---------------------------------------------------------------- positives


def test_positives_are_exactly_the_first_streams_of_available_titles_on_the_days(dataset, log):
    it = drawn(dataset, BASE)
    for pairs, users, first_day, end_day in (
        (it.train_pairs(), it.train_users, 0, 10),
        (it.test_pairs(), it.test_users, 10, 13),
    ):
        expected = {
            (day, user, title, 1.0)
            for (user, title), day in log.first_streams().items()
            if first_day <= day < end_day and user in users and log.is_available(user, title, day)
        }
        positives = pairs.take(pairs.label == 1)
        assert as_set(positives) == expected and len(positives) == len(expected)


def test_a_title_that_is_not_available_is_in_no_pair_and_its_positives_are_counted(dataset, log):
    summary, it = sample(dataset, BASE, overwrite=True), Sample(dataset)
    for pairs in (it.train_pairs(), it.test_pairs(), it.update_pairs(it.update_days)):
        assert all(log.is_available(user, title, day) for day, user, title, _ in as_set(pairs))
    left_out = np.zeros(4, int)
    for (user, title), day in log.first_streams().items():
        in_sample = (user in it.train_users and 0 <= day < 10) or (user in it.test_users and day >= 10)
        left_out[log.user_territory[user]] += in_sample and not log.is_available(user, title, day)
    np.testing.assert_array_equal(summary.unavailable, left_out)
    assert it.config["sampled"]["unavailable_positives"] == left_out.sum() > 0
    assert it.config["sampled"]["missing_negatives"] == summary.shortfall.sum()


def test_availability_does_not_tell_labels(log, tmp_path):
    """Where a title is available for the few who watched it, its territory alone would say who are the positives."""
    everywhere = replace(log, availability=np.ones_like(log.availability), launch_day=np.zeros_like(log.launch_day))
    seen = np.zeros(log.availability.shape, int)
    np.add.at(seen, (log.title, log.user_territory[log.user]), 1)
    few = replace(everywhere, availability=seen >= 8)
    pairs = drawn(few.write(tmp_path / "few"), BASE).test_pairs()
    by_availability = few.availability[pairs.title, log.user_territory[pairs.user]]
    assert by_availability.all()  # so that it cannot rank positives above negatives, or below
    assert 0 < pairs.label.sum() < drawn(everywhere.write(tmp_path / "all"), BASE).test_pairs().label.sum()


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
        day == 0 and user in it.test_users and timeless.is_available(user, title, day)
        for (user, title), day in timeless.first_streams().items()
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
    np.testing.assert_array_equal(summary.train.negatives + summary.test.negatives + summary.shortfall, wanted)
    pairs = Sample(dataset).train_pairs()
    has_positive = set(pairs.user[pairs.label == 1].tolist())
    assert set(pairs.user[pairs.label == 0].tolist()) - has_positive
    own = drawn(dataset, BASE).train_pairs()
    assert set(own.user[own.label == 0].tolist()) <= set(own.user[own.label == 1].tolist())


def test_automatic_alpha_is_users_over_daily_first_time_streamers(dataset, log):
    streamers = [len({user for (user, _), first in log.first_streams().items() if first == day}) for day in range(10)]
    expected = 200 / np.mean(streamers)
    assert automatic_alpha(dataset, FirstStreams.read(log)) == pytest.approx(expected)
    summary = sample(dataset, replace(BASE, alpha="auto"), overwrite=True)
    assert summary.alpha == Sample(dataset).config["sampled"]["alpha"] == pytest.approx(expected)


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
            {name: files.where(name).read_bytes() for name in files.facts}
            for files in (Sample(dataset).files, Sample(other_place).files)
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
    np.testing.assert_array_equal(summary.users, np.bincount(log.user_territory))
    assert it.config["quota"] == "adaptive" and it.config["sampled"] == {
        "alpha": 3.0, "random_users": 40, "active_users": 20, "test_users": 50,
        "unavailable_positives": summary.unavailable.sum(), "missing_negatives": summary.shortfall.sum(),
    }  # fmt: skip


def test_sampling_says_where_it_is(dataset):
    stages = []
    sample(dataset, BASE, lambda stage, done, total: stages.append((stage, done, total)), overwrite=True)
    for expected in (("collecting first streams", 14, 14), ("sampling train pairs", 10, 10)):
        assert expected in stages
    assert stages[-1] == ("sampling test pairs", 3, 3)
