"""Read CSV and Parquet files as blocks of columns, with errors that name file, line and column.

A log may be larger than memory, so only one block of rows is kept. Values stay text: ids are names.

There are two readers. ``blocks`` is careful: lists of texts, by the csv module, and errors with their place.
``fast_blocks`` is ten times as fast, without a Python object per field (columns.py). It gives the same rows, and
leaves whatever is malformed or unusual to the careful one.
"""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.ingest.arrow_columns import arrow_texts, arrow_values
from twotower.data.ingest.columns import Values

BLOCK_ROWS = 8_192  # rows in memory at a time; ten times more, and the garbage collector takes as long as the parser
FAST_ROWS = 1 << 19  # the same of Parquet files, by the fast reader
FAST_CHARACTERS = 1 << 20  # and of CSV files
FAST_FROM_BYTES = 1 << 22  # bytes: smaller files are read sooner than kernels are loaded
SEPARATORS = (",", "\t", ";", "|")  # candidates for a guess, in order of preference on ties
FIELD_CHARACTERS = 1 << 20  # at most: longer is an unclosed quote, not a synopsis
GZIP_MAGIC = b"\x1f\x8b"
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
PARQUET_MAGIC = b"PAR1"
MISSING = frozenset({"", "nan", "NaN", "null", "NULL", "<NA>", r"\N"})  # not "NA": that is Namibia


@dataclass(frozen=True)
class CsvFormat:
    """The format of CSV files."""

    separator: str | None = None  # None: guessed from the first line
    encoding: str = "utf-8"  # a byte-order mark is skipped
    header: bool = True  # False: columns are called 1, 2, 3 …
    quotes: bool = True  # False: a double quote is a character like any other

    def __post_init__(self) -> None:
        if self.separator is not None and (len(self.separator) != 1 or self.separator in '\r\n"'):
            raise InputError(f"separator {self.separator!r}: expected one character")


@dataclass(frozen=True)
class Block:
    """Some rows of a table: ``columns[i][j]`` is row ``start + j`` of the i-th column asked for."""

    start: int
    columns: Sequence[list[str] | Values]
    ragged: int = 0  # rows left out: too few or too many fields


def clean(text: str) -> str:
    """Text with each run of white space, line breaks included, as one space, and none at the ends."""
    return " ".join(text.split())


def repeated(names: Sequence[str]) -> str:
    """The first name, in alphabetical order, that occurs more than once, or nothing."""
    return min((name for name in names if names.count(name) > 1), default="")


