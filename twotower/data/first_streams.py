"""First streams: when each user watched each title for the first time.

A title watched in the history has its first stream there, so it is never a positive. A title watched on any day is
never a negative.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from twotower.core.errors import InputError
from twotower.core.jit import njit
from twotower.core.progress import Progress, silent
from twotower.data.dataset import Dataset

EVENTS_PER_THREAD = 1 << 20  # at least: threads have a cost


class FirstStreams:
    """The first stream of each user–title pair of a watch log, grouped by user, in order of days.

    U users, n first streams. Days before 0 are history.
    """

    def __init__(self, start: np.ndarray, title: np.ndarray, day: np.ndarray) -> None:
        self.start = start  # (U+1,) int64: those of user u are start[u]:start[u+1]
        self.title = title  # (n,) int32
        self.day = day  # (n,) int16, ascending for each user

    @classmethod
    def read(cls, dataset: Dataset, progress: Progress = silent) -> "FirstStreams":
        """Read the log day by day, twice: to count events per user, and to place them.

        Memory: 6 bytes per event, 24 bytes per user. Errors: InputError for users or titles that do not exist.
        """
        count = np.zeros(dataset.n_users, np.int64)
        for user, _, _ in _days_of(dataset, "counting events", progress):
            count_events(count, user)
        start = _starts(count)
        title, day = np.empty(start[-1], np.int32), np.empty(start[-1], np.int16)
        next_free = start[:-1].copy()
        for user, watched, on in _days_of(dataset, "collecting first streams", progress):
            place_events(title, day, next_free, user, watched, np.full(len(user), on, np.int16))
        return cls._keep(start, title, day, dataset.n_titles)

    @classmethod
    def of(cls, user: np.ndarray, title: np.ndarray, day: np.ndarray, n_users: int, n_titles: int) -> "FirstStreams":
        """From events (N,) in order of days; user, title int32, day int16."""
        return cls._keep(*group_by_user(user, title, day, n_users), n_titles)

    @classmethod
    def _keep(cls, start: np.ndarray, title: np.ndarray, day: np.ndarray, n_titles: int) -> "FirstStreams":
        n_first = keep_first(start, title, day, np.full(n_titles, -1, np.int64))
        return cls(start, title[:n_first], day[:n_first])

    def count(self, first_day: int, end_day: int) -> np.ndarray:
        """First streams of each user on days first_day <= day < end_day: (U,) int64."""
        count = np.empty(len(self.start) - 1, np.int64)
        count_in_days(count, self.start, self.day, first_day, end_day)
        return count

    def viewers(self, user_territory: np.ndarray, shape: tuple[int, int], end_day: int | None = None) -> np.ndarray:
        """Users of each title in each territory: (T, C) int64, of all days or those before ``end_day``.

        user_territory: (U,).
        """
        viewers = np.zeros(shape, np.int64)
        end = np.iinfo(np.int16).max + 1 if end_day is None else end_day
        count_viewers(viewers, self.start, self.title, self.day, user_territory, end)
        return viewers

    def users_per_day(self, n_days: int) -> np.ndarray:
        """First-time streamers: users with a first stream on each of the days 0 … n_days - 1, (n_days,)."""
        users = np.zeros(n_days, np.int64)
        count_users_per_day(users, self.start, self.day)
        return users

    def between(self, users: np.ndarray, first_day: int, end_day: int) -> tuple[np.ndarray, ...]:
        """User (n,) int64, title (n,) int32 and day (n,) int16 of the first streams of ``users`` on these days.

        In order of day; on one day in the order of ``users``.
        """
        n = int(self.count(first_day, end_day)[users].sum())
        user, title, day = np.empty(n, np.int64), np.empty(n, np.int32), np.empty(n, np.int16)
        copy_days(user, title, day, self.start, self.title, self.day, users, first_day, end_day)
        by_day = np.argsort(day, kind="stable")  # of int16: a radix sort
        return user[by_day], title[by_day], day[by_day]


def group_by_user(
    user: np.ndarray, title: np.ndarray, day: np.ndarray, n_users: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events (N,) sorted by user, by a stable counting sort: start (U+1,) int64, title and day (N,).

    Those of user u are start[u]:start[u+1]. The order does not depend on the number of threads: each has a part of the
    events, and places those of a user after those of the parts before.
    """
    by_user = np.empty_like(title), np.empty_like(day)
    n_parts = min(os.cpu_count() or 1, 1 + len(user) // EVENTS_PER_THREAD)
    bounds = [len(user) * part // n_parts for part in range(n_parts + 1)]
    parts = [slice(*pair) for pair in pairwise(bounds)]
    with ThreadPoolExecutor(n_parts) as pool:
        counts = np.zeros((n_parts, n_users), np.int64)
        list(pool.map(lambda count, part: count_events(count, user[part]), counts, parts))
        start = _starts(counts.sum(axis=0))
        next_free = start[:-1] + np.cumsum(counts, axis=0) - counts

        def place(free: np.ndarray, part: slice) -> None:
            place_events(*by_user, free, user[part], title[part], day[part])

        list(pool.map(place, next_free, parts))
    return start, *by_user


def _starts(count: np.ndarray) -> np.ndarray:
    """(U+1,) int64: where each user's events begin when each has ``count`` (U,), and where the last one's end."""
    start = np.zeros(len(count) + 1, np.int64)
    np.cumsum(count, out=start[1:])
    return start


def _days_of(dataset: Dataset, stage: str, progress: Progress) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """User, title and day of every shard of the log in order of days, with progress."""
    total = dataset.train_days + dataset.test_days + 1
    progress(stage, 0, total)
    for done, (day, user, title) in enumerate(dataset.iter_events(), 1):
        _check_rows(f"events of day {day}, user.npy", user, dataset.n_users)
        _check_rows(f"events of day {day}, title.npy", title, dataset.n_titles)
        yield np.asarray(user), np.asarray(title), day
        progress(stage, done, total)


def _check_rows(where: str, rows: np.ndarray, n: int) -> None:
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < n:
        raise InputError(
            f"{where}: from {rows.min()} to {rows.max()}, expected 0 to {n - 1}: "
            "the dataset is damaged, import it again"
        )


@njit(cache=True, nogil=True)
def count_events(count, user):
    """count[u] += events of user u."""
    for i in range(len(user)):
        count[user[i]] += 1


@njit(cache=True, nogil=True)
def place_events(title, day, next_free, user, watched, on):
    """Append each event to the segment of its user: a counting sort. user, watched, on: (N,) all events or some."""
    for i in range(len(user)):
        at = next_free[user[i]]
        next_free[user[i]] += 1
        title[at] = watched[i]
        day[at] = on[i]


@njit(cache=True, nogil=True)
def keep_first(start, title, day, seen):
    """Drop, in place, all but the first event of each user–title pair; returns how many are left.

    start: (U+1,), title, day: (n,), all in and out. seen: (T,) all -1: the last user who had the title.
    """
    kept = 0
    begin = start[0]
    for u in range(len(start) - 1):
        end = start[u + 1]
        for i in range(begin, end):
            t = title[i]
            if seen[t] != u:
                seen[t] = u
                title[kept] = t
                day[kept] = day[i]
                kept += 1
        begin = end
        start[u + 1] = kept
    return kept


@njit(cache=True, nogil=True)
def count_in_days(count, start, day, first_day, end_day):
    """count[u] = first streams of user u with first_day <= day < end_day."""
    for u in range(len(count)):
        n = 0
        for i in range(start[u], start[u + 1]):
            n += first_day <= day[i] < end_day
        count[u] = n


@njit(cache=True, nogil=True)
def count_viewers(viewers, start, title, day, user_territory, end_day):
    """viewers[t, c] += users of territory c whose first stream of title t is before ``end_day``."""
    for u in range(len(start) - 1):
        for i in range(start[u], start[u + 1]):
            if day[i] < end_day:
                viewers[title[i], user_territory[u]] += 1


@njit(cache=True, nogil=True)
def count_users_per_day(users, start, day):
    """users[d] += 1 for each user who has a first stream on day d; days of a user ascend."""
    for u in range(len(start) - 1):
        last = -1
        for i in range(start[u], start[u + 1]):
            if last < day[i] < len(users):
                last = day[i]
                users[last] += 1


@njit(cache=True, nogil=True)
def copy_days(out_user, out_title, out_day, start, title, day, users, first_day, end_day):
    """The first streams of ``users`` with first_day <= day < end_day, user by user."""
    n = 0
    for k in range(len(users)):
        u = users[k]
        for i in range(start[u], start[u + 1]):
            if first_day <= day[i] < end_day:
                out_user[n] = u
                out_title[n] = title[i]
                out_day[n] = day[i]
                n += 1
