"""Cells that the tables of an experiment share: territories, gains, means with intervals, verdicts.

A tone says that a gain is sure, so most have none; a sign, a mark or a word says the same as its colour.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from twotower.core.formatting import decimal, is_number
from twotower.experiments.report.wording import standing
from twotower.experiments.schema import MeanRecord, TerritoryMeanRecord, TerritoryRecord, Value
from twotower.report.table import COUNT, EVERYWHERE, GAIN, INTERVAL, Cell, Column, Kind, Renderer, Tone

TONES: dict[str, Tone] = {"better": "good", "worse": "bad", "undecided": "quiet", "too small": "quiet"}
MARKS = {"better": "▲", "worse": "▼", "undecided": "○", "too small": "×"}  # the forest plot draws the same shapes
HINTS = {
    "better": "clearly above 0, corrected for the number of territories",
    "worse": "clearly below 0, corrected for the number of territories",
    "undecided": "could be either",
    "too small": "too few positives, or too few users with one",
}
NO_GAIN = "undefined: no positives, or the baseline ranks none of them"
WON = Kind(lambda pair: f"{pair[0]} of {pair[1]}")  # (won, evaluated)


def territory_cell(territory: TerritoryRecord) -> Cell:
    """Code and name, where they differ; a territory too small to evaluate says so."""
    code, name = territory["code"], territory["name"]
    text = f"{code} {name}" if name and name != code else code
    return Cell(code, text=text) if territory["evaluated"] else Cell(code, "quiet", "too small to evaluate", text=text)


def gain_cell(gain: Value, territory: TerritoryRecord, verdict: str = "") -> Cell:
    """A territory's gain: coloured where the verdict is sure, quiet where there is none to give."""
    tone: Tone = TONES[verdict] if verdict in ("better", "worse") else ""
    return Cell(gain, tone if territory["evaluated"] else "quiet", "" if is_number(gain) else NO_GAIN)


def mean_columns(heading: str, prefix: str, on: Sequence[Renderer] = EVERYWHERE) -> list[Column]:
    """The columns of ``mean_cells``."""
    ends = f"{prefix}_low", f"{prefix}_high"
    return [Column(heading, GAIN, (f"{prefix}_mean",), on), Column("95 % interval", INTERVAL, ends, on)]


def mean_cells(mean: MeanRecord) -> list[Cell]:
    """A mean gain and its interval: good or bad where the interval leaves out 0."""
    tone: Tone = TONES.get(standing(mean), "") if standing(mean) in ("better", "worse") else ""
    return [Cell(mean["mean"], tone, NO_GAIN), interval_cell(mean["low"], mean["high"])]


def count_columns(prefix: str, on: Sequence[Renderer] = EVERYWHERE) -> list[Column]:
    """The columns of ``count_cells``."""
    counts = [Column(name.capitalize(), COUNT, (f"{prefix}_{name}",), on) for name in ("better", "worse")]
    return [Column("Won", WON, (f"{prefix}_won", f"{prefix}_evaluated"), on), *counts]


def count_cells(mean: TerritoryMeanRecord) -> list[Any]:
    """In how many of the evaluated territories the gain is above 0, and sure."""
    return [(mean["won"], mean["evaluated"]), mean["better"], mean["worse"]]


def interval_cell(low: Value, high: Value) -> Cell:
    """A 95 % interval."""
    known = is_number(low) and is_number(high)
    return Cell((low, high) if known else None, hint="" if known else "no interval: too few users or positives")


def verdict_cell(verdict: str) -> Cell:
    """A verdict with the shape of the forest plot."""
    return Cell(verdict, TONES[verdict], HINTS[verdict], MARKS[verdict])


def sign_test_hint(mean: Mapping[str, Any]) -> str:
    """What the sign test says, with its condition."""
    p = mean.get("sign_p")
    return f"sign test p = {decimal(p, 3)}, if territories were independent" if is_number(p) else ""
