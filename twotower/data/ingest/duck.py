"""DuckDB, an extra: large text files as Arrow batches, and the rows that a condition selects.

Text files are read with the format that the careful readers have detected, nothing is left to guess; what DuckDB cannot
read so is ``Unfit`` for it.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from glob import has_magic
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twotower.core.errors import InputError
from twotower.data.ingest import blocks
from twotower.data.ingest.arrow_table import ArrowTable, ColumnarFile
from twotower.data.ingest.blocks import CsvFormat
from twotower.data.ingest.csv_table import FIELD_CHARACTERS, CsvTable
from twotower.data.ingest.formats import DAMAGED, open_binary, packing
from twotower.data.ingest.json_table import JsonTable
from twotower.data.ingest.tables import Table

ENCODINGS = {"utf-8": "utf-8", "utf-8-sig": "utf-8", "ascii": "utf-8", "iso8859-1": "latin-1"}
PACKINGS = {"": "none", "gzip": "gzip", "zstd": "zstd"}
EVERY_ROW = -1  # of a file decides on the types of its columns
#: Types of text that keep it as it is written: the day of a time in its own time zone, say.
WRITTEN = re.compile(r"\b(TIMESTAMP( WITH TIME ZONE|_\w+)?|DATE|TIME( WITH TIME ZONE)?|UUID)\b")
MALFORMED = re.compile(r"CSV|JSON|unicode|UTF")  # in messages on a file that is not as expected
TRAILING_COMMA = re.compile(rb",\s*[]}]")
PIECE, LONGEST_SPACE = 1 << 24, 1 << 10  # bytes looked at together; of white space after a comma between two pieces
MOST_SEPARATOR_BYTES = 4
REMEDY = "pip install 'twotower[sql]'"


class Unfit(Exception):
    """DuckDB cannot read this file; the careful readers can, or say what is wrong with it."""


def has_duckdb() -> bool:
    try:
        import duckdb
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    return bool(duckdb)


def connection(purpose: str, database: str | None = None, **settings: Any) -> Any:
    """A connection to a database in a file, for reading, or to one in memory.

    Errors: InputError with the remedy where DuckDB is not installed.
    """
    if not has_duckdb():
        raise InputError(f"{purpose} needs DuckDB: {REMEDY}")
    import duckdb

    return duckdb.connect(database or ":memory:", read_only=database is not None, config=settings)


class DuckTable(ArrowTable):
    """Another table, read by DuckDB; with ``condition``, only the rows for which that SQL expression is true.

    constants: columns that the condition may name, too, such as those that folders say.
    Errors: Unfit at any time; InputError for a condition that DuckDB does not understand.
    """

    def __init__(
        self, table: Table, used: Sequence[str], condition: str = "", constants: Mapping[str, str] | None = None
    ):
        self.path, self.columns, self.table, self.condition = table.path, table.columns, table, condition
        self.description = table.description
        if not condition and not has_duckdb():
            raise Unfit
        self.connection = connection("--where", autoinstall_known_extensions=False)
        with self._errors():
            rows = self._source(table, used)
            added = "".join(f", {sql(value)} AS {quoted(key)}" for key, value in (constants or {}).items())
            rows = rows.project(f"*{added}")
            self.rows = rows.filter(condition) if condition else rows

    def batches(self, names: Sequence[str], rows: int | None = None) -> Iterator[Any]:
        top = self.rows.columns
        places = {name: quoted(name) if name in top else ".".join(map(quoted, name.split("."))) for name in names}
        with self._errors():
            chosen = ", ".join(f"{place} AS {quoted(name)}" for name, place in places.items())
            for batch in self.rows.project(chosen).arrow(rows or blocks.BLOCK_ROWS):
                if isinstance(self.table, JsonTable) and any(map(has_json, batch.columns)):
                    raise Unfit
                yield batch

    def kind(self, name: str) -> Any:
        return next(self.batches([name])).schema.field(name).type

    def where(self, row: int, column: str | None = None) -> str:
        place = super().where(row, column)
        return f"{place} (of those that --where selects)" if self.condition else self.table.where(row, column)

    def _source(self, table: Table, used: Sequence[str]) -> Any:
        """All rows of a table, as a relation; texts in the columns ``used`` stay as they are written."""
        if isinstance(table, ColumnarFile):
            return self.connection.from_arrow(table.data)
        assert isinstance(table, CsvTable | JsonTable)
        packed = packing(table.path)
        if packed not in PACKINGS or has_magic(str(table.path)):
            raise Unfit
        options: dict[str, Any] = {"compression": PACKINGS[packed]}
        if isinstance(table, JsonTable):
            form = "json"
            options |= {"format": "newline_delimited"}
            types = self._types(form, table.path, options | ({"sample_size": EVERY_ROW} if self.condition else {}))
            if has_trailing_comma(table.path):
                raise Unfit
            roots = {name if name in types else name.split(".")[0] for name in used}
            if not roots <= types.keys() or any("JSON" in types[root] for root in roots):  # values of several types
                raise Unfit
            types |= {root: WRITTEN.sub("VARCHAR", types[root]) for root in roots}
            types = types if self.condition else {root: types[root] for root in roots}
        else:
            form = "csv"
            options |= csv_options(table)
            types = dict.fromkeys(table.columns, "VARCHAR")
            if self.condition:
                types = self._types(
                    form, table.path, options | {"names": table.columns, "sample_size": EVERY_ROW}
                ) | dict.fromkeys(used, "VARCHAR")
            options["auto_detect"] = False
        return self._read(form, table.path, options | {"columns": types})

    def _types(self, form: str, path: Path, options: dict[str, Any]) -> dict[str, str]:
        """The names and types of a text file's columns, as DuckDB reads them."""
        rows = self._read(form, path, options)
        return dict(zip(rows.columns, map(str, rows.types), strict=True))

    def _read(self, form: str, path: Path, options: dict[str, Any]) -> Any:
        given = "".join(f", {name} = {sql(value)}" for name, value in options.items())
        return self.connection.sql(f"SELECT * FROM read_{form}({sql(str(path))}{given})")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from duckdb import Error
        from pyarrow import ArrowException

        try:
            yield
        except (Error, ArrowException, OSError) as error:
            if not self.condition or MALFORMED.search(str(error)):
                raise Unfit from None
            raise InputError(f"{self.path}: --where {self.condition!r}: {one_line(error)}") from None