def open_table(
    path: str | Path, form: CsvFormat | None = None, needed: Sequence[str] = ()
) -> "CsvTable | ParquetTable":
    """Open a CSV (gzipped or not) or Parquet file and check that it has the columns ``needed``.

    The format is detected from the content, never from the name.

    Errors: InputError for a file that is missing, empty or no table, or lacks a column.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            first_bytes = file.read(4)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if not first_bytes:
        raise InputError(f"{path}: the file is empty")
    parquet = first_bytes == PARQUET_MAGIC
    table = ParquetTable(path) if parquet else CsvTable(path, form or CsvFormat(), needed)
    for name in needed:
        if name not in table.columns:
            raise InputError(f"{path}: no column {name!r}; it has {', '.join(map(repr, table.columns))}")
    return table


class CsvTable:
    """A delimited text file; ``columns`` are its names in order."""

    n_rows = 0  # unknown

    def __init__(self, path: Path, form: CsvFormat, needed: Sequence[str] = ()):
        self.path, self.form = path, form
        try:
            self.encoding = codecs.lookup(form.encoding).name
        except LookupError:
            raise InputError(f"{path}: unknown encoding {form.encoding!r}, expected one such as latin-1") from None
        with open(path, "rb") as file:
            self.packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        with self._open()[0] as text, self._errors():
            first = text.readline().rstrip("\r\n")
        if not first.strip():
            raise InputError(f"{path}, line 1: empty, expected {'column names' if form.header else 'data'}")
        self.separator = form.separator or self._guess_separator(first, needed)
        self.columns = self._names(first, self.separator)
        if twice := repeated(self.columns):
            raise InputError(f"{path}, line 1: two columns are called {twice!r}")

    def blocks(
        self,
        names: Sequence[str],
        skip_ragged: bool = False,
        progress: Progress = silent,
        start: int = 0,
        lines: int = 0,
    ) -> Iterator[Block]:
        """The columns ``names``, ``BLOCK_ROWS`` rows at a time; blank lines are not rows.

        start, lines: the first row, and how many lines are before it.

        Errors: InputError with the line for a row with a wrong number of fields (unless ``skip_ragged``), an unclosed
        quote, text in another encoding, and a damaged gzip file.
        """
        text, raw = self._open()
        size = self.path.stat().st_size
        fields = [itemgetter(self.columns.index(name)) for name in names]
        with text:
            reader = self._reader(text, lines)
            with self._errors(reader, lines):
                rows = filter(None, reader)
                while block := list(islice(rows, BLOCK_ROWS)):
                    whole = self._whole(block, start, skip_ragged)
                    yield Block(start, [list(map(field, whole)) for field in fields], len(block) - len(whole))
                    start += len(block)
                    progress(f"reading {self.path.name}, kB", raw.tell() // 1000, size // 1000)

    def fast_blocks(
        self, names: Sequence[str], skip_ragged: bool = False, progress: Progress = silent
    ) -> Iterator[Block]:
        """The same rows without an object per field; after the first malformed or unusual row, by ``blocks``."""
        from twotower.data.ingest.csv_rows import RowReader

        columns = list(dict.fromkeys(names))
        wanted = [self.columns.index(name) for name in columns]
        reader = RowReader(self.separator, self.form.quotes, len(self.columns), wanted, FIELD_CHARACTERS, skip_ragged)
        text, raw = self._open()
        size = self.path.stat().st_size
        start = lines = 0
        rest, usual = b"", len(self.separator.encode()) == 1
        with text, suppress(csv.Error, UnicodeError, *DAMAGED):
            if usual and self.form.header:
                next(self._parse([text.readline()], self.separator))
                lines = 1
            while usual:
                piece = text.read(FAST_CHARACTERS)
                rest += piece.encode()
                rows = reader.read(rest, last=not piece)
                fields = dict(zip(columns, rows.columns, strict=True))
                yield Block(start, [fields[name] for name in names], rows.ragged)
                progress(f"reading {self.path.name}, kB", raw.tell() // 1000, size // 1000)
                start += len(rows.columns[0]) + rows.ragged
                lines += rows.lines
                rest = rest[rows.used :]
                usual = not rows.fault and len(rest) < 8 * FAST_CHARACTERS
                if usual and not piece:
                    return
        yield from self.blocks(names, skip_ragged, progress, start, lines)

    def where(self, row: int, column: str | None = None) -> str:
        """``FILE, line N, column 'C'`` of a row counted from 0, found by reading up to it once more."""
        with self._open()[0] as text:
            reader = self._reader(text)
            for _ in islice(filter(None, reader), row + 1):
                pass
        return f"{self.path}, line {reader.line_num}" + (f", column {column!r}" if column else "")

    def _whole(self, block: list[list[str]], start: int, skip_ragged: bool) -> list[list[str]]:
        """The rows with a field for each column. Errors: InputError for the first of the others."""
        width = len(self.columns)
        if set(map(len, block)) == {width}:
            return block
        if not skip_ragged:
            bad, row = next((j, row) for j, row in enumerate(block) if len(row) != width)
            raise InputError(f"{self.where(start + bad)}: {len(row)} fields, the first line has {width}")
        return [row for row in block if len(row) == width]

    def _open(self) -> tuple[io.TextIOWrapper, BinaryIO]:
        """The decoded text, and the raw file, whose position shows progress."""
        stream: Any = gzip.GzipFile(self.path) if self.packed else open(self.path, "rb")  # noqa: SIM115
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        return io.TextIOWrapper(stream, encoding, newline=""), stream.fileobj if self.packed else stream

    def _reader(self, text: io.TextIOWrapper, lines: int = 0) -> Any:
        """A csv reader at the first row of data, or after so many lines."""
        reader = self._parse(text, self.separator)
        if lines:
            next(islice(text, lines - 1, None))
        elif self.form.header:
            next(reader)
        return reader

    def _parse(self, lines: Iterable[str], separator: str, strict: bool = True) -> Any:
        """A csv reader of ``lines``. A strict one reports a stray quote instead of swallowing the lines after it."""
        csv.field_size_limit(FIELD_CHARACTERS)  # global, hence set for each reading
        if self.form.quotes:
            return csv.reader(lines, delimiter=separator, strict=strict)
        return csv.reader(lines, delimiter=separator, strict=strict, quoting=csv.QUOTE_NONE)

    def _names(self, first: str, separator: str) -> list[str]:
        """Column names: those of the first line, or numbers from 1 where there is no header or no name."""
        fields = next(self._parse([first], separator, strict=False))  # this may be a guess of the separator
        return [(self.form.header and clean(text)) or str(i) for i, text in enumerate(fields, 1)]

    def _guess_separator(self, first: str, needed: Sequence[str]) -> str:
        """The separator that yields the needed columns; where none or several do, the most columns."""

        def fitness(separator: str) -> tuple[bool, int]:
            names = self._names(first, separator)
            return all(name in names for name in needed), len(names)

        return max(SEPARATORS, key=fitness)

    @contextmanager
    def _errors(self, reader: Any = None, lines: int = 0) -> Iterator[None]:
        """Reading errors as one line with the place, ``lines`` after that of the reader."""
        try:
            yield
        except csv.Error as error:
            hint = " (--no-quotes reads quotes as ordinary characters)" if self.form.quotes else ""
            raise InputError(f"{self.path}, line {lines + reader.line_num}: {error}{hint}") from None
        except UnicodeDecodeError as error:
            line, byte = self._undecodable_line(), error.object[error.start]
            fault = f"byte {byte:#04x} is not {self.form.encoding}"
            other = "utf-16" if self._begins_as_utf_16() else "latin-1"
            raise InputError(f"{self.path}, line {line}: {fault}; --encoding names another, such as {other}") from None
        except DAMAGED as error:
            after = lines + (reader.line_num if reader else 0)
            raise InputError(f"{self.path}, after line {after}: damaged gzip file ({error})") from None

    def _begins_as_utf_16(self) -> bool:
        with self._open()[0] as text:
            return text.buffer.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

    def _undecodable_line(self) -> int:
        """Number of the first line that is not text in the encoding."""
        with self._open()[0] as text:
            lines: Any = text.buffer
            for number, line in enumerate(lines, 1):
                try:
                    line.decode(self.encoding)
                except UnicodeDecodeError:
                    return number
        return 0


class ParquetTable:
    """A Parquet file; ``columns`` are its names in order."""

    def __init__(self, path: Path):
        try:
            import pyarrow.parquet
        except ImportError:
            raise InputError(f"{path}: Parquet needs pyarrow: pip install 'twotower[parquet]'") from None
        self.path = path
        self._errors = (pyarrow.ArrowException, OSError)
        try:
            self.file = pyarrow.parquet.ParquetFile(path, pre_buffer=False)
        except self._errors as error:
            raise InputError(f"{path}: not a readable Parquet file ({error})") from None
        self.columns: list[str] = list(self.file.schema_arrow.names)
        if twice := repeated(self.columns):
            raise InputError(f"{path}: two columns are called {twice!r}")
        self.n_rows: int = self.file.metadata.num_rows

    def blocks(self, names: Sequence[str], skip_ragged: bool = False, progress: Progress = silent) -> Iterator[Block]:
        """The columns ``names`` as text, ``BLOCK_ROWS`` rows at a time. Errors: InputError for damaged data."""
        return self._blocks(names, arrow_texts, BLOCK_ROWS, progress)

    def fast_blocks(
        self, names: Sequence[str], skip_ragged: bool = False, progress: Progress = silent
    ) -> Iterator[Block]:
        """The same rows without an object per field. Errors: those of ``blocks``."""
        return self._blocks(names, arrow_values, FAST_ROWS, progress)

    def _blocks(
        self, names: Sequence[str], values: Callable[[Any], list[str] | Values], rows: int, progress: Progress
    ) -> Iterator[Block]:
        start = 0
        for batch in self.batches(list(dict.fromkeys(names)), rows):
            yield Block(start, [self.values(name, batch.column(name), values) for name in names])
            start += len(batch)
            progress(f"reading {self.path.name}, rows", start, self.n_rows)

    def values(self, name: str, column: Any, values: Callable[[Any], list[str] | Values]) -> list[str] | Values:
        """A column in the form that ``values`` gives it. Errors: InputError for what cannot be written as text."""
        try:
            return values(column)
        except UnicodeDecodeError:
            raise self.not_text(name) from None
        except self._errors as error:
            if "UTF8" in str(error):
                raise self.not_text(name) from None
            raise InputError(f"{self.path}, column {name!r}: {column.type}, not readable as text ({error})") from None

    def check_times(self, name: str) -> None:
        """Errors: InputError for a column of durations, or of times without a day: they would be read as numbers."""
        from pyarrow import types

        kind = self.file.schema_arrow.field(name).type
        if types.is_duration(kind) or types.is_time(kind) or types.is_interval(kind):
            expected = "expected dates, timestamps, numbers or text"
            raise InputError(f"{self.path}, column {name!r}: {kind} without a day; {expected}")

    def not_text(self, name: str) -> InputError:
        """The error for a column with bytes that are no text."""
        return InputError(f"{self.path}, column {name!r}: bytes that are not UTF-8, expected text or numbers")

    def batches(self, names: Sequence[str], rows: int | None = None) -> Iterator[Any]:
        """Arrow record batches of some columns. Errors: InputError for damaged data."""
        for group in range(self.file.num_row_groups):
            batches = self.file.iter_batches(rows or BLOCK_ROWS, row_groups=[group], columns=list(names))
            while True:
                try:
                    batch = next(batches, None)
                except self._errors as error:
                    raise InputError(f"{self.path}: damaged Parquet file ({error})") from None
                if batch is None:
                    break
                yield batch

    def where(self, row: int, column: str | None = None) -> str:
        """``FILE, row N, column 'C'`` of a row counted from 0; people count from 1."""
        return f"{self.path}, row {row + 1}" + (f", column {column!r}" if column else "")


def read_columns(table: CsvTable | ParquetTable, names: Sequence[str]) -> list[list[str]]:
    """Whole columns of a small table, such as one of users or titles."""
    columns: list[list[str]] = [[] for _ in names]
    for block in table.blocks(names):
        for column, values in zip(columns, block.columns, strict=True):
            column += values if isinstance(values, list) else values.texts()
    return columns
