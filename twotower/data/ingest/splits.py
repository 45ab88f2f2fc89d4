"""Split a log into history, training days and test days: by time, or at random where there is none."""

from dataclasses import dataclass
from datetime import date

import numpy as np

from twotower.core.errors import InputError
from twotower.data.dataset import HISTORY

TRAIN_DAYS, TEST_DAYS = 60, 3  # by default; fewer in a short log, more test days in a sparse one
ENOUGH_LABELS = 1000  # first streams on the test days, of all users: by default 300 of test users
MOST_TEST_DAYS = 0.2  # of all days, by default


def supported_test_days(labels: np.ndarray, test_days: int, n_days: int) -> int:
    """The fewest test days, at least ``test_days``, with ENOUGH_LABELS first streams; at most a fifth of ``n_days``.

    ``labels`` are the first streams (days,) of each day that is not history.
    """
    most = max(test_days, min(int(MOST_TEST_DAYS * n_days), len(labels) - 1))
    from_the_end = np.cumsum(labels[::-1])
    return int(np.clip(1 + np.searchsorted(from_the_end, ENOUGH_LABELS), test_days, most))


@dataclass(frozen=True)
class Split:
    """The day of each event, and the numbers of days."""

    day: np.ndarray  # (N,) int32, -1 = history
    train_days: int
    test_days: int
    dates: np.ndarray | None = None  # (days,) ordinals of all days in order, history first; None: no times
    counts: np.ndarray | None = None  # (days,) events of each of them

    @property
    def has_time(self) -> bool:
        return self.dates is not None

    @property
    def history_days(self) -> int:
        return 0 if self.dates is None else len(self.dates) - self.train_days - self.test_days


def split_by_day(ordinal: np.ndarray, train_days: int | None, test_days: int | None, calendar: bool = False) -> Split:
    """The last days are test days, those before them training days, the rest is history.

    ordinal: (N,) int32 days. Only days with events count, so that a shop closed on Saturdays has no empty test day;
    with ``calendar``, all days from the first to the last. By default there are 3 test days, or a fifth of all if
    that is fewer (``supported_test_days`` says when they are more), and 60 training days, or half of the rest.

    Errors: InputError when there are too few days.
    """
    dates = np.arange(ordinal.min(), ordinal.max() + 1) if calendar else np.unique(ordinal)
    n = len(dates)
    test = test_days if test_days is not None else min(TEST_DAYS, max(1, n // 5))
    train = train_days if train_days is not None else min(TRAIN_DAYS, max(1, (n - test) // 2))
    if train + test > n:
        first, last = (date.fromordinal(max(1, int(day))).isoformat() for day in (dates[0], dates[-1]))
        days = f"1 day ({first})" if n == 1 else f"{n} days ({first} … {last})"
        hint = "lower --train-days or --test-days, or leave out --time" if n > 1 else "leave out --time"
        raise InputError(f"the log has events of {days}: too few for {train} training and {test} test days; {hint}")
    place = np.searchsorted(dates, ordinal)
    day = place - (n - train - test)
    counts = np.bincount(place, minlength=n)
    return Split(np.maximum(day, HISTORY).astype(np.int32), train, test, dates, counts)


def split_at_random(user: np.ndarray, share: float, rng: np.random.Generator) -> Split:
    """``share`` of each user's pairs is history, the others belong to day 0.

    user: (N,) of distinct pairs. Fractions are rounded up or down at random, so that of users with a single pair some
    have it as history and some as a label.
    """
    count = np.bincount(user)
    take = np.floor(share * count + rng.random(len(count)))  # pairs of each user for the history
    order = np.lexsort((rng.random(len(user)), user))  # by user, in random order within each
    rank = np.empty(len(user), np.int64)  # place of each pair in the random order of its user
    rank[order] = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    return Split(np.where(rank < take[user], HISTORY, 0).astype(np.int32), train_days=1, test_days=0)
