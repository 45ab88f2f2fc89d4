"""How the users of a synthetic world watch: first streams as a race of clocks, then repeats.

Every pair of a user and a title has an exponential clock that starts at the title's launch and runs at the
rate λ_u · share(u, t). When it rings, the user streams the title for the first time. So the next title to
ring follows the shares, none rings twice, launches need no special case, and a pair needs one random number.
"""

from typing import NamedTuple

import numpy as np

from twotower.data.dataset import HISTORY
from twotower.data.synthetic.catalogue import SERIES_SHARE
from twotower.data.synthetic.world import WorldConfig

ACTIVITY_SPREAD = 1.0  # standard deviation of the log of a user's rate: a heavy tail
INACTIVE = 0.3  # share of the users
INACTIVE_RATE = 0.01  # rate of an inactive user, as a part of an active one's
REPEATS = 1.0  # mean number per first stream
SERIES_REPEATS = 1.8  # repeats of a series, as a multiple of the average; films have what is left
REPEAT_DAYS = 5.0  # days from a first stream to a repeat, on average


class Watches(NamedTuple):
    """Streams of some users, one row each."""

    user: np.ndarray  # (m,) int64
    title: np.ndarray  # (m,) int64
    time: np.ndarray  # (m,) float64 days; below 0 is history

    @property
    def day(self) -> np.ndarray:
        """(m,) int16; all of the history is one day."""
        return np.maximum(np.floor(self.time), HISTORY).astype(np.int16)


def sample_rates(config: WorldConfig, n: int, rng: np.random.Generator) -> np.ndarray:
    """λ of n users, (n,) float32 a day: log-normal, some inactive, with mean ``config.streams``."""
    rate = np.exp(ACTIVITY_SPREAD * rng.standard_normal(n) - ACTIVITY_SPREAD**2 / 2)  # mean 1
    rate[rng.random(n) < INACTIVE] *= INACTIVE_RATE
    mean = 1 - INACTIVE * (1 - INACTIVE_RATE)
    return (config.streams / mean * rate).astype(np.float32)


def first_streams(
    config: WorldConfig, launch: np.ndarray, rate: np.ndarray, shares: np.ndarray, rng: np.random.Generator
) -> Watches:
    """All clocks that ring before the log ends: launch (T,) day, rate (n,) a day, shares (n, T)."""
    days_left = (config.end_day - launch).astype(np.float32)  # (T,)
    hazard = rate[:, None] * shares  # (n, T) a day
    clock = rng.standard_exponential(shares.shape, np.float32)
    user, title = np.nonzero(clock < hazard * days_left)
    wait = clock[user, title] / hazard[user, title]
    latest = np.nextafter(days_left[title], np.float32(0))  # rounding must not carry it past the last day
    return Watches(user, title, launch[title] + np.minimum(wait, latest).astype(np.float64))


def repeats(end_day: int, form: np.ndarray, first: Watches, rng: np.random.Generator) -> Watches:
    """Streams after the first ones, within days of them, most of series: form (T,) rows of FORMATS."""
    film_repeats = (1 - SERIES_SHARE * SERIES_REPEATS) / (1 - SERIES_SHARE)  # so that the average stays
    mean = REPEATS * np.array([film_repeats, SERIES_REPEATS])  # in the order of FORMATS
    count = rng.poisson(mean[form[first.title]])
    again = Watches(*(np.repeat(column, count) for column in first))
    time = again.time + rng.exponential(REPEAT_DAYS, len(again.time))
    in_log = time < end_day
    return Watches(again.user[in_log], again.title[in_log], time[in_log])
