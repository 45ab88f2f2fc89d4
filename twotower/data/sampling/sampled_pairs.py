"""Labelled pairs of the sampled users, day by day: their first streams, and negatives."""

from collections.abc import Iterator

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.random_streams import Stream, generator, seed_sequence
from twotower.data.dataset import Dataset
from twotower.data.first_streams import FirstStreams
from twotower.data.sampling.imbalance import SampledCounts, SampleSummary
from twotower.data.sampling.negatives import Candidates, sample_negatives
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampled_users import SampledUsers

RANDOM, ACTIVE, TEST = range(3)  # kinds of users
NEGATIVES_OF = {"train": Stream.TRAIN_NEGATIVES, "test": Stream.TEST_NEGATIVES, "update": Stream.UPDATE_NEGATIVES}


class PairSampler:
    """Samples labelled pairs day by day, and counts them by kind of user, label and territory."""

    def __init__(
        self, dataset: Dataset, watched: FirstStreams, users: SampledUsers, alpha: float, config: SampleConfig
    ) -> None:
        self.dataset, self.watched, self.users = dataset, watched, users
        self.alpha, self.config = alpha, config
        self.territory = np.asarray(dataset.user_territory)
        self.availability, self.launch_day = np.asarray(dataset.availability), np.asarray(dataset.launch_day)
        self.candidates = Candidates(self.availability, self.launch_day)
        self.kind = np.full(dataset.n_users, RANDOM, np.int8)
        self.kind[users.train[users.active]] = ACTIVE
        self.kind[users.test] = TEST
        self.counts = np.zeros((3, 2, dataset.n_territories), np.int64)  # kind, label, territory
        self.shortfall = np.zeros(dataset.n_territories, np.int64)
        self.unavailable = np.zeros(dataset.n_territories, np.int64)

    def sample(
        self, split: str, users: np.ndarray, days: range
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """Day, user, title and label of each day's pairs, user by user, positives first.

        Left out are positives that could not be negatives: of titles that are not available in the user's territory, or
        not launched by that day. Their existence would give away the label.
        Update pairs are not counted: the summary describes what a model is trained and tested on.
        """
        user, title, day = self.watched.between(users, days.start, days.stop)
        possible = self.availability[title, self.territory[user]] & (self.launch_day[title] <= day)
        if split != "update":
            left_out = self.territory[user[~possible]]
            self.unavailable += np.bincount(left_out, minlength=self.dataset.n_territories)
        user, title, day = user[possible], title[possible], day[possible]
        if len(user) == 0 and split != "update":
            n = self.dataset.n_territories
            where = f"in any of the {n} territories" if n > 1 else "in the territory"
            who = f"the {counted(len(users), f'{split} user')} {'has' if len(users) == 1 else 'have'}"
            available = " of an available title" if len(possible) else ""
            raise InputError(
                f"{self.dataset.path}: {who} no first stream{available} {where} "
                f"on days {days.start}–{days.stop - 1}; sample more users (--random-users, "
                "--active-users, --test-users)"
            )
        seed, stream = self.config.seed, NEGATIVES_OF[split]
        key = int(seed_sequence(seed, stream).generate_state(1, np.uint64)[0])
        bounds = np.searchsorted(day, np.arange(days.start, days.stop + 1))
        for i, today in enumerate(days):
            of_day = slice(bounds[i], bounds[i + 1])
            rng = generator(seed, stream, today)
            wanted = self.wanted_negatives(user[of_day], users, rng)
            negatives = sample_negatives(*wanted, today, self.territory, self.watched, self.candidates, key)
            both = np.concatenate([user[of_day], negatives.user])
            by_user = np.argsort(both, kind="stable")
            titles = np.concatenate([title[of_day], negatives.title])[by_user]
            labels = (by_user < bounds[i + 1] - bounds[i]).astype(np.uint8)
            both = both[by_user]
            if split != "update":
                self.shortfall += negatives.shortfall
                self.count(both, labels)
            yield today, both, titles, labels

    def wanted_negatives(
        self, positives: np.ndarray, users: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Users, and how many negatives each gets, for the users of one day's positives."""
        if self.config.negatives == "own":
            who, n_positives = np.unique(positives, return_counts=True)
            return who, self.alpha * n_positives
        n_territories = self.dataset.n_territories
        wanted = self.alpha * np.bincount(self.territory[positives], minlength=n_territories)
        n_wanted = np.floor(wanted).astype(np.int64)
        n_wanted += rng.random(n_territories) < wanted - n_wanted  # fractions: right on average
        by_territory = users[np.argsort(self.territory[users], kind="stable")]
        residents = np.bincount(self.territory[users], minlength=n_territories)
        first = np.cumsum(residents) - residents
        place = np.floor(rng.random(n_wanted.sum()) * np.repeat(residents, n_wanted)).astype(np.int64)
        who, n = np.unique(by_territory[np.repeat(first, n_wanted) + place], return_counts=True)
        return who, n.astype(np.float64)

    def count(self, user: np.ndarray, label: np.ndarray) -> None:
        cell = np.ravel_multi_index((self.kind[user], label, self.territory[user]), self.counts.shape)
        self.counts += np.bincount(cell, minlength=self.counts.size).reshape(self.counts.shape)

    def summary(self) -> SampleSummary:
        n_territories = self.dataset.n_territories
        sampled = np.concatenate([self.users.train, self.users.test])
        of_kind = [
            SampledCounts(
                users=np.bincount(self.territory[sampled[self.kind[sampled] == kind]], minlength=n_territories),
                positives=self.counts[kind, 1],
                negatives=self.counts[kind, 0],
            )
            for kind in (RANDOM, ACTIVE, TEST)
        ]
        return SampleSummary(
            territories=self.dataset.territories,
            users=np.bincount(self.territory, minlength=n_territories),
            random=of_kind[RANDOM],
            active=of_kind[ACTIVE],
            test=of_kind[TEST],
            alpha=self.alpha,
            shortfall=self.shortfall,
            unavailable=self.unavailable,
        )
