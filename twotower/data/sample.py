"""A sample on disk: the labelled pairs that a model is trained and tested on.

    samples/NAME/manifest.json                  how it was drawn, and every file's size and checksum
    samples/NAME/train_users.npy active.npy     (n,) int64 user indices; (n,) bool: drawn as an active user
    samples/NAME/test_users.npy                 (m,) int64, disjoint from the training users
    samples/NAME/train/day-0000/user.npy …      user.npy int32, title.npy int32, label.npy uint8, a shard a day
    samples/NAME/test/day-0060/…
"""

import hashlib
import re
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from twotower.data.dataset import Dataset
from twotower.data.storage import (
    FORMAT_VERSION,
    MANIFEST,
    GrowingColumns,
    StagedDirectory,
    file_facts,
    load_array,
    read_manifest,
    write_json,
)
from twotower.errors import InputError


@dataclass(frozen=True)
class Pairs:
    """User–title pairs with labels and the day they belong to; four arrays of equal length."""

    user: np.ndarray  # (n,) int64
    title: np.ndarray  # (n,) int32
    label: np.ndarray  # (n,) float32, 0 or 1
    day: np.ndarray  # (n,) int32

    def __len__(self) -> int:
        return len(self.user)

    def take(self, index: np.ndarray) -> "Pairs":
        """The pairs at ``index`` (or where a mask is true)."""
        return Pairs(*(getattr(self, field.name)[index] for field in fields(self)))

    def digest(self) -> str:
        """A fingerprint: two runs may be compared when their test pairs have the same one."""
        digest = hashlib.sha256()
        for column in (self.user, self.title, self.label, self.day):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()


class Sample:
    """A sample opened for reading."""

    def __init__(self, dataset: Dataset, name: str = "default"):
        """Errors: InputError when there is no such sample (those that exist are named) or it is incomplete."""
        self.path = dataset.path / "samples" / name
        if not self.path.is_dir():
            drawn = ", ".join(dataset.samples()) or "none yet"
            raise InputError(f"{dataset.path}: no sample {name!r} (drawn so far: {drawn}); see twotower sample")
        self.name = name
        self.manifest = read_manifest(self.path, "sample")
        self.config: dict[str, Any] = self.manifest["config"]

    @cached_property
    def train_users(self) -> np.ndarray:
        return load_array(self.path / "train_users.npy")

    @cached_property
    def active(self) -> np.ndarray:
        return load_array(self.path / "active.npy")

    @cached_property
    def test_users(self) -> np.ndarray:
        return load_array(self.path / "test_users.npy")

    @property
    def train_days(self) -> list[int]:
        return self._days("train")

    @property
    def test_days(self) -> list[int]:
        return self._days("test")

    def _days(self, split: str) -> list[int]:
        return sorted(int(p.name[4:]) for p in (self.path / split).glob("day-*"))

    def train(self, day: int) -> Pairs:
        """Training pairs of one day."""
        return self._pairs("train", day)

    def test(self, day: int) -> Pairs:
        """Test pairs of one day."""
        return self._pairs("test", day)

    def train_pairs(self) -> Pairs:
        """Training pairs of all days, in order of days."""
        return _concatenate([self.train(day) for day in self.train_days])

    def test_pairs(self) -> Pairs:
        """Test pairs of all days, in order of days."""
        return _concatenate([self.test(day) for day in self.test_days])

    def _pairs(self, split: str, day: int) -> Pairs:
        directory = self.path / split / f"day-{day:04d}"
        user, title, label = (load_array(directory / f"{name}.npy") for name in ("user", "title", "label"))
        if label.size and label.max() > 1:
            row = int(np.argmax(label > 1))
            raise InputError(f"{directory / 'label.npy'}: row {row} is {label[row]}, expected 0 or 1")
        return Pairs(
            user.astype(np.int64), title.astype(np.int32), label.astype(np.float32), np.full(len(user), day, np.int32)
        )


def _concatenate(parts: list[Pairs]) -> Pairs:
    return Pairs(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Pairs)))


class SampleWriter:
    """Write a sample into its dataset; it appears under its name only when ``finish`` has been called."""

    def __init__(self, dataset: Dataset, name: str, config: dict[str, Any], overwrite: bool = False):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise InputError(f"sample name {name!r}: expected letters, digits, '_', '-' and '.'")
        self.staged = StagedDirectory(dataset.path / "samples" / name, overwrite)
        self.config = config
        self.shards: dict[tuple[str, int], GrowingColumns] = {}

    def __enter__(self) -> "SampleWriter":
        self.staged.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.staged.__exit__(*exc)

    def write_users(self, train: np.ndarray, active: np.ndarray, test: np.ndarray) -> None:
        """Indices of the training users, which of them were drawn as active, and the test users."""
        np.save(self.staged.path / "train_users.npy", np.asarray(train, np.int64))
        np.save(self.staged.path / "active.npy", np.asarray(active, bool))
        np.save(self.staged.path / "test_users.npy", np.asarray(test, np.int64))

    def write_pairs(self, split: str, day: int, user: np.ndarray, title: np.ndarray, label: np.ndarray) -> None:
        """Add pairs to the shard of ``day``; ``split`` is "train" or "test", labels are 0 or 1."""
        if split not in ("train", "test"):
            raise ValueError(f"split {split!r}, expected 'train' or 'test'")
        if (split, day) not in self.shards:
            directory = self.staged.path / split / f"day-{day:04d}"
            self.shards[split, day] = GrowingColumns(directory, user=np.int32, title=np.int32, label=np.uint8)
        self.shards[split, day].append(user=user, title=title, label=np.asarray(label).astype(np.uint8))

    def finish(self) -> None:
        """Write the manifest and give the sample its name."""
        for shard in self.shards.values():
            shard.close()
        manifest = {"format": FORMAT_VERSION, "config": self.config, "files": file_facts(self.staged.path)}
        write_json(self.staged.path / MANIFEST, manifest)
        self.staged.commit()
