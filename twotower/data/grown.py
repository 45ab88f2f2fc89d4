"""A dataset with days after it: what each day added, and the whole as one dataset whose log is history.

    U users · T titles · C territories · F columns of user vectors

A day is a ``Part``: new users, titles and territories, the day's events, and vectors of those who watched. Parts are
never changed. Of the parts before, an update reads a few bytes per event; vectors and histories are looked up for the
users of the day alone.

In ``data/`` of a day's run:

    users.csv titles.csv territories.csv      rows that are new; territories with their group
    user_territory.npy role.npy               (n,) int16, int8 of the new users (see ``ROLES``)
    title_vectors.npy                         (m, F_t) of the new titles
    available.npy moved.npy                   (k, 2) int32 title, territory; (k, 2) int32 user, new territory
    event_user.npy event_title.npy            (N,) int32 distinct events of the day, by user
    late_user.npy late_title.npy              (n,) int32 the same of earlier days
    vector_user.npy vectors.npy               (n,) int32; (n, F) vectors of these users from the next day on
    home.npy elsewhere.npy                    (n,) int16, bool: territory of their events, and whether of others, too
    replay_*.npy frozen_*.npy                 pairs that the day keeps (daily/replay.py)
    start.npy log_title.npy log_day.npy       of the first part alone: the whole log by user
    first_seen.npy                            (m,) int32 day of the new titles, of a compacted part
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypedDict, cast

import numpy as np

from twotower.core.errors import InputError
from twotower.core.manifest import Files
from twotower.core.storage import load_array, read_csv, read_record
from twotower.data.dataset import HISTORY, Dataset
from twotower.data.territories import Territories

RECORD = "run.json"  # of the day's run, whose files the part belongs to
# of users: trained on while they are active, always, and never; and rows whose users were forgotten
OTHER, RANDOM, HELD_OUT, FORGOTTEN = ROLES = range(4)
TABLES = ("users", "titles", "territories")
KINDS = ("event", "late")  # of events
VECTOR_FILES = ("vectors", "vector_user", "title_vectors")
KEPT_PARTS = 1024  # that a process keeps open


class DayRecord(TypedDict):
    """What a day was; ``day`` in its ``run.json``."""

    date: str  # YYYY-MM-DD; "start" for the state before the first day
    number: int  # days from the first training day on
    previous: str  # the day that it stands on
    content: str  # digest of the day's events
    lineage: str  # digest of these and of all days before
    events: int
    late: int  # events of earlier days, appended to histories
    moved: int  # users who live elsewhere from now on
    skipped: list[str]  # calendar days without a log before this one
    new_users: int
    new_titles: int
    new_territories: list[str]
    training_pairs: int
    replayed_pairs: int
    frozen_pr_auc: float | None  # of held-out pairs of the first days, under the weights after this one
    frozen_pairs: int
    frozen_positives: int
    reasons: list[str]  # why it is a candidate and not served
    accepted: bool  # in spite of them
    digests: list[str]  # of the vectors as they were when the day was written, if they were changed since
    compacted: int  # days whose parts this one has in it; 0: it is one day's
    seconds: float
    bytes: int  # written
    peak_mib: float  # of memory


class Part:
    """What a day added, in memory or on disk."""

    def __init__(
        self, day: DayRecord, arrays: Mapping[str, np.ndarray], tables: Mapping[str, dict[str, list[str]]],
        files: Files | None = None,
    ):  # fmt: skip
        self.day, self.arrays, self.tables, self.files = day, dict(arrays), dict(tables), files

    @classmethod
    def read(cls, path: Path) -> "Part":
        """The part of a day's run. Errors: InputError where it is damaged."""
        try:
            status = (path / RECORD).stat()
        except OSError:
            raise InputError(f"{path / RECORD}: missing") from None
        return _read_part(path, status.st_ino, status.st_mtime_ns)

    def array(self, name: str) -> np.ndarray:
        """An array; of a file the size is compared and not the contents, which would be to read all days."""
        if name not in self.arrays:
            if self.files is None:
                raise KeyError(name)
            file = f"data/{name}.npy"
            self.files.check_sizes([file])
            self.arrays[name] = load_array(self.files.where(file))
        return self.arrays[name]

    def table(self, name: str) -> dict[str, list[str]]:
        """The new rows of one of ``TABLES``; without columns where there are none."""
        if name not in self.tables:
            file = f"data/{name}.csv"
            here = self.files is not None and file in self.files
            self.tables[name] = read_csv(self.files.where(file)) if here and self.files is not None else {}
        return self.tables[name]

    @cached_property
    def digests(self) -> list[str]:
        """Of the vectors that it adds, one per day; parts in memory have none yet."""
        names = [f"data/{name}.npy" for name in VECTOR_FILES]
        facts = {} if self.files is None else self.files.facts
        return self.day["digests"] or [",".join(facts[name]["sha256"] for name in names if name in facts)]


