"""Territories: the table of a dataset."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from twotower.core.errors import InputError
from twotower.data.countries import Place, find_place

UNGROUPED = -1  # not grouped yet
MAJORS = 16  # how many territories with most users count as major: the paper's Table 1 has 16


@dataclass(frozen=True, eq=False)
class Territories:
    """The territories of a dataset, one row each, in the order that its indices mean. C territories."""

    code: list[str]  # (C,) unique: ISO 3166 alpha-2, or the log's own name where no country is known
    name: list[str]  # (C,)
    latitude: np.ndarray  # (C,) float64 degrees, nan = unknown
    longitude: np.ndarray  # (C,) float64 degrees, nan = unknown
    users: np.ndarray  # (C,) int64
    group: np.ndarray  # (C,) int16, -1 = not grouped

    def __post_init__(self) -> None:
        lengths = {field: len(column) for field, column in vars(self).items()}
        if len(set(lengths.values())) != 1:
            raise InputError(f"territory table: columns of unequal length {lengths}")
        if len(self._row_of_code) != len(self.code):
            twice = next(code for i, code in enumerate(self.code) if code in self.code[:i])
            raise InputError(f"territory table: code {twice!r} occurs twice, expected unique codes")

    def __len__(self) -> int:
        return len(self.code)

    @cached_property
    def _row_of_code(self) -> dict[str, int]:
        return {code: row for row, code in enumerate(self.code)}

    @cached_property
    def _row_of_name(self) -> dict[str, int]:
        return {name: row for row, name in reversed(list(enumerate(self.name)))}

    def index(self, code_or_name: str) -> int:
        """Row of a territory by code, name or any alias of its country. Errors: InputError when unknown."""
        place = find_place(code_or_name)
        for row in (
            self._row_of_code.get(code_or_name),
            self._row_of_name.get(code_or_name),
            self._row_of_code.get(place.code) if place else None,
        ):
            if row is not None:
                return row
        some = ", ".join(self.code[:3])
        raise InputError(f"unknown territory {code_or_name!r}, expected a code or name in the dataset, such as {some}")

    @staticmethod
    def of_places(places: Iterable[Place]) -> "Territories":
        """A table of places, without users and groups. Errors: InputError when a code occurs twice."""
        code, name, latitude, longitude = map(list, zip(*places, strict=True))
        return Territories(
            code=code,
            name=name,
            latitude=np.array(latitude, np.float64),
            longitude=np.array(longitude, np.float64),
            users=np.zeros(len(code), np.int64),
            group=np.full(len(code), UNGROUPED, np.int16),
        )

    def majors(self, count: int = MAJORS) -> np.ndarray:
        """Rows of the ``count`` territories with most users, largest first; equally large ones by code."""
        order = sorted(range(len(self)), key=lambda row: (-int(self.users[row]), self.code[row]))
        return np.array(order[:count], np.int64)


def look_up(names: Sequence[str]) -> Territories:
    """A territory table for names, in their order, with the codes and places of what they mean.

    A name that means no country ("Unspecified") stays as its own code, without a place. Where two names mean one
    country ("USA" and "United States"), the second stays its own territory at that place. Errors: InputError when a
    name occurs twice.
    """
    places: dict[str, Place] = {}
    for name in names:
        place = find_place(name) or Place(name, name, np.nan, np.nan)
        if place.code in places:
            place = place._replace(code=name, name=name)
        if place.code in places:
            raise InputError(f"territory table: code {name!r} occurs twice, expected unique codes")
        places[place.code] = place
    return Territories.of_places(places.values())
