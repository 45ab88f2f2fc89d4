"""CSV and JSON for machines. What is undefined is an empty cell in CSV and null in JSON."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import IO, Any

import numpy as np

RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # and full width


class Spreadsheets:
    """Whether CSV output for people is for spreadsheets, which run cells that begin with "="."""

    enabled = False


def harmless(value: Any) -> Any:
    """A cell of CSV output; with ``Spreadsheets``, a text that one could run gets an apostrophe in front."""
    runs = Spreadsheets.enabled and isinstance(value, str) and value.lstrip(" ").startswith(RUN_BY_SPREADSHEETS)
    return f"'{value}" if runs else value


def csv_text(columns: Mapping[str, Sequence[Any]]) -> str:
    """Equally long columns as CSV with a header; numbers read back as they were."""
    text = io.StringIO(newline="")
    write_csv_to(text, columns)
    return text.getvalue()


def write_csv_to(file: IO[str], columns: Mapping[str, Sequence[Any]]) -> None:
    """Write equally long columns as CSV with a header to an open file."""
    # Before Python 3.13 csv leaves a lone carriage return unquoted, and then reads the end of a line there.
    bare = any(isinstance(cell, str) and "\r" in cell for column in columns.values() for cell in column)
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL)
    writer.writerow(columns)
    writer.writerows(zip(*(map(cell_text, column) for column in columns.values()), strict=True))


def cell_text(cell: Any) -> str:
    """A cell's text; empty for None and NaN."""
    return "" if cell is None or cell != cell else str(cell)


def json_text(value: Any) -> str:
    """Results as indented JSON."""
    return json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False)


def plain(value: Any) -> Any:
    """Values for JSON: a record by its fields, NumPy's as Python's, and null for what JSON lacks, NaN and infinity."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted names; what is no mapping has the name ``prefix``."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    result: dict[str, Any] = {}
    for name, item in value.items():
        result |= flat(item, f"{prefix}.{name}" if prefix else str(name))
    return result
