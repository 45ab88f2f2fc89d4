"""What the readers of tables share: the format of CSV files, blocks of rows, and their sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twotower.core.errors import InputError
from twotower.core.formatting import counted

BLOCK_ROWS = 8_192  # rows in memory at a time; ten times more, and the garbage collector takes as long as the parser
FAST_ROWS = 1 << 24  # the same for the fast reader: each distinct value in them becomes a text once
FAST_BYTES = 3 << 27  # of a block of the fast reader
BATCH_ROWS = 1 << 18  # of the Arrow batches that it is put together from
COUNTED_ROWS = 1_000_000  # at most, to say how many are bad
FEW_BAD_ROWS = 0.05  # share of bad rows up to which leaving them out is offered
SHOWN = 80  # characters of a name in a message
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
    table: str = ""  # users or titles, which have options of their own

    def __post_init__(self) -> None:
        if self.separator is not None and (not self.separator or set(self.separator) & set('\r\n"')):
            expected = "expected one or more characters, none of them a quote"
            raise InputError(f"{self.option('separator')} {self.separator!r}: {expected}")

    def option(self, name: str) -> str:
        """The option for ``separator``, ``encoding`` or ``no-header`` of this table."""
        return f"--{self.table}-{name}" if self.table else f"--{name}"


@dataclass(frozen=True)
class Block:
    """Some rows of a table: ``columns[i][j]`` is row ``start + j`` of the i-th column asked for."""

    start: int
    columns: Sequence[list[str] | Any]  # texts, or chunked Arrow columns
    ragged: int = 0  # rows left out: too few or too many fields


def bad_row_hints(bad: int, rows: int, otherwise: str, most: float = FEW_BAD_ROWS) -> str:
    """What to do about so many bad ones of some rows: leave them out if they are few, else look for the cause."""
    of_all = f"{bad:,} of {'the first ' * (rows >= COUNTED_ROWS)}{counted(rows, 'row')}"
    return f"--skip-bad-rows leaves out {of_all}" if bad <= most * rows else f"like {of_all}: {otherwise}"


def repeated(names: Sequence[str]) -> str:
    """The first name, in alphabetical order, that occurs more than once, or nothing."""
    return min((name for name in names if names.count(name) > 1), default="")


def some_of(names: Sequence[str], most: int = 12) -> str:
    """Names in a sentence, quoted, at most so many, and the beginnings of long ones."""
    listed = ", ".join(repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}…") for name in names[:most]) or "none"
    return f"{listed} and {len(names) - most:,} others" if len(names) > most else listed
