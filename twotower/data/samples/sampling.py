"""Who is drawn: test users, random users, and active users by quota; then their positives and negatives.

Everything has its own random stream. Test users are drawn first, from all users; random users from those that
remain; active users from those that remain then. So samples with the same seed and test options share their
test pairs, and those with the same number of random users differ by the active users alone: what the
upsampling is worth can be read off two such samples.

A sample for choosing settings leaves the test users alone: in their place it has as many of the users that were drawn
last among the random ones, who are then neither trained on nor active. Its random users are the usual ones.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from twotower.data.dataset import Dataset
from twotower.data.logs.discoveries import FirstStreams
from twotower.data.sample import SampleWriter
from twotower.data.samples.imbalance import Drawn, SampleSummary
from twotower.data.samples.negatives import Candidates, sample_negatives
from twotower.data.samples.quotas import QUOTAS, active_quota
from twotower.errors import InputError
from twotower.progress import Progress, silent

NEGATIVES = ("own", "population")
CHOOSING_SHARE = 3  # at most one in so many of those who are not test users is kept for choosing
AUTO = "auto"
RANDOM, ACTIVE, TEST = range(3)  # kinds of users
_STREAMS = {"test users": 0, "random users": 1, "active users": 2, "train": 3, "test": 4, "update": 5}


@dataclass(frozen=True)
class SampleConfig:
    """What to draw. Whole numbers of users are numbers, fractions are shares. Errors: InputError."""

    random_users: int | float = 0.3  # N, or a share of the users that are not test users
    active_users: int | float = 0.5  # M, or how many to a random user, as far as there are so many
    test_users: int | float = 0.3  # a number, or a share of all users
    window: int = 60  # days: active is who has a first stream on the last so many days of training
    quota: str = "adaptive"  # proportional, equal, adaptive: see quotas.py
    alpha: float | str = 8.0  # negatives a positive; auto: users over mean daily first-time streamers
    negatives: str = "own"  # own: of the positive's user; population: of all users drawn, at random
    choosing: bool = False  # judge on users that are neither training nor test users, to choose settings by
    seed: int = 0

    def __post_init__(self) -> None:
        for name, largest in (("random_users", 1.0), ("active_users", math.inf), ("test_users", 1.0)):
            value = getattr(self, name)
            ok = _is_number(value) and 0 <= value < math.inf and (isinstance(value, int) or value <= largest)
            _require(ok, name, value, "a number of users, or a share such as 0.3")
        _require(self.test_users > 0, "test_users", self.test_users, "some")
        some = self.random_users > 0 or (self.active_users > 0 and isinstance(self.active_users, int))
        _require(some, "random_users", self.random_users, "some, or a number of active_users")
        _require(isinstance(self.window, int) and self.window >= 1, "window", self.window, "at least 1 day")
        _require(self.quota in QUOTAS, "quota", self.quota, f"one of {', '.join(QUOTAS)}")
        number = _is_number(self.alpha) and 0 < float(self.alpha) < math.inf
        _require(number or self.alpha == AUTO, "alpha", self.alpha, f"a number above 0, or {AUTO!r}")
        _require(self.negatives in NEGATIVES, "negatives", self.negatives, f"one of {', '.join(NEGATIVES)}")
        _require(isinstance(self.seed, int) and self.seed >= 0, "seed", self.seed, "a whole number >= 0")
        _require(isinstance(self.choosing, bool), "choosing", self.choosing, "true or false")


def sample(
    dataset: Dataset,
    config: SampleConfig,
    progress: Progress = silent,
    name: str = "default",
    overwrite: bool = False,
) -> SampleSummary:
    """Draw users and pairs, and write them into the dataset as the sample ``name``.

    Positives are first streams, on training days of the training users and on test days of the test users; in
    a dataset without test days, such as a log without timestamps, on training days of both. To each come
    ``alpha`` negatives, on the same day and in the same territory. Pairs of the training users on the test days
    are drawn in the same way and kept apart, for training that goes on from day to day.

    Errors: InputError when the sample exists, when users are too few, and when there is no positive.
    """
    with SampleWriter(dataset, name, asdict(config), overwrite) as writer:
        watched = FirstStreams.read(dataset, progress)
        users = draw_users(dataset, watched, config)
        writer.write_users(users.train, users.active, users.test)
        alpha = automatic_alpha(dataset, watched) if config.alpha == AUTO else float(config.alpha)
        pairs = _Pairs(dataset, watched, users, alpha, config)
        training_days = range(dataset.train_days)
        test_days = range(dataset.train_days, dataset.train_days + dataset.test_days) or training_days
        new_days = test_days if dataset.test_days else range(0)
        for split, who, days in (
            ("train", users.train, training_days),
            ("update", users.train, new_days),
            ("test", users.test, test_days),
        ):
            for done, (day, *columns) in enumerate(pairs.draw(split, who, days), 1):
                writer.write_pairs(split, day, *columns)
                progress(f"drawing {split} pairs", done, len(days))
        writer.config["drawn"] = {
            "alpha": alpha,
            "random_users": int((~users.active).sum()),
            "active_users": int(users.active.sum()),
            "test_users": len(users.test),
        }
        writer.finish()
    return pairs.summary()


class Users(NamedTuple):
    """Rows of the user table, ascending."""

    train: np.ndarray  # (n,) int64, random and active users
    active: np.ndarray  # (n,) bool: drawn as an active user
    test: np.ndarray  # (m,) int64, disjoint from train


def draw_users(dataset: Dataset, watched: FirstStreams, config: SampleConfig) -> Users:
    """Draw test, random and active users, disjoint. Errors: InputError when there are not so many."""
    n_test = _how_many(config.test_users, dataset.n_users)
    if n_test >= dataset.n_users:
        raise InputError(
            f"test_users = {n_test}: expected fewer than the {dataset.n_users} users of the dataset"
        )
    everyone = _stream(config.seed, "test users").permutation(dataset.n_users)
    test, others = np.sort(everyone[:n_test]), np.sort(everyone[n_test:])

    n_random = _how_many(config.random_users, len(others))
    if n_random > len(others):
        rest = f"{len(others)} of the {dataset.n_users} users that are not test users"
        raise InputError(f"random_users = {n_random}: expected at most the {rest}")
    others = _stream(config.seed, "random users").permutation(others)
    if config.choosing:
        kept = min(n_test, len(others) // CHOOSING_SHARE)
        others, test = others[: len(others) - kept], np.sort(others[len(others) - kept :])
        if kept == 0 or n_random > len(others):
            raise InputError(f"random_users = {n_random}: that leaves no {max(kept, 1)} users to choose settings by")
    random, others = others[:n_random], others[n_random:]

    recent = watched.count(max(0, dataset.train_days - config.window), dataset.train_days)
    pool = np.sort(others[recent[others] > 0])
    n_active = _how_many(config.active_users, n_random)
    if isinstance(config.active_users, float):
        n_active = min(n_active, len(pool))
    if n_active > len(pool):
        when = f"in the last {config.window} days of training" if dataset.has_time else "at all"
        raise InputError(
            f"active_users = {n_active}: only {len(pool)} other users have a first stream {when}"
        )
    active = draw_active(dataset, watched, config, random, pool, n_active)

    train = np.concatenate([random, active])
    order = np.argsort(train)
    return Users(train[order], (np.arange(len(train)) >= len(random))[order], test)


def draw_active(
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

    pool = _stream(config.seed, "active users").permutation(pool)
    pool = pool[np.argsort(territory[pool], kind="stable")]  # by territory, still in random order within each
    place = np.arange(len(pool)) - (np.cumsum(available) - available)[territory[pool]]
    return pool[place < quota[territory[pool]]]


def automatic_alpha(dataset: Dataset, watched: FirstStreams) -> float:
    """Users over mean daily first-time streamers of the training days, as in the paper.

    Positives are then as rare among the pairs as first-time streamers are among the users of a day.
    """
    streamers = watched.users_per_day(dataset.train_days).mean()
    if streamers == 0:
        raise InputError(
            f"{dataset.path}: no first stream on days 0–{dataset.train_days - 1}, so no alpha from it"
        )
    return float(dataset.n_users / streamers)


class _Pairs:
    """Draws labelled pairs day by day, and counts what it drew by kind of user, label and territory."""

    def __init__(
        self, dataset: Dataset, watched: FirstStreams, users: Users, alpha: float, config: SampleConfig
    ) -> None:
        self.dataset, self.watched, self.users, self.alpha, self.config = (
            dataset,
            watched,
            users,
            alpha,
            config,
        )
        self.territory = np.asarray(dataset.user_territory)
        self.candidates = Candidates(dataset.availability, dataset.launch_day)
        self.kind = np.full(dataset.n_users, RANDOM, np.int8)
        self.kind[users.train[users.active]] = ACTIVE
        self.kind[users.test] = TEST
        self.counts = np.zeros((3, 2, dataset.n_territories), np.int64)  # kind, label, territory
        self.shortfall = np.zeros(dataset.n_territories, np.int64)

    def draw(self, split: str, users: np.ndarray, days: range) -> Iterator[tuple[Any, ...]]:
        """Day, user, title and label of each day's pairs; those of a user lie together, positives first.

        Pairs to update with are not counted: the summary tells what a model learns from before it is tested.
        """
        user, title, day = self.watched.between(users, days.start, days.stop)
        if len(user) == 0 and split != "update":  # nobody need be trained on those
            where = f"in any of the {self.dataset.n_territories} territories"
            raise InputError(
                f"{self.dataset.path}: the {len(users)} {split} users have no first stream {where} "
                f"on days {days.start}–{days.stop - 1}: draw more users"
            )
        seed = np.random.SeedSequence([self.config.seed, _STREAMS[split]])
        key = int(seed.generate_state(1, np.uint64)[0])
        bounds = np.searchsorted(day, np.arange(days.start, days.stop + 1))
        for i, today in enumerate(days):
            of_day = slice(bounds[i], bounds[i + 1])
            rng = _stream(self.config.seed, split, today)
            asked = self.ask_for_negatives(user[of_day], users, rng)
            negatives = sample_negatives(*asked, today, self.territory, self.watched, self.candidates, key)
            both = np.concatenate([user[of_day], negatives.user])
            by_user = np.argsort(both, kind="stable")
            titles = np.concatenate([title[of_day], negatives.title])[by_user]
            labels = (by_user < bounds[i + 1] - bounds[i]).astype(np.uint8)
            both = both[by_user]
            if split != "update":
                self.shortfall += negatives.shortfall
                self.count(both, labels)
            yield today, both, titles, labels

    def ask_for_negatives(
        self, positives: np.ndarray, users: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Whose negatives, and how many each, for the users of one day's positives."""
        if self.config.negatives == "own":
            who, n_positives = np.unique(positives, return_counts=True)
            return who, self.alpha * n_positives
        n_territories = self.dataset.n_territories
        wanted = self.alpha * np.bincount(self.territory[positives], minlength=n_territories)
        n_wanted = np.floor(wanted).astype(np.int64)
        n_wanted += rng.random(n_territories) < wanted - n_wanted  # fractions: right on average
        by_territory = users[np.argsort(self.territory[users], kind="stable")]
        audience = np.bincount(self.territory[users], minlength=n_territories)
        first = np.cumsum(audience) - audience
        place = np.floor(rng.random(n_wanted.sum()) * np.repeat(audience, n_wanted)).astype(np.int64)
        who, n = np.unique(by_territory[np.repeat(first, n_wanted) + place], return_counts=True)
        return who, n.astype(np.float64)

    def count(self, user: np.ndarray, label: np.ndarray) -> None:
        cell = np.ravel_multi_index((self.kind[user], label, self.territory[user]), self.counts.shape)
        self.counts += np.bincount(cell, minlength=self.counts.size).reshape(self.counts.shape)

    def summary(self) -> SampleSummary:
        n_territories = self.dataset.n_territories
        drawn_users = np.concatenate([self.users.train, self.users.test])
        of_kind = [
            Drawn(
                users=np.bincount(
                    self.territory[drawn_users[self.kind[drawn_users] == kind]], minlength=n_territories
                ),
                positives=self.counts[kind, 1],
                negatives=self.counts[kind, 0],
            )
            for kind in (RANDOM, ACTIVE, TEST)
        ]
        return SampleSummary(
            territories=self.dataset.territories,
            audience=np.bincount(self.territory, minlength=n_territories),
            random=of_kind[RANDOM],
            active=of_kind[ACTIVE],
            test=of_kind[TEST],
            alpha=self.alpha,
            shortfall=self.shortfall,
        )


def _stream(seed: int, name: str, *path: int) -> np.random.Generator:
    """A random stream of its own for each step of the drawing."""
    return np.random.default_rng([seed, _STREAMS[name], *path])


def _how_many(asked: int | float, total: int) -> int:
    """A number as it is, a share as a number of users, at least one unless it is 0."""
    return asked if isinstance(asked, int) else max(round(asked * total), int(asked > 0))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(ok: bool, name: str, value: Any, expected: str) -> None:
    if not ok:
        raise InputError(f"{name} = {value!r}: expected {expected}")
