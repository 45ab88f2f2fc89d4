"""The record of an inspection on a terminal: sentences and tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from twotower.core.formatting import counted, significant
from twotower.lab.attribution.record import BlockGradient, Conflict, DeadUnits, GroupFacts, Inspection, Leak
from twotower.report.record_table import shown, table_of
from twotower.report.table import TEXT, Cell, Kind, Table
from twotower.report.terminal import line, print_table

FEW = 6  # up to so many groups, each block of a group has a row; of more, one row per parameter
CONFLICT = -0.1  # cosines from here down are red
LARGE_STEP = 0.1  # a step above this share of the weights' norm is yellow
ABSENT = "–: no rows of this group in the batch"
NO_ROWS = Cell(None, "quiet", text="–")
RANGE = Kind(lambda ends: " – ".join(dict.fromkeys(map(significant, ends))))


def print_inspection(record: Inspection, console: Console) -> None:
    """Subject, summary and tables."""
    console.print(line(heading(record), "strong"), "")
    for sentence in record.summary:
        console.print(line(f"• {sentence}", "alarm" if sentence.startswith("LEAK") else ""))
    tables = [group_table(record), matrix_table(record)]
    tables += [conflict_table(record)] if len(record.groups) > 1 else []
    tables += [leak_table(record)] if record.leak else []
    for table in [*tables, dead_table(record), update_table(record)]:
        console.print()
        print_table(table, console)


def heading(record: Inspection) -> str:
    """The subject in a line or two."""
    subject = record.subject
    pairs, users, titles = (counted(getattr(subject, f"{noun}s"), noun) for noun in ("pair", "user", "title"))
    loss = "undefined" if record.loss is None else significant(record.loss)
    network = subject.network("trained" if subject.trained else "before its first step")
    return f"{network} Batch {subject.batch}: {pairs} of {users} and {titles}, loss {loss}."


def has_rows(record: Inspection, *groups: int) -> bool:
    """Whether these groups have rows in the batch: without rows nothing is measured."""
    return all(record.groups[k].pairs for k in groups)


def caption(record: Inspection, text: str = "") -> str:
    """A caption that also explains the dash where there is one."""
    dash = "" if has_rows(record, *range(len(record.groups))) else ABSENT
    return "; ".join(filter(None, [text, dash]))


def group_table(record: Inspection) -> Table:
    """Rows of each group, and its share of the towers' gradient."""

    def cell(group: GroupFacts, name: str, value: Any, k: int | None) -> Any:
        return NO_ROWS if name in ("base_rate", "loss") and not group.pairs else value

    return table_of(GroupFacts, record.groups, caption=caption(record), cell=cell)


def matrix_table(record: Inspection) -> Table:
    """Blocks × groups: the norm of each block's gradient from each group's rows."""
    folded, rows = len(record.groups) > FEW, []
    for block in record.blocks:
        if block.owner == 0 and folded:
            own = [b.by_group[k] for k, b in enumerate(same_parameter(block, record))]
            rows.append(replace(block, name=f"{block.parameter}[k]", owner=-1, by_group=own))
        leaks = any(value != 0 for k, value in enumerate(block.by_group) if k != block.owner)
        if block.owner is None or leaks or not folded:
            rows.append(block)

    def cell(block: BlockGradient, name: str, value: Any, k: int | None) -> Any:
        """Own gradients are bold, leaks are red."""
        if name == "gradient" and block.owner == -1:
            return NO_ROWS
        if name == "by_group" and block.owner is not None and value != 0:
            return Cell(value, "strong" if block.owner in (k, -1) else "alarm")
        return value

    text = ""
    if any(0 in block.by_group for block in record.blocks):
        text = "0: exactly 0, as the backward pass computed it"
        if folded:
            text = "[k]: each group’s own block, which gets exactly 0 from the other groups"
    title = "Gradient norm of each block, by the group of the rows"
    return table_of(BlockGradient, rows, title, text, cell=cell, section=lambda block: block.part)


