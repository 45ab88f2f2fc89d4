"""The log of one or more days, read as the run's dataset was imported."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.core.storage import rows_of
from twotower.data.countries import Place
from twotower.data.dataset import Dataset
from twotower.data.grown import GrownDataset
from twotower.data.ingest.cleaning import MISSING, clean
from twotower.data.ingest.events import EventLog
from twotower.data.ingest.import_config import ImportConfig
from twotower.data.ingest.import_log import read_events, read_side_data, select
from twotower.data.ingest.profiles import SideData, majority

AHEAD = timedelta(hours=14)  # of UTC, in the easternmost time zone


@dataclass(frozen=True)
class DayLog:
    """The distinct events of a day: n users and m titles, in the order of their ids, and N events by user."""

    date: str  # YYYY-MM-DD
    users: list[str]  # (n,) ids
    homes: list[Place | None]  # (n,) where most of their events are; None: not said
    elsewhere: np.ndarray  # (n,) bool: some of their events are in other territories
    user_columns: dict[str, list[str]]  # profiles, where there are any
    titles: list[str]  # (m,) ids
    title_columns: dict[str, list[str]]
    user: np.ndarray  # (N,) int32 rows of ``users``
    title: np.ndarray  # (N,) int32
    late: tuple[np.ndarray, np.ndarray] = (np.empty(0, np.int32), np.empty(0, np.int32))  # of days before: same rows

    @property
    def content(self) -> str:
        """A digest of who watched what where on the day, whatever the order and the name of the file."""
        users, user = np.unique(self.user, return_inverse=True)
        titles, title = np.unique(self.title, return_inverse=True)
        homes = [(self.users[i], home.code if (home := self.homes[i]) else "") for i in users.tolist()]
        digest = hashlib.sha256(repr((homes, [self.titles[i] for i in titles.tolist()])).encode())
        for array in (user, title):
            digest.update(np.ascontiguousarray(array, np.int32).data)
        return digest.hexdigest()

    @property
    def with_late_content(self) -> str:
        """The same with the late events."""
        late = [(self.users[user], self.titles[title]) for user, title in zip(*self.late, strict=True)]
        return hashlib.sha256(f"{self.content} {late}".encode()).hexdigest()

    def unknown_to(self, dataset: GrownDataset) -> "DayLog":
        """Of the events those that a dataset does not have on any day, and their users and titles."""
        user_row = rows_of(self.users, dataset.user_ids or [])
        title_row = rows_of(self.titles, dataset.title_ids)
        user, title, _ = dataset.watched_by(np.unique(user_row[user_row >= 0]))
        rows = user_row[self.user], title_row[self.title]
        known = np.isin(rows[0] * dataset.n_titles + rows[1], user.astype(np.int64) * dataset.n_titles + title)
        new = ~known | (rows[0] < 0) | (rows[1] < 0)
        users, of_user = np.unique(self.user[new], return_inverse=True)
        titles, of_title = np.unique(self.title[new], return_inverse=True)
        return replace(
            self,
            users=[self.users[i] for i in users.tolist()],
            homes=[self.homes[i] for i in users.tolist()],
            elsewhere=self.elsewhere[users],
            user_columns={k: [column[i] for i in users.tolist()] for k, column in self.user_columns.items()},
            titles=[self.titles[i] for i in titles.tolist()],
            title_columns={k: [column[i] for i in titles.tolist()] for k, column in self.title_columns.items()},
            user=of_user.astype(np.int32),
            title=of_title.astype(np.int32),
        )

    def with_late(self, other: "DayLog") -> "DayLog":
        """The same, with the events of another day to be appended to histories; new users and titles join."""
        both = [sorted(set(getattr(self, name)) | set(getattr(other, name))) for name in ("users", "titles")]
        joined = merged(self, other, *both)
        user_row, title_row = (
            [np.searchsorted(ids, getattr(log, name)).astype(np.int32) for log in (self, other)]
            for name, ids in zip(("users", "titles"), both, strict=True)
        )
        late = (
            np.concatenate([user_row[0][self.late[0]], user_row[1][other.user]]),
            np.concatenate([title_row[0][self.late[1]], title_row[1][other.title]]),
        )
        return replace(joined, user=user_row[0][self.user], title=title_row[0][self.title], late=late)


def merged(log: DayLog, other: DayLog, users: list[str], titles: list[str]) -> DayLog:
    """The users and titles of both; what the first says of them counts."""
    of_user = {name: (source, row) for source in (other, log) for row, name in enumerate(source.users)}
    of_title = {name: (source, row) for source in (other, log) for row, name in enumerate(source.titles)}
    where = [of_user[name] for name in users]
    return replace(
        log,
        users=users,
        homes=[source.homes[row] for source, row in where],
        elsewhere=np.array([source.elsewhere[row] for source, row in where], bool),
        user_columns={k: [s.user_columns[k][row] for s, row in where] for k in log.user_columns},
        titles=titles,
        title_columns={k: [s.title_columns[k][r] for s, r in (of_title[t] for t in titles)] for k in log.title_columns},
    )


@dataclass(frozen=True)
class DayFiles:
    """What a day comes in."""

    events: tuple[Path, ...] = ()
    users: Path | None = None  # a table of (new) users, and one of titles
    titles: Path | None = None
    user_vectors: Path | None = None
    title_vectors: Path | None = None
    sql: str | None = None
    database: str | None = None


def config_of(dataset: Dataset, files: DayFiles) -> ImportConfig:
    """How the dataset was imported, with the files of a day. Errors: InputError for one without import or times."""
    provenance = dataset.manifest["provenance"]
    kept: dict[str, Any] = provenance.get("config", {})
    if provenance.get("kind") != "import" or not kept.get("time"):
        what = "has no times" if provenance.get("kind") == "import" else "was not imported from a log"
        raise InputError(f"{dataset.path}: {what}, so there is no next day (twotower import --time COLUMN)")
    kept = {f.name: kept[f.name] for f in fields(ImportConfig) if f.name in kept}
    paths = {name: kept[name] and Path(kept[name]) for name in ("territory_names", "places")}
    lists = {name: tuple(kept[name]) for name in ("user_info", "title_info")}
    day = {
        "events": tuple(map(Path, files.events)), "markets": (), "sql": files.sql, "database": files.database,
        "users": files.users, "titles": files.titles, "unknown_ids": "keep", "min_title_users": 1,
        "train_days": None, "test_days": None, "calendar": False, "from_date": None, "until_date": None,
    }  # fmt: skip
    for side in ("users", "titles"):
        if day[side] is None:
            more = ("join_titles", "title_weight") if side == "titles" else ()
            day |= {name: None for name in kept if name.startswith(f"{side}_") and name != "users_id"}
            day |= {name: None if name == "title_weight" else False for name in more}
    if day["users"] is None:
        day["users_id"] = None
    if files.sql:
        day["where"] = None
    return ImportConfig(**{**kept, **paths, **lists, **day})


def read_days(
    dataset: GrownDataset, files: DayFiles, progress: Progress = silent
) -> tuple[list[DayLog], list[str]]:
    """The days of a log in order, and notes on what was left out.

    Errors: InputError as for an import, for columns that are missing now, and for days after today.
    """
    config = config_of(dataset, files)
    side = read_side_data(config)
    try:
        log = read_events(config, side, progress)
    except InputError as error:
        imported = dataset.manifest["provenance"]["config"].get("users")
        if files.users or not imported or f"no column {config.territory!r}" not in str(error):
            raise
        side = replace(side, territory=config.territory)  # was in the table of users: known ones need none
        log = read_events(config, side, progress)
    notes = [f"{counted(rows, 'row')} left out: {reason}." for reason, rows in log.skipped.items()]
    log = select(log, side, config, notes)
    assert log.day is not None  # a log with times
    latest = date.fromordinal(int(log.day.max()))
    if latest > (datetime.now(timezone.utc) + AHEAD).date():
        n = int((log.day == log.day.max()).sum())
        raise InputError(f"{counted(n, 'event')} of {latest}, which is still to come: check --time and the clock")
    days = np.unique(log.day).tolist()
    return [day_log(dataset, log.take(log.day == day), date.fromordinal(day), side) for day in days], notes


def day_log(dataset: GrownDataset, log: EventLog, day: date, side: SideData) -> DayLog:
    """The distinct events of one day, of users and titles in the order of their ids."""
    users, user = by_id(log.user.names, log.user.codes)
    titles, title = by_id(log.title.names, log.title.codes)
    key = np.unique(user.astype(np.int64) * len(titles) + title)
    user_of, title_of = (rows.astype(np.int32) for rows in np.divmod(key, len(titles)))
    homes, elsewhere = homes_of(log, side, users, user)
    return DayLog(
        date=day.isoformat(),
        users=users,
        homes=homes,
        elsewhere=elsewhere,
        user_columns=columns_of(dataset.user_columns, "user", side, log, users, user),
        titles=titles,
        title_columns=columns_of(dataset.titles, "title", side, log, titles, title),
        user=user_of,
        title=title_of,
    )


def by_id(names: Sequence[str], codes: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The ids that occur, in order, and the place (N,) int32 of each event's."""
    used, place = np.unique(codes, return_inverse=True)
    ids = [names[code] for code in used.tolist()]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    rank = np.empty(len(ids), np.int32)
    rank[order] = np.arange(len(ids))
    return [ids[i] for i in order], rank[place]


