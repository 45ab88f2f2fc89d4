"""The dataset on disk: one directory, readable with NumPy alone. Only this file and its writer know the layout.

manifest.json                    a Manifest: counts, days, provenance, and every file's size and checksum
territories.csv                  code, name, latitude, longitude, users, group
titles.csv   titles.npy          ids and text columns; (T, F_t) float32 vectors
users.csv    users.npy           ids and profile columns (optional); (U, F_u) float16 or float32 vectors
basis/                           what embed made the vectors with (see features/basis.py)
user_territory.npy               (U,) int16 row of territories.csv
availability.npy launch_day.npy  (T, C) bool; (T,) int32
events/history, events/day-0000  user.npy int32, title.npy int32: the watch log, one shard per day
truth/*.npy                      synthetic worlds only: the true affinities
samples/NAME/                    pairs for training and testing (see sample.py)
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np

from twotower.core.checks import VECTOR_TYPES
from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.manifest import MANIFEST, Facts, Files, read_manifest
from twotower.core.progress import Progress, silent
from twotower.core.staging import clear_leftovers
from twotower.data.territories import Territories

LARGEST = 1e15  # of vectors: batch-norm adds squares, and float32 ends at 3e38
CHECKED_ROWS = 16384  # vectors checked together for NaN and infinity
BASIS = "basis"  # the folder of the vectors' basis
HISTORY = -1  # the day of events before training: user vectors are made of them, labels never
TITLE_ORIGIN = "origin"  # the column of titles with the country that each comes from


class Counts(TypedDict):
    users: int
    titles: int
    territories: int
    events: int


class Days(TypedDict):
    train: int
    test: int
    has_time: bool
    last: str  # YYYY-MM-DD of the last day; empty where there are no dates


class Origin(TypedDict):
    """The dataset whose basis vectors were projected onto, and the digest of its vectors."""

    dataset: str
    vectors: str


class VectorsRecord(TypedDict, total=False):
    """How ``twotower embed`` made the vectors: settings, and name and width of each part."""

    config: dict[str, Any]  # a features.embed.EmbedConfig
    user_parts: list[tuple[str, int]]
    title_parts: list[tuple[str, int]]
    projected_from: Origin


class Provenance(TypedDict, total=False):
    """Where the log comes from."""

    kind: str  # "world" or "import"
    seed: int
    config: dict[str, Any]  # a WorldConfig or an ImportConfig
    twotower: str  # version
    vectors: VectorsRecord


class Manifest(TypedDict):
    format: int
    counts: Counts
    days: Days
    provenance: Provenance
    log: str  # digest of all but groups, vectors and their basis: what samples are drawn from
    files: dict[str, Facts]


def shard_name(day: int) -> str:
    """The directory of a day's events."""
    return "history" if day == HISTORY else f"day-{day:04d}"


