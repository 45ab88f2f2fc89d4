"""The record of a gradient check for the terminal: three gradients side by side, and in red where they part."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twotower.core.formatting import in_words, minus
from twotower.report.tables import new_table

Record = Mapping[str, Any]
WIDE = 110  # characters a line, from which on the directions have columns of their own
GRADIENTS = "finite\ndifference", "textbook\nfloat64", "engine\nfloat32", "textbook\noff by", "engine\noff by"
FEW = 4  # wrong blocks of one parameter that get a row each
FEW_USERS = 3  # of a group, for a batch-norm of its own
WRONG = "bold red"


def print_bugs(console: Console, bugs: Iterable[tuple[str, str]]) -> None:
    """Names of bugs, and what is wrong with them."""
    table = new_table(("--break", "the bug"), ())
    for name, sentence in bugs:
        table.add_row(name, sentence)
    console.print(table)


def print_gradcheck(record: Record, console: Console, everything: bool = False) -> None:
    """What was checked, the planted bug if there is one, the three tables, and what it comes to."""
    say(console, heading(record), "bold")
    say(console, batch_line(record))
    say(console, loss_line(record), "" if record["loss"]["agrees"] else WRONG)
    if record["bug"]:
        console.print()
        print_bug(console, record["bug"])
    console.print("", block_table(record, console.width, everything), "")
    console.print(step_table(record), "")
    if record["masked"]:
        console.print(masked_table(record), "")
    for note in notes(record):
        say(console, note, "yellow")
    for line, style in verdict(record):
        say(console, line, style)


def say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(line, style=style))


def heading(record: Record) -> str:
    """The subject in a line."""
    subject = record["subject"]
    model = subject["model"]
    heads = "without heads" if model["head"] == "none" else f"{model['head']} heads"
    state = "as trained" if subject["trained"] else "one step after its start"
    return f"{subject['name']}, {state}: {heads}, D {model['hidden']}, K {model['groups']}."


def batch_line(record: Record) -> str:
    batch = record["batch"]
    groups = "" if len(batch["by_group"]) == 1 else f" ({', '.join(map(str, batch['by_group']))} by group)"
    users = f"{batch['users']} users, one of them {batch['most_of_a_user']} times"
    titles = f"{batch['titles']} titles, one {batch['most_of_a_title']} times"
    return f"{batch['pairs']} pairs{groups} with {batch['positives']} positives: {users}; {titles}."


def loss_line(record: Record) -> str:
    loss = record["loss"]
    same = "the same" if loss["agrees"] else "not the same"
    return f"Loss: {loss['textbook']:.9f} by the textbook, {loss['engine']:.9f} by the engine: {same}."


def print_bug(console: Console, bug: Mapping[str, Any]) -> None:
    """The planted line and what it makes of the maths, as a small diff."""
    say(console, f"Planted: {bug['sentence']}", "bold")
    say(console, f"twotower/{bug['file']}, line {bug['line']}, in {bug['function']}", "dim")
    for right, wrong in ((bug["right"], bug["wrong"]), bug["maths"]):
        console.print(Text(f"  − {right}", style="green"), soft_wrap=True)
        console.print(Text(f"  + {wrong}", style="red"), soft_wrap=True)


# ---------------------------------------------------------------- gradients


def block_table(record: Record, width: int, everything: bool) -> Table:
    """The worst number of each block; blocks of groups that agree stand together, with the worst of them."""
    wide = width >= WIDE
    allowed = {name: in_words(record["tolerances"][name]) for name in ("numeric", "engine")}
    directions = ("direction:\ntextbook", "\nengine") if wide else ()
    table = new_table(
        ("block", "worst at"),
        (*GRADIENTS, *directions),
        title="Gradients: of each block the number that is furthest off",
        caption=f"off by: of the block’s largest number; textbook from difference (allowed {allowed['numeric']}), "
        f"engine from textbook (allowed {allowed['engine']})"
        + ("; direction: along a random one, of the gradient’s norm" if wide else ""),
    )  # fmt: skip
    for _, of_part in groupby(record["blocks"], lambda block: str(block["part"])):
        for name, block in named_blocks(list(of_part), everything):
            element, direction = block["elements"][0], block["direction"]
            style = "" if block["agrees"] else WRONG
            index = ", ".join(map(str, element["index"]))
            cells = [number(element["numeric"]) if not element["turned"] else Text("a kink", style="yellow")]
            cells.append(number(element["textbook"], wrong_textbook(element)))
            cells.append(number(element["engine"], wrong_engine(element)))
            cells += offs(element, block["largest"])
            if wide:
                cells += offs(direction, block["norm"])
            table.add_row(Text(name, style=style), Text(f"[{index}]", style=style), *cells)
        table.add_section()
    return table


def named_blocks(blocks: Sequence[Any], everything: bool) -> Iterable[tuple[str, Any]]:
    """Rows of the table: a block and its name; agreeing groups' blocks of one parameter share one."""
    for parameter, of_parameter in groupby(blocks, lambda block: str(block["parameter"])):
        mine = sorted(of_parameter, key=severity, reverse=True)
        if everything or len(mine) == 1:
            yield from ((block["name"], block) for block in sorted(mine, key=lambda block: block["owner"] or 0))
            continue
        wrong = [block for block in mine if not block["agrees"]]
        shown = sorted(wrong[:FEW], key=lambda block: block["owner"])
        yield from ((block["name"], block) for block in shown)
        rest = mine[len(shown) :]
        if rest:
            name = f"{parameter}[0…{len(mine) - 1}]" if not shown else f"{parameter}, {len(rest)} more"
            yield name, rest[0]


