"""Raw logs → events: ids as numbers, times as days, a few bytes per event."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.data.ingest.arrow_columns import arrow_texts
from twotower.data.ingest.arrow_table import ArrowTable
from twotower.data.ingest.blocks import COUNTED_ROWS, FAST_FROM_BYTES, FEW_BAD_ROWS, Block, CsvFormat, bad_row_hints
from twotower.data.ingest.cleaning import MISSING, MISSING_IDS, LostDigitsError, clean
from twotower.data.ingest.csv_table import CsvTable
from twotower.data.ingest.days import Days, fitting_formats
from twotower.data.ingest.duck import REMEDY, DuckTable, Unfit, has_duckdb, rewritten
from twotower.data.ingest.json_table import JsonTable
from twotower.data.ingest.queries import Query, QueryTable
from twotower.data.ingest.tables import Table, check_columns, open_table
from twotower.data.ingest.vocabulary import NONE, Vocabulary, order_of_appearance

USER, TITLE, TERRITORY, TIME, INFO = "user", "title", "territory", "time", "info "  # roles of columns
REQUIRED = (USER, TITLE, TERRITORY, TIME)
OPTIONS = {USER: "--user", TITLE: "--title", TERRITORY: "--territory", TIME: "--time"}  # else of INFO
MISSING_TERRITORY = ("fail", "drop", "unknown")  # what to do with events without a territory
UNKNOWN = "unknown"  # the territory of those that are kept
AGAIN = "the header again"
SOME_TIMES = 100  # unreadable ones, to suggest a format
SLOW = f"slowly, without DuckDB ({REMEDY} reads large files several times as fast)"
FEW_MISSING_IDS = 0.25  # as FEW_BAD_ROWS, of missing ids and territories: little else can be done about them
TIMES_READ = "dates such as 2024-03-01 and 20240301 and counts such as seconds since 1970 are read"


@dataclass(frozen=True)
class LogFile:
    """One file of watch events, or a query; ``territory`` is that of all events, where there is no column.

    ``partition``: columns that the names of folders say (``day=2024-03-01``), with the one value of this file.
    """

    path: Path
    territory: str | None = None
    partition: Mapping[str, str] = field(default_factory=dict)
    query: Query | None = None  # in place of a file


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
    formats: tuple[str, ...] = ()  # how the files were read
    times: tuple[str, ...] = ()  # how the times were
    missing: dict[str, list[str]] = field(default_factory=dict)  # column → words in it that mean a missing value
    folders: tuple[str, ...] = ()  # columns that the names of folders say

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
            **{name: getattr(self, name) for name in ("skipped", "formats", "times", "missing", "folders")},
        )


def read_log(
    files: Sequence[LogFile],
    columns: LogColumns,
    form: CsvFormat | None = None,
    skip_bad_rows: bool = False,
    progress: Progress = silent,
    missing_territory: str = "fail",
    most_rows: float = np.inf,
    condition: str = "",
) -> EventLog:
    """Read a log from one or more files, packed or not, and from queries.

    condition: an SQL expression; only rows for which it is true are events.

    Errors: InputError with file, line and column for a missing or NaN id, a time that can't be read and a row
    with a wrong number of fields, unless ``skip_bad_rows``, which counts them instead; with the file for one
    that can't be read or lacks a column; and when no file has an event.
    """
    reader = _LogReader(columns, skip_bad_rows, missing_territory, condition)
    # All are opened before the first is read: a wrong column name of the last file must not cost an hour.
    tables = [open_log(file, form, list(reader.columns_of(file).values()), reader.options) for file in files]
    for file, table in zip(files, tables, strict=True):
        for what, name in reader.columns_of(file).items():
            if what in (USER, TITLE) and isinstance(table, ArrowTable | JsonTable):
                table.check_ids(name)
            elif what == TIME and isinstance(table, ArrowTable):
                table.check_times(name)
    for file, table in zip(files, tables, strict=True):
        reader.read(file, table, progress, most_rows)
    if not reader.n_rows():
        left_out = "".join(f"; {counted(rows, 'row')} left out: {why}" for why, rows in reader.skipped.items() if rows)
        chosen = f" for which {condition}" if condition else ""
        raise InputError(f"{', '.join(str(file.path) for file in files)}: no events{chosen}{left_out}")
    formats = [table.description for table in tables] + [SLOW] * reader.is_slow
    used = dict.fromkeys(name for file in files for name in file.partition if name in reader.columns.values())
    return replace(reader.finish(), formats=tuple(dict.fromkeys(formats)), folders=tuple(used))


def open_log(file: LogFile, form: CsvFormat | None, needed: Sequence[str], options: Mapping[str, str]) -> Table:
    """The table of a file or a query. Errors: those of ``open_table``."""
    if file.query is None:
        return open_table(file.path, form, needed, options, list(file.partition))
    table = QueryTable(file.query)
    check_columns(table, needed, options)
    return table


def one_ahead(pool: Executor, blocks: Iterator[Block]) -> Iterator[Block]:
    """The same blocks, each read while the one before is processed."""
    coming = pool.submit(next, blocks, None)
    while (block := coming.result()) is not None:
        coming = pool.submit(next, blocks, None)
        yield block


class _LogReader:
    """Collects the events of several files with one vocabulary per column."""

    def __init__(self, columns: LogColumns, skip_bad_rows: bool, missing_territory: str = "fail", condition: str = ""):
        self.names_of_columns, self.condition = columns, condition
        self.skip_bad_rows, self.missing_territory = skip_bad_rows, missing_territory
        self.unreadable_times: list[str] = []  # some of those left out
        self.columns = {USER: columns.user, TITLE: columns.title}  # role → column
        self.columns |= {TERRITORY: columns.territory} if columns.territory else {}
        self.columns |= {TIME: columns.time} if columns.time else {}
        self.columns |= {INFO + name: name for name in columns.info}
        info = {INFO + name: Vocabulary(missing=MISSING_IDS) for name in columns.info}
        self.names = {USER: Vocabulary(True), TITLE: Vocabulary(True), TERRITORY: Vocabulary(), **info}
        roles = reversed(self.columns.items())  # the first one counts
        self.options = {name: OPTIONS.get(what, "--user-info or --title-info") for what, name in roles}
        self.days = Days(columns.time_format)
        self.rows: dict[str, list[np.ndarray]] = {what: [] for what in (*self.columns, TERRITORY)}
        self.skipped: Counter[str] = Counter()
        self.is_slow = False  # for want of DuckDB

    def n_rows(self) -> int:
        return sum(map(len, self.rows[USER]))

    def columns_of(self, file: LogFile) -> dict[str, str]:
        """``columns``, without the territory for a file that has one of its own."""
        return {
            what: name
            for what, name in self.columns.items()
            if (what != TERRITORY or file.territory is None) and name not in file.partition
        }

    def read(self, file: LogFile, table: Table, progress: Progress, most: float = np.inf) -> None:
        """Add the events of a file; stop after the block in which ``most`` rows are reached."""
        names = list(self.columns_of(file).values())
        if self.condition:
            try:
                self.read_fast(file, DuckTable(table, names, self.condition, file.partition), progress, most)
            except Unfit:
                assert isinstance(table, CsvTable | JsonTable)
                with rewritten(table, self.skip_bad_rows) as (copy, ragged):
                    self.skipped[table.ragged] += ragged
                    self.read_fast(file, DuckTable(copy, names, self.condition, file.partition), progress, most)
            return
        if isinstance(table, QueryTable) or table.path.stat().st_size >= FAST_FROM_BYTES:
            with suppress(Unfit):
                self.read_fast(
                    file, table if isinstance(table, ArrowTable) else DuckTable(table, names), progress, most
                )
                return
            self.is_slow = not has_duckdb()
        self.read_blocks(file, table, table.blocks(names, self.skip_bad_rows, progress), map, most)

    def read_fast(self, file: LogFile, table: ArrowTable, progress: Progress, most: float) -> None:
        """Add all events of a file or, if DuckDB turns out to be ``Unfit`` for it, none."""
        before = {what: len(parts) for what, parts in self.rows.items()}, self.skipped.copy()
        names = list(self.columns_of(file).values())
        try:
            with ThreadPoolExecutor() as pool:  # most of reading and of finding distinct values holds no lock
                self.read_blocks(file, table, one_ahead(pool, table.fast_blocks(names, progress)), pool.map, most)
        except Unfit:
            for what, parts in self.rows.items():
                del parts[before[0][what] :]
            self.skipped = before[1]
            raise

    def read_blocks(
        self, file: LogFile, table: Table, blocks: Iterator[Block], map_: Callable[..., Iterable], most: float
    ) -> None:
        columns = self.columns_of(file)
        for block in blocks:
            values = map_(partial(self.codes, file, table), columns, block.columns)
            self.keep(file, table, block, dict(zip(columns, values, strict=True)))
            if block.start + len(block.columns[0]) >= most:
                break

    def codes(self, file: LogFile, table: Table, what: str, values: list[str] | Any) -> np.ndarray:
        """The values of a column as codes or days, (n,) int32. Errors: InputError for what is no text or id."""
        name = self.columns_of(file).get(what, "")
        try:
            return (self.days if what == TIME else self.names[what]).codes(values)
        except LostDigitsError as error:
            where = f"{table.path}, column {name!r}"
            expected = "write ids as text or as 64-bit integers"
            raise InputError(f"{where}: {str(error)!r} is a rounded number, not an id; {expected}") from None
        except (ValueError, NotImplementedError) as error:  # of Arrow; Parquet does not check what it calls text
            if not isinstance(table, ArrowTable):
                raise
            raise table.not_text(name, error) from None

    def keep(self, file: LogFile, table: Table, block: Block, codes: dict[str, np.ndarray]) -> None:
        """Add the good rows of a block. Errors: InputError for the first of the others, unless they are skipped."""
        columns, n = self.columns_of(file), len(block.columns[0])
        for what, name in self.columns.items():
            if name in file.partition:
                codes[what] = np.repeat(self.codes(file, table, what, [file.partition[name]]), n)
        required = [what for what in REQUIRED if what in codes]
        good = ~self.repeated_headers(table, columns, codes)
        self.skipped[AGAIN] += int((~good).sum())
        if TERRITORY in codes and self.missing_territory != "fail":
            lost = codes[TERRITORY] == NONE
            if self.missing_territory == "unknown":
                codes[TERRITORY] = np.where(lost, self.names[TERRITORY][UNKNOWN], codes[TERRITORY]).astype(np.int32)
            else:
                self.skipped["no territory"] += int((good & lost).sum())
                good &= ~lost
        kept = good.copy()
        for what in required:
            bad = good & (codes[what] == NONE)
            self.skipped[f"not a {what}"] += int(bad.sum())
            good &= ~bad
        if not self.skip_bad_rows and not good[kept].all():
            raise self.bad_row(file, table, block, codes, required, int(np.argmax(kept & ~good)))
        self.skipped[table.ragged] += block.ragged
        if TIME in columns and len(self.unreadable_times) < SOME_TIMES:
            times = block.columns[list(columns).index(TIME)]
            texts = [text_at(times, row) for row in np.flatnonzero(codes[TIME] == NONE)[:SOME_TIMES].tolist()]
            self.unreadable_times += [text for text in texts if clean(text) not in MISSING]
        if file.territory is not None:
            codes[TERRITORY] = np.full(len(good), self.names[TERRITORY][file.territory], np.int32)
        for what, column in codes.items():
            self.rows[what].append(column if good.all() else column[good])

    def repeated_headers(self, table: Table, columns: dict[str, str], codes: dict[str, np.ndarray]) -> np.ndarray:
        """Which rows are the header once more, as where files were put one behind the other: (n,) bool."""
        again = np.zeros(len(codes[USER]), bool)
        table = table.table if isinstance(table, DuckTable) else table
        if isinstance(table, CsvTable) and table.form.header:
            names = [what for what in (USER, TITLE, TERRITORY) if what in columns]
            header = [self.names[what].get(columns[what], NONE) for what in names]
            if min(header) != NONE:
                again[:] = True
                for what, code in zip(names, header, strict=True):
                    again &= codes[what] == code
        return again

    def bad_row(
        self, file: LogFile, table: Table, block: Block, codes: dict[str, np.ndarray], required: list[str], row: int
    ) -> InputError:
        """What is wrong with the first bad row, how many there are, and what to do."""
        columns = self.columns_of(file)
        what = next(what for what in required if codes[what][row] == NONE)
        if what in columns:
            text = text_at(block.columns[list(columns).index(what)], row).strip()
            form = f" of the form {self.days.form!r}" if what == TIME and self.days.form else ""
            fault = f"{table.where(block.start + row, columns[what])}: {text!r} is not a {what}{form}"
        else:
            text = file.partition[self.columns[what]]
            fault = f"{table.path}, folder {self.columns[what]!r}: {text!r} is not a {what}"
        counter = _LogReader(self.names_of_columns, True, self.missing_territory, self.condition)
        try:
            counter.read(file, table, silent, COUNTED_ROWS)
        except InputError:  # a fault further on has its turn later
            return InputError(fault)
        return InputError(f"{fault} ({counter.hints(what, text)})")

    def hints(self, what: str, text: str) -> str:
        """What to do about a value that is no user, title, territory or time, now that all rows are counted."""
        n_bad = sum(self.skipped.values()) - self.skipped[AGAIN]
        n_rows = n_bad + self.n_rows()
        is_missing = clean(text) in MISSING_IDS
        if what == TERRITORY:
            return missing_territories(self.skipped[f"not a {TERRITORY}"], n_rows, "row")
        otherwise = f"check {OPTIONS[what]}{' and --time-format' if what == TIME and self.days.form else ''}"
        rows = bad_row_hints(n_bad, n_rows, otherwise, FEW_MISSING_IDS if is_missing else FEW_BAD_ROWS)
        if what != TIME or self.days.form or is_missing or rows.startswith("--skip"):
            return rows
        if forms := fitting_formats(self.unreadable_times)[:3]:
            return f"--time-format names the format: {' or '.join(map(repr, forms))}; {rows}"
        return f"{TIMES_READ}, --time-format names the format of others; {rows}"

    def finish(self) -> EventLog:
        """All of them as one log."""
        codes = {what: np.concatenate(self.rows.pop(what)) for what in list(self.rows) if self.rows[what]}
        columns = {what: Column(column, self.names[what].names) for what, column in codes.items() if what != TIME}
        return EventLog(
            user=columns[USER],
            title=columns[TITLE],
            territory=columns.get(TERRITORY),
            day=codes.get(TIME),
            info={what.removeprefix(INFO): columns[what] for what in columns if what.startswith(INFO)},
            skipped={reason: rows for reason, rows in self.skipped.items() if rows},
            times=(f"the format {self.days.form!r}",) if self.days.form else tuple(self.days.readings),
            missing={self.columns[what]: sorted(self.names[what].markers) for what in self.columns
                     if what in self.names and self.names[what].markers},
        )  # fmt: skip


def missing_territories(lost: int, of: int, what: str) -> str:
    """What to do about so many rows, or users, without a territory."""
    of_all = f"{lost:,} of {counted(of, what)}"
    few = lost <= FEW_MISSING_IDS * of
    hint = f"--missing-territory drop leaves out {of_all}" if few else f"like {of_all}: check --territory"
    return f"{hint}; --missing-territory unknown keeps them"


def text_at(values: list[str] | Any, row: int) -> str:
    """One of a column's values as text."""
    return values[row] if isinstance(values, list) else arrow_texts(values.slice(row, 1))[0]
