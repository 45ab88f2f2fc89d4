"""Open a table, whatever its format.

A log may be larger than memory, so only one block of rows is kept. Values stay text: ids are names.

There are two ways to read one. ``blocks`` is careful: lists of texts, by the csv and json modules, and errors with
their place. The fast way is Arrow columns, without a Python object per field: those of typed files, and those that
DuckDB makes of large text files (duck.py). It gives the same rows, and leaves what is malformed to the careful one.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from twotower.core.errors import InputError
from twotower.data.ingest.arrow_table import ArrowTable, ColumnarFile
from twotower.data.ingest.blocks import CsvFormat, some_of
from twotower.data.ingest.cleaning import MISSING
from twotower.data.ingest.csv_table import CsvTable
from twotower.data.ingest.encodings import begins_as
from twotower.data.ingest.formats import COLUMNAR, JSON, detect_format
from twotower.data.ingest.json_table import JsonTable

Table = CsvTable | JsonTable | ArrowTable
NONE: Mapping[str, str] = {}


def open_table(
    path: str | Path, form: CsvFormat | None = None, needed: Sequence[str] = (), options: Mapping[str, str] = NONE,
    partition: Sequence[str] = (),
) -> Table:  # fmt: skip
    """Open a table, packed or not, and check that it has the columns ``needed``.

    The format is detected from the content, never from the name. options: that name the columns, by column;
    partition: columns that the file's folders say.

    Errors: InputError for a file that is missing, empty or no table, or lacks a column.
    """
    path = Path(path)
    kind = detect_format(path)
    table: Table
    if kind in COLUMNAR.values():
        table = ColumnarFile(path, kind)
    else:
        form = form or CsvFormat()
        table = JsonTable(path, form) if kind == JSON else CsvTable(path, form, needed)
    check_columns(table, needed, options, partition)
    return table


def check_columns(
    table: Table, needed: Sequence[str], options: Mapping[str, str] = NONE, partition: Sequence[str] = ()
) -> None:
    """Errors: InputError for a column that the table lacks; ``partition`` are those that its folders say."""
    for name in needed:
        if name not in table.columns:
            option = f" ({options[name]})" if name in options else ""
            folders = f", its folders {some_of(partition)}" if partition else ""
            hint = column_hint(table, name, [*table.columns, *partition])
            has = f"it has {some_of(table.columns)}{folders}{hint}"
            raise InputError(f"{table.path}: no column {name!r}{option}; {has}")


def column_hint(table: Table, name: str, known: Sequence[str]) -> str:
    """What to do about a missing column, which may be one of the ``known`` ones."""
    plain = {re.sub(r"[\W_]", "", other).casefold(): other for other in reversed(known)}
    wanted = re.sub(r"[\W_]", "", name).casefold()
    nested = [other for other in known if other.startswith(f"{name}.")]
    near = [plain[wanted]] if wanted in plain else nested or [plain[key] for key in get_close_matches(wanted, plain, 1)]
    if isinstance(table, CsvTable):
        no_header, separator = table.form.option("no-header"), table.form.option("separator")
        if any("\0" in other for other in table.columns) and (encoding := begins_as(table.path)):
            return f" ({table.form.option('encoding')} {encoding})"
        if begins_as(table.path) == "utf-8" and table.encoding != "utf-8":
            return f" (the file begins as UTF-8: {table.form.option('encoding')} utf-8)"
        if table.form.header and any(looks_like_data(other) for other in table.columns):
            return f" (the first line looks like data: {no_header} calls the columns 1, 2, 3 …)"
        if table.columns[0].startswith("#") and len(table.columns) == 1:
            return " (--skip-lines leaves out lines before the column names)"
        if len(table.columns) == 1 and table.separator in table.columns[0]:
            return " (each line is quoted as a whole: remove the outer quotes)"
        if len(table.columns) == 1:
            between = re.search(rf"{re.escape(name)}([^\w\s]+)\w", table.columns[0])
            other = f"{separator} {between[1]!r} may be right" if between else f"{separator} names another"
            return f" (read with the separator {table.separator!r}: {other})"
    elif isinstance(table, JsonTable) and table.lists and len(table.columns) == 1:
        return f" (a list of rows: jq -c '.{table.columns[0]}[]' writes one object per line)"
    return f" (write it as {near[0]!r})" if near else ""


def looks_like_data(text: str) -> bool:
    """Whether a column's name is rather a value: a date or a number that is no position."""
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\d.*|-?\d+\.\d+|\d{3,}", text)) or text in MISSING


def read_columns(table: Table, names: Sequence[str], skip_ragged: bool = False) -> list[list[str]]:
    """Whole columns of a small table, such as one of users or titles."""
    columns: list[list[str]] = [[] for _ in names]
    for block in table.blocks(names, skip_ragged):
        for column, values in zip(columns, block.columns, strict=True):
            column += values
    return columns