def severity(block: Mapping[str, Any]) -> float:
    """How far a block is off, in units of what is tolerated."""
    return max(part[name] or 0.0 for part in parts_of(block) for name in ("textbook_error", "engine_error"))


def parts_of(block: Mapping[str, Any]) -> list[Any]:
    return [*block["elements"], block["direction"]]


def wrong_textbook(part: Mapping[str, Any]) -> bool:
    return (part["textbook_error"] or 0.0) > 1


def wrong_engine(part: Mapping[str, Any]) -> bool:
    return bool(part["engine_error"] > 1)


def offs(part: Mapping[str, Any], scale: float) -> list[Text]:
    """How far the textbook is from the difference, and the engine from the textbook."""
    textbook = Text("–", style="yellow")
    if not part["turned"]:
        textbook = off_by(part["textbook"] - part["numeric"], scale, wrong_textbook(part))
    return [textbook, off_by(part["engine"] - part["textbook"], scale, wrong_engine(part))]


def number(value: float, wrong: bool = False) -> Text:
    """Four digits: whether two numbers are the same is what the columns beside them say."""
    return Text(minus(f"{value:.3e}") if value else "0", style=WRONG if wrong else "")


def off_by(error: float, scale: float, wrong: bool) -> Text:
    """A relative error, in percent where it is large."""
    share = abs(error) / scale if scale else math.inf if error else 0.0
    text = f"{100 * share:.0f} %" if 0.005 <= share < 100 else f"{share:.0e}" if share else "0"
    return Text(minus(text), style=WRONG if wrong else "dim")


# ---------------------------------------------------------------- steps and masks


def step_table(record: Record) -> Table:
    """Of each step of Adam the weight whose update is furthest from the formula's."""
    table = new_table(
        ("step", "without", "worst in", "at"),
        ("t", "gradient", "formula", "engine", "off by"),
        title="Adam: what a step adds to a weight, by the formula (Kingma & Ba, Algorithm 1) and by the engine",
        caption="without: the group has no pairs, and its head stays bit for bit as it was; t: updates of the block so "
        "far; off by: of the update, mostly float32’s rounding of the weight that it is added to",
    )
    for step in record["steps"]:
        moved = [block for block in step["blocks"] if block["present"]]
        absent = sorted({block["owner"] for block in step["blocks"] if not block["present"]})
        worst = max(moved, key=lambda block: math.inf if math.isnan(block["error"]) else block["error"])
        wrong = not worst["error"] <= 1
        style = "" if step["agrees"] else WRONG
        table.add_row(
            Text(str(step["step"]), style=style),
            f"group {', '.join(map(str, absent))}" if absent else "–",
            Text(worst["name"], style=style),
            Text(f"[{', '.join(map(str, worst['index']))}]"),
            str(worst["t"]),
            number(worst["gradient"]),
            number(worst["textbook"]),
            number(worst["engine"], wrong),
            off_by(worst["engine"] - worst["textbook"], abs(worst["textbook"]), wrong),
        )
    return table


def masked_table(record: Record) -> Table:
    """What each head gets from rows that are not its own: exactly nothing."""
    table = new_table(
        ("head of group",), ("its own\nrows", "foreign rows:\nengine", "no rows of its own:\nengine", "\ntextbook"),
        title="Masks: the largest number in the gradient of what a group has to itself",
        caption="must be 0, exactly: from the pairs of other groups, and in a batch without the group",
    )  # fmt: skip
    for part in record["masked"]:
        cells = [number(part[name], part[name] != 0) for name in ("foreign", "absent", "textbook")]
        style = "" if part["agrees"] else WRONG
        table.add_row(Text(record["groups"][part["group"]], style=style), number(part["own"]), *cells)
    return table


