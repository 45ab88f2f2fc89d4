"""Distinct events: one per user, title and day, by counting sorts."""

import numpy as np

from twotower.core.jit import njit
from twotower.data.first_streams import group_by_user


def distinct_events(
    user: np.ndarray, title: np.ndarray, day: np.ndarray | None, n_users: int, n_titles: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each user, title and day once: three (n,) int32, in order of day, user and title.

    user, title: (N,) int32. day: (N,) int32, ascending; None: there are no times, and all are of day 0.
    Memory: 20 bytes an event.
    """
    day = np.zeros(len(user), np.int32) if day is None else day
    first, last = (int(day[0]), int(day[-1])) if len(day) else (0, 0)
    start, title, day = group_by_user(user, title, day, n_users)
    n = keep_distinct(start, title, day, np.full(n_titles, -1, np.int64), first, last + 1 - first)
    day -= first
    next_free = np.zeros(last + 2 - first, np.int64)
    next_free[1:] = np.cumsum(np.bincount(day[:n], minlength=last + 1 - first))
    by_day = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    place_by_day(*by_day, next_free, start, title, day)
    sort_titles(*by_day)
    by_day[2][:] += first
    return by_day


def order_of_days(day: np.ndarray) -> np.ndarray | None:
    """Rows of day (N,) in order of days, on one day in their own order; None where they stand so already."""
    if (day[1:] >= day[:-1]).all():
        return None
    day = day - day.min()
    if day.max() < 1 << 16:
        day = day.astype(np.uint16)  # their stable sort is a counting sort
    return np.argsort(day, kind="stable")


@njit(cache=True, nogil=True)
def keep_distinct(start, title, day, seen, first, n_days):
    """Drop, in place, all but the first event of each user, title and day; returns how many are left.

    start: (U+1,), title, day: (N,), all in and out, days of a user ascending. seen: (T,) all -1: the last user
    and day that had the title, as one number.
    """
    kept = 0
    begin = start[0]
    for u in range(len(start) - 1):
        end = start[u + 1]
        for i in range(begin, end):
            t = title[i]
            on = u * n_days + day[i] - first
            if seen[t] != on:
                seen[t] = on
                title[kept] = t
                day[kept] = day[i]
                kept += 1
        begin = end
        start[u + 1] = kept
    return kept


@njit(cache=True, nogil=True)
def place_by_day(out_user, out_title, out_day, next_free, start, title, day):
    """Events user by user → day by day, on each in order of users. next_free: of each day, in and out."""
    for u in range(len(start) - 1):
        for i in range(start[u], start[u + 1]):
            at = next_free[day[i]]
            next_free[day[i]] += 1
            out_user[at] = u
            out_title[at] = title[i]
            out_day[at] = day[i]


@njit(cache=True, nogil=True)
def sort_titles(user, title, day):
    """Sort the titles of each run of one user and day, by Shell's method: most runs are a few titles long."""
    begin = 0
    for end in range(1, len(user) + 1):
        if end < len(user) and user[end] == user[begin] and day[end] == day[begin]:
            continue
        gap = 1
        while gap < (end - begin) // 3:
            gap = 3 * gap + 1
        while gap > 0:
            for i in range(begin + gap, end):
                t = title[i]
                j = i
                while j >= begin + gap and title[j - gap] > t:
                    title[j] = title[j - gap]
                    j -= gap
                title[j] = t
            gap //= 3
        begin = end
