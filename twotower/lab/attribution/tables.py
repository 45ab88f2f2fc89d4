"""The record of an inspection as terminal tables: whose rows moved which block, and what stands beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from twotower.core.formatting import minus
from twotower.report.tables import count_text, new_table, undefined

Record = Mapping[str, Any]
Line = tuple[Sequence[Text | str], Sequence[Text]]  # words on the left, and a cell a group; no words: a gap
FEW = 6  # groups whose own blocks get a row each; those of more are folded into a row a parameter
AGAINST = -0.1  # cosine from which on groups are said to pull against each other
ABSENT = "–: no rows of this group in the batch"
GOOD_RATIO = 0.1  # a step above this share of the weights' norm is worth a look


def print_inspection(record: Record, console: Console) -> None:
    """What is looked at, what is seen in it in words, and the tables."""
    width = console.width
    console.print(Text(heading(record), style="bold"), "")
    for sentence in record["summary"]:
        console.print(Text(f"• {sentence}", style="bold red" if sentence.startswith("A LEAK") else ""))
    console.print("", group_table(record), "")
    console.print(matrix_tables(record, width), "")
    if len(record["groups"]) > 1:
        console.print(conflict_tables(record, width), "")
    if record["leak"]:
        console.print(leak_tables(record, width), "")
    console.print(dead_tables(record, width), "")
    console.print(update_table(record))


def heading(record: Record) -> str:
    """The subject in a line or two."""
    subject = record["subject"]
    model = subject["model"]
    heads = "without heads" if model["head"] == "none" else f"{model['head']} heads"
    state = "trained" if subject["trained"] else "before its first step"
    found = f"{subject['name']}, {state}: {heads}, D {model['hidden']}, K {model['groups']}. "
    pairs, users, titles = (counted(subject[name], name) for name in ("pairs", "users", "titles"))
    return found + f"Batch {subject['batch']}: {pairs} of {users} and {titles}, loss {number(record['loss'])}."


def counted(n: int, nouns: str) -> str:
    """A number of things, of one thing in the singular."""
    return f"{n:,} {nouns.removesuffix('s') if n == 1 else nouns}"


def absent(record: Record) -> set[int]:
    """Groups without rows in the batch: what is measured of rows is not defined for them."""
    return {k for k, group in enumerate(record["groups"]) if not group["pairs"]}


def no_rows() -> Text:
    return Text("–", style="dim")


def captioned(caption: str | None, record: Record) -> str | None:
    """A caption that also says what a dash means, where there is one."""
    return "; ".join([*([caption] if caption else []), *([ABSENT] if absent(record) else [])]) or None


def group_table(record: Record) -> Group:
    """Rows of each group, and its share of the gradient that all of them send to the towers."""
    table = new_table(("group",), ("pairs", "users", "positives", "base rate", "loss", "of towers’ gradient"))
    for group, share in zip(record["groups"], record["conflict"]["share"], strict=True):
        rate, loss = group["base_rate"], group["loss"]
        table.add_row(
            group["name"],
            *(count_text(group[name]) for name in ("pairs", "users", "positives")),
            no_rows() if rate is None else f"{rate:.3f}",
            number(loss) if group["pairs"] else no_rows(),
            undefined() if share is None else minus(f"{100 * share:.0f} %"),
        )
    return entitled([table], None, captioned(None, record))


def matrix_tables(record: Record, width: int) -> Group:
    """Blocks × groups: the norm of each block’s gradient from each group's rows. Exact zeros are dim."""
    K = len(record["groups"])
    folded = K > FEW
    lines: list[Line] = []
    part = ""
    for block in record["blocks"]:
        if part and block["part"] != part:
            lines.append(((), ()))
        part = block["part"]
        owner = block["owner"]
        if owner == 0 and folded:
            same = [other for other in record["blocks"] if other["parameter"] == block["parameter"]]
            own = [norm_text(other["by_group"][other["owner"]], "bold") for other in same]
            lines.append(((f"{block['parameter']}[k]", Text("–", style="dim")), own))
        leaks = any(value != 0 for k, value in enumerate(block["by_group"]) if k != owner)
        if owner is None or leaks or not folded:
            lines.append(((block["name"], norm_text(block["gradient"])), cells_of(block)))
    caption: str | None = "0 is exactly 0: the backward pass found nothing"
    if not any(0 in block["by_group"] for block in record["blocks"]):
        caption = None
    elif folded:
        caption = "[k]: of each group its own block, which is exactly 0 off its group"
    title = "Norm of each block’s gradient, and by whose rows"
    return in_blocks(("block",), ("whole",), lines, K, width, title, caption)


def cells_of(block: Mapping[str, Any]) -> list[Text]:
    """A row of the matrix: what is a group's own is bold, what leaks is red."""
    owner, cells = block["owner"], []
    for k, value in enumerate(block["by_group"]):
        style = "" if owner is None else "bold" if k == owner else "bold red"
        cells.append(norm_text(value, style))
    return cells


def conflict_tables(record: Record, width: int) -> Group:
    """Cosines between the groups’ gradients of both towers."""
    lines: list[Line] = []
    out = absent(record)
    for j, row in enumerate(record["conflict"]["cosine"]):
        cells = [Text("1", style="dim") if j == k and c is not None else cosine_text(c) for k, c in enumerate(row)]
        cells = [no_rows() if {j, k} & out else cell for k, cell in enumerate(cells)]
        lines.append(((record["groups"][j]["name"], norm_text(record["conflict"]["norm"][j])), cells))
    title = "Cosines of the groups’ gradients of the towers"
    caption = captioned("1: the same way; red: against each other", record)
    return in_blocks(("group",), ("norm",), lines, len(lines), width, title, caption)