# ---------------------------------------------------------------- in words


def notes(record: Record) -> list[str]:
    """What the check could not judge, and what may have led it astray."""
    found, near = [], record["tolerances"]["near_a_kink"]
    parts = [part for block in record["blocks"] for part in parts_of(block)]
    turned = sum(1 for part in parts if part["turned"])
    if turned:
        smallest = in_words(min(part["step"] for part in parts if part["turned"]))
        found.append(
            f"{turned} of {len(parts)} differences cross a kink of a ReLU at every step down to {smallest}: "
            "they are no derivatives, and there the textbook was not judged."
        )
    batch = record["batch"]
    if batch["nearest_kink"] < near:
        found.append(
            f"In each of the {batch['tries']} batches that were tried a ReLU’s input lies nearer to 0 than "
            f"{in_words(near)} ({in_words(batch['nearest_kink'])} in this one). In float32 it may lie on the other "
            "side, and the engine be off for that reason alone: try another --batch or fewer --pairs."
        )
    few = [n for n in batch["users_by_group"] if 0 < n < FEW_USERS]
    if few and record["subject"]["model"].get("batchnorm") == "group":
        found.append(
            f"{len(few)} of {len(record['groups'])} groups have fewer than {FEW_USERS} users here: batch-norm over so "
            "few rows divides by nearly nothing, and leaves float32 few digits."
        )
    if 0 in batch["by_group"]:
        absent = [name for name, pairs in zip(record["groups"], batch["by_group"], strict=True) if not pairs]
        found.append(f"No training pairs of {', '.join(absent)}: their heads were checked to get exactly 0.")
    return found


def verdict(record: Record) -> list[tuple[str, str]]:
    """What it comes to: lines with their styles."""
    wrong = [block for block in record["blocks"] if not block["agrees"]]
    right = [block for block in record["blocks"] if block["agrees"]]
    steps = [step for step in record["steps"] if not step["agrees"]]
    masked = [part for part in record["masked"] if not part["agrees"]]
    if record["agrees"]:
        differences = sum(len(parts_of(block)) for block in record["blocks"])
        counts = f"{len(right)} blocks, {differences} finite differences, {len(record['steps'])} steps of Adam"
        heads = f", {len(record['masked'])} masked heads" if record["masked"] else ""
        if record["bug"]:
            return [(f"NOT CAUGHT: all agrees ({counts}{heads}), although there is a bug.", WRONG)]
        return [(f"All agree: {counts}{heads}.", "bold green")]
    what = []
    if wrong:
        which = f"the gradients of {names(wrong)}" if right else "all gradients"
        what.append(f"{which} ({len(wrong)} of {len(record['blocks'])} blocks)")
    if not record["loss"]["agrees"]:
        what.append("the loss")
    if masked:
        what.append("heads that learn from foreign rows")
    if steps:
        numbers = ", ".join(str(step["step"]) for step in steps)
        what.append(f"step{'s' if len(steps) > 1 else ''} {numbers} of Adam")
    lines = [("Wrong: " + "; ".join(what) + ".", WRONG)]
    if right and wrong:
        lines.append((f"Right: {names(right)}.", "green"))
    elif right:
        lines.append((f"Right: all gradients ({len(right)} blocks).", "green"))
    if record["bug"]:
        return [("Caught.", "bold green"), *lines, ("", ""), (f"Why these: {record['bug']['why']}", "")]
    return lines + [(line, "") for line in suspects(wrong, record["loss"]["agrees"])]


def suspects(wrong: Sequence[Mapping[str, Any]], same_loss: bool) -> list[str]:
    """Where to look."""
    found = []
    if any(wrong_textbook(part) for block in wrong for part in parts_of(block)):
        found.append("Textbook and differences part: the backward of model/reference.py is not that of its own loss.")
    if same_loss and any(wrong_engine(part) for block in wrong for part in parts_of(block)):
        found.append("Textbook and engine part: look at the lowest of the right blocks; the fault lies just below it.")
    if not same_loss:
        found.append("Textbook and engine compute different losses: compare their forward passes first.")
    return found


def names(blocks: Sequence[Mapping[str, Any]]) -> str:
    """Parameters of some blocks, those of the towers by their layers."""
    return ", ".join(dict.fromkeys(block["parameter"] for block in blocks))
