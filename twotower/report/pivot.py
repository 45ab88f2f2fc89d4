"""Long tables, which suit programs, made wide for people: a column for each method, say."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from twotower.report.table import Row, Table


def pivoted(table: Table, by: str, value: str, keep: Sequence[str], title: str, id: str = "") -> Table:
    """A column for each value of the field ``by``, with the field ``value`` in it.

    Columns in ``keep`` come first; the first of them identifies a row.
    """
    place = {name: i for i, column in enumerate(table.columns) for name in (column.name, *column.keys)}
    kept, key, cell = [place[name] for name in keep], place[by], place[value]
    rows: dict[Any, dict[str, Row]] = {}
    for row in table.rows:
        rows.setdefault(row.cells[kept[0]].value, {})[row.cells[key].value] = row
    names = list(dict.fromkeys(row.cells[key].value for row in table.rows))
    wide = [replace(table.columns[cell], name=name, across=True) for name in names]
    result = Table([*(table.columns[i] for i in kept), *wide], title, id=id)
    for by_name in rows.values():
        first = next(iter(by_name.values()))
        cells = (by_name[name].cells[cell] if name in by_name else None for name in names)
        result.add(*(first.cells[i] for i in kept), *cells, minor=first.minor)
    return result