def leak_tables(record: Record, width: int) -> Group:
    """What each head would get from each group's rows with the mask off; of many groups only their sum."""
    folded = len(record["groups"]) > FEW
    lines: list[Line] = []
    for part in record["leak"][0]["parts"]:
        for leak in record["leak"]:
            of = leak["parts"][part]
            ratio = "–"
            if of["own"] and of["foreign"] is not None:
                times = of["foreign"] / of["own"]
                ratio = f"{times:#.2g} ×" if times < 9.95 else f"{times:,.0f} ×"
            cells = [norm_text(value, "bold" if k == leak["head"] else "") for k, value in enumerate(of["by_group"])]
            own = [norm_text(of["own"], "bold")] if folded else []
            lines.append(((f"{part} {leak['head']}", *own, norm_text(of["foreign"]), ratio), [] if folded else cells))
    title = "The mask off: what each group’s rows would send"
    caption = "bold: its own rows, all that the mask lets through; foreign: the sum of the others"
    words = (*(["own"] if folded else []), "foreign", "of own")
    return in_blocks(("to",), words, lines, 0 if folded else len(record["groups"]), width, title, caption)


def dead_tables(record: Record, width: int) -> Group:
    """Dead ReLU units of each layer, for the batch and for each group."""
    K, lines = len(record["groups"]), []
    linear = [layer["layer"] for layer in record["dead"] if layer["dead"] is None]
    for layer in record["dead"]:
        if layer["dead"] is not None:
            by_group = [Text("")] * K  # titles belong to no group
            if layer["by_group"] is not None:
                by_group = [
                    unit_text(n) if record["groups"][k]["pairs"] else no_rows() for k, n in enumerate(layer["by_group"])
                ]
            line: Line = ((layer["layer"], str(layer["units"]), unit_text(layer["dead"])), by_group)
            lines.append(line)
    caption = captioned(f"no ReLU: {', '.join(linear)}" if linear else None, record)
    title = "Dead ReLU units: 0 for all rows (of a group)"
    return in_blocks(("layer",), ("units", "batch"), lines, K, width, title, caption)


def update_table(record: Record) -> Group:
    """How far the next step moves each block; blocks of groups are folded into a row a parameter."""
    table = new_table(("block",), ("weights", "step", "step / weights"))
    part = ""
    for block in record["blocks"]:
        if block["owner"] not in (None, 0):
            continue
        if part and block["part"] != part:
            table.add_section()
        part = block["part"]
        same = [other for other in record["blocks"] if other["parameter"] == block["parameter"]]
        name = block["name"] if block["owner"] is None else f"{block['parameter']}[k]"
        style = "yellow" if any((b["ratio"] or 0) > GOOD_RATIO for b in same) else ""
        ratio = "from 0" if all(b["weight"] == 0 for b in same) else spread([b["ratio"] for b in same])
        table.add_row(Text(name), spread([b["weight"] for b in same]), spread([b["update"] for b in same]),
                      Text(ratio, style=style))  # fmt: skip
    several = len(record["groups"]) > 1 and any(block["owner"] is not None for block in record["blocks"])
    caption = "[k]: from the smallest of all groups to the largest" if several else None
    return entitled([table], "The next step of Adam, weight decay included (norms)", caption)


def in_blocks(
    left: Sequence[str], right: Sequence[str], lines: Sequence[Line], groups: int, width: int, title: str,
    caption: str | None = None,
) -> Group:  # fmt: skip
    """A table with a column a group; groups that do not fit ``width`` go on in further tables below, of equal size."""
    ruler = Console(width=10_000)
    for blocks in range(1, max(groups, 1) + 1):
        size = max(1, -(-groups // blocks))
        parts = [range(start, min(start + size, groups)) for start in range(0, max(groups, 1), size)]
        tables = [one_block(left, right, lines, part) for part in parts]
        if size == 1 or max(ruler.measure(table).maximum for table in tables) <= width:
            break
    return entitled(tables, title, caption)


def entitled(tables: Sequence[Table], title: str | None, caption: str | None) -> Group:
    """Tables between a title and a caption that may be wider than they are: rich would break them at a narrow table."""
    parts: list[Table | Text | str] = [Text(title, style="table.title")] if title else []
    parts += [part for table in tables for part in (table, "")][:-1]
    return Group(*parts, *([Text(caption, style="table.caption")] if caption else []))


def one_block(left: Sequence[str], right: Sequence[str], lines: Sequence[Line], part: range) -> Table:
    """The columns of some groups."""
    table = new_table(left, (*right, *map(str, part)))
    for words, cells in lines:
        if words:
            shown = [Text(word) if isinstance(word, str) else word for word in words]
            table.add_row(*shown, *(cells[k] for k in part))
        else:
            table.add_section()
    return table


def number(value: float | None) -> str:
    """Three digits that count."""
    return "undefined" if value is None else minus(f"{value:.3g}")


def spread(values: Sequence[float | None]) -> str:
    """The smallest and the largest of some numbers; one of them where they look alike."""
    known = [value for value in values if value is not None]
    ends = [number(min(known)), number(max(known))] if known else ["undefined"]
    return " – ".join(dict.fromkeys(ends))


def norm_text(value: float | None, style: str = "") -> Text:
    """A norm; one that is exactly 0 is told from a small one."""
    if value is None:
        return undefined()
    return Text("0", style="dim") if value == 0 else Text(number(value), style=style)


def cosine_text(value: float | None) -> Text:
    if value is None:
        return undefined()
    return Text(minus(f"{value:+.2f}"), style="red" if value <= AGAINST else "")


def unit_text(dead: int | None) -> Text:
    """A number of dead units."""
    return undefined() if dead is None else Text(str(dead), style="yellow" if dead else "dim")
