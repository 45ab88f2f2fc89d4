"""Read CSV and Parquet files as blocks of columns, with errors that name file, line and column.

A log may be larger than memory, so only one block of rows is kept. Values stay text: ids are names.

There are two readers. ``blocks`` is careful: lists of texts, by the csv module, and errors with their place.
``fast_blocks`` is ten times as fast, without a Python object per field (columns.py). It gives the same rows, and
leaves whatever is malformed or unusual to the careful one.
"""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.ingest.arrow_columns import EXACT, arrow_texts, arrow_values
from twotower.data.ingest.columns import Values
from twotower.data.ingest.formats import DAMAGED, JSON, PARQUET, detect_format, open_binary, packing
from twotower.data.ingest.sniffing import SAMPLE_CHARACTERS, guess_separator, has_backslash_escapes, separator_line

if TYPE_CHECKING:
    from twotower.data.ingest.json_table import JsonTable

    Table: TypeAlias = "CsvTable | ParquetTable | JsonTable"

BLOCK_ROWS = 8_192  # rows in memory at a time; ten times more, and the garbage collector takes as long as the parser
FAST_ROWS = 1 << 19  # the same of Parquet files, by the fast reader
FAST_CHARACTERS = 1 << 20  # and of CSV files
FAST_FROM_BYTES = 1 << 22  # bytes: smaller files are read sooner than kernels are loaded
UNIT = "\x1f"  # stands for a separator of several characters
_WHOLE, _EXPONENT = re.compile(r"\d+\.0+"), re.compile(r"\d(\.\d+)?[eE]\+\d+")
FIELD_CHARACTERS = 1 << 20  # at most: longer is an unclosed quote, not a synopsis
#: How tools write a missing value. Not "NA", which is Namibia.
MISSING = frozenset(
    ("", "nan", "NaN", "NAN", "null", "Null", "NULL", "None", "<NA>", "N/A", "n/a", "#N/A", "NaT", "undefined",
     "(null)", "<null>", "[NULL]", "(not set)", r"\N")
)  # fmt: skip
MISSING_IDS = MISSING | {"NA", "none", "NONE", "-"}


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
            raise InputError(f"separator {self.separator!r}: expected one or more characters, none of them a quote")


@dataclass(frozen=True)
class Block:
    """Some rows of a table: ``columns[i][j]`` is row ``start + j`` of the i-th column asked for."""

    start: int
    columns: Sequence[list[str] | Values]
    ragged: int = 0  # rows left out: too few or too many fields


def clean(text: str) -> str:
    """Text in Unicode's composed form (NFC), each run of white space as one space, and none at the ends."""
    text = " ".join(text.split())
    return text if text.isascii() else unicodedata.normalize("NFC", text)


class LostDigitsError(ValueError):
    """An id was written as a floating-point number too large to be exact."""


def clean_id(text: str) -> str:
    """An id as ``clean`` text; ``5.0``, a whole number that met a missing value, is ``5``.

    Raises LostDigitsError for floating-point numbers from 2**53 on: several ids may have become one.
    """
    text = clean(text)
    if (text.endswith("0") and _WHOLE.fullmatch(text)) or ("+" in text and _EXPONENT.fullmatch(text)):
        if float(text) >= EXACT:
            raise LostDigitsError(text)
        return str(int(float(text))) if "+" not in text else text
    return text


def repeated(names: Sequence[str]) -> str:
    """The first name, in alphabetical order, that occurs more than once, or nothing."""
    return min((name for name in names if names.count(name) > 1), default="")


def open_table(path: str | Path, form: CsvFormat | None = None, needed: Sequence[str] = ()) -> "Table":
    """Open a table, packed or not, and check that it has the columns ``needed``.

    The format is detected from the content, never from the name.

    Errors: InputError for a file that is missing, empty or no table, or lacks a column.
    """
    from twotower.data.ingest.json_table import JsonTable

    path = Path(path)
    kind = detect_format(path)
    table: CsvTable | ParquetTable | JsonTable
    if kind == PARQUET:
        table = ParquetTable(path)
    else:
        table = JsonTable(path) if kind == JSON else CsvTable(path, form or CsvFormat(), needed)
    for name in needed:
        if name not in table.columns:
            raise InputError(f"{path}: no column {name!r}; it has {some_of(table.columns)}{column_hint(table, name)}")
    return table


def some_of(names: Sequence[str], most: int = 12) -> str:
    """Names in a sentence, quoted, at most so many."""
    listed = ", ".join(map(repr, names[:most]))
    return f"{listed} and {len(names) - most:,} others" if len(names) > most else listed


