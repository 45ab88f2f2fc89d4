"""The dataset on disk: one directory, readable with NumPy alone. Only this file and its writer know the layout.

manifest.json                    counts, days, provenance, and every file's size and checksum
territories.csv                  code, name, latitude, longitude, users, group
titles.csv   titles.npy          ids and text columns; (T, F_t) float32 vectors
users.csv    users.npy           ids and profile columns (optional); (U, F_u) float16 or float32 vectors
basis/                           where embed made the vectors: what with (see vectors/basis.py)
user_territory.npy               (U,) int16 row of territories.csv
availability.npy launch_day.npy  (T, C) bool; (T,) int32
events/history, events/day-0000  user.npy int32, title.npy int32: the watch log, a shard a day
truth/*.npy                      simulated worlds only: what the affinities are made of
samples/NAME/                    pairs to train and test on (see sample.py)
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.core.storage import MANIFEST, check_contents, load_array, load_rows, read_csv, read_json, read_manifest
from twotower.data.territories import Territories

LOOK_ROWS = 16384  # vectors looked at together for NaN and infinity
BASIS = "basis"  # the folder of what the vectors were made with
HISTORY = -1  # the day of events that only feed user vectors and "watched already"


def shard_name(day: int) -> str:
    """The directory of a day's events."""
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
                users=np.array([int(x) for x in columns["users"]], np.int64),
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
        """Digests of the vectors and of the ids of the titles, in their order: what a model's weights are made for.

        Vectors that were made like those of another dataset have its digest: their columns mean the same.
        """
        files = self.manifest["files"]
        vectors = [files[name]["sha256"] for name in ("users.npy", "titles.npy") if name in files]
        texts = {"vectors": vectors, "titles": self.title_ids}
        digests = {name: hashlib.sha256(json.dumps(text).encode()).hexdigest() for name, text in texts.items()}
        return digests | ({"vectors": self.made_like["vectors"]} if self.made_like else {})

    @property
    def embedding(self) -> dict[str, Any]:
        """What ``twotower embed`` said of the vectors: their config and parts; empty where they come from elsewhere."""
        return self.manifest["provenance"].get("vectors", {})

    @property
    def made_like(self) -> dict[str, str] | None:
        """The dataset, and the digest of its vectors, in whose columns these vectors were made; None: in their own."""
        return self.embedding.get("like")

    @property
    def has_made_columns(self) -> bool:
        """Whether vectors have columns that ``twotower embed`` makes of the dataset, and each time in another way."""
        parts = [*self.embedding.get("user_parts", ()), *self.embedding.get("title_parts", ())]
        return any(name not in ("own", "territory") for name, _ in parts)

    @property
    def has_basis(self) -> bool:
        """Whether it is kept what the vectors were made with."""
        return any(name.startswith(f"{BASIS}/") for name in self.manifest["files"])

    def basis_facts(self, name: str) -> Any:
        """Plain values among what the vectors were made with."""
        return read_json(self.path / BASIS / name)

    def basis_array(self, name: str) -> np.ndarray:
        """An array among what the vectors were made with."""
        return load_array(self.path / BASIS / name)

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
            raise InputError(f"{path}: {found}, expected {counted(rows, 'row')} of float16 or float32")
        return vectors

    def events(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        """User and title of every watch event on ``day``: two (n,) int32 arrays."""
        directory = self.path / "events" / shard_name(day)
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
