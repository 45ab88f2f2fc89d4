"""Write a dataset, whole or not at all, and replace some of its files later; layout: see ``dataset``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.core.staging import StagedDirectory
from twotower.core.storage import GrowingColumns, reserve_array, write_csv, write_json
from twotower.core.version import __version__
from twotower.data.dataset import BASIS, Dataset, Provenance, VectorsRecord, log_digest, shard_name
from twotower.data.sample import remove_stale_samples
from twotower.data.territories import Territories


class DatasetWriter:
    """Write a dataset piece by piece; it appears under its name only after ``finish``.

    kind, seed, config: the manifest's ``Provenance``.
    """

    def __init__(self, path: str | Path, kind: str, seed: int, config: dict[str, Any], overwrite: bool = False):
        self.staged = StagedDirectory(Path(path), overwrite, mark="days")
        self.provenance: Provenance = {"kind": kind, "seed": seed, "config": config, "twotower": __version__}
        self.counts: dict[str, int] = {}
        self.shards: dict[int, GrowingColumns] = {}

    def __enter__(self) -> "DatasetWriter":
        self.staged.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.staged.__exit__(*exc)

    @property
    def path(self) -> Path:
        """The folder of the files until the dataset is finished."""
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
        return reserve_array(self.path / "users.npy", shape, dtype)

    def append_events(self, day: int, user: np.ndarray, title: np.ndarray) -> None:
        """Add a block of watch events to the shard of ``day`` (-1 is the history)."""
        if day not in self.shards:
            directory = self.path / "events" / shard_name(day)
            self.shards[day] = GrowingColumns(directory, user=np.int32, title=np.int32)
        self.shards[day].append(user=user, title=title)

    def write_truth(self, name: str, array: np.ndarray) -> None:
        (self.path / "truth").mkdir(exist_ok=True)
        np.save(self.path / "truth" / f"{name}.npy", array)

    def finish(
        self, train_days: int, test_days: int, has_time: bool, progress: Progress = silent, last: str = ""
    ) -> None:
        """Write the manifest and give the dataset its name; ``last`` is the date of the last day."""
        for shard in self.shards.values():
            shard.close()
        self.counts["events"] = sum(shard.rows for shard in self.shards.values())
        self.staged.commit(
            {
                "counts": self.counts,
                "days": {"train": train_days, "test": test_days, "has_time": has_time, "last": last},
                "provenance": self.provenance,
            },
            progress,
            lambda files: {"log": log_digest(files)},
        )
        remove_stale_samples(self.staged.target)


def update_territories(dataset: str | Path | Dataset, territories: Territories) -> None:
    """Replace the territory table of a dataset, as grouping does. Errors: InputError as for ``write_vectors``."""
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    with StagedDirectory(opened.path, overwrite=True) as staged:
        _write_territories(staged.path / "territories.csv", territories)
        staged.update("dataset", lambda manifest: _check_log(opened, manifest))


def write_vectors(
    dataset: str | Path | Dataset,
    user_vectors: np.ndarray | None = None,
    title_vectors: np.ndarray | None = None,
    record: VectorsRecord | None = None,
    basis: dict[str, Any] | None = None,
) -> None:
    """Add or replace user vectors (U, F_u) and title vectors (T, F_t), and the record of how they were made.

    ``basis``: files by name, arrays or plain values for JSON. The basis of former vectors is removed.

    Errors: InputError unless there is one vector for each user and title, and when the log of ``dataset`` is not the
    one that it was opened with.
    """
    dataset = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    opened, files = dataset, {f"{BASIS}/{name}": value for name, value in (basis or {}).items()}
    for name, vectors, rows in (
        ("users.npy", user_vectors, dataset.n_users),
        ("titles.npy", title_vectors, dataset.n_titles),
    ):
        if vectors is not None:
            if vectors.ndim != 2 or len(vectors) != rows:
                raise InputError(f"{dataset.path / name}: got vectors {vectors.shape}, expected {counted(rows, 'row')}")
            files[name] = vectors

    def change(manifest: dict[str, Any]) -> None:
        _check_log(opened, manifest)
        manifest["files"] = {k: v for k, v in manifest["files"].items() if not k.startswith(f"{BASIS}/")}
        manifest["provenance"]["vectors"] = record or {}

    with StagedDirectory(dataset.path, overwrite=True) as staged:
        for name, value in files.items():
            (staged.path / name).parent.mkdir(exist_ok=True)
            if isinstance(value, np.ndarray):
                with open(staged.path / name, "wb") as file:  # a full disk is then told as one
                    np.save(file, np.ascontiguousarray(value), allow_pickle=False)
            else:
                write_json(staged.path / name, value)
        staged.update("dataset", change)


def _check_log(opened: Dataset, manifest: Mapping[str, Any]) -> None:
    if manifest["log"] != opened.manifest["log"]:
        raise InputError(f"{opened.path}: another log has taken its place meanwhile; run the command again")


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
        "users": [str(x) for x in territories.users],
        "group": [str(x) for x in territories.group],
    }
    write_csv(path, columns)
