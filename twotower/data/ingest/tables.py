"""Open a table, whatever its format.

A log may be larger than memory, so only one block of rows is kept. Values stay text: ids are names.

There are two ways to read one. ``blocks`` is careful: lists of texts, by the csv and json modules, and errors with
their place. The fast way is Arrow columns, without a Python object per field: those of typed files, and those that
DuckDB makes of large text files (duck.py). It gives the same rows, and leaves what is malformed to the careful one.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from twotower.core.errors import InputError
from twotower.data.ingest.arrow_table import ArrowTable, ColumnarFile
from twotower.data.ingest.blocks import CsvFormat, some_of
from twotower.data.ingest.cleaning import MISSING
from twotower.data.ingest.csv_table import CsvTable
from twotower.data.ingest.formats import COLUMNAR, JSON, detect_format
from twotower.data.ingest.json_table import JsonTable

Table = CsvTable | JsonTable | ArrowTable


def open_table(path: str | Path, form: CsvFormat | None = None, needed: Sequence[str] = ()) -> Table:
    """Open a table, packed or not, and check that it has the columns ``needed``.

    The format is detected from the content, never from the name.

    Errors: InputError for a file that is missing, empty or no table, or lacks a column.
    """
    path = Path(path)
    kind = detect_format(path)
    table: Table
    if kind in COLUMNAR.values():
        table = ColumnarFile(path, kind)
    else:
        table = JsonTable(path) if kind == JSON else CsvTable(path, form or CsvFormat(), needed)
    check_columns(table, needed)
    return table


def check_columns(table: Table, needed: Sequence[str]) -> None:
    """Errors: InputError for a column that the table lacks."""
    for name in needed:
        if name not in table.columns:
            has = f"it has {some_of(table.columns)}{column_hint(table, name)}"
            raise InputError(f"{table.path}: no column {name!r}; {has}")


def column_hint(table: Table, name: str) -> str:
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


def read_columns(table: Table, names: Sequence[str], skip_ragged: bool = False) -> list[list[str]]:
    """Whole columns of a small table, such as one of users or titles."""
    columns: list[list[str]] = [[] for _ in names]
    for block in table.blocks(names, skip_ragged):
        for column, values in zip(columns, block.columns, strict=True):
            column += values
    return columns
