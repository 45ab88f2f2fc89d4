"""People whom a dataset does not have, as users of it: its titles and territories, and histories of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twotower.core.checks import check_rows, check_shape
from twotower.core.errors import InputError
from twotower.core.storage import rows_of
from twotower.data.dataset import HISTORY, Dataset
from twotower.data.features.projection import FeatureProjector, basis_of
from twotower.data.frames import IdColumn

if TYPE_CHECKING:
    import pyarrow as pa


KEPT = "territories", "titles", "title_ids", "title_vectors", "availability", "launch_day", "identity"


class Newcomers(Dataset):
    """A dataset with other users, who have watched titles of it; their vectors are projected onto its basis.

    Everything that scores users of a dataset scores them: its model, memory and availability are as they were.
    """

    def __init__(
        self, dataset: Dataset, ids: Sequence[str], territory: np.ndarray, user: np.ndarray, title: np.ndarray,
        columns: Mapping[str, Sequence[str]] | None = None, vectors: np.ndarray | None = None,
    ):  # fmt: skip
        """``territory`` (n,) of each of the ``ids``; user and title (m,) are rows of what they watched.

        ``columns`` are profiles; those that the vectors need and that are missing are empty. ``vectors`` (n, F) are
        theirs where the dataset has user vectors of its own.

        Errors: InputError for vectors that are missing or of another width; ValueError and IndexError for arrays that
        do not fit.
        """
        for name in KEPT:
            getattr(dataset, name)  # made by its own kind, such as one that grew by days
        self.__dict__.update(dataset.__dict__)
        check_shape("territory", territory, (len(ids),))
        check_shape("title", title, (len(user),))
        for name, rows, n in (
            ("territory", territory, self.n_territories), ("user", user, len(ids)), ("title", title, self.n_titles)
        ):  # fmt: skip
            check_rows(name, rows, n)
        self.n_users = len(ids)
        self.user_territory = self.head_territory = np.asarray(territory, np.int16)
        self.watched = np.asarray(user, np.int32), np.asarray(title, np.int32)
        basis = basis_of(dataset)
        empty = {part.name: [""] * len(ids) for part in basis.users if part.kind == "categories"}
        self.user_columns = {**empty, **{k: list(v) for k, v in (columns or {}).items()}, "user": list(ids)}
        projector = FeatureProjector(self, basis, str(dataset.path))
        if width := sum(part.width for part in basis.users if part.kind == "own"):
            if vectors is None or vectors.shape != (len(ids), width):
                given = "none are given" if vectors is None else f"those given have the shape {vectors.shape}"
                raise InputError(f"{dataset.path} has user vectors of its own, {width} wide; {given}")
            projector.own["user"] = np.asarray(vectors, np.float32)
        elif vectors is not None:
            raise InputError(f"{dataset.path} made its user vectors itself: give histories instead of vectors")
        self.user_vectors = np.concatenate([projector.user_columns(part) for part in basis.users], axis=1)
        self._vectors_are_finite = False

    def events(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        """What they watched is history, whenever it was."""
        return self.watched if day == HISTORY else (np.empty(0, np.int32), np.empty(0, np.int32))


@dataclass(frozen=True)
class People:
    """People in a table, who come in the order of their first row, and those with vectors alone after them."""

    table: "pa.Table"  # ids; titles that they watched, profiles and territories where there are any
    users: IdColumn
    titles: IdColumn
    column: str  # of territories
    territory: str | None  # where everybody lives, whatever the table says
    vectors: Mapping[Any, Sequence[float]]  # of one's own, by id

    def newcomers(self, dataset: Dataset) -> Newcomers:
        """They as users of a dataset; titles that it does not have do not count.

        Errors: InputError for ids of another type, and for a territory or a vector that is missing.
        """
        table, ids = self.table, self.users.texts_in(self.table)
        own = dict(zip(self.users.texts(self.vectors), self.vectors.values(), strict=True))
        first = {name: i for i, name in reversed(list(enumerate(ids)))}
        row = {name: place for place, name in enumerate(dict.fromkeys([*ids, *own]))}
        title = np.full(len(ids), -1)
        if self.titles.name in table.column_names:
            said = np.array(table[self.titles.name].is_valid())
            title[said] = rows_of(self.titles.texts_in(table.filter(said)), dataset.title_ids)
        user = np.array([row[name] for name in ids], np.int64)[title >= 0]
        profiles = {name: self._cells(name, row, first) for name in dataset.user_columns
                    if name != "user" and name in table.column_names}  # fmt: skip
        missing = [name for name in row if own and name not in own]
        if missing:
            raise InputError(f"vectors: {len(missing):,} of {len(row):,} people have none, such as {missing[0]!r}")
        vectors = np.array([own[name] for name in row], np.float32) if own else None
        return Newcomers(
            dataset, list(row), self._homes(dataset, row, first), user, title[title >= 0], profiles, vectors
        )

    def _homes(self, dataset: Dataset, row: Mapping[str, int], first: Mapping[str, int]) -> np.ndarray:
        """The territory (n,) of each."""
        if self.territory is None and self.column not in self.table.column_names:
            raise InputError(f"histories: no column {self.column!r}, and no territory is given")
        lives = [self.territory] * len(row) if self.territory is not None else self._cells(self.column, row, first)
        if "" in lives:
            raise InputError(f"histories: no territory of {list(row)[lives.index('')]!r}, and none is given for all")
        place = {name: dataset.territories.index(name) for name in dict.fromkeys(lives)}
        return np.array([place[name] for name in lives], np.int64)

    def _cells(self, column: str, row: Mapping[str, int], first: Mapping[str, int]) -> list[str]:
        """Each one's first cell of a column as text; empty where there is none."""
        return [str(self.table[column][first[name]].as_py() or "") if name in first else "" for name in row]
