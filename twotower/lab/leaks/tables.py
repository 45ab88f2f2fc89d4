"""The record of the leak detector on a terminal: a table with a verdict per row, and how to read it."""

import math

from rich.console import Console

from twotower.core.formatting import counted, minus
from twotower.lab.leaks.record import LABELS, LeakRecord, LeakRow
from twotower.report.table import TEXT, Cell, Column, Kind, Table, Tone
from twotower.report.terminal import print_lines, print_table

NOUNS = {"labels": "label", "user features": "user", "title features": "title"}
NARROW = 112  # characters: below, only the columns that lead to the verdict are shown
TONES: dict[str, Tone] = {"isolated": "good", "batch-norm": "", "leak": "alarm", "none": "quiet"}
VERDICTS = {"none": "nothing to perturb", "isolated": "isolated", "batch-norm": "batch-norm only"}


def percent_text(value: float) -> str:
    """A relative change in percent, with two significant digits."""
    return "∞" if math.isinf(value) else minus(f"{100 * value:.2g} %") if value else "0"


RELATIVE = Column("relative\nchange", Kind(percent_text))


def print_leaks(console: Console, record: LeakRecord) -> None:
    """The table, its legend, the notes and the conclusion."""
    wide = console.width >= NARROW
    print_table(leak_table(record, wide), console)
    print_lines(console, ["", *legend(record, wide), *record["notes"], "", conclusion(record)])


def leak_table(record: LeakRecord, wide: bool = True) -> Table:
    """A row for each group and each input that was perturbed outside it."""
    subject, first = record["subject"], record["rows"][0]
    columns = [Column("group", TEXT), Column("perturbed\noutside it", TEXT)]
    if wide:
        columns.append(Column("elements\nchanged", Kind(str)))
    if not wide or first["parts"] is None or first["through_moments"] is None:
        columns.append(RELATIVE)
    else:
        names = [part.replace(" ", "\n") for part in first["parts"]]
        names += [f"by {tower}".replace(" tower", "\ntower") for tower in first["through_moments"]]
        columns += [Column(name, RELATIVE.kind) for name in names]
    columns.append(Column("verdict", TEXT))
    what = subject["name"] if record["model"] is None else f"{record['model']} on {subject['name']}"
    table = Table(columns, f"{what}, batch {subject['batch']}: {subject['pairs']:,} pairs")
    for row in record["rows"]:
        group = record["groups"][row["group"]]
        absent = "" if group["pairs"] else "; not in this batch"
        if row["input"] == LABELS:
            table.section()
        table.add(
            group["name"] if row["input"] == LABELS else "",
            counted(row["perturbed"], NOUNS[row["input"]]),
            *numbers(row, wide),
            Cell(verdict(row) + absent, TONES[row["verdict"]]),
        )
    return table


def numbers(row: LeakRow, wide: bool) -> list[float | str]:
    """The numeric cells of a row."""
    if not wide:
        return [row["relative"]]
    cells: list[float | str] = [f"{row['changed']:,} of {row['elements']:,}"]
    if row["parts"] is None or row["through_moments"] is None:
        return [*cells, row["relative"]]
    return [*cells, *row["parts"].values(), *row["through_moments"].values()]


def verdict(row: LeakRow) -> str:
    """The verdict in words."""
    if row["verdict"] != "leak":
        return VERDICTS[row["verdict"]]
    if row["nan"] and row["nan"]["changed"]:
        return "LEAK of NaN: the mask multiplies, and NaN·0 is NaN"
    bypass = " past batch-norm" if row["through_moments"] and row["input"] != LABELS else ""
    return f"LEAK: {row['input'].split()[-1]} reach {worst_block(row)}{bypass}"


def worst_block(row: LeakRow) -> str:
    """The block with the largest relative change."""
    changed = [block for block in row["blocks"] if block["changed"]]
    return max(changed, key=lambda block: block["relative"])["block"] if changed else "it"


def legend(record: LeakRecord, wide: bool = True) -> list[str]:
    """How to read the columns."""
    lines = [
        f"Change of the gradient of the group’s own parameters, the largest of {record['draws']} draws.",
        "%: norm of the difference over the norm of the gradient.",
    ]
    if record["model"] is None and wide:
        lines.append("by a tower: through its batch-norm moments, with those of the other tower frozen.")
    if any(row["verdict"] == "batch-norm" for row in record["rows"]):
        lines.append("batch-norm only: with its moments frozen, nothing changes, bit for bit.")
    return lines


def conclusion(record: LeakRecord) -> str:
    """The last line."""
    leaks, rows = record["leaks"], len(record["rows"])
    if leaks:
        return f"{leaks} of {rows} rows are leaks."
    through = sum(row["verdict"] == "batch-norm" for row in record["rows"])
    explained = f": {through} change it through batch-norm moments only, the others not at all" if through else ""
    return f"No leaks in {rows} rows{explained}."