def csv_options(table: CsvTable) -> dict[str, Any]:
    """The format of a file as options of read_csv. Errors: Unfit for what it does not know."""
    if table.escapes or table.encoding not in ENCODINGS or len(table.separator.encode()) > MOST_SEPARATOR_BYTES:
        raise Unfit
    quote = table.quote if table.form.quotes and len(table.separator) == 1 else ""
    return {
        "delim": table.separator, "quote": quote, "escape": quote, "encoding": ENCODINGS[table.encoding],
        "header": False, "skip": table.skip + table.form.header, "strict_mode": True, "nullstr": "",
        "max_line_size": FIELD_CHARACTERS,
    }  # fmt: skip


@contextmanager
def rewritten(table: CsvTable | JsonTable, skip_ragged: bool) -> Iterator[tuple[CsvTable, int]]:
    """A copy of a table as a plain CSV file, by a careful reader, and how many rows that left out. Errors: its own."""
    with TemporaryDirectory() as folder:
        path, ragged = Path(folder) / "rows.csv", 0
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table.columns)
            for block in table.blocks(table.columns, skip_ragged):
                writer.writerows(zip(*block.columns, strict=True))
                ragged += block.ragged
        yield CsvTable(path, CsvFormat(separator=",")), ragged


def has_trailing_comma(path: Path) -> bool:
    """Whether a comma stands before a closing bracket, which is no JSON, though DuckDB reads it; or within a text."""
    before = b""
    with open_binary(path)[0] as stream, suppress(*DAMAGED, OSError):  # which reading says
        while block := stream.read(PIECE):
            if TRAILING_COMMA.search(before + block):
                return True
            before = block[-LONGEST_SPACE:]
    return False


def has_json(column: Any) -> bool:
    """Whether a column has texts that are lists or objects, which DuckDB makes of those that it did not expect."""
    from pyarrow import compute, types

    if not types.is_string(column.type):
        return False
    starts = (compute.any(compute.starts_with(column, mark)).as_py() for mark in ("[", "{"))
    return any(starts)


def sql(value: Any) -> str:
    """A value as SQL."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{sql(key)}: {sql(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(sql, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def one_line(error: Exception) -> str:
    """What a database says, on one line, without the place in the query."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("LINE ", "^")))
