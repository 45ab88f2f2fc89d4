"""A sample on disk: the labelled pairs that a model is trained and tested on.

samples/NAME/manifest.json                  settings, and every file's size and checksum
samples/NAME/train_users.npy active.npy     (n,) int64 user indices; (n,) bool: sampled as an active user
samples/NAME/test_users.npy                 (m,) int64, disjoint from the training users
samples/NAME/train/day-0000/user.npy …      user.npy int32, title.npy int32, label.npy uint8; one user's pairs
samples/NAME/test/day-0060/…                of a day stand together
samples/NAME/update/day-0060/…              training users on test days: for walk-forward training
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict

import numpy as np

from twotower.core.errors import InputError
from twotower.core.locks import remove
from twotower.core.manifest import MANIFEST, Files, read_manifest
from twotower.core.progress import Progress, silent
from twotower.core.staging import StagedDirectory, clear_leftovers
from twotower.core.storage import GrowingColumns, read_record
from twotower.data.dataset import Dataset

SPLITS = ("train", "test", "update")


class SampledTotals(TypedDict):
    """The sample's size."""

    alpha: float  # negatives per positive asked for
    random_users: int
    active_users: int
    test_users: int
    unavailable_positives: int  # left out of training and test pairs
    missing_negatives: int  # of both, for lack of titles


class SampleRecord(TypedDict):
    """A ``SampleConfig``, and what it came to; ``config`` in the manifest."""

    random_users: int | str
    active_users: int | str
    test_users: int | str
    window: int
    quota: str
    alpha: float | str
    negatives: str
    dev_users: bool
    seed: int
    sampled: SampledTotals


@dataclass(frozen=True)
class Pairs:
    """User–title pairs with labels and the day they belong to; arrays of equal length."""

    user: np.ndarray  # (n,) int64
    title: np.ndarray  # (n,) int32
    label: np.ndarray  # (n,) float32, 0 or 1
    day: np.ndarray  # (n,) int32
    memory: np.ndarray | None = None  # (n, F) float32: memory terms, where a model has memory

    def __len__(self) -> int:
        return len(self.user)

    def take(self, index: np.ndarray) -> "Pairs":
        """The pairs at ``index`` (or where a mask is true)."""
        memory = None if self.memory is None else self.memory[index]
        return Pairs(self.user[index], self.title[index], self.label[index], self.day[index], memory)

    def digest(self) -> str:
        """A fingerprint: two runs may be compared when their test pairs have the same one."""
        digest = hashlib.sha256()
        for column in (self.user, self.title, self.label, self.day):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()


class Sample:
    """A sample opened for reading."""

    def __init__(self, dataset: Dataset, name: str = "default"):
        """Errors: InputError when there is no such sample, which names those there are, or it is incomplete."""
        check_name(name)
        self.path = dataset.path / "samples" / name
        if not self.path.is_dir():
            names = ", ".join(dataset.samples()) or "none"
            raise InputError(f"{dataset.path}: no sample {name!r} (samples: {names}); make one with: twotower sample")
        clear_leftovers(self.path)
        self.name = name
        self.n_users, self.n_titles = dataset.n_users, dataset.n_titles
        self.manifest = read_manifest(self.path, "sample")
        self.files = Files(self.path, self.manifest)
        if self.manifest.get("log") != dataset.manifest["log"]:
            again = f"twotower sample {dataset.path} --name {name} --overwrite"
            raise InputError(f"{self.path}: drawn from another log than {dataset.path} has now; sample again: {again}")
        self.config: SampleRecord = self.manifest["config"]

    @cached_property
    def train_users(self) -> np.ndarray:
        return self.files.rows("train_users.npy", self.n_users)

    @cached_property
    def active(self) -> np.ndarray:
        return self.files.array("active.npy", bool, (len(self.train_users),))

    @cached_property
    def test_users(self) -> np.ndarray:
        return self.files.rows("test_users.npy", self.n_users)

    def pin(self) -> None:
        """Keep the pairs that are read after training as they are now, whatever happens to the sample."""
        self.files.pin(name for name in self.files.facts if name.startswith(("test/", "update/")))

    @property
    def train_days(self) -> list[int]:
        return self._days("train")

    @property
    def test_days(self) -> list[int]:
        return self._days("test")

    @property
    def update_days(self) -> list[int]:
        """Test days with pairs of training users; none where there are no test days."""
        return self._days("update")

    def _days(self, split: str) -> list[int]:
        folders, prefix = {name.rpartition("/")[0] for name in self.manifest["files"]}, f"{split}/day-"
        return sorted(int(folder.removeprefix(prefix)) for folder in folders if folder.startswith(prefix))

    def train(self, day: int) -> Pairs:
        """Training pairs of one day."""
        return self._pairs("train", day)

    def test(self, day: int) -> Pairs:
        """Test pairs of one day."""
        return self._pairs("test", day)

    def update(self, day: int) -> Pairs:
        """Pairs of the training users on a test day, sampled like training pairs: none on other days.

        Walk-forward training learns from them before the next day is evaluated (``twotower.training.periods``).
        """
        return self._pairs("update", day) if day in self.update_days else concatenate([])

    def update_pairs(self, days: Iterable[int]) -> Pairs:
        """Pairs of the training users on some test days, in order of days."""
        return concatenate([self.update(day) for day in sorted(days)])

    def train_pairs(self) -> Pairs:
        """Training pairs of all days, in order of days."""
        return concatenate([self.train(day) for day in self.train_days])

    def test_pairs(self) -> Pairs:
        """Test pairs of all days, in order of days."""
        return concatenate([self.test(day) for day in self.test_days])

    def check(self, progress: Progress = silent) -> dict[str, int]:
        """Compare every file with its checksum and check all pairs; returns their numbers.

        Errors: InputError that names the first file, or the first row, that is damaged.
        """
        self.files.verify(progress)
        test = np.isin(self.test_users, self.train_users)
        if test.any():
            user = self.test_users[np.argmax(test)]
            raise InputError(
                f"{self.path}: {test.sum()} users are both training and test users, "
                f"such as {user}; sample again with --overwrite"
            )
        update = self.update_pairs(self.update_days)
        foreign = ~np.isin(update.user, self.train_users)
        if foreign.any():
            pair = int(np.argmax(foreign))
            where, user = self.path / "update" / f"day-{update.day[pair]:04d}", update.user[pair]
            raise InputError(
                f"{where}: {foreign.sum()} update pairs are not of training users, "
                f"such as {user}; sample again with --overwrite"
            )
        lengths = {"train_pairs": len(self.train_pairs()), "test_pairs": len(self.test_pairs())}
        return lengths | {"update_pairs": len(update)}

    def _pairs(self, split: str, day: int) -> Pairs:
        """One shard. Errors: InputError with file and row that is invalid."""
        folder = f"{split}/day-{day:04d}"
        user = self.files.rows(f"{folder}/user.npy", self.n_users)
        title = self.files.rows(f"{folder}/title.npy", self.n_titles, len(user))
        label = self.files.rows(f"{folder}/label.npy", 2, len(user))
        return Pairs(
            user.astype(np.int64),
            title.astype(np.int32),
            label.astype(np.float32),
            np.full(len(user), day, np.int32),
        )


