"""Raw logs → events: ids as numbers, times as days, a few bytes per event."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.ingest.columns import Values
from twotower.data.ingest.days import Days
from twotower.data.ingest.growing import GrowingArray
from twotower.data.ingest.tables import FAST_FROM_BYTES, Block, CsvFormat, CsvTable, ParquetTable, open_table
from twotower.data.ingest.vocabulary import NONE, Vocabulary, order_of_appearance

USER, TITLE, TERRITORY, TIME, INFO = "user", "title", "territory", "time", "info "  # roles of columns
REQUIRED = (USER, TITLE, TERRITORY, TIME)


@dataclass(frozen=True)
class LogFile:
    """One file of watch events; ``territory`` is that of all events, where there is no column."""

    path: Path
    territory: str | None = None


@dataclass(frozen=True)
class LogColumns:
    """Names of the log's columns."""

    user: str
    title: str
    territory: str | None = None  # None: territories come from the files or from a table of users
    time: str | None = None
    time_format: str | None = None  # as of datetime.strptime; None: see days.py
    info: tuple[str, ...] = ()  # columns that describe users or titles, such as an age group or a genre


@dataclass(frozen=True)
class Column:
    """One column of the log, as codes of names."""

    codes: np.ndarray  # (N,) int32, NONE = missing
    names: list[str]

    def take(self, rows: np.ndarray) -> "Column":
        return Column(self.codes[rows], self.names)

    def renumbered(self) -> tuple[list[str], np.ndarray]:
        """The n names that occur, in order of first appearance, and (N,) int32 codes of them."""
        used, place = order_of_appearance(self.codes, len(self.names))
        return [self.names[code] for code in used.tolist()], place


@dataclass(frozen=True)
class EventLog:
    """N watch events in the order of the files."""

    user: Column
    title: Column
    territory: Column | None  # None: the log has none
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
    """Read a log from one or more files, CSV or Parquet, gzipped or not.

    Errors: InputError with file, line and column for a missing or NaN id, a time that can't be read and a row
    with a wrong number of fields, unless ``skip_bad_rows``, which counts them instead; with the file for one
    that can't be read or lacks a column; and when no file has an event.
    """
    reader = _LogReader(columns, skip_bad_rows)
    # All are opened before the first is read: a wrong column name of the last file must not cost an hour.
    tables = [open_table(file.path, form, list(reader.columns_of(file).values())) for file in files]
    for table in tables:
        if isinstance(table, ParquetTable) and columns.time:
            table.check_times(columns.time)
    for file, table in zip(files, tables, strict=True):
        reader.read(file, table, progress)
    if not len(reader.rows[USER]):
        raise InputError(f"{', '.join(str(file.path) for file in files)}: no events")
    return reader.finish()


def one_ahead(pool: Executor, blocks: Iterator[Block]) -> Iterator[Block]:
    """The same blocks, each read while the one before is processed."""
    coming = pool.submit(next, blocks, None)
    while (block := coming.result()) is not None:
        coming = pool.submit(next, blocks, None)
        yield block


class _LogReader:
    """Collects the events of several files with one vocabulary per column."""

    def __init__(self, columns: LogColumns, skip_bad_rows: bool):
        self.skip_bad_rows = skip_bad_rows
        self.columns = {USER: columns.user, TITLE: columns.title}  # role → column
        self.columns |= {TERRITORY: columns.territory} if columns.territory else {}
        self.columns |= {TIME: columns.time} if columns.time else {}
        self.columns |= {INFO + name: name for name in columns.info}
        self.names = {what: Vocabulary() for what in (*self.columns, TERRITORY)}
        self.days = Days(columns.time_format)
        self.rows = {what: GrowingArray(np.int32) for what in (*self.columns, TERRITORY)}
        self.skipped: Counter[str] = Counter()

    def columns_of(self, file: LogFile) -> dict[str, str]:
        """``columns``, without the territory for a file that has one of its own."""
        return {what: name for what, name in self.columns.items() if what != TERRITORY or file.territory is None}

    def read(self, file: LogFile, table: CsvTable | ParquetTable, progress: Progress) -> None:
        columns = self.columns_of(file)
        names = list(columns.values())
        for what in columns if table.n_rows else ():
            self.rows[what].reserve(table.n_rows)
        if table.path.stat().st_size < FAST_FROM_BYTES:
            for block in table.blocks(names, self.skip_bad_rows, progress):
                codes = dict(zip(columns, map(partial(self.codes, file, table), columns, block.columns), strict=True))
                self.keep(file, table, block, codes)
            return
        with ThreadPoolExecutor() as pool:  # kernels and most of reading hold no lock
            for block in one_ahead(pool, table.fast_blocks(names, self.skip_bad_rows, progress)):
                values = pool.map(partial(self.codes, file, table), columns, block.columns)
                codes = dict(zip(columns, values, strict=True))
                self.keep(file, table, block, codes)

    def codes(self, file: LogFile, table: CsvTable | ParquetTable, what: str, values: list[str] | Values) -> np.ndarray:
        """The values of a column as codes or days, (n,) int32. Errors: InputError for bytes that are no text."""
        try:
            return (self.days if what == TIME else self.names[what]).codes(values)
        except UnicodeDecodeError:  # Parquet does not check what it calls text, and fields are decoded late
            if isinstance(table, CsvTable):
                raise
            raise table.not_text(self.columns_of(file)[what]) from None

    def keep(self, file: LogFile, table: CsvTable | ParquetTable, block: Block, codes: dict[str, np.ndarray]) -> None:
        """Add the good rows of a block. Errors: InputError for the first of the others, unless they are skipped."""
        columns = self.columns_of(file)
        required = [what for what in REQUIRED if what in columns]
        good = np.ones(len(codes[USER]), bool)
        for what in required:
            bad = good & (codes[what] == NONE)
            self.skipped[f"not a {what}"] += int(bad.sum())
            good &= ~bad
        if not (self.skip_bad_rows or good.all()):
            row = int(np.argmin(good))
            what = next(what for what in required if codes[what][row] == NONE)
            text = block.columns[list(columns).index(what)][row]
            where = table.where(block.start + row, columns[what])
            form = f" of the form {self.days.form!r}" if what == TIME and self.days.form else ""
            raise InputError(f"{where}: {text!r} is not a {what}{form} (--skip-bad-rows goes on)")
        self.skipped["wrong number of fields"] += block.ragged
        if file.territory is not None:
            codes[TERRITORY] = np.full(len(good), self.names[TERRITORY][file.territory], np.int32)
        for what, column in codes.items():
            self.rows[what].append(column if good.all() else column[good])

    def finish(self) -> EventLog:
        """All of them as one log."""
        codes = {what: rows.finish() for what, rows in self.rows.items() if len(rows)}
        columns = {what: Column(column, self.names[what].names) for what, column in codes.items() if what != TIME}
        return EventLog(
            user=columns[USER],
            title=columns[TITLE],
            territory=columns.get(TERRITORY),
            day=codes.get(TIME),
            info={what.removeprefix(INFO): columns[what] for what in columns if what.startswith(INFO)},
            skipped={reason: rows for reason, rows in self.skipped.items() if rows},
        )
