"""Tiny watch logs for tests: in memory, and as datasets on disk."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from twotower.core.manifest import MANIFEST
from twotower.core.storage import read_record, write_record
from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import DatasetWriter
from twotower.data.sample import Sample
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.territories import look_up

BASE = SampleConfig(random_users=40, active_users=20, test_users=50, alpha=3.0)  # of the random log
NAMES = ("United States", "Germany", "Japan", "Brazil", "India", "Malta")


@dataclass
class Log:
    """A watch log in memory, with as much of a ``Dataset`` as sampling reads."""

    day: np.ndarray  # (n,) -1 is history
    user: np.ndarray  # (n,)
    title: np.ndarray  # (n,)
    user_territory: np.ndarray  # (U,)
    availability: np.ndarray  # (T, C) bool
    launch_day: np.ndarray  # (T,)
    train_days: int
    test_days: int

    @property
    def n_users(self) -> int:
        return len(self.user_territory)

    @property
    def n_titles(self) -> int:
        return len(self.launch_day)

    def iter_events(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        for day in range(-1, self.train_days + self.test_days):
            on = self.day == day
            yield day, self.user[on].astype(np.int32), self.title[on].astype(np.int32)

    def first_streams(self) -> dict[tuple[int, int], int]:
        """(user, title) → first day, the slow and obvious way."""
        first: dict[tuple[int, int], int] = {}
        for event in np.argsort(self.day, kind="stable"):
            first.setdefault((int(self.user[event]), int(self.title[event])), int(self.day[event]))
        return first

    def is_available(self, user: int, title: int, day: int) -> bool:
        """Whether a title may be a positive or a negative of a user on a day."""
        return bool(self.availability[title, self.user_territory[user]] and self.launch_day[title] <= day)

    def could_watch(self, user: int, day: int) -> set[int]:
        """The titles that may be negatives of a user on a day, the slow and obvious way."""
        watched = set(self.title[self.user == user].tolist())
        available = self.availability[:, self.user_territory[user]] & (self.launch_day <= day)
        return set(np.flatnonzero(available).tolist()) - watched

    def write(self, path: Path, has_time: bool = True, names: tuple[str, ...] = NAMES) -> Dataset:
        n_territories = self.availability.shape[1]
        users = np.bincount(self.user_territory, minlength=n_territories)
        with DatasetWriter(path, "import", 0, {}) as writer:
            writer.write_territories(replace(look_up(names[:n_territories]), users=users))
            titles = {"title": [f"title {i}" for i in range(self.n_titles)]}
            writer.write_titles(titles, self.availability, self.launch_day)
            writer.write_users(self.user_territory)
            for day, user, title in self.iter_events():
                writer.append_events(day, user, title)
            writer.finish(self.train_days, self.test_days, has_time)
        return Dataset.open(path)


def random_log(
    seed: int = 0,
    n_users: int = 200,
    n_titles: int = 25,
    n_territories: int = 4,
    n_events: int = 1200,
    train_days: int = 10,
    test_days: int = 3,
) -> Log:
    """Territories shrink by half each, a few users watch most, some titles come late or not everywhere."""
    rng = np.random.default_rng(seed)
    size = 0.5 ** np.arange(n_territories)
    return Log(
        day=rng.integers(-1, train_days + test_days, n_events),
        user=(n_users * rng.random(n_events) ** 2).astype(int),
        title=(n_titles * rng.random(n_events) ** 2).astype(int),
        user_territory=rng.permutation(rng.choice(n_territories, n_users, p=size / size.sum())),
        availability=rng.random((n_titles, n_territories)) < 0.8,
        launch_day=np.where(rng.random(n_titles) < 0.6, 0, rng.integers(0, train_days, n_titles)),
        train_days=train_days,
        test_days=test_days,
    )


def without_updates(dataset: Dataset, name: str = "default") -> Sample:
    """A sample as it was written before there were update pairs."""
    path = dataset.path / "samples" / name
    shutil.rmtree(path / "update")
    manifest = read_record(path / MANIFEST)
    manifest["files"] = {file: facts for file, facts in manifest["files"].items() if not file.startswith("update/")}
    write_record(path / MANIFEST, manifest)
    return Sample(dataset, name)
