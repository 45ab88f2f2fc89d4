"""Negatives: titles that a user could have watched on a day and never did.

Could have: available in the user's territory and launched by that day. Never: on no day of the whole log, the
history and the test days included. Sampled without replacement per user and day.

Randomness is a pure function of (key, user, day): a user's negatives do not depend on other
users, on order or on blocks. So a sample with active users contains the one without them, pair for pair.
"""

from typing import NamedTuple

import numpy as np

from twotower.core.jit import njit
from twotower.data.first_streams import FirstStreams

# SplitMix64 (Steele, Lea & Flood 2014): the state steps by a constant, the output is a hash of the state.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_27, _30, _31, _32, _11 = (np.uint64(n) for n in (27, 30, 31, 32, 11))
_TO_UNIT = 2.0**-53  # 53 random bits to [0, 1)


class Candidates:
    """The titles of each territory in order of launch, so that those launched by a day are the first few.

    availability: (T, C) bool, launch_day: (T,).
    """

    def __init__(self, availability: np.ndarray, launch_day: np.ndarray) -> None:
        self.n_titles = len(launch_day)
        order = np.argsort(launch_day, kind="stable")
        available = np.asarray(availability)[order]  # (T, C)
        self._launch_days = np.asarray(launch_day)[order]
        self._available_until = np.zeros((len(order) + 1, available.shape[1]), np.int64)
        np.cumsum(available, axis=0, out=self._available_until[1:])
        self.title = order[np.nonzero(available.T)[1]].astype(np.int32)  # territory by territory
        self.start = np.zeros(available.shape[1] + 1, np.int64)  # titles of c are title[start[c]:start[c+1]]
        np.cumsum(available.sum(axis=0), out=self.start[1:])

    def launched(self, day: int) -> np.ndarray:
        """How many titles each territory has by ``day``: (C,) int64."""
        return self._available_until[np.searchsorted(self._launch_days, day, side="right")]


class Negatives(NamedTuple):
    """The negatives of one day, and how many could not be sampled, for lack of titles."""

    user: np.ndarray  # (n,) int64, in the order of the input
    title: np.ndarray  # (n,) int32
    shortfall: np.ndarray  # (C,) int64 negatives that a territory lacks


def sample_negatives(
    user: np.ndarray,
    wanted: np.ndarray,
    day: int,
    territory: np.ndarray,
    watched: FirstStreams,
    candidates: Candidates,
    key: int,
) -> Negatives:
    """Sample ``wanted[i]`` negatives of ``user[i]`` for one day, uniformly and without replacement.

    A user with fewer candidates gets all of them; the rest is counted as shortfall.

    user: (n,) each at most once. wanted: (n,) float >= 0; fractions are rounded at random, right on average.
    territory: (U,) of all users. key: 64 random bits, see the top of this file.
    """
    most = int(np.ceil(wanted).sum())
    out_user, out_title = np.empty(most, np.int64), np.empty(most, np.int32)
    shortfall = np.zeros(len(candidates.start) - 1, np.int64)
    with np.errstate(over="ignore"):  # 64-bit wrap-around is meant; only seen without the JIT
        n = fill_negatives(
            out_user, out_title, shortfall,
            np.full(candidates.n_titles, -1, np.int64), np.empty(candidates.n_titles, np.int32),
            np.ascontiguousarray(user, np.int64), np.ascontiguousarray(wanted, np.float64), day,
            np.asarray(territory), watched.start, watched.title,
            candidates.start, candidates.title, candidates.launched(day), np.uint64(key),
        )  # fmt: skip
    return Negatives(out_user[:n], out_title[:n], shortfall)


@njit(cache=True, nogil=True)
def mix(x):
    """The hash of SplitMix64: every bit of the output depends on every bit of x."""
    x = (x ^ (x >> _30)) * _MIX_1
    x = (x ^ (x >> _27)) * _MIX_2
    return x ^ (x >> _31)


@njit(cache=True, nogil=True)
def below(bits, n):
    """A whole number from 0 to n - 1 from 64 random bits; uneven by less than n / 2**32."""
    return np.int64(((bits >> _32) * np.uint64(n)) >> _32)


@njit(cache=True, nogil=True)
def fill_negatives(
    out_user, out_title, shortfall, seen, pool, user, wanted, day, territory,
    watched_start, watched_title, candidate_start, candidate_title, launched, key,
):  # fmt: skip
    """Fill out_user and out_title, add to shortfall (C,), and return the number of negatives.

    Few out of many: rejection sampling. Many out of few: list the candidates and shuffle the front of the list. Both
    are uniform; the numbers alone decide which is used.

    seen: (T,) all -1; seen[t] == i once row i may not have t. pool: (T,) scratch.
    """
    n = 0
    for i in range(len(user)):
        u = user[i]
        c = territory[u]
        state = mix(mix(mix(key) + np.uint64(u)) + np.uint64(day))
        k = int(wanted[i])
        if np.float64(mix(state) >> _11) * _TO_UNIT < wanted[i] - k:
            k += 1
        first, n_titles = candidate_start[c], launched[c]
        for w in range(watched_start[u], watched_start[u + 1]):
            seen[watched_title[w]] = i
        n_watched = watched_start[u + 1] - watched_start[u]
        if 2 * (k + n_watched) <= n_titles:  # so that at least every second draw is kept
            while k > 0:
                state += _GAMMA
                t = candidate_title[first + below(mix(state), n_titles)]
                if seen[t] != i:
                    seen[t] = i
                    out_user[n] = u
                    out_title[n] = t
                    n += 1
                    k -= 1
            continue
        n_pool = 0
        for j in range(first, first + n_titles):
            t = candidate_title[j]
            if seen[t] != i:
                pool[n_pool] = t
                n_pool += 1
        n_kept = min(k, n_pool)
        shortfall[c] += k - n_kept
        for j in range(n_kept):
            state += _GAMMA
            other = j + below(mix(state), n_pool - j)
            t = pool[other]
            pool[other] = pool[j]
            out_user[n] = u
            out_title[n] = t
            n += 1
    return n
