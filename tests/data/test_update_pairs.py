"""What training users watch on test days: drawn like training pairs, kept apart from them, and never of test users."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_logs import BASE, Log, random_log, without_updates

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample, SampleWriter
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampled_pairs import PairSampler
from twotower.data.sampling.sampler import sample


@pytest.fixture(scope="module")
def log() -> Log:
    return random_log()


@pytest.fixture(scope="module")
def dataset(log, tmp_path_factory) -> Dataset:
    return log.write(tmp_path_factory.mktemp("updates") / "log")


def drawn(dataset: Dataset, config: SampleConfig = BASE) -> Sample:
    sample(dataset, config, overwrite=True)
    return Sample(dataset)


def rows_of(pairs, label) -> set[tuple[int, ...]]:
    """Day, user and title of the pairs with a label; none occurs twice."""
    chosen = pairs.take(pairs.label == label)
    rows = set(zip(chosen.day.tolist(), chosen.user.tolist(), chosen.title.tolist(), strict=True))
    assert len(rows) == len(chosen)
    return rows


# ---------------------------------------------------------------- what they are


@pytest.mark.parametrize("negatives", ["own", "population"])
def test_they_are_the_first_streams_of_training_users_on_test_days(dataset, log, negatives):
    it = drawn(dataset, replace(BASE, negatives=negatives))
    assert it.update_days == it.test_days == [10, 11, 12]
    for day in it.update_days:
        pairs = it.update(day)
        assert rows_of(pairs, 1) == {
            (day, user, title)
            for (user, title), first in log.first_streams().items()
            if first == day and user in it.train_users and log.is_available(user, title, day)
        }
        assert rows_of(pairs, 1) and set(pairs.day.tolist()) == {day}


@pytest.mark.parametrize("negatives", ["own", "population"])
def test_no_test_user_is_among_them(dataset, negatives):
    it = drawn(dataset, replace(BASE, negatives=negatives))
    assert np.isin(it.update_pairs(it.update_days).user, it.train_users).all()


def test_each_positive_has_alpha_negatives_that_its_user_never_watched(dataset, log):
    it = drawn(dataset)
    pairs = it.update_pairs(it.update_days)
    assert all(title in log.could_watch(user, day) for day, user, title in rows_of(pairs, 0))
    for day, user in {(day, user) for day, user, _ in rows_of(pairs, 0) | rows_of(pairs, 1)}:
        here = pairs.label[(pairs.day == day) & (pairs.user == user)]
        n_positives = int(here.sum())
        assert (here == 0).sum() == min(3 * n_positives, len(log.could_watch(user, day)))
        assert here[:n_positives].all(), "positives first"


def test_pairs_of_several_days_come_in_the_order_of_days(dataset):
    it = drawn(dataset)
    pairs = it.update_pairs([12, 10])
    assert len(pairs) == len(it.update(10)) + len(it.update(12))
    assert pairs.day.tolist() == [10] * len(it.update(10)) + [12] * len(it.update(12))


# ---------------------------------------------------------------- what they leave alone


@pytest.mark.parametrize("negatives", ["own", "population"])
def test_training_and_test_pairs_are_the_same_bytes_without_them(dataset, monkeypatch, negatives):
    def files():
        sample(dataset, replace(BASE, negatives=negatives, alpha=2.5), overwrite=True)
        files = Sample(dataset).files
        return {Path(name): files.path(name).read_bytes() for name in files.facts}

    with_updates, draw = files(), PairSampler.sample
    monkeypatch.setattr(PairSampler, "sample", lambda self, split, *rest: ()
                        if split == "update" else draw(self, split, *rest))  # fmt: skip
    without = files()
    assert without == {path: content for path, content in with_updates.items() if path.parts[0] != "update"}
    assert len(with_updates) > len(without)


def test_no_training_pair_lies_on_a_test_day_and_no_update_pair_on_another(dataset):
    it = drawn(dataset)
    assert it.train_pairs().day.max() < 10 <= it.update_pairs(it.update_days).day.min()
    assert len(it.update(9)) == len(it.update(99)) == 0


def test_the_summary_tells_of_training_and_test_pairs_alone(dataset):
    summary = sample(dataset, BASE, overwrite=True)
    it = Sample(dataset)
    assert summary.train.positives.sum() == it.train_pairs().label.sum()
    assert summary.train.negatives.sum() + summary.train.positives.sum() == len(it.train_pairs())


def test_the_same_seed_draws_the_same_updates_and_another_seed_others(dataset):
    def digest(seed):
        it = drawn(dataset, replace(BASE, seed=seed))
        return it.update_pairs(it.update_days).digest()

    assert digest(1) == digest(1) != digest(2)


def test_upsampling_adds_the_updates_of_active_users_and_changes_no_other(dataset):
    plain = drawn(dataset, replace(BASE, active_users=0))
    few = plain.update_pairs(plain.update_days)
    it = drawn(dataset)
    many = it.update_pairs(it.update_days)
    of_random_users = many.take(np.isin(many.user, it.train_users[~it.active]))
    for label in (0, 1):
        assert rows_of(few, label) == rows_of(of_random_users, label)
    assert len(few) < len(many)


# ---------------------------------------------------------------- where there are none


def test_without_test_days_there_are_none(log, tmp_path):
    day = np.where(log.day < 5, -1, 0)
    timeless = replace(log, day=day, launch_day=np.zeros(log.n_titles, int), train_days=1, test_days=0)
    it = drawn(timeless.write(tmp_path / "log", has_time=False))
    assert it.update_days == [] and not (it.path / "update").exists()
    assert it.check()["update_pairs"] == 0


@pytest.mark.parametrize("silent_days", [(11,), (10, 11, 12)])
def test_days_on_which_no_training_user_discovers_anything_are_empty(dataset, log, tmp_path, silent_days):
    trained = drawn(dataset).train_users
    gone = np.isin(log.day, silent_days) & np.isin(log.user, trained)
    quiet = replace(log, day=np.where(gone, 9, log.day))
    it = drawn(quiet.write(tmp_path / "log"), replace(BASE, active_users=0))
    assert np.isin(it.train_users, trained).all()
    assert [len(it.update(day)) > 0 for day in (10, 11, 12)] == [day not in silent_days for day in (10, 11, 12)]
    assert it.check()["update_pairs"] == len(it.update_pairs(it.test_days))


def test_samples_drawn_before_there_were_any_still_open(log, tmp_path):
    data = log.write(tmp_path / "log")
    sample(data, BASE)
    it = without_updates(data)
    assert it.update_days == [] and len(it.update(10)) == 0
    assert it.check() == {"train_pairs": len(it.train_pairs()), "test_pairs": len(it.test_pairs()), "update_pairs": 0}


# ---------------------------------------------------------------- what is checked


def test_a_check_finds_test_users_among_the_updates(dataset):
    one = (np.array([7]), np.array([1]), np.array([1]))
    with SampleWriter(dataset, "leaky") as writer:
        writer.write_users(np.array([3, 5]), np.array([False, False]), np.array([7]))
        writer.write_pairs("update", 11, np.array([3, 5]), np.array([1, 2]), np.array([1, 0]))
        writer.write_pairs("update", 12, *one)
        writer.finish({})
    it = Sample(dataset, "leaky")
    assert it.update_days == [11, 12] and it.update(12).user.tolist() == [7]
    with pytest.raises(InputError, match=r"update/day-0012: 1 update pairs are not of training users, such as 7"):
        it.check()


def test_a_check_looks_at_their_checksums(log, tmp_path):
    it = drawn(log.write(tmp_path / "log"))
    path = it.path / "update" / "day-0010" / "label.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match=r"day-0010/label\.npy: contents differ"):
        it.check()
