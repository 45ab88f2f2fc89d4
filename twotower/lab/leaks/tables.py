"""The record of the leak detector on a terminal: a table with a verdict per row, and how to read it."""

import math
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from twotower.core.formatting import counted, minus
from twotower.lab.leaks.record import LABELS, LeakRecord, LeakRow
from twotower.report.record_table import shown, table_of
from twotower.report.table import TEXT, Cell, Kind, Table, Tone
from twotower.report.terminal import print_lines, print_table

NOUNS = {"labels": "label", "user features": "user", "title features": "title"}
TONES: dict[str, Tone] = {"isolated": "good", "batch-norm": "", "leak": "alarm", "none": "quiet"}
VERDICTS = {"none": "nothing to perturb", "isolated": "isolated", "batch-norm": "batch-norm only"}


def percent_text(value: float) -> str:
    """A relative change in percent, with two significant digits."""
    return "∞" if math.isinf(value) else minus(f"{100 * value:.2g} %") if value else "0"


@dataclass
class Row:
    """What people see of a row."""

    row: LeakRow
    group: str = shown("group", TEXT)
    perturbed: str = shown("perturbed\noutside it", TEXT)
    changed: str = shown("elements\nchanged", Kind(str))
    relative: float = shown("relative\nchange", Kind(percent_text))
    verdict: str = shown("verdict", TEXT)


def print_leaks(record: LeakRecord, console: Console) -> None:
    """The table, its legend, the notes and the conclusion."""
    print_table(leak_table(record), console)
    print_lines(console, ["", *legend(record), *record.notes, "", conclusion(record)])


def leak_table(record: LeakRecord) -> Table:
    """A row for each group and each input that was perturbed outside it."""
    rows, subject = [], record.subject
    for row in record.rows:
        group, change = record.groups[row.group], row.change
        name = group.name if row.input == LABELS else ""
        changed = f"{change.changed:,} of {change.elements:,}"
        said = verdict(row) + ("" if group.pairs else "; not in this batch")
        rows.append(Row(row, name, counted(row.perturbed, NOUNS[row.input]), changed, change.relative, said))

    def cell(row: Row, name: str, value: Any, k: int | None) -> Any:
        return Cell(value, TONES[row.row.verdict]) if name == "verdict" else value

    what = subject.name if record.model is None else f"{record.model} on {subject.name}"
    title = f"{what}, batch {subject.batch}: {subject.pairs:,} pairs"
    return table_of(Row, rows, title, cell=cell, section=lambda row: row.row.group)


def verdict(row: LeakRow) -> str:
    """The verdict in words."""
    if row.verdict != "leak":
        return VERDICTS[row.verdict]
    if row.nan and row.nan.changed:
        return "LEAK of NaN: the mask multiplies, and NaN·0 is NaN"
    changed = [name for name, block in row.blocks.items() if block.changed]
    worst = max(changed, key=lambda name: row.blocks[name].relative) if changed else "it"
    return f"LEAK: {row.input.split()[-1]} reach {worst}"


def legend(record: LeakRecord) -> list[str]:
    """How to read the columns."""
    lines = [
        f"Change of the gradient of the group’s own parameters, the largest of {record.draws} draws.",
        "%: norm of the difference over the norm of the gradient.",
    ]
    if any(row.verdict == "batch-norm" for row in record.rows):
        lines.append("batch-norm only: with its moments frozen, nothing changes, bit for bit.")
    return lines


def conclusion(record: LeakRecord) -> str:
    """The last line."""
    leaks, rows = record.leaks, len(record.rows)
    if leaks:
        return f"{leaks} of {rows} rows are leaks."
    through = sum(row.verdict == "batch-norm" for row in record.rows)
    explained = f": {through} change it through batch-norm moments only, the others not at all" if through else ""
    return f"No leaks in {rows} rows{explained}."