def _check_rows(path: Path, column: np.ndarray, good: np.ndarray, expected: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(f"{path}: row {row} holds {column[row]}, expected {expected}")


def check_name(name: str) -> None:
    """Errors: InputError when a sample's name is not a plain file name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(f"sample name {name!r}: expected letters, digits, '_', '-' and '.'")


def concatenate(parts: list[Pairs]) -> Pairs:
    """Pairs one after the other."""
    if not parts:
        dtypes = (np.int64, np.int32, np.float32, np.int32)
        return Pairs(*(np.empty(0, dtype) for dtype in dtypes))
    user, title, label, day = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("user", "title", "label", "day")
    )
    memories = [part.memory for part in parts if part.memory is not None]
    return Pairs(user, title, label, day, np.concatenate(memories) if len(memories) == len(parts) else None)


class SampleWriter:
    """Write a sample into its dataset; it appears under its name only when ``finish`` has been called."""

    def __init__(self, dataset: Dataset, name: str, overwrite: bool = False):
        check_name(name)
        self.log = dataset.manifest["log"]
        path = dataset.path / "samples" / name
        self.staged = StagedDirectory(path, overwrite or is_stale(path, self.log))
        self.shards: dict[tuple[str, int], GrowingColumns] = {}

    def __enter__(self) -> "SampleWriter":
        self.staged.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.staged.__exit__(*exc)

    def write_users(self, train: np.ndarray, active: np.ndarray, test: np.ndarray) -> None:
        """Indices of the training users, which of them are active, and the test users."""
        np.save(self.staged.path / "train_users.npy", np.asarray(train, np.int64))
        np.save(self.staged.path / "active.npy", np.asarray(active, bool))
        np.save(self.staged.path / "test_users.npy", np.asarray(test, np.int64))

    def write_pairs(self, split: str, day: int, user: np.ndarray, title: np.ndarray, label: np.ndarray) -> None:
        """Add pairs to the shard of ``day``; ``split`` is one of ``SPLITS``.

        Errors: InputError, with the row of this block, for labels other than 0 and 1.
        """
        if split not in SPLITS:
            raise ValueError(f"split {split!r}, expected one of {', '.join(SPLITS)}")
        label = np.asarray(label)
        _check_rows(self.staged.target, label, (label == 0) | (label == 1), "a label 0 or 1")
        if (split, day) not in self.shards:
            directory = self.staged.path / split / f"day-{day:04d}"
            self.shards[split, day] = GrowingColumns(directory, user=np.int32, title=np.int32, label=np.uint8)
        self.shards[split, day].append(user=user, title=title, label=label.astype(np.uint8))

    def finish(self, config: SampleRecord, progress: Progress = silent) -> None:
        """Write the manifest and give the sample its name."""
        for shard in self.shards.values():
            shard.close()
        self.staged.commit({"config": config, "log": self.log}, progress)


def remove_stale_samples(dataset: Path) -> None:
    """Remove the samples that were drawn from another log than a dataset has now."""
    log = read_record(dataset / MANIFEST)["log"]
    for path in dataset.glob(f"samples/[!.]*/{MANIFEST}"):
        if is_stale(path.parent, log):
            remove(path.parent)


def is_stale(sample: Path, log: str) -> bool:
    """Whether there is a sample, but of another log."""
    try:
        return read_record(sample / MANIFEST).get("log") != log
    except InputError:
        return False
