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

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

import twotower
from twotower.data.storage import (
    FORMAT_VERSION,
    MANIFEST,
    GrowingColumns,
    StagedDirectory,
    check_contents,
    file_facts,
    load_array,
    load_rows,
    locked,
    name_place,
    read_csv,
    read_manifest,
    write_csv,
    write_json,
)
from twotower.data.territories import Territories
from twotower.errors import InputError
from twotower.progress import Progress, silent

LOOK_ROWS = 16384  # vectors looked at together for NaN and infinity
HISTORY = -1  # the day of events that only feed user vectors and "watched already"


def _shard(day: int) -> str:
    return "history" if day == HISTORY else f"day-{day:04d}"


class Dataset:
    """A dataset opened for reading; arrays are memory-mapped and read when first asked for."""

    def __init__(self, path: Path, manifest: dict[str, Any]):
        self.path = path
        self.manifest = manifest
        self._vectors_are_finite = False  # as far as known
        try:
            self.n_users: int = manifest["counts"]["users"]
            self.n_titles: int = manifest["counts"]["titles"]
            self.n_territories: int = manifest["counts"]["territories"]
            self.train_days: int = manifest["days"]["train"]
            self.test_days: int = manifest["days"]["test"]
            self.has_time: bool = manifest["days"]["has_time"]
        except KeyError as error:
            raise InputError(f"{path / MANIFEST}: no {error}, so this is not a dataset") from None

    @classmethod
    def open(cls, path: str | Path) -> "Dataset":
        """Open a dataset directory. Errors: InputError when it is not one, or is incomplete."""
        return cls(Path(path), read_manifest(Path(path), "dataset"))

    @cached_property
    def territories(self) -> Territories:
        columns = read_csv(self.path / "territories.csv")
        try:
            return Territories(
                code=columns["code"],
                name=columns["name"],
                latitude=np.array([float(x) for x in columns["latitude"]]),
                longitude=np.array([float(x) for x in columns["longitude"]]),
                audience=np.array([int(x) for x in columns["audience"]], np.int64),
                group=np.array([int(x) for x in columns["group"]], np.int16),
            )
        except (KeyError, ValueError) as error:
            raise InputError(f"{self.path / 'territories.csv'}: not a territory table ({error})") from None

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
        return load_rows(self.path / "user_territory.npy", self.n_territories, self.n_users)

    @cached_property
    def head_territory(self) -> np.ndarray:
        """Territory whose head serves each user (U,): their own, unless a control of an experiment says otherwise."""
        return self.user_territory

    @cached_property
    def availability(self) -> np.ndarray:
        return load_array(self.path / "availability.npy")

    @cached_property
    def launch_day(self) -> np.ndarray:
        return load_array(self.path / "launch_day.npy")

    @cached_property
    def identity(self) -> dict[str, str]:
        """Digests of the vectors and of the ids of the titles, in their order: what a model's weights are made for."""
        files = self.manifest["files"]
        vectors = [files[name]["sha256"] for name in ("users.npy", "titles.npy") if name in files]
        texts = {"vectors": vectors, "titles": self.title_ids}
        return {name: hashlib.sha256(json.dumps(text).encode()).hexdigest() for name, text in texts.items()}

    @property
    def has_made_columns(self) -> bool:
        """Whether vectors have columns that ``twotower embed`` makes of the dataset, and each time in another way."""
        made = self.manifest["provenance"].get("vectors", {})
        parts = [*made.get("user_parts", ()), *made.get("title_parts", ())]
        return any(name not in ("own", "territory") for name, _ in parts)

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
            found = f"{vectors.dtype} {vectors.shape}"
            raise InputError(f"{path}: {found}, expected {rows} rows of float16 or float32")
        return vectors

    def events(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        """User and title of every watch event on ``day``: two (n,) int32 arrays."""
        directory = self.path / "events" / _shard(day)
        if not directory.is_dir():
            return np.empty(0, np.int32), np.empty(0, np.int32)
        user = load_rows(directory / "user.npy", self.n_users)
        return user, load_rows(directory / "title.npy", self.n_titles, len(user))

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

    def check(self, progress: Progress = silent) -> dict[str, Any]:
        """Compare every file with its checksum and look at all vectors; what was looked at.

        Errors: InputError that names the first file, or the first row, that is damaged.
        """
        check_contents(self.path, self.manifest, progress)
        if self.has_vectors:
            self.check_vectors(progress)
        return {"dataset": str(self.path), "files": len(self.manifest["files"]), **self.manifest["counts"]}

    def check_vectors(self, progress: Progress = silent) -> None:
        """Look at every vector once. Errors: InputError with table, row and count where one is not finite."""
        if self._vectors_are_finite:
            return
        tables = {"users.npy": self.user_vectors, "titles.npy": self.title_vectors}
        done, total = 0, sum(map(len, tables.values()))
        for name, vectors in tables.items():
            bad, first = 0, -1
            for start in range(0, len(vectors), LOOK_ROWS):
                finite = np.isfinite(vectors[start : start + LOOK_ROWS]).all(axis=1)
                bad += int((~finite).sum())
                if first < 0 and not finite.all():
                    first = start + int(np.argmin(finite))
                done += len(finite)
                progress("looking at all vectors", done, total)
            if bad:
                count = f"{bad} of {len(vectors)} rows hold NaN or infinity"
                raise InputError(f"{self.path / name}: {count}, the first is row {first}")
        self._vectors_are_finite = True


class DatasetWriter:
    """Write a dataset piece by piece; it appears under its name only when ``finish`` has been called.

    ``kind`` says where the log came from ("world" or "import"), ``config`` how: the manifest's provenance.
    """

    def __init__(
        self, path: str | Path, kind: str, seed: int, config: dict[str, Any], overwrite: bool = False
    ):
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
        """Columns of text (the first is ``title``, the ids), availability (T, C) bool, launch day (T,).

        Errors: InputError when an id occurs more than once.
        """
        _check_ids("title", columns["title"])
        self.counts["titles"] = len(columns["title"])
        write_csv(self.path / "titles.csv", columns)
        days = np.zeros(len(columns["title"])) if launch_day is None else launch_day
        np.save(self.path / "availability.npy", np.ascontiguousarray(availability, bool))
        np.save(self.path / "launch_day.npy", np.asarray(days).astype(np.int32))

    def write_users(
        self,
        territory: np.ndarray,
        ids: Sequence[str] | None = None,
        columns: dict[str, list[str]] | None = None,
    ) -> None:
        """Territory (U,) of each user, and ids and profile columns where there are any.

        Errors: InputError when an id occurs more than once.
        """
        _check_ids("user", ids or [])
        self.counts["users"] = len(territory)
        np.save(self.path / "user_territory.npy", np.asarray(territory).astype(np.int16))
        if ids is not None:
            write_csv(self.path / "users.csv", {"user": ids, **(columns or {})})

    def write_title_vectors(self, vectors: np.ndarray) -> None:
        np.save(self.path / "titles.npy", np.ascontiguousarray(vectors, np.float32))

    def open_user_vectors(self, shape: tuple[int, int], dtype: Any) -> np.memmap:
        """An array on disk to be filled in blocks."""
        path = self.path / "users.npy"
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)

    def append_events(self, day: int, user: np.ndarray, title: np.ndarray) -> None:
        """Add a block of watch events to the shard of ``day`` (-1 is the history)."""
        if day not in self.shards:
            directory = self.path / "events" / _shard(day)
            self.shards[day] = GrowingColumns(directory, user=np.int32, title=np.int32)
        self.shards[day].append(user=user, title=title)

    def write_truth(self, name: str, array: np.ndarray) -> None:
        (self.path / "truth").mkdir(exist_ok=True)
        np.save(self.path / "truth" / f"{name}.npy", array)

    def finish(self, train_days: int, test_days: int, has_time: bool, progress: Progress = silent) -> None:
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
            "files": file_facts(self.path, progress),
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
    """Add or replace user vectors (U, F_u) and title vectors (T, F_t), with a word on where they come from.

    Errors: InputError unless there is one vector for each user and title.
    """
    dataset = Dataset.open(path)
    writers = {}
    for name, vectors, rows in (
        ("users.npy", user_vectors, dataset.n_users),
        ("titles.npy", title_vectors, dataset.n_titles),
    ):
        if vectors is not None:
            if vectors.ndim != 2 or len(vectors) != rows:
                raise InputError(f"{dataset.path / name}: got vectors {vectors.shape}, expected {rows} rows")
            writers[name] = partial(_save, array=vectors)
    _replace(dataset.path, writers, {"vectors": provenance or {}})


def _save(path: Path, array: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def _replace(directory: Path, writers: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Rewrite some files of a dataset, then its manifest; each file is replaced whole.

    Two processes may do it at once: each has a stage of its own, and the manifest is read again for the change.
    """
    stage = directory / f".update.partial-{os.getpid()}"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    try:
        for name, write in writers.items():
            write(stage / name)
        facts = file_facts(stage)
        with locked(directory):
            manifest = read_manifest(directory, "dataset")
            manifest["files"].update(facts)
            manifest["provenance"].update(provenance)
            for name in writers:
                (stage / name).replace(directory / name)
            write_json(directory / MANIFEST, manifest)
    except OSError as error:
        name_place(error, directory)
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _check_ids(what: str, ids: Sequence[str]) -> None:
    if len(set(ids)) < len(ids):
        name, times = Counter(ids).most_common(1)[0]
        raise InputError(f"{what} id {name!r} occurs {times} times, expected once")


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
