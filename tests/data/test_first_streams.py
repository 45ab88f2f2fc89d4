"""First streams are first, by day, once, and not those known from the history."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from toy_logs import Log, random_log

from twotower.core.errors import InputError
from twotower.data import first_streams
from twotower.data.first_streams import FirstStreams

logs = st.builds(random_log, st.integers(0, 999), st.integers(1, 12), st.integers(1, 6), st.just(1), st.integers(0, 60))


def log_of(*events: tuple[int, int, int], n_users: int = 2) -> Log:
    day, user, title = np.array(events, int).reshape(-1, 3).T
    return Log(day, user, title, np.zeros(n_users, int), np.ones((5, 1), bool), np.zeros(5, int), 3, 1)


@examples(60)
@given(logs)
def test_every_pair_is_there_once_at_its_first_day(log):
    streams = FirstStreams.read(log)
    user = np.repeat(np.arange(log.n_users), np.diff(streams.start))
    pairs = list(zip(user.tolist(), streams.title.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert dict(zip(pairs, streams.day.tolist(), strict=True)) == log.first_streams()
    same_user = user[1:] == user[:-1]
    assert (np.diff(streams.day)[same_user] >= 0).all()


@examples(60)
@given(logs, st.integers(0, 12), st.integers(0, 12), st.integers(0, 99))
def test_discoveries_of_some_users_between_two_days(log, a, b, seed):
    first_day, end_day = min(a, b), max(a, b)
    users = np.flatnonzero(np.random.default_rng(seed).random(log.n_users) < 0.5)
    user, title, day = FirstStreams.read(log).between(users, first_day, end_day)
    expected = [(d, u, t) for (u, t), d in log.first_streams().items() if first_day <= d < end_day and u in users]
    assert sorted(zip(day.tolist(), user.tolist(), title.tolist(), strict=True)) == sorted(expected)
    assert list(zip(day, user, strict=True)) == sorted(zip(day, user, strict=True))


@examples(40)
@given(logs)
def test_counts_are_the_counts_of_the_discoveries(log):
    streams = FirstStreams.read(log)
    user, _, day = streams.between(np.arange(log.n_users), 2, 9)
    np.testing.assert_array_equal(streams.count(2, 9), np.bincount(user, minlength=log.n_users))
    per_day = [len(set(user[day == d].tolist())) for d in range(2, 9)]
    np.testing.assert_array_equal(streams.users_per_day(9)[2:], per_day)


def test_a_title_of_the_history_is_no_discovery():
    streams = FirstStreams.read(log_of((-1, 0, 3), (1, 0, 3), (1, 1, 3)))
    np.testing.assert_array_equal(streams.count(0, 4), [0, 1])


def test_a_title_watched_twice_is_discovered_on_the_first_day():
    user, title, day = FirstStreams.read(log_of((2, 0, 4), (1, 0, 4), (1, 0, 4))).between(np.array([0]), 0, 4)
    assert (user.tolist(), title.tolist(), day.tolist()) == ([0], [4], [1])


def test_an_empty_log_has_none():
    streams = FirstStreams.read(log_of())
    assert streams.count(0, 4).tolist() == [0, 0] and streams.users_per_day(3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("event", "name"), [((1, 2, 0), "user"), ((1, 0, 5), "title"), ((1, -1, 0), "user")])
def test_users_and_titles_that_do_not_exist_are_named_not_counted(event, name):
    with pytest.raises(InputError, match=f"events of day 1, {name}.npy: from .* to .*, expected 0 to"):
        FirstStreams.read(log_of((0, 0, 1), event))


def test_reading_says_where_it_is():
    said = []
    FirstStreams.read(log_of((0, 0, 1)), lambda *news: said.append(news))
    assert said[0] == ("counting events", 0, 5) and said[-1] == ("collecting first streams", 5, 5)


@examples(40)
@given(logs)
def test_events_in_memory_give_what_the_dataset_gives(log):
    order = np.argsort(log.day, kind="stable")
    user, title, day = log.user[order].astype(np.int32), log.title[order].astype(np.int32), log.day[order]
    here, there = FirstStreams.of(user, title, day.astype(np.int16), log.n_users, log.n_titles), FirstStreams.read(log)
    for name in ("start", "title", "day"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))


@examples(40)
@given(logs, st.integers(-1, 8) | st.none())
def test_viewers_are_distinct_users_by_title_and_territory(log, end_day):
    home = np.arange(log.n_users) % 3
    count = np.zeros((log.n_titles, 3), int)
    for (user, title), day in log.first_streams().items():
        count[title, home[user]] += end_day is None or day < end_day
    np.testing.assert_array_equal(FirstStreams.read(log).viewers(home, count.shape, end_day), count)


@examples(30)
@given(logs, st.integers(1, 4))
def test_threads_do_not_change_the_order_of_events(log, threads):
    user, title, day = log.user.astype(np.int32), log.title.astype(np.int32), np.arange(len(log.user)).astype(np.int16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_streams, "EVENTS_PER_THREAD", 3)
        patch.setattr(first_streams.os, "cpu_count", lambda: threads)
        start, titles, days = first_streams.group_by_user(user, title, day, log.n_users)
    order = np.argsort(user, kind="stable")
    assert titles.tolist() == title[order].tolist() and days.tolist() == day[order].tolist()
    assert start.tolist() == np.searchsorted(user[order], np.arange(log.n_users + 1)).tolist()
