"""The labelled pairs of a day: of held-out users to evaluate on, of others to learn from, sampled as the run's were."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from twotower.core.random_streams import Stream, generator
from twotower.daily.growth import Growth
from twotower.data.first_streams import FirstStreams
from twotower.data.grown import HELD_OUT, OTHER, RANDOM, GrownDataset
from twotower.data.sample import Pairs, concatenate
from twotower.data.sampling.quotas import active_quota
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampled_pairs import PairSampler
from twotower.data.sampling.sampled_users import SampledUsers


@dataclass(frozen=True)
class DaySampling:
    """How a run's sample was drawn."""

    config: SampleConfig
    alpha: float  # negatives per positive
    active_ratio: float  # active users per random user


class DayDataset(GrownDataset):
    """A dataset as of one day: titles launched by then can be negatives."""

    @property
    def launch_day(self) -> np.ndarray:
        return self.first_seen


def day_pairs(growth: Growth, before: tuple[np.ndarray, ...], sampling: DaySampling) -> tuple[Pairs, Pairs, Any]:
    """Pairs of held-out users and of training users on the growth's day, and its first streams.

    ``before``: user, title and day (N,) of the earlier events of the day's users.
    """
    dataset, number = growth.dataset, growth.part.day["number"]
    late = growth.late
    user, title, day = (
        np.concatenate(columns)
        for columns in zip(before, (*late, np.full(len(late[0]), number - 1)),
                           (growth.user, growth.title, np.full(len(growth.user), number)), strict=True)
    )  # fmt: skip
    order = np.argsort(day, kind="stable")
    columns = user[order].astype(np.int32), title[order].astype(np.int32), day[order].astype(np.int16)
    streams = FirstStreams.of(*columns, dataset.n_users, dataset.n_titles)
    users = np.unique(growth.user).astype(np.int64)
    of_day = streams.count(number, number + 1)[users] > 0
    users = users[of_day]
    roles = dataset.roles[users]
    held_out, random = users[roles == HELD_OUT], users[roles == RANDOM]
    recent = streams.count(max(0, number - sampling.config.window), number)
    pool = users[(roles == OTHER) & (recent[users] > 0)]
    active = choose_active(dataset, streams, random, pool, number, sampling)
    train = np.sort(np.concatenate([random, active]))
    chosen = SampledUsers(train, np.isin(train, active), held_out)
    view = DayDataset(dataset.base, dataset.parts)
    sampler = PairSampler(view, streams, chosen, sampling.alpha, sampling.config)
    pairs = []
    for who in (held_out, train):
        split = "test" if who is held_out else "update"
        any_possible = len(who) and possible(view, streams, who, number)
        found = sampler.sample(split, who, range(number, number + 1)) if any_possible else ()
        pairs.append(concatenate([as_pairs(*columns) for columns in found]))
    return pairs[0], pairs[1], streams


def possible(dataset: DayDataset, streams: FirstStreams, users: np.ndarray, number: int) -> bool:
    """Whether some users (n,) have a positive on a day: of a title that is available where they live."""
    user, title, _ = streams.between(users, number, number + 1)
    return bool(dataset.availability[title, dataset.user_territory[user]].any())


def as_pairs(day: int, user: np.ndarray, title: np.ndarray, label: np.ndarray) -> Pairs:
    on = np.full(len(user), day, np.int32)
    return Pairs(user.astype(np.int64), title.astype(np.int32), label.astype(np.float32), on)


def choose_active(
    dataset: GrownDataset, streams: FirstStreams, random: np.ndarray, pool: np.ndarray, number: int,
    sampling: DaySampling,
) -> np.ndarray:  # fmt: skip
    """Users of the pool, who watched in the window before, by the sample's quota of the day's positives."""
    C, territory = dataset.n_territories, np.asarray(dataset.user_territory)
    n = len(pool) if not len(random) else min(len(pool), round(sampling.active_ratio * len(random)))
    if sampling.active_ratio == 0 or n == 0:
        return pool[:0]
    positives = streams.count(number, number + 1)
    available = np.bincount(territory[pool], minlength=C)
    base = np.bincount(territory[random], positives[random], C)
    per_user = np.bincount(territory[pool], positives[pool], C) / np.maximum(available, 1)
    quota = active_quota(sampling.config.quota, n, available, base, per_user)
    pool = generator(sampling.config.seed, Stream.DAILY_ACTIVE_USERS, number).permutation(pool)
    pool = pool[np.argsort(territory[pool], kind="stable")]
    place = np.arange(len(pool)) - (np.cumsum(available) - available)[territory[pool]]
    return pool[place < quota[territory[pool]]]