def log_digest(files: Mapping[str, Facts]) -> str:
    """The digest of a dataset without what ``group`` and ``embed`` change."""
    changing = ("territories.csv", "users.npy", "titles.npy")
    kept = {k: v["sha256"] for k, v in files.items() if k not in changing and not k.startswith(f"{BASIS}/")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


class Dataset:
    """A dataset opened for reading; arrays are memory-mapped and read when first asked for."""

    def __init__(self, path: Path, manifest: Manifest):
        self.path = path
        self.manifest = manifest
        self.files = Files(path, manifest)
        self._vectors_are_finite = False  # not checked yet
        try:
            self.n_users: int = manifest["counts"]["users"]
            self.n_titles: int = manifest["counts"]["titles"]
            self.n_territories: int = manifest["counts"]["territories"]
            self.train_days: int = manifest["days"]["train"]
            self.test_days: int = manifest["days"]["test"]
            self.has_time: bool = manifest["days"]["has_time"]
            _ = manifest["log"], manifest["provenance"]
        except KeyError as error:
            raise InputError(
                f"{path / MANIFEST}: no {error}, so this is not a dataset; twotower import makes one"
            ) from None

    @classmethod
    def open(cls, path: str | Path) -> "Dataset":
        """Open a dataset directory. Errors: InputError when it is not one, or is incomplete."""
        clear_leftovers(Path(path))
        return cls(Path(path), cast(Manifest, read_manifest(Path(path), "dataset")))

    def pin(self, progress: Progress = silent) -> None:
        """Open now what training needs at its end, so that no later change of the dataset can reach it."""
        history = [name for name in self.files.facts if name.startswith(f"events/{shard_name(HISTORY)}/")]
        vectors = [name for name in ("users.npy", "titles.npy") if name in self.files]
        self.files.pin(["user_territory.npy", "availability.npy", "launch_day.npy", *vectors, *history], progress)
        _ = self.territories, self.titles, self.user_columns

    @cached_property
    def territories(self) -> Territories:
        columns = self.files.csv("territories.csv", self.manifest["counts"]["territories"])
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
            raise InputError(f"{self.files.where('territories.csv')}: not a territory table ({error})") from None

    @cached_property
    def titles(self) -> dict[str, list[str]]:
        return self.files.csv("titles.csv", self.manifest["counts"]["titles"], ["title"])

    @cached_property
    def title_ids(self) -> list[str]:
        return self.titles["title"]

    @cached_property
    def user_columns(self) -> dict[str, list[str]]:
        return self.files.csv("users.csv", self.manifest["counts"]["users"]) if "users.csv" in self.files else {}

    @property
    def people(self) -> np.ndarray:
        """Rows (n,) of the users, without those that a run was told to forget."""
        return np.arange(self.n_users)

    @property
    def user_ids(self) -> list[str] | None:
        return self.user_columns.get("user")

    @cached_property
    def user_territory(self) -> np.ndarray:
        return self.files.rows("user_territory.npy", self.n_territories, self.n_users)

    @cached_property
    def head_territory(self) -> np.ndarray:
        """Territory whose head serves each user (U,): their own, except in one control of experiments."""
        return self.user_territory

    @cached_property
    def availability(self) -> np.ndarray:
        return self.files.array("availability.npy", bool, (self.n_titles, self.n_territories))

    @cached_property
    def launch_day(self) -> np.ndarray:
        return self.files.array("launch_day.npy", np.int32, (self.n_titles,))

    @cached_property
    def identity(self) -> dict[str, str]:
        """Digests of the vectors and of the title ids in order: a model's weights fit these alone.

        Vectors that were projected onto another dataset's basis have its digest: their columns mean the same.
        """
        files = self.manifest["files"]
        vectors = [files[name]["sha256"] for name in ("users.npy", "titles.npy") if name in files]
        texts = {"vectors": vectors, "titles": self.title_ids}
        digests = {name: hashlib.sha256(json.dumps(text).encode()).hexdigest() for name, text in texts.items()}
        if self.projected_from:
            digests["vectors"] = self.projected_from["vectors"]
        return digests

    @property
    def embedding(self) -> VectorsRecord:
        """How ``twotower embed`` made the vectors; empty where they come from elsewhere."""
        return self.manifest["provenance"].get("vectors", {})

    @property
    def projected_from(self) -> Origin | None:
        """The dataset whose basis the vectors were projected onto; None: their own basis."""
        return self.embedding.get("projected_from")

    @property
    def has_fitted_columns(self) -> bool:
        """Whether vectors have columns that ``twotower embed`` fits to the dataset, with another meaning in each."""
        parts = [*self.embedding.get("user_parts", ()), *self.embedding.get("title_parts", ())]
        return any(name not in ("own", "territory") for name, _ in parts)

    def basis_facts(self, name: str) -> Any:
        """A JSON file of the vectors' basis."""
        return self.files.json(f"{BASIS}/{name}")

    def basis_array(self, name: str) -> np.ndarray:
        """An array of the vectors' basis."""
        return self.files.array(f"{BASIS}/{name}")

    @property
    def has_vectors(self) -> bool:
        return "users.npy" in self.files and "titles.npy" in self.files

    @cached_property
    def user_vectors(self) -> np.ndarray:
        return self._vectors("users.npy", self.n_users)

    @cached_property
    def title_vectors(self) -> np.ndarray:
        return self._vectors("titles.npy", self.n_titles)

    def _vectors(self, name: str, rows: int) -> np.ndarray:
        if name not in self.files:
            raise InputError(f"{self.path / name}: missing; make vectors with: twotower embed {self.path}")
        expected = f"{counted(rows, 'row')} of float16 or float32"
        return self.files.array(name, VECTOR_TYPES, (rows, None), expected)

    def events(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        """User and title of every watch event on ``day``: two (n,) int32 arrays."""
        name = f"events/{shard_name(day)}"
        if f"{name}/user.npy" not in self.files:
            return np.empty(0, np.int32), np.empty(0, np.int32)
        user = self.files.rows(f"{name}/user.npy", self.n_users)
        return user, self.files.rows(f"{name}/title.npy", self.n_titles, len(user))

    def history(self) -> tuple[np.ndarray, np.ndarray]:
        """Events before day 0: never labels."""
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
        """One array of a synthetic world's truth."""
        return self.files.array(f"truth/{name}.npy")

    def samples(self) -> list[str]:
        """Names of the samples."""
        return sorted(p.parent.name for p in self.path.glob(f"samples/[!.]*/{MANIFEST}"))

    def check(self, progress: Progress = silent) -> dict[str, Any]:
        """Compare every file with its checksum and check all vectors; returns what there is.

        Errors: InputError that names the first file, or the first row, that is damaged.
        """
        self.files.verify(progress)
        if self.has_vectors:
            self.check_vectors(progress)
        return {"dataset": str(self.path), "files": len(self.manifest["files"]), **self.manifest["counts"]}

    def check_vectors(self, progress: Progress = silent) -> None:
        """Check every vector once. Errors: InputError with table, row and count where one cannot be calculated with."""
        if self._vectors_are_finite:
            return
        tables = {"users.npy": self.user_vectors, "titles.npy": self.title_vectors}
        done, total = 0, sum(map(len, tables.values()))
        for name, vectors in tables.items():
            bad, first = 0, -1
            for start in range(0, len(vectors), CHECKED_ROWS):
                block = vectors[start : start + CHECKED_ROWS]
                finite = (np.abs(block) <= min(LARGEST, float(np.finfo(block.dtype).max))).all(axis=1)
                bad += int((~finite).sum())
                if first < 0 and not finite.all():
                    first = start + int(np.argmin(finite))
                done += len(finite)
                progress("checking vectors", done, total)
            if bad:
                what = "numbers beyond 1e15" if np.isfinite(vectors[first]).all() else "NaN or infinity"
                count = f"{bad} of {len(vectors)} rows hold {what}"
                raise InputError(f"{self.files.where(name)}: {count}, the first is row {first}")
        self._vectors_are_finite = True
