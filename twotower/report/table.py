"""One table, three ways to show it: on a terminal, as CSV (and rows of JSON), and on an HTML page.

A ``Table`` holds values, not text: numbers, strings, None. Its columns say once what a value is called and how it is
written; the renderers do the rest.

    table = Table(
        [
            Column("territory", keys=("code",)),
            Column("positives", COUNT),
            Column("PR-AUC", SCORE, keys=("pr_auc",)),
            Column("95 % interval", INTERVAL, keys=("low", "high")),
        ],
        title="Results",
    )
    table.add("DE", 1234, 0.25, (0.2, 0.3))
    table.add("FR", 0, None, None)              # undefined: said in words, a dash on a page, an empty cell in CSV
    table.section()                             # a line on a terminal
    table.total("all", 1234, Cell(0.25, "good"), None)

    terminal.print_table(table, console)        # report/terminal.py
    csv_table.csv_of(table)                     # report/csv_table.py
    html.table_of(table)                        # report/html.py

*Values.* None and NaN are undefined; ``""`` is a cell that stays empty. An ``INTERVAL`` is (low, high), a
``with_spread(kind)`` is (mean, spread) where the spread may be undefined. A ``Cell`` adds to a value what only people
see: a tone (see ``Tone``), a hint why it is as it is (a tooltip on the page), a mark, or another text.

*Columns.* ``keys`` name the fields of CSV: one, or one for each part of a pair; none where CSV has no such column.
``on`` restricts a column to some renderers. Columns ``across`` repeat one thing (a territory, a group each): where a
terminal is too narrow for all of them, they continue in further blocks below, with the other columns repeated.

Text from outside (titles, territories, labels) needs no escaping here: each renderer escapes all that it shows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from twotower.core import formatting
from twotower.core.formatting import is_number

Tone = Literal["", "good", "bad", "alarm", "warning", "strong", "quiet"]
Renderer = Literal["terminal", "csv", "page"]
EVERYWHERE: tuple[Renderer, ...] = ("terminal", "csv", "page")


@dataclass(frozen=True)
class Kind:
    """How the values of a column are written, aligned and sorted."""

    write: Callable[[Any], str]
    numeric: bool = True
    digits: int = 0  # after the point, of the standard deviation of several values


@dataclass(frozen=True)
class Column:
    """A column: its heading (``\\n`` breaks it on a terminal), kind, and names in CSV."""

    name: str
    kind: Kind
    keys: Sequence[str] = ()
    on: Sequence[Renderer] = EVERYWHERE
    hint: str = ""  # explains the heading, on the page
    across: bool = False  # one of many alike, may continue in a block below
    max_width: int | None = None  # characters on a terminal; longer texts end in an ellipsis there


def data(*keys: str) -> Column:
    """A column for programs alone: no renderer but CSV shows it."""
    return Column("", TEXT, keys, on=("csv",))


@dataclass(frozen=True)
class Cell:
    """A value with what people see besides."""

    value: Any
    tone: Tone = ""
    hint: str = ""  # why it is as it is
    mark: str = ""  # a shape that says what the tone says, on the page
    text: str | None = None  # instead of the value as its column writes it


@dataclass
class Row:
    """The cells of a row, one for each column."""

    cells: list[Cell]
    tone: Tone = ""
    minor: bool = False  # may be folded away on the page
    section: bool = False  # a line after it, on a terminal


@dataclass
class Table:
    """Columns, rows, and totals below them, which are not part of the data: CSV leaves them out."""

    columns: Sequence[Column]
    title: str = ""
    caption: str = ""  # below the table on a terminal: what is left out, what a sign means
    id: str = ""  # of the element on a page
    rows: list[Row] = field(default_factory=list)
    totals: list[Row] = field(default_factory=list)

    def add(self, *values: Any, tone: Tone = "", minor: bool = False) -> None:
        """Add a row: a value or a ``Cell`` for each column."""
        self.rows.append(self._row(values, tone, minor))

    def total(self, *values: Any, tone: Tone = "strong") -> None:
        """Add a row below all others."""
        self.totals.append(self._row(values, tone))

    def section(self) -> None:
        """End a section with the rows so far."""
        if self.rows:
            self.rows[-1].section = True

    def shown_on(self, renderer: Renderer) -> list[int]:
        """Positions of the columns that a renderer shows."""
        return [i for i, column in enumerate(self.columns) if renderer in column.on]

    def _row(self, values: Iterable[Any], tone: Tone, minor: bool = False) -> Row:
        cells = [value if isinstance(value, Cell) else Cell(value) for value in values]
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        return Row(cells, tone, minor)


def is_undefined(value: Any) -> bool:
    """Whether there is nothing to write: None, NaN, or a pair that starts with one."""
    first = value[0] if isinstance(value, tuple) else value
    return first is None or first != first


def text_of(cell: Cell, column: Column) -> str | None:
    """What a cell says to people; None where it is undefined."""
    if cell.text is not None:
        return cell.text
    if is_undefined(cell.value):
        return None
    return cell.value if isinstance(cell.value, str) else column.kind.write(cell.value)


def sort_value(cell: Cell, column: Column) -> float | str | None:
    """What a page sorts a cell by: its number, or the first of a pair; its text; None sorts last."""
    first = cell.value[0] if isinstance(cell.value, tuple) else cell.value
    if column.kind.numeric:
        return float(first) if is_number(first) else None
    return text_of(cell, column) or None


# ---------------------------------------------------------------- kinds


def with_spread(kind: Kind) -> Kind:
    """Pairs (mean, standard deviation) of values of ``kind``; without ± where there is no deviation."""

    def write(pair: tuple[float, float | None]) -> str:
        mean, spread = kind.write(pair[0]), pair[1]
        return formatting.with_spread(mean, f"{spread:,.{kind.digits}f}") if is_number(spread) else mean

    return Kind(write)


def decimal(digits: int) -> Kind:
    """Numbers with ``digits`` after the point."""
    return Kind(lambda value: formatting.decimal(value, digits), digits=digits)


def significant(digits: int = 3) -> Kind:
    """Numbers with ``digits`` significant digits, whatever their size."""
    return Kind(lambda value: formatting.significant(value, digits))


def signed(digits: int = 2) -> Kind:
    """Differences, with their sign."""
    return Kind(lambda value: formatting.signed(value, digits), digits=digits)


def write_level(level: tuple[float, float | None, float | None]) -> str:
    """``0.1234 (0.1100 to 0.1300)``, without an interval where there is none."""
    mean, low, high = level
    ends = f" ({SCORE.write(low)} to {SCORE.write(high)})" if is_number(low) and is_number(high) else ""
    return SCORE.write(mean) + ends


TEXT = Kind(str, numeric=False)
COUNT = Kind(formatting.count)
SCORE = decimal(4)  # PR-AUC, base rate
GAIN = signed(2)  # relative, in percent
PERCENT = Kind(formatting.percent)  # shares of 1
INTERVAL = Kind(lambda ends: formatting.interval(*ends))  # (low, high)
LEVEL = Kind(write_level)  # (mean, low, high)
