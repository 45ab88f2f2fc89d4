"""Cells and tables of the page: a text to read, a value to sort by, a tone that is never told by colour alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

DASH = "–"
TONES = {"better": "good", "worse": "bad", "undecided": "quiet", "too small": "quiet"}
MARKS = {"better": "▲", "worse": "▼", "undecided": "○", "too small": "×"}  # the forest plot draws the same shapes
HINTS = {
    "better": "clearly above 0, though many territories were tested",
    "worse": "clearly below 0, though many territories were tested",
    "undecided": "could be either",
    "too small": "too few positives, or users with one, to judge",
}


@dataclass(frozen=True)
class Cell:
    """One cell. ``value`` sorts it (None: last, whatever the order), ``hint`` says why it is as it is."""

    text: str
    value: float | str | None = None
    tone: str = ""
    hint: str = ""
    mark: str = ""

    @property
    def undefined(self) -> bool:
        return self.text == DASH


@dataclass(frozen=True)
class Column:
    """A column and how it sorts: ``number`` or ``text``; ``hint`` explains the heading."""

    name: str
    kind: str = "number"
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of equally many cells, the first of each being its heading. ``minor`` rows may be folded away."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    minor: Sequence[bool] = ()
    foot: Sequence[Sequence[Cell]] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def foldable(self) -> bool:
        return any(self.minor) and not all(self.minor)


def undefined(hint: str = "undefined") -> Cell:
    return Cell(DASH, hint=hint)


def text(value: Any, hint: str = "") -> Cell:
    """Any value as it is; nothing as undefined."""
    return undefined(hint or "not stated") if value in (None, "") else Cell(str(value), str(value), hint=hint)


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def signed(value: float, digits: int = 2) -> str:
    """``+1.20``, with a true minus sign, and no sign on a rounded zero."""
    rounded = f"{value:+,.{digits}f}"
    return rounded[1:] if float(rounded.replace(",", "")) == 0 else rounded.replace("-", "−")


def plain_number(value: float, digits: int = 3) -> str:
    """``digits`` after the point; very small ones with an exponent, so that none reads as nothing."""
    shown = f"{value:.1e}" if 0 < abs(value) < 10**-digits / 2 else f"{value:,.{digits}f}"
    return shown.replace("-", "−")


def number(value: Any, digits: int = 3, hint: str = "undefined") -> Cell:
    return Cell(plain_number(value, digits), float(value)) if is_number(value) else undefined(hint)


def count(value: Any) -> Cell:
    return Cell(f"{value:,.0f}", float(value)) if is_number(value) else undefined("not counted")


def percent(value: Any, digits: int = 1) -> Cell:
    """A share of 1 in percent."""
    return Cell(f"{100 * value:.{digits}f} %", float(value)) if is_number(value) else undefined()


def gain(value: Any, hint: str = "undefined: no positives, or none that the other model finds", tone: str = "") -> Cell:
    """A relative gain in percent, its sign written. A tone says that it is surely one, so most have none."""
    return Cell(signed(value), float(value), tone) if is_number(value) else undefined(hint)


def mean_gain(told: Mapping[str, Any]) -> Cell:
    """A mean with an interval: good or bad where the interval leaves out 0."""
    low, high = told.get("low"), told.get("high")
    tone = "good" if is_number(low) and low > 0 else "bad" if is_number(high) and high < 0 else ""
    return gain(told.get("mean"), tone=tone)


def interval(low: Any, high: Any) -> Cell:
    """A 95 % interval, sorted by its lower end."""
    if not (is_number(low) and is_number(high)):
        return undefined("no interval: too few users or positives")
    return Cell(f"{signed(low)} to {signed(high)}", float(low))


def verdict(value: Any) -> Cell:
    """``better``, ``worse``, ``undecided`` or ``too small``, with the shape of the forest plot."""
    if value not in TONES:
        return text(value, "no verdict: undefined")
    return Cell(value, value, TONES[value], HINTS[value], MARKS[value])


def mean_and_spread(values: Any, digits: int = 4) -> Cell:
    """Mean of several runs ± their standard deviation (sample's, n − 1)."""
    known = [x for x in values or () if is_number(x)]
    if not known:
        return undefined()
    mean = sum(known) / len(known)
    if len(known) < 2:
        return number(mean, digits)
    spread = (sum((x - mean) ** 2 for x in known) / (len(known) - 1)) ** 0.5
    return Cell(f"{plain_number(mean, digits)} ± {plain_number(spread, digits)}", mean)


def at(values: Any, *path: Any) -> Any:
    """What lies at ``path`` of nested lists and mappings, or None where the record ends earlier."""
    for step in path:
        try:
            values = values[step]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def columns(*names: str, first: str = "text") -> list[Column]:
    """Columns of numbers after a first one of texts."""
    return [Column(name, first if i == 0 else "number") for i, name in enumerate(names)]


def filled(table: Table) -> bool:
    """Whether anything but its headings is known."""
    return any(not cell.undefined for row in table.rows for cell in row[1:])
