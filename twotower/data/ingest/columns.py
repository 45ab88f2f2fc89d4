"""Columns of values without a Python object for each: the columns of a ``Block`` of the fast readers.

The text of a row is that of the careful readers (tables.py). Arrays are read-only: some belong to Arrow, and kernels
are compiled for one kind of array.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TextColumn:
    """n texts in UTF-8, slices of one array of bytes."""

    data: np.ndarray  # uint8
    start: np.ndarray  # (n,) int64 first byte
    end: np.ndarray  # (n,) int64 one after the last byte

    def __post_init__(self) -> None:
        for array in (self.data, self.start, self.end):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, row: int) -> str:
        return self.data[self.start[row] : self.end[row]].tobytes().decode()

    def take(self, rows: np.ndarray) -> "TextColumn":
        return TextColumn(self.data, self.start[rows], self.end[rows])

    def texts(self) -> list[str]:
        data = self.data.tobytes()
        return [data[s:e].decode() for s, e in zip(self.start.tolist(), self.end.tolist(), strict=True)]


@dataclass(frozen=True)
class IntegerColumn:
    """n whole numbers, some of which may be missing."""

    value: np.ndarray  # (n,) int64, anything where missing
    missing: np.ndarray | None = None  # (n,) bool

    def __post_init__(self) -> None:
        self.value.setflags(write=False)

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, row: int) -> str:
        return "" if self.missing is not None and self.missing[row] else str(self.value[row])

    def texts(self) -> list[str]:
        return [self[row] for row in range(len(self))]


@dataclass(frozen=True)
class DictionaryColumn:
    """n texts of a few distinct ones."""

    values: TextColumn
    index: np.ndarray  # (n,) int32 row of ``values``, -1 where missing

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> str:
        return "" if self.index[row] < 0 else self.values[int(self.index[row])]

    def texts(self) -> list[str]:
        return [self[row] for row in range(len(self))]


@dataclass(frozen=True)
class TimeColumn:
    """n times as a number of units since 1970, some of which may be missing."""

    value: np.ndarray  # (n,) int64, anything where missing
    units_a_day: int
    missing: np.ndarray | None
    texts: Callable[[], list[str]]  # their texts, for use as names or with a format

    def __post_init__(self) -> None:
        self.value.setflags(write=False)

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, row: int) -> str:
        return self.texts()[row]


Values = TextColumn | IntegerColumn | DictionaryColumn | TimeColumn
