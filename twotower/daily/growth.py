"""What a day adds to a dataset: ids, territories with their groups, vectors by the kept basis, availability."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.storage import rows_of
from twotower.daily.log import DayLog
from twotower.data.countries import Place
from twotower.data.dataset import Dataset
from twotower.data.features.basis import Basis
from twotower.data.features.own_vectors import read_vectors
from twotower.data.features.projection import FeatureProjector, basis_of
from twotower.data.grouping import on_sphere
from twotower.data.grown import HELD_OUT, OTHER, RANDOM, DayRecord, GrownDataset, Part
from twotower.data.ingest.cleaning import clean_id
from twotower.data.ingest.tables import open_table, read_columns
from twotower.data.territories import Territories
from twotower.serving.newcomers import Newcomers

DIGITS = 8  # hexadecimal ones of an id's hash that say the role


@dataclass(frozen=True)
class Shares:
    """Shares of users that a run's sample has: held out of all, and trained on of the others."""

    held_out: float
    random: float


def roles_of(ids: Sequence[str], shares: Shares) -> np.ndarray:
    """Role (n,) int8 of new users: a function of the id alone, so that it holds for ever."""
    digests = (hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:DIGITS] for name in ids)
    x = np.fromiter((int(digest, 16) / 16**DIGITS for digest in digests), np.float64, len(ids))
    rest = (x - shares.held_out) / max(1 - shares.held_out, 1e-12)
    return np.where(x < shares.held_out, HELD_OUT, np.where(rest < shares.random, RANDOM, OTHER)).astype(np.int8)


@dataclass(frozen=True)
class Growth:
    """A day as a part, before anything is learned from it."""

    part: Part
    dataset: GrownDataset  # with the part
    user: np.ndarray  # (N,) int32 rows of the dataset: the day's events, by user
    title: np.ndarray
    late: tuple[np.ndarray, np.ndarray]
    moving: np.ndarray  # (k, 2) int32 user, territory after the day


def grow(
    dataset: GrownDataset, log: DayLog, record: DayRecord, shares: Shares, group: np.ndarray, available_after: int,
    viewers: np.ndarray, title_vectors: Path | None,
) -> Growth:  # fmt: skip
    """Give the new users, titles and territories of a day their rows; ``viewers`` (C, T) and the group (C,) of
    each territory are those before it.

    Errors: InputError for a new user without a territory, and for missing vectors.
    """
    known_users = dataset.user_ids if dataset.user_ids is not None else list(map(str, range(dataset.n_users)))
    user_row, title_row = rows_of(log.users, known_users), rows_of(log.titles, dataset.title_ids)
    new_users, new_titles = np.flatnonzero(user_row < 0), np.flatnonzero(title_row < 0)
    if len(new_users) and dataset.user_ids is None:
        raise InputError(f"{dataset.path}: has no user ids, so {log.users[new_users[0]]!r} cannot be a new user of it")
    homes = {home.code: home for home in log.homes if home is not None}
    lost = [i for i in new_users.tolist() if log.homes[i] is None]
    if lost:
        raise InputError(f"{log.date}: no territory for {counted(len(lost), 'new user')}, such as "
                         f"{log.users[lost[0]]!r} (--users gives a table)")  # fmt: skip
    codes = dataset.territories.code
    fresh = [code for code in sorted(homes) if code not in codes]
    table = with_groups(replace(dataset.territories, group=group), [homes[code] for code in fresh])
    home = rows_of([place.code if place else "" for place in log.homes], [*codes, *fresh])

    user_row[new_users] = dataset.n_users + np.arange(len(new_users))
    title_row[new_titles] = dataset.n_titles + np.arange(len(new_titles))
    old = np.flatnonzero((user_row < dataset.n_users) & (home >= 0) & ~log.elsewhere)
    there = old[home[old] != np.asarray(dataset.user_territory)[user_row[old]]]
    moving = np.stack([user_row[there], home[there]], axis=1).astype(np.int32)
    user, title = by_user(user_row[log.user], title_row[log.title])
    late = by_user(user_row[log.late[0]], title_row[log.late[1]])

    record = replaced(
        record, new_users=len(new_users), new_titles=len(new_titles), new_territories=fresh, moved=len(moving),
        events=len(user), late=len(late[0]),
    )  # fmt: skip
    arrays = {
        "user_territory": home[new_users].astype(np.int16),
        "role": roles_of([log.users[i] for i in new_users.tolist()], shares),
        "event_user": user, "event_title": title, "late_user": late[0], "late_title": late[1],
        "home": home[np.argsort(user_row)].astype(np.int16), "elsewhere": log.elsewhere[np.argsort(user_row)],
        "moved": np.empty((0, 2), np.int32),  # they move after the day
        "vector_user": np.empty(0, np.int32),
    }  # fmt: skip
    tables = {"users": rows("user", log.users, log.user_columns, new_users),
              "titles": rows("title", log.titles, log.title_columns, new_titles), "territories": table}  # fmt: skip
    part = Part(record, arrays, tables)
    grown = GrownDataset(dataset.base, [*dataset.parts, part])
    part.arrays["available"] = newly_available(dataset, grown, user, title, available_after, viewers)
    part.arrays["title_vectors"] = vectors_of_titles(dataset, grown, title_vectors)
    return Growth(part, grown, user, title, late, moving)


