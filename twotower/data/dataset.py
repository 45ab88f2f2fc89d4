"""The dataset on disk: one directory, readable with NumPy alone. This is the only file that knows its layout.

    manifest.json                    counts, days, provenance, and every file's size and checksum
    territories.csv                  code, name, latitude, longitude, audience, group
    titles.csv   titles.npy          ids and text columns; (T, F_t) float32 vectors
    users.csv    users.npy           ids and profile columns (optional); (U, F_u) float16 or float32 vectors
    user_territory.npy               (U,) int16 row of territories.csv
    availability.npy launch_day.npy  (T, C) bool; (T,) int32
    events/history, events/day-0000  user.npy int32, title.npy int32: the watch log, a shard a day
    truth/*.npy                      simulated worlds only: what the affinities are made of
    samples/NAME/                    pairs to train and test on (see sample.py)
"""

import csv
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import twotower
from twotower.data.storage import (
    FORMAT_VERSION,
    MANIFEST,
    GrowingColumns,
    StagedDirectory,
    check_files,
    file_facts,
    load_array,
    read_manifest,
    write_json,
)
from twotower.data.territories import Territories
from twotower.errors import InputError

HISTORY = -1  # the day of events that only feed user vectors and "watched already"


def _shard(day: int) -> str:
    return "history" if day == HISTORY else f"day-{day:04d}"


