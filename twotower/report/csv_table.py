"""Tables for programs: CSV, and rows for JSON. Values as they are, nothing written for people, no totals."""

from collections.abc import Mapping
from typing import Any

from twotower.core.serialisation import csv_text, harmless
from twotower.report.table import Column, Table


def csv_of(*tables: Table) -> str:
    """Tables with the same columns below each other, under one header; what is undefined is an empty cell."""
    names = list(dict.fromkeys(name for table in tables for name in field_names(table)))
    rows = [row for table in tables for row in records_of(table)]
    return csv_text({name: [harmless(row[name]) for row in rows] for name in names})


def records_of(table: Table) -> list[dict[str, Any]]:
    """The rows as mappings of field to value."""
    columns = [(i, table.columns[i]) for i in table.shown_on("csv")]
    return [
        {name: value for i, column in columns for name, value in fields(column, row.cells[i].value).items()}
        for row in table.rows
    ]


def field_names(table: Table) -> list[str]:
    """The header."""
    return [name for i in table.shown_on("csv") for name in table.columns[i].keys]


def fields(column: Column, value: Any) -> Mapping[str, Any]:
    """What a cell gives: a field, or one for each part of a pair."""
    if len(column.keys) < 2:
        return dict.fromkeys(column.keys, value)
    return dict(zip(column.keys, value or [None] * len(column.keys), strict=True))