def by_user(user: np.ndarray, title: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Events (N,) by user, on one user by title: int32."""
    order = np.lexsort((title, user))
    return user[order].astype(np.int32), title[order].astype(np.int32)


def replaced(record: DayRecord, **values: object) -> DayRecord:
    """The record with other values."""
    return cast(DayRecord, {**record, **values})


def rows(what: str, ids: list[str], columns: Mapping[str, list[str]], chosen: np.ndarray) -> dict[str, list[str]]:
    """Some rows of a table, ids first."""
    everything = {what: ids, **columns}
    return {name: [column[i] for i in chosen.tolist()] for name, column in everything.items()} if len(chosen) else {}


def with_groups(known: Territories, places: Sequence[Place]) -> dict[str, list[str]]:
    """Rows of new territories: each joins the group of the nearest that has a place, else that with fewest users."""
    table: dict[str, list[str]] = {name: [] for name in ("code", "name", "latitude", "longitude", "group")}
    points = on_sphere(known.latitude, known.longitude)
    located = np.isfinite(points).all(axis=1)
    load = np.bincount(np.maximum(known.group, 0), weights=known.users)
    for place in places:
        here = on_sphere(np.array([place.latitude]), np.array([place.longitude]))[0]
        if np.isfinite(here).all() and located.any():
            nearest = np.where(located, np.nan_to_num(points) @ here, -np.inf)
            group = int(known.group[int(np.argmax(nearest))])
        else:
            group = int(np.argmin(load))
        degrees = ["" if np.isnan(x) else f"{x:.4f}" for x in (place.latitude, place.longitude)]
        for name, cell in zip(table, (place.code, place.name, *degrees, str(group)), strict=True):
            table[name].append(cell)
    return table if places else {}


def newly_available(
    before: GrownDataset, grown: GrownDataset, user: np.ndarray, title: np.ndarray, after: int, viewers: np.ndarray
) -> np.ndarray:
    """Titles and territories (k, 2) int32: with ``after`` 0 new titles and territories at once; else as soon as so
    many users there have watched."""
    allowed = np.zeros((grown.n_titles, grown.n_territories), bool)
    if after == 0:
        allowed[before.n_titles :] = allowed[:, before.n_territories :] = True
    else:
        seen = np.zeros(allowed.shape, np.int64)
        seen[: before.n_titles, : before.n_territories] = viewers.T
        np.add.at(seen, (title, grown.user_territory[user]), 1)
        allowed = seen >= after
    allowed[: before.n_titles, : before.n_territories] &= ~before.availability
    return np.argwhere(allowed).astype(np.int32)


class NewTitles(Dataset):
    """New titles as the titles of a dataset, behind one that its basis knows: nobody has watched them."""

    def __init__(self, dataset: GrownDataset, first: int):
        self.__dict__.update(dataset.__dict__)
        self.titles = {name: [column[0], *column[first:]] for name, column in dataset.titles.items()}
        self.title_ids = self.titles["title"]
        self.n_titles = len(self.title_ids)
        self.user_territory = dataset.user_territory
        self.territories = dataset.territories

    def events(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        return np.empty(0, np.int32), np.empty(0, np.int32)


def vectors_of_titles(before: GrownDataset, grown: GrownDataset, file: Path | None) -> np.ndarray:
    """Vectors (m, F) of the new titles, by the basis; own ones are read from a file."""
    width, n = before.title_vectors.shape[1], grown.n_titles - before.n_titles
    if not n:
        return np.empty((0, width), before.title_vectors.dtype)
    if not before.embedding:
        ids = grown.title_ids[before.n_titles :]
        if file is None:
            raise InputError(f"{counted(n, 'new title')}, such as {ids[0]!r}: no vectors (--title-vectors)")
        return fitting(read_vectors(file, "title", n, ids), width, file).astype(before.title_vectors.dtype)
    titles, basis = NewTitles(grown, before.n_titles), basis_of(before.base)
    projector = FeatureProjector(titles, basis, str(before.path))
    if any(part.kind == "own" for part in basis.titles):
        if file is None:
            name = titles.title_ids[1]
            raise InputError(f"{counted(n, 'new title')}, such as {name!r}: no vectors of their own (--title-vectors)")
        own = read_vectors(file, "title", n, titles.title_ids[1:])
        projector.own["title"] = np.concatenate([np.zeros((1, own.shape[1]), np.float32), own])
    made = np.concatenate([projector.title_columns(part) for part in basis.titles], axis=1)[1:]
    return fitting(made, width, file).astype(before.title_vectors.dtype)


def vectors_of_users(
    grown: GrownDataset, users: np.ndarray, territory: np.ndarray, user: np.ndarray, title: np.ndarray,
    file: Path | None, known: int,
) -> np.ndarray:  # fmt: skip
    """Vectors (n, F) of users (n,), ascending, with histories: user and title (N,) are rows of the dataset.

    Of a dataset with a basis they are projected onto it; columns of one's own, and vectors without a basis, are read
    from a file, or stay as they are for the first ``known`` users of the dataset.
    """
    ids = grown.user_ids or list(map(str, range(grown.n_users)))
    names = [ids[i] for i in users.tolist()]
    basis = basis_of(grown.base) if grown.embedding else None
    own, columns = None, None
    start, width = 0, grown.base.user_vectors.shape[1]
    if basis is not None:
        widths = [part.width for part in basis.users]
        place = [i for i, part in enumerate(basis.users) if part.kind == "own"]
        start, width = (sum(widths[: place[0]]), widths[place[0]]) if place else (0, 0)
        columns = {name: [column[i] for i in users.tolist()] for name, column in grown.user_columns.items()}
        columns.pop("user", None)
    if width:
        old = users < known
        own = np.zeros((len(users), width), np.float32)
        own[old] = grown.vectors_of(users[old])[:, start : start + width]
        given = read_given(file, names)
        for i, vector in given.items():
            own[i] = fitting(vector[None], width, file)[0]
        missing = [i for i in np.flatnonzero(~old).tolist() if i not in given]
        if missing:
            raise InputError(f"{counted(len(missing), 'new user')}, such as {names[missing[0]]!r}: no vectors of "
                             "their own (--user-vectors)")  # fmt: skip
    if basis is None:
        assert own is not None
        return own.astype(grown.base.user_vectors.dtype)
    local = np.searchsorted(users, user)
    watched = known_only(grown, local, title)
    people = Newcomers(grown.base, names, np.zeros(len(users), np.int64), *watched, columns, own)
    made = people.user_vectors.copy()
    set_territory(made, basis, grown, territory)
    return made.astype(grown.base.user_vectors.dtype)


def known_only(grown: GrownDataset, user: np.ndarray, title: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The events with titles of the dataset that the basis is of."""
    known = title < grown.base.n_titles
    return user[known], title[known]


def set_territory(made: np.ndarray, basis: Basis, grown: GrownDataset, territory: np.ndarray) -> None:
    """Fill the territory columns of vectors (n, F): zeros for territories that the basis lacks."""
    start = 0
    for part in basis.users:
        if part.kind == "territory":
            row = rows_of(grown.territories.code, part.values)[territory]
            block = made[:, start : start + part.width]
            block[:] = 0
            block[np.flatnonzero(row >= 0), row[row >= 0]] = 1
        start += part.width


def read_given(file: Path | None, names: list[str]) -> dict[int, np.ndarray]:
    """Vectors of a file of ids, of those users that are in it."""
    if file is None:
        return {}
    table = open_table(file)
    there = {clean_id(name) for name in read_columns(table, table.columns[:1])[0]}
    chosen = [i for i, name in enumerate(names) if name in there]
    vectors = read_vectors(file, "user", len(chosen), [names[i] for i in chosen]) if chosen else np.empty((0, 0))
    return dict(zip(chosen, vectors, strict=True))


def fitting(vectors: np.ndarray, width: int, file: Path | None) -> np.ndarray:
    """Errors: InputError for vectors of another width."""
    if vectors.shape[1] != width:
        raise InputError(f"{file}: {counted(vectors.shape[1], 'dimension')}, expected {width} as in training")
    return vectors

