"""Raw logs → events: every id a number, every time a day, a few bytes an event however long its names are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from twotower.data.logs.days import UNREADABLE, Days
from twotower.data.logs.tables import MISSING, CsvFormat, CsvTable, ParquetTable, clean, open_table
from twotower.errors import InputError
from twotower.progress import Progress, silent

NONE = UNREADABLE  # the code of a missing value, -1
USER, TITLE, TERRITORY, TIME, INFO = "user", "title", "territory", "time", "info "  # what columns are read as
REQUIRED = (USER, TITLE, TERRITORY, TIME)


@dataclass(frozen=True)
class LogFile:
    """One file of watch events; ``territory`` is where all of them happened, when no column says it."""

    path: Path
    territory: str | None = None


@dataclass(frozen=True)
class LogColumns:
    """What the columns of the log are called."""

    user: str
    title: str
    territory: str | None = None  # None: territories come from the files or from a table of users
    time: str | None = None
    time_format: str | None = None  # as of datetime.strptime; None: see days.py
    info: tuple[str, ...] = ()  # columns that describe the user or the title, such as an age group or a genre


class Names(dict[str, int]):
    """Text → consecutive codes in order of first appearance; missing values have the code ``NONE``.

    A dict with ``__missing__`` is looked up in C: text is cleaned once for each distinct spelling, and nothing
    is kept for a row.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __missing__(self, text: str) -> int:
        name = clean(text)
        if name in MISSING:
            code = NONE
        elif name != text:
            code = self[name]
        else:
            code = len(self.names)
            self.names.append(text)
        self[text] = code
        return code

    def codes(self, texts: Sequence[str]) -> np.ndarray:
        """Codes (n,) int32 of ``texts``."""
        return np.fromiter(map(self.__getitem__, texts), np.int32, len(texts))


@dataclass(frozen=True)
class Column:
    """One column of the log, as codes of names."""

    codes: np.ndarray  # (N,) int32, NONE = missing
    names: list[str]

    def take(self, rows: np.ndarray) -> "Column":
        return Column(self.codes[rows], self.names)

    def renumbered(self) -> tuple[list[str], np.ndarray]:
        """The n names that occur, in order of first appearance, and (N,) int32 codes of them."""
        n = len(self.codes)
        first = np.full(len(self.names), n)  # the row of each name's first appearance
        first[self.codes[::-1]] = np.arange(n)[::-1]  # of equal indices the last assignment stays
        codes = np.argsort(first, kind="stable")[: np.count_nonzero(first < n)]
        new = np.full(len(self.names), NONE, np.int32)
        new[codes] = np.arange(len(codes))
        return [self.names[code] for code in codes.tolist()], new[self.codes]


@dataclass(frozen=True)
class EventLog:
    """N watch events in the order of the files."""

    user: Column
    title: Column
    territory: Column | None  # None: the log does not tell
    day: np.ndarray | None  # (N,) int32 ordinals; None: the log has no times
    info: dict[str, Column] = field(default_factory=dict)  # columns that describe users or titles
    skipped: dict[str, int] = field(default_factory=dict)  # why bad rows were left out → how many

    def __len__(self) -> int:
        return len(self.user.codes)

    def take(self, rows: np.ndarray) -> "EventLog":
        """The events at ``rows``, an index or a mask."""
        return EventLog(
            user=self.user.take(rows),
            title=self.title.take(rows),
            territory=self.territory and self.territory.take(rows),
            day=None if self.day is None else self.day[rows],
            info={name: column.take(rows) for name, column in self.info.items()},
            skipped=self.skipped,
        )


def read_log(
    files: Sequence[LogFile],
    columns: LogColumns,
    form: CsvFormat | None = None,
    skip_bad_rows: bool = False,
    progress: Progress = silent,
) -> EventLog:
    """Read one log from one or several files, CSV or Parquet, gzipped or not.

    Errors: InputError with file, line and column for a missing or NaN id, a time that can't be read and a row
    with a wrong number of fields, unless ``skip_bad_rows``, which counts them instead; with the file for one
    that can't be read or lacks a column; and when no file has an event.
    """
    reader = _LogReader(columns, skip_bad_rows)
    # All are opened before the first is read: a misspelt column of the last file must not cost an hour.
    tables = [open_table(file.path, form, list(reader.columns_of(file).values())) for file in files]
    for file, table in zip(files, tables, strict=True):
        reader.read(file, table, progress)
    if not reader.events:
        raise InputError(f"{', '.join(str(file.path) for file in files)}: no events")
    return reader.finish()


class _LogReader:
    """Collects the blocks of several files under one set of names."""

    def __init__(self, columns: LogColumns, skip_bad_rows: bool):
        self.skip_bad_rows = skip_bad_rows
        self.columns = {USER: columns.user, TITLE: columns.title}  # what is read → the column that holds it
        self.columns |= {TERRITORY: columns.territory} if columns.territory else {}
        self.columns |= {TIME: columns.time} if columns.time else {}
        self.columns |= {INFO + name: name for name in columns.info}
        self.names = {what: Names() for what in (*self.columns, TERRITORY)}
        self.days = Days(columns.time_format)
        self.blocks: list[dict[str, np.ndarray]] = []
        self.skipped: Counter[str] = Counter()
        self.events = 0

    def columns_of(self, file: LogFile) -> dict[str, str]:
        """``columns``, but for the territory of a file that has one of its own."""
        return {what: name for what, name in self.columns.items() if what != TERRITORY or file.territory is None}

    def read(self, file: LogFile, table: CsvTable | ParquetTable, progress: Progress) -> None:
        columns = self.columns_of(file)
        for block in table.blocks(list(columns.values()), self.skip_bad_rows, progress):
            texts = dict(zip(columns, block.columns, strict=True))
            codes = {what: (self.days if what == TIME else self.names[what]).codes(texts[what]) for what in columns}
            good = np.ones(len(codes[USER]), bool)
            for what in filter(columns.__contains__, REQUIRED):
                bad = good & (codes[what] == NONE)
                if bad.any() and not self.skip_bad_rows:
                    row = int(np.argmax(bad))
                    where = table.where(block.start + row, columns[what])
                    raise InputError(f"{where}: {texts[what][row]!r} is not a {what} (--skip-bad-rows goes on)")
                self.skipped[f"not a {what}"] += int(bad.sum())
                good &= ~bad
            self.skipped["wrong number of fields"] += block.ragged
            if file.territory is not None:
                codes[TERRITORY] = np.full(len(good), self.names[TERRITORY][file.territory], np.int32)
            self.events += int(good.sum())
            self.blocks.append({what: column[good] for what, column in codes.items()})

    def finish(self) -> EventLog:
        """All blocks as one log."""
        codes = {}
        for what in list(self.blocks[0]):
            codes[what] = np.concatenate([block.pop(what) for block in self.blocks])
        columns = {what: Column(column, self.names[what].names) for what, column in codes.items() if what != TIME}
        return EventLog(
            user=columns[USER],
            title=columns[TITLE],
            territory=columns.get(TERRITORY),
            day=codes.get(TIME),
            info={what.removeprefix(INFO): columns[what] for what in columns if what.startswith(INFO)},
            skipped={reason: rows for reason, rows in self.skipped.items() if rows},
        )
