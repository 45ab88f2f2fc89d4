"""A record of leaks as a table for the terminal, with a verdict in words on every row."""

import math
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twotower.core.formatting import minus
from twotower.report.tables import new_table

NOUNS = {"labels": "pairs", "user features": "users", "title features": "titles"}
NARROW = 112  # characters: with less, only what leads to the verdict is shown
STYLES = {"sealed": "green", "statistics": "", "leak": "bold red", "none": "dim"}


def print_leaks(console: Console, record: dict[str, Any]) -> None:
    """The table, what it means, and what it leaves out."""
    wide = console.width >= NARROW
    console.print(leak_table(record, wide))
    for line in ("", *legend(record, wide), *record["notes"], "", conclusion(record)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def leak_table(record: dict[str, Any], wide: bool = True) -> Table:
    """A row for each group and each thing that was disturbed outside it."""
    subject, groups = record["subject"], record["groups"]
    what = subject["name"] if record["model"] is None else f"{record['model']} on {subject['name']}"
    rows = [(cells(row) if wide else {"relative\nchange": share(row["relative"])}) for row in record["rows"]]
    title = f"{what}, batch {subject['batch']}: {subject['pairs']:,} pairs"
    table = new_table(("group", "disturbed outside it"), list(rows[0]), title=title)
    table.add_column("verdict", overflow="fold", min_width=len("batch-norm only"))
    for row, numbers in zip(record["rows"], rows, strict=True):
        name, pairs = groups[row["group"]].values()
        first, last = row["what"] == "labels", row["what"] == "title features"
        noun = NOUNS[row["what"]].removesuffix("s" if row["disturbed"] == 1 else "")
        disturbed = f"{'labels' if first else 'features'} of {row['disturbed']:,} {noun}"
        absent = "" if pairs else "; not in this batch"
        said = Text(verdict(row) + absent, style=STYLES[row["verdict"]])
        table.add_row(name if first else "", disturbed, *numbers.values(), said, end_section=last)
    return table


def cells(row: dict[str, Any]) -> dict[str, str]:
    """The numbers of a row by the names of their columns."""
    largest = "NaN" if math.isinf(row["largest"]) else minus(f"{row['largest']:.2g}") if row["largest"] else "0"
    found = {
        "elements\nchanged": f"{row['changed']:,} of {row['elements']:,}",
        "largest\nchange": largest,
    }
    if row["parts"] is None:
        return found | {"relative\nchange": share(row["relative"])}
    found |= {part.replace(" ", "\n"): share(value) for part, value in row["parts"].items()}
    return found | {f"by {tower}".replace(" tower", "\ntower"): share(value) for tower, value in row["through"].items()}


def verdict(row: dict[str, Any]) -> str:
    """What a row comes to, in plain words."""
    if row["verdict"] != "leak":
        return {"none": "nothing is foreign", "sealed": "sealed", "statistics": "batch-norm only"}[row["verdict"]]
    if row["nan"] and row["nan"]["changed"]:
        return "LEAK of NaN: the mask multiplies, and NaN·0 is NaN"
    past = " past batch-norm" if row["through"] and row["what"] != "labels" else ""
    return f"LEAK: {row['what'].split()[-1]} reach {worst_block(row)}{past}"


def worst_block(row: dict[str, Any]) -> str:
    """The block that changed most, relatively."""
    changed = [block for block in row["blocks"] if block["changed"]]
    return str(max(changed, key=lambda block: block["relative"])["block"]) if changed else "it"


def legend(record: dict[str, Any], wide: bool = True) -> list[str]:
    """How to read the columns."""
    lines = [
        f"Changes in the gradient of what the group has to itself, in the worst of {record['draws']} draws.",
        "In %: norm of the difference over the norm of the gradient.",
    ]
    if record["model"] is None and wide:
        lines.append("by a tower: through its batch-norm’s moments, those of the other tower held at what they were.")
    if any(row["verdict"] == "statistics" for row in record["rows"]):
        lines.append("batch-norm only: with its moments held at what they were, exactly nothing changes.")
    return lines


def conclusion(record: dict[str, Any]) -> str:
    """The last line."""
    leaks, rows = record["leaks"], len(record["rows"])
    if leaks:
        return f"{leaks} of {rows} rows of the table are leaks."
    through = sum(row["verdict"] == "statistics" for row in record["rows"])
    by_the_way = f": {through} act through batch-norm’s moments alone, the others change nothing" if through else ""
    return f"No leak in {rows} rows{by_the_way}."


def share(value: float) -> str:
    """A relative change as a percentage."""
    return "∞" if math.isinf(value) else minus(f"{100 * value:.2g} %") if value else "0"