def column_hint(table: "Table", name: str) -> str:
    """What to do about a missing column."""
    if near := [known for known in table.columns if known.strip().casefold() == name.strip().casefold()]:
        return f" (write it as {near[0]!r})"
    if isinstance(table, CsvTable) and table.form.header:
        if any(looks_like_data(known) for known in table.columns):
            return " (the first line looks like data: --no-header calls the columns 1, 2, 3 …)"
        if len(table.columns) == 1:
            return f" (read with the separator {table.separator!r}: --separator names another)"
    return ""


def looks_like_data(text: str) -> bool:
    """Whether a column's name is rather a value: a date or a number that is no position."""
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\d.*|-?\d+\.\d+|\d{3,}", text)) or text in MISSING


class CsvTable:
    """A delimited text file; ``columns`` are its names in order."""

    n_rows = 0  # unknown

    def __init__(self, path: Path, form: CsvFormat, needed: Sequence[str] = ()):
        self.path, self.form = path, form
        try:
            self.encoding = codecs.lookup(form.encoding).name
        except LookupError:
            raise InputError(f"{path}: unknown encoding {form.encoding!r}, expected one such as latin-1") from None
        self.packed = packing(path)
        self.skip = form.skip_lines  # lines before the first row
        with self._open()[0] as text, self._errors():
            for _ in range(self.skip):
                text.readline()
            sample = text.read(SAMPLE_CHARACTERS)
            sample += "" if "\n" in sample else text.readline(FIELD_CHARACTERS)
        declared = separator_line(sample.partition("\n")[0])
        if declared:
            self.skip, sample = self.skip + 1, sample.partition("\n")[2]
        lines = list(io.StringIO(sample, newline=""))  # splitlines would also split at characters of latin-1
        first = lines[0].rstrip("\r\n") if lines else ""
        line = f"{path}, line {self.skip + 1}"
        if not first.strip():
            raise InputError(f"{line}: empty, expected {'column names' if form.header else 'data'}")
        self.escapes = form.escapes
        self.separator = (
            form.separator
            or declared
            or guess_separator(lines[:-1] or lines, self._rows, lambda separator: self._names(first, separator), needed)
        )
        if form.quotes and len(self.separator) == 1:
            self.escapes = form.escapes or has_backslash_escapes(sample, self.separator)
        self.columns = self._names(first, self.separator)
        if twice := repeated(self.columns):
            hint = "; --no-header, if that is data" if form.header else ""
            raise InputError(f"{line}: two columns are called {twice!r}{hint}")

    @property
    def description(self) -> str:
        """How the file is read, in a few words."""
        names = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "pipe"}
        words = ["CSV", f"separator {names.get(self.separator, repr(self.separator))}", self.form.encoding]
        return ", ".join([*words, *([self.packed] if self.packed else []), *(["backslash escapes"] * self.escapes)])

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
        size, before = self.path.stat().st_size, lines or self.skip
        fields = [itemgetter(self.columns.index(name)) for name in names]
        with text:
            reader = self._reader(text, lines)
            with self._errors(reader, before):
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

        usual = len(self.separator.encode()) == 1 and not self.escapes
        if not usual:
            yield from self.blocks(names, skip_ragged, progress)
            return
        columns = list(dict.fromkeys(names))
        wanted = [self.columns.index(name) for name in columns]
        reader = RowReader(self.separator, self.form.quotes, len(self.columns), wanted, FIELD_CHARACTERS, skip_ragged)
        text, raw = self._open()
        size = self.path.stat().st_size
        start = lines = 0
        rest = b""
        with text, suppress(csv.Error, UnicodeError, OSError, *DAMAGED):
            lines = self.skip
            for _ in range(lines):
                text.readline()
            if self.form.header:
                next(self._parse([text.readline()], self.separator))
                lines += 1
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
        return f"{self.path}, line {self.skip + reader.line_num}" + (f", column {column!r}" if column else "")

    def _whole(self, block: list[list[str]], start: int, skip_ragged: bool) -> list[list[str]]:
        """The rows with a field for each column. Errors: InputError for the first of the others."""
        width = len(self.columns)
        if set(map(len, block)) == {width}:
            return block
        block = [row[:width] if len(row) > width and not any(row[width:]) else row for row in block]  # trailing commas
        if set(map(len, block)) == {width}:
            return block
        if not skip_ragged:
            bad, row = next((j, row) for j, row in enumerate(block) if len(row) != width)
            hint = ", separated by " + repr(self.separator) if len(row) == 1 or width == 1 else ""
            raise InputError(f"{self.where(start + bad)}: {len(row)} fields, the first line has {width}{hint}")
        return [row for row in block if len(row) == width]

    def _open(self) -> tuple[io.TextIOWrapper, BinaryIO]:
        """The decoded text, and the raw file, whose position shows progress."""
        stream, raw = open_binary(self.path)
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        return io.TextIOWrapper(stream, encoding, newline=""), raw

    def _reader(self, text: io.TextIOWrapper, lines: int = 0) -> Any:
        """A csv reader at the first row of data, or after so many lines."""
        reader = self._parse(text, self.separator)
        for _ in range(lines or self.skip):
            text.readline()
        if not lines and self.form.header:
            next(reader)
        return reader

    def _parse(self, lines: Iterable[str], separator: str, strict: bool = True) -> Any:
        """A csv reader of ``lines``. A strict one reports a stray quote instead of swallowing the lines after it."""
        csv.field_size_limit(FIELD_CHARACTERS)  # global, hence set for each reading
        if len(separator) > 1:  # for the csv module one character; quotes are then ordinary ones
            several = separator
            lines, separator = (line.replace(several, UNIT) for line in lines), UNIT
        elif self.form.quotes:
            escape = "\\" if self.escapes else None
            return csv.reader(lines, delimiter=separator, escapechar=escape, strict=strict)
        return csv.reader(lines, delimiter=separator, strict=strict, quoting=csv.QUOTE_NONE)

    def _rows(self, lines: Sequence[str], separator: str) -> list[list[str]]:
        """The rows of some lines with one of several possible separators, up to the first fault."""
        rows: list[list[str]] = []
        with suppress(csv.Error):
            rows.extend(self._parse(lines, separator, strict=False))
        return rows

    def _names(self, first: str, separator: str) -> list[str]:
        """Column names: those of the first line, or numbers from 1 where there is no header or no name."""
        fields = next(self._parse([first], separator, strict=False))  # this may be a guess of the separator
        return [(self.form.header and clean(text)) or str(i) for i, text in enumerate(fields, 1)]

    @contextmanager
    def _errors(self, reader: Any = None, lines: int = 0) -> Iterator[None]:
        """Reading errors as one line with the place, ``lines`` after that of the reader."""
        try:
            yield
        except csv.Error as error:
            hint = ' (--no-quotes reads quotes as ordinary characters, --backslash-escapes \\" as a quote)'
            hint = hint if self.form.quotes else ""
            raise InputError(f"{self.path}, line {lines + reader.line_num}: {error}{hint}") from None
        except UnicodeDecodeError as error:
            line, byte = self._undecodable_line(), error.object[error.start]
            fault = f"byte {byte:#04x} is not {self.form.encoding}"
            other = "utf-16" if self._begins_as_utf_16() else "latin-1"
            raise InputError(f"{self.path}, line {line}: {fault}; --encoding names another, such as {other}") from None
        except (*DAMAGED, OSError) as error:
            after = lines + (reader.line_num if reader else 0)
            raise InputError(f"{self.path}, after line {after}: damaged {self.packed} file ({error})") from None

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
        self.columns: list[str] = [name for field in self.file.schema_arrow for name in leaf_names(field)]
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
            yield Block(start, [self.values(name, self.column(batch, name), values) for name in names])
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

    def column(self, batch: Any, name: str) -> Any:
        """A column of a batch, or a field of a nested one by its dotted path."""
        import pyarrow.compute

        if name in batch.schema.names:
            return batch.column(name)
        root, *path = name.split(".")
        return pyarrow.compute.struct_field(batch.column(root), path)

    def kind(self, name: str) -> Any:
        """The Arrow type of a column."""
        schema = self.file.schema_arrow
        if name in schema.names:
            return schema.field(name).type
        root, *path = name.split(".")
        kind = schema.field(root).type
        for step in path:
            kind = kind.field(step).type
        return kind

    def check_ids(self, name: str) -> None:
        """Errors: InputError for a column of lists, where an id per row is expected."""
        from pyarrow import types

        if types.is_list(self.kind(name)) or types.is_large_list(self.kind(name)):
            raise InputError(f"{self.path}, column {name!r}: a list per row, expected one id; write one row per item")

    def check_times(self, name: str) -> None:
        """Errors: InputError for a column of durations, or of times without a day: they would be read as numbers."""
        from pyarrow import types

        kind = self.kind(name)
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


def leaf_names(field: Any, prefix: str = "") -> list[str]:
    """The column's name, or those of a nested one's fields as dotted paths."""
    from pyarrow import types

    if types.is_struct(field.type) and field.type.num_fields:
        return [name for child in field.type for name in leaf_names(child, f"{prefix}{field.name}.")]
    return [prefix + field.name]


def read_columns(table: "Table", names: Sequence[str], skip_ragged: bool = False) -> list[list[str]]:
    """Whole columns of a small table, such as one of users or titles."""
    columns: list[list[str]] = [[] for _ in names]
    for block in table.blocks(names, skip_ragged):
        for column, values in zip(columns, block.columns, strict=True):
            column += values if isinstance(values, list) else values.texts()
    return columns