def homes_of(
    log: EventLog, side: SideData, users: list[str], user: np.ndarray
) -> tuple[list[Place | None], np.ndarray]:
    """The territory of each user's table row, or of most events; and who was seen in several."""
    if side.territory is not None and side.users is not None:
        texts = side.users.column(side.territory, users)
        homes = [None if clean(text) in MISSING else side.names.place(clean(text)) for text in texts]
        return homes, np.zeros(len(users), bool)
    if log.territory is None:
        return [None] * len(users), np.zeros(len(users), bool)
    used = np.unique(log.territory.codes)
    places, place = side.names.distinct([log.territory.names[code] for code in used.tolist()])
    code = place[np.searchsorted(used, log.territory.codes)]
    home, _ = majority(user, code, len(users))
    elsewhere = np.zeros(len(users), bool)
    elsewhere[user[code != home[user]]] = True
    return [places[i] for i in home.tolist()], elsewhere


def columns_of(
    known: dict[str, list[str]], what: str, side: SideData, log: EventLog, ids: list[str], owner: np.ndarray
) -> dict[str, list[str]]:
    """The columns that the dataset has of its users or titles; empty where the day does not say."""
    table = side.users if what == "user" else side.titles
    found = {name: [""] * len(ids) for name in known if name != what}
    for name in found:
        if table is not None and name in table.columns:
            found[name] = table.column(name, ids)
        elif name in log.info:
            values = [*log.info[name].names, ""]
            choice, _ = majority(owner, log.info[name].codes, len(ids))
            found[name] = [values[code] for code in choice.tolist()]
    return found