def same_parameter(block: BlockGradient, record: Inspection) -> list[BlockGradient]:
    """The blocks of the same parameter, by group."""
    return [other for other in record.blocks if other.parameter == block.parameter]


def conflict_table(record: Inspection) -> Table:
    """Cosines between the groups' gradients of both towers; conflicts are red."""

    def cell(row: Conflict, name: str, value: Any, k: int | None) -> Any:
        j = record.conflict.index(row)
        if k is None:
            return value
        if not has_rows(record, j, k):
            return NO_ROWS
        if j == k and value is not None:
            return Cell(value, "quiet", text="1")
        return Cell(value, "bad" if value is not None and value <= CONFLICT else "")

    title = "Cosines between the groups’ gradients of the towers"
    return table_of(Conflict, record.conflict, title, caption(record, "1: same direction; red: conflict"), cell=cell)


def leak_table(record: Inspection) -> Table:
    """What each head would get from each group's rows without the mask; of many groups only the sum of the others."""
    folded = len(record.groups) > FEW

    def cell(row: Leak, name: str, value: Any, k: int | None) -> Any:
        if name == "ratio" and value is None:
            return NO_ROWS
        return Cell(value, "strong") if k == row.head and value != 0 else value

    rows = [replace(leak, part=f"{leak.part} {leak.head}") for leak in record.leak]
    text = "bold: own rows, which the mask lets through; others: the sum over all other groups"
    title = "Without the mask: the gradient from each group’s rows"
    return table_of(Leak, rows, title, text, cell=cell, hide={"by_group" if folded else "own"})


def dead_table(record: Inspection) -> Table:
    """Dead ReLU units of each layer, for the batch and for each group."""

    def cell(layer: DeadUnits, name: str, value: Any, k: int | None) -> Any:
        if k is not None and layer.by_group is not None and not has_rows(record, k):
            return NO_ROWS
        return Cell(value, "warning" if value else "quiet") if name in ("dead", "by_group") else value

    linear = [layer.layer for layer in record.dead if layer.dead is None]
    text = caption(record, f"no ReLU: {', '.join(linear)}" if linear else "")
    layers = [layer for layer in record.dead if layer.dead is not None]
    return table_of(DeadUnits, layers, "Dead ReLU units: 0 for all rows (of a group)", text, cell=cell)


@dataclass
class Update:
    """The next step of a block, or its range over the blocks of a parameter."""

    part: str
    name: str = shown("block", TEXT)
    weight: tuple[float, float] | None = shown("weights", RANGE)
    update: tuple[float, float] | None = shown("step", RANGE)
    ratio: tuple[float, float] | None = shown("step / weights", RANGE)


def update_table(record: Inspection) -> Table:
    """How far the next step moves each block; the blocks of groups share a row per parameter."""
    rows = []
    for block in record.blocks:
        if block.owner in (None, 0):
            name = block.name if block.owner is None else f"{block.parameter}[k]"
            of_all = same_parameter(block, record)
            columns = (ends([getattr(b, column) for b in of_all]) for column in ("weight", "update", "ratio"))
            rows.append(Update(block.part, name, *columns))

    def cell(row: Update, name: str, value: Any, k: int | None) -> Any:
        if name == "ratio":
            return Cell(value, "warning" if value and value[1] > LARGE_STEP else "",
                        text="from 0" if row.weight == (0, 0) else None)  # fmt: skip
        return value

    owned = any(block.owner is not None for block in record.blocks)
    text = "[k]: smallest to largest of all groups" if len(record.groups) > 1 and owned else ""
    title = "Adam’s next step, weight decay included (norms)"
    return table_of(Update, rows, title, text, cell=cell, section=lambda row: row.part)


def ends(values: Sequence[float | None]) -> tuple[float, float] | None:
    """The smallest and the largest defined value."""
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else None
