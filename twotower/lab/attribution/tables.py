"""The record of an inspection on a terminal: sentences and tables."""

from collections.abc import Sequence

from rich.console import Console

from twotower.core.formatting import counted, percent, significant
from twotower.lab.attribution.record import BlockGradient, Inspection
from twotower.lab.attribution.summary import times_text
from twotower.report.table import COUNT, TEXT, Cell, Column, Kind, Table, Tone, decimal
from twotower.report.table import significant as significant_kind
from twotower.report.terminal import line, print_table

FEW = 6  # up to so many groups, each block of a group has a row; of more, one row per parameter
CONFLICT = -0.1  # cosines from here down are red
LARGE_STEP = 0.1  # a step above this share of the weights' norm is yellow
ABSENT = "–: no rows of this group in the batch"
NO_ROWS = Cell(None, "quiet", text="–")
NUMBER = significant_kind(3)
RANGE = Kind(lambda ends: " – ".join(dict.fromkeys(map(significant, ends))))
WHOLE_PERCENT = Kind(lambda share: percent(share, 0))
TIMES = Kind(lambda ratio: f"{times_text(ratio)} ×")


def print_inspection(record: Inspection, console: Console) -> None:
    """Subject, summary and tables."""
    console.print(line(heading(record), "strong"), "")
    for sentence in record["summary"]:
        console.print(line(f"• {sentence}", "alarm" if sentence.startswith("LEAK") else ""))
    tables = [group_table(record), matrix_table(record)]
    tables += [conflict_table(record)] if len(record["groups"]) > 1 else []
    tables += [leak_table(record)] if record["leak"] else []
    for table in [*tables, dead_table(record), update_table(record)]:
        console.print()
        print_table(table, console)


def heading(record: Inspection) -> str:
    """The subject in a line or two."""
    subject = record["subject"]
    model = subject["model"]
    heads = "without heads" if model["head"] == "none" else f"{model['head']} heads"
    state = "trained" if subject["trained"] else "before its first step"
    pairs, users, titles = (counted(subject[f"{noun}s"], noun) for noun in ("pair", "user", "title"))  # type: ignore[literal-required]
    loss = "undefined" if record["loss"] is None else significant(record["loss"])
    network = f"{subject['name']}, {state}: {heads}, D {model['hidden']}, K {model['groups']}."
    return f"{network} Batch {subject['batch']}: {pairs} of {users} and {titles}, loss {loss}."


def has_rows(record: Inspection, *groups: int) -> bool:
    """Whether these groups have rows in the batch: without rows nothing is measured."""
    return all(record["groups"][k]["pairs"] for k in groups)


def caption(record: Inspection, text: str = "") -> str:
    """A caption that also explains the dash where there is one."""
    dash = "" if has_rows(record, *range(len(record["groups"]))) else ABSENT
    return "; ".join(filter(None, [text, dash]))


def group_columns(record: Inspection, kind: Kind = NUMBER) -> list[Column]:
    return [Column(str(k), kind, across=True) for k in range(len(record["groups"]))]


def norm(value: float | None, tone: Tone = "") -> Cell:
    """A norm; an exact 0 is dimmed."""
    return Cell(value, "quiet" if value == 0 else tone)


def group_table(record: Inspection) -> Table:
    """Rows of each group, and its share of the towers' gradient."""
    columns = [Column("group", TEXT), *(Column(name, COUNT) for name in ("pairs", "users", "positives"))]
    columns += [Column("base rate", decimal(3)), Column("loss", NUMBER), Column("of towers’ gradient", WHOLE_PERCENT)]
    table = Table(columns, caption=caption(record))
    for group, share in zip(record["groups"], record["conflict"]["share"], strict=True):
        measured = (group["base_rate"], group["loss"]) if group["pairs"] else (NO_ROWS, NO_ROWS)
        table.add(group["name"], group["pairs"], group["users"], group["positives"], *measured, share)
    return table


def matrix_table(record: Inspection) -> Table:
    """Blocks × groups: the norm of each block's gradient from each group's rows."""
    folded = len(record["groups"]) > FEW
    text = ""
    if any(0 in block["by_group"] for block in record["blocks"]):
        text = "0: exactly 0, as the backward pass computed it"
        if folded:
            text = "[k]: each group’s own block, which gets exactly 0 from the other groups"
    columns = [Column("block", TEXT), Column("whole", NUMBER), *group_columns(record)]
    table = Table(columns, "Gradient norm of each block, by the group of the rows", text)
    part = ""
    for block in record["blocks"]:
        if block["part"] != part:
            table.section()
        part, owner = block["part"], block["owner"]
        if owner == 0 and folded:
            own = [b["by_group"][k] for k, b in enumerate(blocks_like(block, record))]
            table.add(f"{block['parameter']}[k]", NO_ROWS, *(norm(value, "strong") for value in own))
        leaks = any(value != 0 for k, value in enumerate(block["by_group"]) if k != owner)
        if owner is None or leaks or not folded:
            cells = [norm(value, tone_of(owner, k)) for k, value in enumerate(block["by_group"])]
            table.add(block["name"], norm(block["gradient"]), *cells)
    return table


