"""The titles that finished runs recommend to their test users, and whether the users then watched them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from twotower.core.progress import Progress, silent
from twotower.core.random_streams import Stream, generator
from twotower.data.dataset import TITLE_ORIGIN, Dataset
from twotower.data.sample import Pairs
from twotower.metrics.origins import MISCALIBRATION, miscalibration, origin_profiles, origin_shares
from twotower.metrics.recommended import RANKING_METRICS, TOP, ranking_metrics
from twotower.serving.recommend import recommend, watched
from twotower.training.periods import periods
from twotower.training.run import RunReader

MOST_USERS = 20_000  # test users who are recommended titles


@dataclass(frozen=True, eq=False)
class TestUsers:
    """Test users with something to find, and what they watched in the days that recommendations are made for."""

    dataset: Dataset
    rows: np.ndarray  # (n,) int64, ascending
    user: np.ndarray  # (P,) position among them
    title: np.ndarray  # (P,)
    day: int  # on which they are recommended titles: the first of these days

    __test__ = False  # no class of tests, though its name begins like one

    @property
    def territory(self) -> np.ndarray:
        """Where they live, (n,) int64."""
        return np.asarray(self.dataset.user_territory)[self.rows].astype(np.int64)

    @cached_property
    def shares(self) -> np.ndarray:
        """Of countries of origin in titles, (T, O)."""
        return origin_shares(self.dataset.titles.get(TITLE_ORIGIN, [""] * self.dataset.n_titles))

    @cached_property
    def profiles(self) -> np.ndarray:
        """Of countries of origin in what each of them watched before that day, (n, O)."""
        start, seen = watched(self.dataset, self.rows, self.day)
        user = np.repeat(np.arange(len(self.rows)), np.diff(start))
        return origin_profiles(user, seen, len(self.rows), self.shares)

    def ranking(
        self, run: RunReader, k: int = TOP, progress: Progress = silent, unknown_territory: str = "fail"
    ) -> dict[str, np.ndarray]:
        """``RANKING_METRICS`` of what a run recommends to each of them, (n,) each, and its miscalibration by country of
        origin where titles have one. ``unknown_territory``: see ``open_model``.

        Errors: InputError as for ``recommend``, such as for a run without weights.
        """
        top = recommend(
            run.path, self.dataset, self.rows, k, self.day, progress, unknown_territory=unknown_territory
        ).title
        figures = dict(zip(RANKING_METRICS, ranking_metrics(top, self.user, self.title), strict=True))
        return figures | ({MISCALIBRATION: miscalibration(top, self.profiles, self.shares)} if self.shares.size else {})


def choose_test_users(dataset: Dataset, pairs: Pairs, days: Sequence[int]) -> TestUsers:
    """Users with positives among test pairs on some days, of titles launched by the first: at most MOST_USERS."""
    day = min(days)
    there = (pairs.label > 0) & np.isin(pairs.day, days) & (np.asarray(dataset.launch_day)[pairs.title] <= day)
    some = pairs.take(there)
    rows = np.sort(generator(0, Stream.RANKED_USERS).permutation(np.unique(some.user))[:MOST_USERS]).astype(np.int64)
    some = some.take(np.isin(some.user, rows))
    return TestUsers(dataset, rows, np.searchsorted(rows, some.user), some.title, day)


def last_days(runs: Sequence[RunReader]) -> tuple[int, ...]:
    """The test days after the last update of the weights of some runs, by the one that was updated most."""
    updates = max(run.config.get("train", {}).get("incremental_periods", 0) for run in runs)
    return periods(list(runs[0].evaluation.days), max(1, updates))[-1]