class Dataset:
    """A dataset opened for reading; arrays are memory-mapped and read when first asked for."""

    def __init__(self, path: Path, manifest: dict[str, Any]):
        self.path = path
        self.manifest = manifest
        self.n_users: int = manifest["counts"]["users"]
        self.n_titles: int = manifest["counts"]["titles"]
        self.n_territories: int = manifest["counts"]["territories"]
        self.train_days: int = manifest["days"]["train"]
        self.test_days: int = manifest["days"]["test"]
        self.has_time: bool = manifest["days"]["has_time"]

    @classmethod
    def open(cls, path: str | Path) -> "Dataset":
        """Open a dataset directory. Errors: InputError when it is not one, or is incomplete."""
        return cls(Path(path), read_manifest(Path(path), "dataset"))

    @cached_property
    def territories(self) -> Territories:
        columns = read_csv(self.path / "territories.csv")
        return Territories(
            code=columns["code"],
            name=columns["name"],
            latitude=np.array([float(x) for x in columns["latitude"]]),
            longitude=np.array([float(x) for x in columns["longitude"]]),
            audience=np.array([int(x) for x in columns["audience"]], np.int64),
            group=np.array([int(x) for x in columns["group"]], np.int16),
        )

    @cached_property
    def titles(self) -> dict[str, list[str]]:
        return read_csv(self.path / "titles.csv")

    @cached_property
    def title_ids(self) -> list[str]:
        return self.titles["title"]

    @cached_property
    def user_columns(self) -> dict[str, list[str]]:
        path = self.path / "users.csv"
        return read_csv(path) if path.is_file() else {}

    @property
    def user_ids(self) -> list[str] | None:
        return self.user_columns.get("user")

    @cached_property
    def user_territory(self) -> np.ndarray:
        return load_array(self.path / "user_territory.npy")

    @cached_property
    def availability(self) -> np.ndarray:
        return load_array(self.path / "availability.npy")

    @cached_property
    def launch_day(self) -> np.ndarray:
        return load_array(self.path / "launch_day.npy")

    @property
    def has_vectors(self) -> bool:
        return (self.path / "users.npy").is_file() and (self.path / "titles.npy").is_file()

    @cached_property
    def user_vectors(self) -> np.ndarray:
        return self._vectors("users.npy", self.n_users)

    @cached_property
    def title_vectors(self) -> np.ndarray:
        return self._vectors("titles.npy", self.n_titles)

    def _vectors(self, name: str, rows: int) -> np.ndarray:
        path = self.path / name
        if not path.is_file():
            raise InputError(f"{path}: missing; make vectors with: twotower embed {self.path}")
        vectors = load_array(path)
        if vectors.ndim != 2 or len(vectors) != rows or vectors.dtype not in (np.float16, np.float32):
            raise InputError(f"{path}: {vectors.dtype} {vectors.shape}, expected {rows} rows of float16 or float32")
        return vectors

    def events(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        """User and title of every watch event on ``day``: two (n,) int32 arrays."""
        directory = self.path / "events" / _shard(day)
        if not directory.is_dir():
            return np.empty(0, np.int32), np.empty(0, np.int32)
        return load_array(directory / "user.npy"), load_array(directory / "title.npy")

    def history(self) -> tuple[np.ndarray, np.ndarray]:
        """Events from before day 0, which no label is ever made of."""
        return self.events(HISTORY)

    def iter_events(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Day, user and title, day by day in order, history first."""
        for day in range(HISTORY, self.train_days + self.test_days):
            yield day, *self.events(day)

    def all_events(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """User, title and day of the whole log in order of days, history first: three (n,) int32 arrays."""
        days, users, titles = zip(*self.iter_events(), strict=True)
        day = np.repeat(np.array(days, np.int32), [len(u) for u in users])
        return np.concatenate(users), np.concatenate(titles), day

    def truth(self, name: str) -> np.ndarray:
        """One array of a simulated world's truth."""
        return load_array(self.path / "truth" / f"{name}.npy")

    def samples(self) -> list[str]:
        """Names of the samples drawn so far."""
        return sorted(p.parent.name for p in self.path.glob(f"samples/[!.]*/{MANIFEST}"))

    def check(self) -> dict[str, Any]:
        """Compare every file with its checksum and look at all vectors; what was looked at.

        Errors: InputError that names the first file, or the first row, that is damaged.
        """
        check_files(self.path, self.manifest, checksums=True)
        if self.has_vectors:
            self.check_vectors()
        return {"dataset": str(self.path), "files": len(self.manifest["files"]), **self.manifest["counts"]}

    def check_vectors(self) -> None:
        """Look at every vector once. Errors: InputError with table, row and count of NaN or infinite values."""
        for name, vectors in (("users.npy", self.user_vectors), ("titles.npy", self.title_vectors)):
            bad, first = 0, -1
            for start in range(0, len(vectors), 65536):
                finite = np.isfinite(vectors[start : start + 65536]).all(axis=1)
                bad += int((~finite).sum())
                if first < 0 and not finite.all():
                    first = start + int(np.argmin(finite))
            if bad:
                raise InputError(f"{self.path / name}: {bad} rows hold NaN or infinity, the first is row {first}")


class DatasetWriter:
    """Write a dataset piece by piece; it appears under its name only when ``finish`` has been called.

    ``kind`` says where the log came from ("world" or "import"), ``config`` how, for the manifest's provenance.
    """

    def __init__(self, path: str | Path, kind: str, seed: int, config: dict[str, Any], overwrite: bool = False):
        self.staged = StagedDirectory(Path(path), overwrite)
        self.provenance = {"kind": kind, "seed": seed, "config": config, "twotower": twotower.__version__}
        self.counts: dict[str, int] = {}
        self.shards: dict[int, GrowingColumns] = {}

    def __enter__(self) -> "DatasetWriter":
        self.staged.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.staged.__exit__(*exc)

    @property
    def path(self) -> Path:
        """Where the files lie until the dataset is finished."""
        return self.staged.path

    def write_territories(self, territories: Territories) -> None:
        self.counts["territories"] = len(territories)
        _write_territories(self.path / "territories.csv", territories)

    def write_titles(
        self, columns: dict[str, list[str]], availability: np.ndarray, launch_day: np.ndarray | None = None
    ) -> None:
        """Columns of text (the first is ``title``, the ids), availability (T, C) bool, launch day (T,)."""
        self.counts["titles"] = len(columns["title"])
        write_csv(self.path / "titles.csv", columns)
        days = np.zeros(len(columns["title"])) if launch_day is None else launch_day
        np.save(self.path / "availability.npy", np.ascontiguousarray(availability, bool))
        np.save(self.path / "launch_day.npy", np.asarray(days).astype(np.int32))

    def write_users(
        self, territory: np.ndarray, ids: Sequence[str] | None = None, columns: dict[str, list[str]] | None = None
    ) -> None:
        """Territory (U,) of each user, and ids and profile columns where there are any."""
        self.counts["users"] = len(territory)
        np.save(self.path / "user_territory.npy", np.asarray(territory).astype(np.int16))
        if ids is not None:
            write_csv(self.path / "users.csv", {"user": ids, **(columns or {})})

    def write_title_vectors(self, vectors: np.ndarray) -> None:
        np.save(self.path / "titles.npy", np.ascontiguousarray(vectors, np.float32))

    def open_user_vectors(self, shape: tuple[int, int], dtype: Any) -> np.memmap:
        """An array on disk to be filled in blocks."""
        return np.lib.format.open_memmap(self.path / "users.npy", mode="w+", dtype=np.dtype(dtype), shape=shape)

    def append_events(self, day: int, user: np.ndarray, title: np.ndarray) -> None:
        """Add a block of watch events to the shard of ``day`` (-1 is the history)."""
        if day not in self.shards:
            self.shards[day] = GrowingColumns(self.path / "events" / _shard(day), user=np.int32, title=np.int32)
        self.shards[day].append(user=user, title=title)

    def write_truth(self, name: str, array: np.ndarray) -> None:
        (self.path / "truth").mkdir(exist_ok=True)
        np.save(self.path / "truth" / f"{name}.npy", array)

    def finish(self, train_days: int, test_days: int, has_time: bool) -> None:
        """Write the manifest and give the dataset its name."""
        for shard in self.shards.values():
            shard.close()
        self.counts["events"] = sum(shard.rows for shard in self.shards.values())
        days = {"train": train_days, "test": test_days, "has_time": has_time}
        manifest = {
            "format": FORMAT_VERSION,
            "counts": self.counts,
            "days": days,
            "provenance": self.provenance,
            "files": file_facts(self.path),
        }
        write_json(self.path / MANIFEST, manifest)
        self.staged.commit()


def update_territories(path: str | Path, territories: Territories) -> None:
    """Replace the territory table of a dataset, as grouping does."""
    _replace(Path(path), {"territories.csv": lambda file: _write_territories(file, territories)}, {})


def write_vectors(
    path: str | Path,
    user_vectors: np.ndarray | None = None,
    title_vectors: np.ndarray | None = None,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Add or replace user vectors (U, F_u) and title vectors (T, F_t), with a word on where they come from."""
    writers = {}
    if user_vectors is not None:
        writers["users.npy"] = lambda file: _save(file, user_vectors)
    if title_vectors is not None:
        writers["titles.npy"] = lambda file: _save(file, title_vectors)
    _replace(Path(path), writers, {"vectors": provenance or {}})


def _save(path: Path, array: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def _replace(directory: Path, writers: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Rewrite some files of a dataset, then its manifest; each file is replaced whole."""
    manifest = read_manifest(directory, "dataset")
    stage = directory / ".update.partial"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    try:
        for name, write in writers.items():
            write(stage / name)
        manifest["files"].update(file_facts(stage))
        manifest["provenance"].update(provenance)
        for name in writers:
            (stage / name).replace(directory / name)
        write_json(directory / MANIFEST, manifest)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _write_territories(path: Path, territories: Territories) -> None:
    columns = {
        "code": territories.code,
        "name": territories.name,
        "latitude": [f"{x:.4f}" for x in territories.latitude],
        "longitude": [f"{x:.4f}" for x in territories.longitude],
        "audience": [str(x) for x in territories.audience],
        "group": [str(x) for x in territories.group],
    }
    write_csv(path, columns)


def write_csv(path: Path, columns: dict[str, Any]) -> None:
    """Write equally long columns of text as CSV with a header."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def read_csv(path: Path) -> dict[str, list[str]]:
    """Read a CSV with a header into columns of text. Errors: InputError when it is missing or ragged."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        return {name: list(column) for name, *column in zip(*rows, strict=True)}
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except (ValueError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable table ({error})") from None
