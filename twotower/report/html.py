"""Tables for a page: sortable by what the cells are worth, foldable, readable without colour."""

import html

from twotower.core.formatting import visible
from twotower.report.table import Cell, Column, Row, Table, sort_value, text_of


def table_of(table: Table) -> str:
    """A table as HTML, in a region of its own that scrolls sideways, also by keyboard.

    Each cell carries ``data-value`` to sort by; undefined ones carry none. A sign, a shape or a word says what the
    colour of a tone says.
    """
    columns = table.shown_on("page")
    name = escape(table.id)
    headings = "\n".join(heading_of(table.columns[i]) for i in columns)
    minor = [row.minor for row in table.rows]
    foldable = any(minor) and not all(minor)
    rows = "\n".join(row_of(table, row, columns, foldable and row.minor) for row in table.rows)
    totals = "\n".join(row_of(table, row, columns) for row in table.totals)
    foot = f"<tfoot>\n{totals}\n</tfoot>\n" if totals else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}-caption">\n'
        f'<table id="{name}" class="sortable">\n'
        f'<caption><span id="{name}-caption">{escape(table.title)}</span></caption>\n'
        f"<thead><tr>\n{headings}\n</tr></thead>\n<tbody>\n{rows}\n</tbody>\n{foot}</table>\n</div>"
    )


def heading_of(column: Column) -> str:
    kind = "number" if column.kind.numeric else "text"
    name = escape(column.name.replace("\n", " "))
    return f'<th scope="col" data-sort="{kind}"{attribute("title", column.hint)}>{name}</th>'


def row_of(table: Table, row: Row, columns: list[int], minor: bool = False) -> str:
    """A row; its first cell is its heading."""
    cells = [cell_of(row.cells[i], table.columns[i], "td" if n else "th") for n, i in enumerate(columns)]
    return f"<tr{attribute('class', 'minor' if minor else '')}>\n{''.join(cells)}\n</tr>"


def cell_of(cell: Cell, column: Column, tag: str) -> str:
    """A cell. What is undefined is a dash, and for screen readers the reason."""
    text, value = text_of(cell, column), sort_value(cell, column)
    hint = cell.hint or ("undefined" if text is None else "")
    attributes = ' scope="row"' if tag == "th" else ""
    attributes += attribute("data-value", "" if value is None else str(value))
    attributes += attribute("class", cell.tone) + attribute("title", hint)
    if text is None:
        inner = f'<span aria-hidden="true">–</span><span class="visually-hidden">{escape(hint)}</span>'
    else:
        mark = f'<span class="mark" aria-hidden="true">{escape(cell.mark)}</span> ' if cell.mark else ""
        note = f'<span class="note">{escape(cell.hint)}</span>' if tag == "th" and cell.hint else ""
        inner = mark + escape(text) + note
    return f"<{tag}{attributes}>{inner}</{tag}>"


def attribute(name: str, value: str) -> str:
    """`` name="value"``, or nothing without a value."""
    return f' {name}="{escape(value)}"' if value else ""


def escape(text: str) -> str:
    """Text for a page: no markup, no control character."""
    return html.escape(visible(text))
