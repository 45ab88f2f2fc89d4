"""Test users, random users, and active users by quota.

Test users are sampled first, from all users; random users from the others; active users from what is left then. Each
step has a random stream of its own. So samples with the same seed and test options share their test users, and those
with the same number of random users differ by the active users alone: two such samples show what upsampling is worth.

A sample with development users leaves the test users alone: in their place it evaluates on as many of the users that
would have been the last random users, who are then neither training users nor active. Its random users are the usual
ones.
"""

from typing import NamedTuple

import numpy as np

from twotower.core.errors import InputError
from twotower.core.random_streams import Stream, generator
from twotower.data.dataset import Dataset
from twotower.data.first_streams import FirstStreams
from twotower.data.sampling.quotas import active_quota
from twotower.data.sampling.sample_config import SampleConfig, users_of

DEV_SHARE = 3  # at most one in three of the users that are not test users is a development user


class SampledUsers(NamedTuple):
    """Rows of the user table, ascending."""

    train: np.ndarray  # (n,) int64, random and active users
    active: np.ndarray  # (n,) bool: sampled as an active user
    test: np.ndarray  # (m,) int64, disjoint from train


def sample_users(dataset: Dataset, watched: FirstStreams, config: SampleConfig) -> SampledUsers:
    """Test, random and active users, disjoint. Errors: InputError when there are not so many."""
    n_test = how_many(config.test_users, dataset.n_users)
    if n_test >= dataset.n_users:
        raise InputError(f"--test-users {n_test}: expected fewer than the {dataset.n_users} users of the dataset")
    everyone = generator(config.seed, Stream.TEST_USERS).permutation(dataset.n_users)
    test, others = np.sort(everyone[:n_test]), np.sort(everyone[n_test:])

    n_random = how_many(config.random_users, len(others))
    if n_random > len(others):
        rest = f"{len(others)} of the {dataset.n_users} users that are not test users"
        raise InputError(f"--random-users {n_random}: expected at most the {rest}; sample fewer test or random users")
    others = generator(config.seed, Stream.RANDOM_USERS).permutation(others)
    if config.dev_users:
        n_dev = min(n_test, len(others) // DEV_SHARE)
        others, test = others[: len(others) - n_dev], np.sort(others[len(others) - n_dev :])
        if n_dev == 0 or n_random > len(others):
            raise InputError(f"--random-users {n_random}: no {max(n_dev, 1)} users are left for --dev-users")
    random, others = others[:n_random], others[n_random:]

    recent = watched.count(max(0, dataset.train_days - config.window), dataset.train_days)
    pool = np.sort(others[recent[others] > 0])
    n_active = how_many(config.active_users, n_random)
    if isinstance(users_of(config.active_users), float):
        n_active = min(n_active, len(pool))
    if n_active > len(pool):
        when = f"in the last {config.window} training days" if dataset.has_time else "at all"
        raise InputError(
            f"--active-users {n_active}: "
            f"only {len(pool)} other users have a first stream {when}; ask for fewer, or a share"
        )
    active = sample_active(dataset, watched, config, random, pool, n_active)

    train = np.concatenate([random, active])
    order = np.argsort(train)
    return SampledUsers(train[order], (np.arange(len(train)) >= len(random))[order], test)


def sample_active(
    dataset: Dataset,
    watched: FirstStreams,
    config: SampleConfig,
    random: np.ndarray,
    pool: np.ndarray,
    n_active: int,
) -> np.ndarray:
    """``n_active`` users of the pool, as many from each territory as its quota, at random within it."""
    n_territories = dataset.n_territories
    positives = watched.count(0, dataset.train_days)
    territory = np.asarray(dataset.user_territory)
    available = np.bincount(territory[pool], minlength=n_territories)
    base = np.bincount(territory[random], positives[random], n_territories)
    per_user = np.bincount(territory[pool], positives[pool], n_territories) / np.maximum(available, 1)
    quota = active_quota(config.quota, n_active, available, base, per_user)

    pool = generator(config.seed, Stream.ACTIVE_USERS).permutation(pool)
    pool = pool[np.argsort(territory[pool], kind="stable")]  # by territory, still in random order within each
    place = np.arange(len(pool)) - (np.cumsum(available) - available)[territory[pool]]
    return pool[place < quota[territory[pool]]]


def how_many(amount: int | str, total: int) -> int:
    """A number of users as it is, a share as a number of users, at least one unless it is 0."""
    users = users_of(amount)
    return users if isinstance(users, int) else max(round((users or 0) * total), int(users != 0))