@lru_cache(maxsize=KEPT_PARTS)
def _read_part(path: Path, inode: int, mtime: int) -> Part:
    """A part as it was at a time: an update looks at each several times."""
    record = read_record(path / RECORD)
    if "day" not in record:
        raise InputError(f"{path / RECORD}: not the run of a day")
    return Part(cast(DayRecord, record["day"]), {}, {}, Files(path, record, RECORD, "roll back to a day before"))


class GrownDataset(Dataset):
    """A dataset and its parts, the first of which has the dataset's own log by user.

    Its log is history as a whole, so whatever scores a dataset scores this one. ``user_vectors`` gathers the vectors of
    all users; ``vectors_of`` those of some.
    """

    def __init__(self, base: Dataset, parts: Sequence[Part]):
        super().__init__(base.path, base.manifest)
        self.base, self.parts = base, list(parts)
        self.days = base.train_days + base.test_days, *(part.day["number"] + 1 for part in parts)
        self.train_days = self.test_days = 0
        self.n_users += sum(part.day["new_users"] for part in parts)
        self.n_titles += sum(part.day["new_titles"] for part in parts)
        self.n_territories += sum(len(part.day["new_territories"]) for part in parts)

    @property
    def data_day(self) -> str:
        """The date of the last part."""
        return self.parts[-1].day["date"]

    @cached_property
    def user_columns(self) -> dict[str, list[str]]:
        columns = self._extended(self.base.user_columns, "users")
        for row in np.flatnonzero(self.roles == FORGOTTEN).tolist():
            for name, column in columns.items():
                column[row] = f"(forgotten {row})" if name == "user" else ""
        return columns

    @cached_property
    def people(self) -> np.ndarray:
        return np.flatnonzero(self.roles != FORGOTTEN)

    @cached_property
    def titles(self) -> dict[str, list[str]]:
        return self._extended(self.base.titles, "titles")

    @cached_property
    def title_ids(self) -> list[str]:
        return self.titles["title"]

    def _extended(self, columns: dict[str, list[str]], name: str) -> dict[str, list[str]]:
        columns = {key: list(values) for key, values in columns.items()}
        for part in self.parts:
            for key, values in part.table(name).items():
                columns[key] += values
        return columns

    @cached_property
    def user_territory(self) -> np.ndarray:
        new = [part.array("user_territory") for part in self.parts if part.day["new_users"]]
        territory = np.concatenate([np.asarray(self.base.user_territory), *new])
        for part in self.parts:
            if part.day["moved"]:
                user, there = part.array("moved").T
                territory[user] = there
        return territory

    @cached_property
    def roles(self) -> np.ndarray:
        """Role (U,) int8 of each user; the first part has those of the dataset's own."""
        return np.concatenate([part.array("role") for part in self.parts])

    @cached_property
    def territories(self) -> Territories:
        own, new = self.base.territories, [part.table("territories") for part in self.parts]
        column = {name: [cell for table in new for cell in table.get(name, ())] for name in
                  ("code", "name", "latitude", "longitude", "group")}  # fmt: skip
        table = Territories(
            code=own.code + column["code"],
            name=own.name + column["name"],
            latitude=np.append(own.latitude, [float(cell or "nan") for cell in column["latitude"]]),
            longitude=np.append(own.longitude, [float(cell or "nan") for cell in column["longitude"]]),
            users=np.append(own.users, np.zeros(len(column["code"]), np.int64)),
            group=np.append(own.group, np.array(column["group"], np.int16)),
        )
        return replace(table, users=np.bincount(self.user_territory, minlength=self.n_territories))

    @cached_property
    def availability(self) -> np.ndarray:
        available = np.zeros((self.n_titles, self.n_territories), bool)
        available[: self.base.n_titles, : self.base.n_territories] = self.base.availability
        for part in self.parts:
            title, territory = part.array("available").T
            available[title, territory] = True
        return available

    @cached_property
    def launch_day(self) -> np.ndarray:
        """All titles are there by now."""
        return np.zeros(self.n_titles, np.int32)

    @cached_property
    def first_seen(self) -> np.ndarray:
        """Day (T,) on which each title was launched, or first watched."""
        numbers = [part.array("first_seen") if part.day["compacted"] else
                   np.full(part.day["new_titles"], part.day["number"], np.int32) for part in self.parts]  # fmt: skip
        return np.concatenate([np.asarray(self.base.launch_day), *numbers])

    @cached_property
    def title_vectors(self) -> np.ndarray:
        new = [part.array("title_vectors") for part in self.parts if part.day["new_titles"]]
        own = self.base.title_vectors
        return np.concatenate([own, *new]).astype(own.dtype, copy=False) if new else own

    @cached_property
    def _vector_row(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each user's latest vector: the part (U,), −1 for the dataset's own, and the row in it (U,)."""
        part_of = np.full(self.n_users, -1, np.int32)
        row = np.arange(self.n_users, dtype=np.int32)
        for number, part in enumerate(self.parts):
            users = part.array("vector_user")
            part_of[users], row[users] = number, np.arange(len(users), dtype=np.int32)
        return part_of, row

    def vectors_of(self, users: np.ndarray) -> np.ndarray:
        """Latest vectors (n, F) of some users (n,)."""
        part_of, row = (of_users[users] for of_users in self._vector_row)
        own = self.base.user_vectors
        found = np.zeros((len(users), own.shape[1]), own.dtype)
        there = self.roles[users] != FORGOTTEN  # of others there is nothing: zeros
        for number in np.unique(part_of[there]).tolist():
            here = there & (part_of == number)
            source = own if number < 0 else self.parts[number].array("vectors")
            found[here] = source[row[here]]
        return found

    @cached_property
    def user_vectors(self) -> np.ndarray:
        return self.vectors_of(np.arange(self.n_users))

    @cached_property
    def identity(self) -> dict[str, str]:
        chain = [self.base.identity["vectors"], *(digest for part in self.parts for digest in part.digests)]
        texts = {"vectors": chain, "titles": self.title_ids}
        return {name: hashlib.sha256(json.dumps(text).encode()).hexdigest() for name, text in texts.items()}

    @property
    def projected_from(self) -> None:
        """Its vectors are its own, whatever those of the first dataset are."""

    @cached_property
    def _log(self) -> tuple[np.ndarray, np.ndarray]:
        start = self.parts[0].array("start")
        user = np.repeat(np.arange(len(start) - 1, dtype=np.int32), np.diff(start))
        parts = [(part.array(f"{kind}_user"), part.array(f"{kind}_title")) for part in self.parts for kind in KINDS]
        first = user, self.parts[0].array("log_title")
        users, titles = (np.concatenate(columns) for columns in zip(first, *parts, strict=True))
        return users, titles

    def events(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        return self._log if day == HISTORY else (np.empty(0, np.int32), np.empty(0, np.int32))

    def watched_by(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """User, title and day (N,) of all events of some users (n,), ascending: part by part, in each by user."""
        own = users[users < len(self.parts[0].array("start")) - 1]
        begin, end = self.parts[0].array("start")[own], self.parts[0].array("start")[own + 1]
        rows = ranges(begin, end)
        found = [(np.repeat(own, end - begin), self.parts[0].array("log_title")[rows],
                  self.parts[0].array("log_day")[rows])]  # fmt: skip
        for part in self.parts[1:]:
            for kind in KINDS if part.day["late"] else KINDS[:1]:
                user = part.array(f"{kind}_user")
                begin, end = (np.searchsorted(user, users, side) for side in ("left", "right"))
                rows = ranges(begin, end)
                on = np.full(len(rows), part.day["number"] - (kind == "late"))
                found.append((np.repeat(users, end - begin), part.array(f"{kind}_title")[rows], on))
        user, title, day = (np.concatenate(columns).astype(np.int32) for columns in zip(*found, strict=True))
        return user, title, day


def ranges(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """All whole numbers of the ranges begin (n,) to end (n,), one range after the other."""
    length = end - begin
    start = np.cumsum(length) - length
    return np.arange(length.sum()) - np.repeat(start - begin, length)
