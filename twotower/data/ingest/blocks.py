"""What the readers of tables share: the format of CSV files, blocks of rows, and their sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twotower.core.errors import InputError

BLOCK_ROWS = 8_192  # rows in memory at a time; ten times more, and the garbage collector takes as long as the parser
FAST_ROWS = 1 << 24  # the same for the fast reader: each distinct value in them becomes a text once
FAST_BYTES = 3 << 27  # of a block of the fast reader
BATCH_ROWS = 1 << 18  # of the Arrow batches that it is put together from
FAST_FROM_BYTES = 1 << 22  # smaller text files are read sooner than DuckDB is loaded


@dataclass(frozen=True)
class CsvFormat:
    """The format of CSV files."""

    separator: str | None = None  # None: detected; may have several characters
    encoding: str = "utf-8"  # a byte-order mark is skipped
    header: bool = True  # False: columns are called 1, 2, 3 …
    quotes: bool = True  # False: a double quote is a character like any other
    escapes: bool = False  # True: quotes in quoted fields are written \\"; else detected
    skip_lines: int = 0  # before the first row

    def __post_init__(self) -> None:
        if self.separator is not None and (not self.separator or set(self.separator) & set('\r\n"')):
            raise InputError(f"--separator {self.separator!r}: expected one or more characters, none of them a quote")


@dataclass(frozen=True)
class Block:
    """Some rows of a table: ``columns[i][j]`` is row ``start + j`` of the i-th column asked for."""

    start: int
    columns: Sequence[list[str] | Any]  # texts, or chunked Arrow columns
    ragged: int = 0  # rows left out: too few or too many fields


def repeated(names: Sequence[str]) -> str:
    """The first name, in alphabetical order, that occurs more than once, or nothing."""
    return min((name for name in names if names.count(name) > 1), default="")


def some_of(names: Sequence[str], most: int = 12) -> str:
    """Names in a sentence, quoted, at most so many."""
    listed = ", ".join(map(repr, names[:most]))
    return f"{listed} and {len(names) - most:,} others" if len(names) > most else listed
