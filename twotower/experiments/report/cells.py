"""Cells that the tables of an experiment share: territories, gains, intervals, verdicts.

A tone says that a gain is sure, so most have none; a sign, a mark or a word says the same as its colour.
"""

from collections.abc import Mapping
from typing import Any

from twotower.core.formatting import decimal, is_number
from twotower.report.table import Cell, Kind, Tone

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


def territory_cell(territory: Mapping[str, Any]) -> Cell:
    """Code and name, where they differ; a territory too small to evaluate says so."""
    code, name = territory["code"], territory["name"]
    text = f"{code} {name}" if name and name != code else code
    return Cell(code, text=text) if territory["evaluated"] else Cell(code, "quiet", "too small to evaluate", text=text)


def gain_cell(gain: float | None, territory: Mapping[str, Any], verdict: str = "") -> Cell:
    """A territory's gain: coloured where the verdict is sure, quiet where there is none to give."""
    tone: Tone = TONES[verdict] if verdict in ("better", "worse") else ""
    return Cell(gain, tone if territory["evaluated"] else "quiet", "" if is_number(gain) else NO_GAIN)


def mean_cell(mean: Mapping[str, Any]) -> Cell:
    """A mean gain: good or bad where its interval leaves out 0."""
    return Cell(mean["mean"], TONES[standing(mean)] if standing(mean) in ("better", "worse") else "", NO_GAIN)


def standing(mean: Mapping[str, Any]) -> str:
    """``better``, ``worse`` or ``undecided`` by an interval; empty without one."""
    low, high = mean["low"], mean["high"]
    if not is_number(low):
        return ""
    return "better" if low > 0 else "worse" if high < 0 else "undecided"


def interval_cell(low: float | None, high: float | None) -> Cell:
    """A 95 % interval."""
    known = is_number(low) and is_number(high)
    return Cell((low, high) if known else None, hint="" if known else "no interval: too few users or positives")


def verdict_cell(verdict: str) -> Cell:
    """A verdict with the shape of the forest plot."""
    return Cell(verdict, TONES[verdict], HINTS[verdict], MARKS[verdict])


def won_cell(mean: Mapping[str, Any]) -> Cell:
    """In how many of the evaluated territories the gain is above 0."""
    return Cell((mean["won"], mean["evaluated"]))


def sign_test_hint(mean: Mapping[str, Any]) -> str:
    """What the sign test says, with its condition."""
    p = mean.get("sign_p")
    return f"sign test p = {decimal(p, 3)}, if territories were independent" if is_number(p) else ""
