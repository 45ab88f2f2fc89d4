"""What is history, training and test: by day, or at random for each user."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.data.ingest.splits import split_at_random, split_by_day, supported_test_days

MONDAY = date(2024, 1, 1).toordinal()


def test_the_last_days_are_for_the_test_those_before_for_training_the_rest_is_history():
    split = split_by_day(MONDAY + np.array([0, 1, 2, 3, 4, 5, 5]), train_days=2, test_days=1)
    assert split.day.tolist() == [-1, -1, -1, 0, 1, 2, 2]
    assert (split.history_days, split.train_days, split.test_days, split.has_time) == (3, 2, 1, True)
    assert split.day.dtype == np.int32


def test_days_without_events_do_not_count():
    split = split_by_day(MONDAY + np.array([0, 1, 5, 6]), train_days=2, test_days=1)
    assert split.day.tolist() == [-1, 0, 1, 2]
    assert split.dates.tolist() == [MONDAY, MONDAY + 1, MONDAY + 5, MONDAY + 6]


def test_on_the_calendar_they_do():
    split = split_by_day(MONDAY + np.array([0, 1, 5, 6]), train_days=2, test_days=1, calendar=True)
    assert split.day.tolist() == [-1, -1, 1, 2]
    assert split.history_days == 4


def test_by_default_60_days_are_for_training_and_3_for_the_test():
    split = split_by_day(np.arange(1000), None, None)
    assert (split.history_days, split.train_days, split.test_days) == (937, 60, 3)


@pytest.mark.parametrize(
    ("days", "history", "train", "test"), [(2, 0, 1, 1), (3, 1, 1, 1), (10, 4, 4, 2), (40, 19, 18, 3)]
)
def test_a_short_log_keeps_a_part_for_each(days, history, train, test):
    split = split_by_day(np.arange(days), None, None)
    assert (split.history_days, split.train_days, split.test_days) == (history, train, test)


def test_days_that_are_asked_for_may_use_up_the_history():
    split = split_by_day(np.arange(5), 4, 1)
    assert split.history_days == 0
    assert split.day.tolist() == [0, 1, 2, 3, 4]


def test_too_few_days_are_refused():
    with pytest.raises(InputError, match=r"events of 5 days .*: too few for 5 training and 1 test days"):
        split_by_day(np.arange(5), 5, 1)
    with pytest.raises(InputError, match=r"events of 1 day .*: too few"):
        split_by_day(np.zeros(9, np.int32), None, None)


@examples(50)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.sampled_from([0.0, 0.3, 0.5, 0.9]), st.integers(0, 9))
def test_each_user_has_the_share_of_pairs_in_the_history_rounded_up_or_down(counts, share, seed):
    user = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    split = split_at_random(user, share, np.random.default_rng(seed))
    history = np.bincount(user, split.day == -1, minlength=len(counts))
    assert set(split.day.tolist()) <= {-1, 0}
    assert (np.abs(history - share * np.array(counts)) < 1).all()
    assert (split.train_days, split.test_days, split.has_time) == (1, 0, False)


def test_odd_pairs_are_shared_out_evenly_over_many_users():
    split = split_at_random(np.arange(10_000), 0.5, np.random.default_rng(0))
    assert abs((split.day == -1).mean() - 0.5) < 0.02


def test_any_pair_of_a_user_may_become_history():
    days = [split_at_random(np.zeros(4, int), 0.5, np.random.default_rng(seed)).day for seed in range(40)]
    assert (np.mean(np.array(days) == -1, axis=0) > 0.2).all()


def test_the_same_seed_splits_the_same_way_and_another_does_not():
    user = np.repeat(np.arange(50), 6)
    first, again, other = (split_at_random(user, 0.5, np.random.default_rng(seed)).day for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("labels", "test_days", "n_days", "expected"),
    [
        ([400] * 60, 3, 100, 3),  # enough as it is
        ([100] * 60, 3, 100, 10),
        ([100] * 59 + [1], 3, 100, 11),
        ([1] * 60, 3, 100, 20),  # never enough: a fifth of all days
        ([1] * 8, 2, 12, 2),  # a short log keeps what it has
        ([0] * 60, 3, 100, 20),
    ],
)
def test_a_sparse_log_has_more_test_days(labels, test_days, n_days, expected):
    assert supported_test_days(np.array(labels), test_days, n_days) == expected
