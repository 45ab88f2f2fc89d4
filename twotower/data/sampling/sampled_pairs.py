"""The pairs of the users drawn: their first streams, and negatives beside them, day by day."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.random_streams import Stream, generator, seed_sequence
from twotower.data.dataset import Dataset
from twotower.data.first_streams import FirstStreams
from twotower.data.sampling.imbalance import Drawn, SampleSummary
from twotower.data.sampling.negatives import Candidates, sample_negatives
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampled_users import Users

RANDOM, ACTIVE, TEST = range(3)  # kinds of users
NEGATIVES_OF = {"train": Stream.TRAIN_NEGATIVES, "test": Stream.TEST_NEGATIVES, "update": Stream.UPDATE_NEGATIVES}


class PairDrawer:
    """Draws labelled pairs day by day, and counts what it drew by kind of user, label and territory."""

    def __init__(
        self, dataset: Dataset, watched: FirstStreams, users: Users, alpha: float, config: SampleConfig
    ) -> None:
        self.dataset, self.watched, self.users = dataset, watched, users
        self.alpha, self.config = alpha, config
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
            n = self.dataset.n_territories
            where = f"in any of the {n} territories" if n > 1 else "in the territory"
            who = f"the {counted(len(users), f'{split} user')} {'has' if len(users) == 1 else 'have'}"
            raise InputError(
                f"{self.dataset.path}: {who} no first stream {where} "
                f"on days {days.start}–{days.stop - 1}: draw more users"
            )
        seed, stream = self.config.seed, NEGATIVES_OF[split]
        key = int(seed_sequence(seed, stream).generate_state(1, np.uint64)[0])
        bounds = np.searchsorted(day, np.arange(days.start, days.stop + 1))
        for i, today in enumerate(days):
            of_day = slice(bounds[i], bounds[i + 1])
            rng = generator(seed, stream, today)
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
        drawn_users = np.concatenate([self.users.train, self.users.test])
        of_kind = [
            Drawn(
                users=np.bincount(self.territory[drawn_users[self.kind[drawn_users] == kind]], minlength=n_territories),
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
        )