def tone_of(owner: int | None, k: int) -> Tone:
    """The tone of a norm that is not 0: own gradients are bold, leaks are red."""
    return "" if owner is None else "strong" if k == owner else "alarm"


def blocks_like(block: BlockGradient, record: Inspection) -> list[BlockGradient]:
    """The blocks of the same parameter, by group."""
    return [other for other in record["blocks"] if other["parameter"] == block["parameter"]]


def conflict_table(record: Inspection) -> Table:
    """Cosines between the groups' gradients of both towers."""
    cosine = Kind(lambda value: f"{value:+.2f}".replace("-", "−"))
    columns = [Column("group", TEXT), Column("norm", NUMBER), *group_columns(record, cosine)]
    title = "Cosines between the groups’ gradients of the towers"
    table = Table(columns, title, caption(record, "1: same direction; red: conflict"))
    for j, row in enumerate(record["conflict"]["cosine"]):
        cells = [cosine_cell(value, j == k) if has_rows(record, j, k) else NO_ROWS for k, value in enumerate(row)]
        table.add(record["groups"][j]["name"], norm(record["conflict"]["norm"][j]), *cells)
    return table


def cosine_cell(value: float | None, diagonal: bool) -> Cell:
    """A cosine; conflicts are red."""
    if diagonal and value is not None:
        return Cell(value, "quiet", text="1")
    return Cell(value, "bad" if value is not None and value <= CONFLICT else "")


def leak_table(record: Inspection) -> Table:
    """What each head would get from each group's rows without the mask; of many groups only the sum of the others."""
    folded = len(record["groups"]) > FEW
    columns = [Column("to", TEXT), *([Column("own", NUMBER)] if folded else []), Column("others", NUMBER)]
    columns += [Column("others / own", TIMES), *([] if folded else group_columns(record))]
    text = "bold: own rows, which the mask lets through; others: the sum over all other groups"
    table = Table(columns, "Without the mask: the gradient from each group’s rows", text)
    for part in record["leak"][0]["parts"]:
        for leak in record["leak"]:
            norms, head = leak["parts"][part], leak["head"]
            own, others = norms["own"], norms["others"]
            ratio = others / own if own and others is not None else NO_ROWS
            cells = [norm(value, "strong" if k == head else "") for k, value in enumerate(norms["by_group"])]
            groups = [norm(own, "strong"), norm(others), ratio] if folded else [norm(others), ratio, *cells]
            table.add(f"{part} {head}", *groups)
    return table


def dead_table(record: Inspection) -> Table:
    """Dead ReLU units of each layer, for the batch and for each group."""
    linear = [layer["layer"] for layer in record["dead"] if layer["dead"] is None]
    columns = [Column("layer", TEXT), Column("units", COUNT), Column("batch", COUNT), *group_columns(record, COUNT)]
    text = caption(record, f"no ReLU: {', '.join(linear)}" if linear else "")
    table = Table(columns, "Dead ReLU units: 0 for all rows (of a group)", text)
    for layer in record["dead"]:
        if layer["dead"] is not None:
            by_group: list[Cell | str] = [""] * len(record["groups"])  # titles belong to no group
            if layer["by_group"] is not None:
                by_group = [dead_cell(n) if has_rows(record, k) else NO_ROWS for k, n in enumerate(layer["by_group"])]
            table.add(layer["layer"], layer["units"], dead_cell(layer["dead"]), *by_group)
    return table


def dead_cell(dead: int | None) -> Cell:
    return Cell(dead, "warning" if dead else "quiet")


def update_table(record: Inspection) -> Table:
    """How far the next step moves each block; the blocks of groups share a row per parameter."""
    owned = any(block["owner"] is not None for block in record["blocks"])
    text = "[k]: smallest to largest of all groups" if len(record["groups"]) > 1 and owned else ""
    columns = [Column("block", TEXT), *(Column(name, RANGE) for name in ("weights", "step", "step / weights"))]
    table = Table(columns, "Adam’s next step, weight decay included (norms)", text)
    part = ""
    for block in record["blocks"]:
        if block["owner"] not in (None, 0):
            continue
        if block["part"] != part:
            table.section()
        part = block["part"]
        same = blocks_like(block, record)
        tone: Tone = "warning" if any((b["ratio"] or 0) > LARGE_STEP for b in same) else ""
        from_zero = "from 0" if all(b["weight"] == 0 for b in same) else None
        table.add(
            block["name"] if block["owner"] is None else f"{block['parameter']}[k]",
            ends([b["weight"] for b in same]),
            ends([b["update"] for b in same]),
            Cell(ends([b["ratio"] for b in same]), tone, text=from_zero),
        )
    return table


def ends(values: Sequence[float | None]) -> tuple[float, float] | None:
    """The smallest and the largest defined value."""
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else None
