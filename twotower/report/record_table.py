"""Tables from records: a field of a dataclass says once how its column is called and written.

    @dataclass
    class GroupRows:
        name: str = shown("group", TEXT)
        pairs: int = shown("pairs", COUNT)
        by_layer: list[int] = shown("", COUNT, across=True)     # a column for each element, headed 0, 1, …
        seen: bool                                              # in JSON alone

    table_of(GroupRows, records, "Rows of each group")          # report/table.py renders it
    core.serialisation.json_text(records)                       # every field under its name

The order of the columns is that of the fields.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable
from typing import Any

from twotower.report.table import Cell, Column, Kind, Table, Tone

#: (record, name of the field, value, index of the element or None) → what the table holds instead of the value.
CellOf = Callable[[Any, str, Any, int | None], Any]


def shown(name: str, kind: Kind, tone: Callable[[Any], Tone] | None = None, **column: Any) -> Any:
    """A field with a column of this name and kind; ``tone`` is that of a cell, by its value."""
    return dataclasses.field(metadata={"column": Column(name, kind, **column), "tone": tone})


def table_of(
    kind: type, records: Iterable[Any], title: str = "", caption: str = "", *, hide: Collection[str] = (),
    cell: CellOf | None = None, tone: Callable[[Any], Tone] | None = None, section: Callable[[Any], Any] | None = None,
) -> Table:  # fmt: skip
    """A row for each record of a dataclass ``kind``, without the fields in ``hide``.

    ``cell`` may replace values, ``tone`` is that of a row, and a section ends where ``section`` of a record changes.
    """
    rows = list(records)
    fields = [f for f in dataclasses.fields(kind) if "column" in f.metadata and f.name not in hide]
    columns: list[Column] = []
    for f in fields:
        column = f.metadata["column"]
        if column.across:
            count = max((len(getattr(row, f.name) or ()) for row in rows), default=0)
            columns += [dataclasses.replace(column, name=f"{column.name}{k}") for k in range(count)]
        else:
            columns.append(column)
    table = Table(columns, title, caption)
    for n, row in enumerate(rows):
        if n and section is not None and section(row) != section(rows[n - 1]):
            table.section()
        table.add(*cells_of(row, fields, columns, cell), tone=tone(row) if tone else "")
    return table


def cells_of(row: Any, fields: list[Any], columns: list[Column], cell: CellOf | None) -> list[Cell]:
    """The cells of a record; where it has no list for columns across, they stay empty."""
    cells = []
    across = sum(column.across for column in columns)
    for f in fields:
        value = getattr(row, f.name)
        elements = enumerate(value or [""] * across) if f.metadata["column"].across else [(None, value)]
        for k, element in elements:
            content = element if cell is None else cell(row, f.name, element, k)
            if not isinstance(content, Cell):
                content = Cell(content, f.metadata["tone"](content) if f.metadata["tone"] else "")
            cells.append(content)
    return cells
