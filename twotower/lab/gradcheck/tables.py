"""The record of a gradient check on a terminal: three gradients side by side, disagreements in red, and a verdict."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.console import Console

from twotower.core.formatting import counted, in_words, minus
from twotower.lab.gradcheck.record import BlockCheck, BugFacts, Comparison, ElementComparison, GradcheckRecord
from twotower.report.table import COUNT, TEXT, Cell, Column, Kind, Table, Tone
from twotower.report.terminal import line, print_lines, print_table

WIDE = 112  # characters per line; below, positions of elements and random directions are left out
FEW = 4  # wrong blocks of one parameter that get a row each
FEW_USERS = 3  # of a group, for its own batch-norm


def number_text(value: float) -> str:
    """Four digits; the columns beside them say whether two numbers agree."""
    return minus(f"{value:.3e}") if value else "0"


def error_text(share: float) -> str:
    """A relative error, in percent if large."""
    return minus(f"{100 * share:.0f} %" if 0.005 <= share < 100 else f"{share:.0e}" if share else "0")


NUMBER, ERROR = Kind(number_text), Kind(error_text)


def print_bugs(console: Console, bugs: Iterable[tuple[str, str]]) -> None:
    """Names of bugs, and what is wrong with them."""
    table = Table([Column("--break", TEXT), Column("the bug", TEXT)])
    for name, sentence in bugs:
        table.add(name, sentence)
    print_table(table, console)


def print_gradcheck(record: GradcheckRecord, console: Console, everything: bool = False) -> None:
    """Subject, planted bug, tables, notes and verdict."""
    console.print(line(heading(record), "strong"))
    console.print(line(batch_line(record)))
    console.print(line(loss_line(record), "" if record["loss"]["agrees"] else "alarm"))
    if record["bug"]:
        print_bug(console, record["bug"])
    wide = console.width >= WIDE
    tables = [block_table(record, wide, everything), step_table(record, wide)]
    for table in [*tables, *([mask_table(record)] if record["masked"] else [])]:
        console.print()
        print_table(table, console)
    console.print()
    for text, tone in [*((note, "warning") for note in notes(record)), *verdict(record)]:
        console.print(line(text, tone))


def heading(record: GradcheckRecord) -> str:
    """The subject in a line."""
    subject = record["subject"]
    model = subject["model"]
    heads = "without heads" if model["head"] == "none" else f"{model['head']} heads"
    state = "as trained" if subject["trained"] else "after one step"
    return f"{subject['name']}, {state}: {heads}, D {model['hidden']}, K {model['groups']}."


def batch_line(record: GradcheckRecord) -> str:
    batch = record["batch"]
    groups = "" if len(batch["by_group"]) == 1 else f" ({', '.join(map(str, batch['by_group']))} by group)"
    users = f"{batch['users']} users with up to {batch['most_of_a_user']} pairs"
    titles = f"{batch['titles']} titles with up to {batch['most_of_a_title']}"
    return f"{batch['pairs']} pairs{groups}, {batch['positives']} of them positive; {users}, {titles}."


def loss_line(record: GradcheckRecord) -> str:
    loss = record["loss"]
    equal = "equal" if loss["agrees"] else "different"
    return f"Loss: {loss['textbook']:.9f} in the textbook, {loss['engine']:.9f} in the engine: {equal}."


def print_bug(console: Console, bug: BugFacts) -> None:
    """The planted line and its effect on the maths, as a small diff."""
    place = f"twotower/{bug['file']}, line {bug['line']}, in {bug['function']}"
    print_lines(console, ["", line(f"Planted: {bug['sentence']}", "strong"), line(place, "quiet")])
    for right, wrong in ((bug["right"], bug["wrong"]), bug["maths"]):
        print_lines(console, [line(f"  − {right}", "good"), line(f"  + {wrong}", "bad")])


# ---------------------------------------------------------------- tables


def block_table(record: GradcheckRecord, wide: bool, everything: bool) -> Table:
    """The worst element of each block; agreeing blocks of one parameter share a row."""
    numeric, engine = (in_words(record["tolerances"][name]) for name in ("numeric", "engine"))
    names = ["finite\ndifference", "textbook\nfloat64", "engine\nfloat32"]
    errors = ["textbook\noff by", "engine\noff by", *(["direction:\ntextbook", "\nengine"] if wide else [])]
    columns = [Column("block", TEXT), *([Column("worst at", TEXT)] if wide else [])]
    columns += [Column(name, NUMBER) for name in names]
    table = Table(
        [*columns, *(Column(name, ERROR) for name in errors)],
        "Gradients: the worst element of each block",
        f"off by: relative to the block’s largest element; textbook from difference (allowed {numeric}), "
        f"engine from textbook (allowed {engine})"
        + ("; direction: along a random one, relative to the gradient’s norm" if wide else ""),
    )
    for _, of_part in groupby(record["blocks"], lambda block: block["part"]):
        for name, block in named_blocks(list(of_part), everything):
            element, direction = block["elements"][0], block["direction"]
            tone: Tone = "" if block["agrees"] else "alarm"
            table.add(
                Cell(name, tone),
                *([Cell(str(element["index"]), tone)] if wide else []),
                Cell(element["numeric"], "warning", text="a kink") if element["kinks"] else element["numeric"],
                number(element["textbook"], textbook_wrong(element)),
                number(element["engine"], engine_wrong(element)),
                *errors_of(element, block["largest"]),
                *(errors_of(direction, block["norm"]) if wide else []),
            )
        table.section()
    return table


def named_blocks(blocks: Sequence[BlockCheck], everything: bool) -> Iterator[tuple[str, BlockCheck]]:
    """Rows of the table: a name and a block. Agreeing blocks of one parameter share a row, which shows the worst."""
    for parameter, of_parameter in groupby(blocks, lambda block: block["parameter"]):
        ranked = sorted(of_parameter, key=severity, reverse=True)
        wrong = ranked if everything or len(ranked) == 1 else [b for b in ranked if not b["agrees"]][:FEW]
        for block in sorted(wrong, key=lambda block: block["owner"] or 0):
            yield block["name"], block
        rest = ranked[len(wrong) :]
        if rest:
            yield f"{parameter}, {len(rest)} more" if wrong else f"{parameter}[0…{len(ranked) - 1}]", rest[0]


def severity(block: BlockCheck) -> float:
    """The largest error of a block, in units of what is tolerated."""
    return max(max(part["textbook_error"] or 0.0, part["engine_error"]) for part in comparisons(block))


def comparisons(block: BlockCheck) -> list[Comparison | ElementComparison]:
    return [*block["elements"], block["direction"]]


def textbook_wrong(part: Comparison | ElementComparison) -> bool:
    return (part["textbook_error"] or 0.0) > 1


def engine_wrong(part: Comparison | ElementComparison) -> bool:
    return part["engine_error"] > 1


def number(value: float, wrong: bool = False) -> Cell:
    return Cell(value, "alarm" if wrong else "", text="NaN" if math.isnan(value) else None)


def error(difference: float, scale: float, wrong: bool) -> Cell:
    """A relative error."""
    share = abs(difference) / scale if scale else math.inf if difference else 0.0
    return Cell(share, "alarm" if wrong else "quiet", text="NaN" if math.isnan(share) else None)


def errors_of(part: Comparison | ElementComparison, scale: float) -> list[Cell]:
    """Textbook against difference, and engine against textbook."""
    textbook = Cell(None, "warning", text="–")
    if not part["kinks"]:
        textbook = error(part["textbook"] - part["numeric"], scale, textbook_wrong(part))
    return [textbook, error(part["engine"] - part["textbook"], scale, engine_wrong(part))]


def step_table(record: GradcheckRecord, wide: bool) -> Table:
    """The worst weight of each step of Adam."""
    names = ["step", "without", "worst in", *(["at"] if wide else [])]
    columns = [*(Column(name, TEXT) for name in names), Column("t", COUNT)]
    table = Table(
        [*columns, *(Column(name, NUMBER) for name in ("gradient", "formula", "engine")), Column("off by", ERROR)],
        "Adam: the update of a weight by the formula (Kingma & Ba, Algorithm 1) and by the engine",
        "without: a group without pairs, whose head must stay unchanged bit for bit; t: updates of the block so far; "
        "off by: relative to the update, mostly float32 rounding of the weight",
    )
    for step in record["steps"]:
        absent = sorted({block["owner"] or 0 for block in step["blocks"] if not block["present"]})
        updated = [block for block in step["blocks"] if block["present"]]
        worst = max(updated, key=lambda block: math.inf if math.isnan(block["error"]) else block["error"])
        wrong, tone = not worst["error"] <= 1, "" if step["agrees"] else "alarm"
        table.add(
            Cell(str(step["step"]), tone),  # type: ignore[arg-type]
            f"group {', '.join(map(str, absent))}" if absent else "–",
            Cell(worst["name"], tone),  # type: ignore[arg-type]
            *([str(worst["index"])] if wide else []),
            worst["t"],
            worst["gradient"],
            worst["textbook"],
            number(worst["engine"], wrong),
            error(worst["engine"] - worst["textbook"], abs(worst["textbook"]), wrong),
        )
    return table


def mask_table(record: GradcheckRecord) -> Table:
    """What each head gets from other groups' rows: exactly nothing."""
    names = ["own\nrows", "other groups’\nrows: engine", "group absent:\nengine", "\ntextbook"]
    table = Table(
        [Column("head of group", TEXT), *(Column(name, NUMBER) for name in names)],
        "Masks: the largest element in the gradient of a group’s own parameters",
        "must be exactly 0: from the pairs of other groups, and in a batch without the group",
    )
    for mask in record["masked"]:
        zeros = [number(value, value != 0) for value in (mask["others"], mask["absent"], mask["textbook"])]
        tone: Tone = "" if mask["agrees"] else "alarm"
        table.add(Cell(record["groups"][mask["group"]], tone), number(mask["own"]), *zeros)
    return table


# ---------------------------------------------------------------- sentences


def notes(record: GradcheckRecord) -> list[str]:
    """What could not be checked, and what may look like a wrong gradient."""
    sentences, near = [], record["tolerances"]["near_a_kink"]
    parts = [part for block in record["blocks"] for part in comparisons(block)]
    kinks = [part for part in parts if part["kinks"]]
    if kinks:
        sentences.append(
            f"{len(kinks)} of {len(parts)} differences cross a kink of a ReLU at every step down to "
            f"{in_words(min(part['step'] for part in kinks))}: the textbook was not checked there."
        )
    batch = record["batch"]
    if batch["nearest_kink"] < near:
        sentences.append(
            f"All {batch['tries']} batches tried have a ReLU input nearer to 0 than {in_words(near)} "
            f"({in_words(batch['nearest_kink'])} in this one). In float32 it may have the other sign, and the engine "
            "be off for that reason alone: try another --batch or fewer --pairs."
        )
    few = [n for n in batch["users_by_group"] if 0 < n < FEW_USERS]
    if few and record["subject"]["model"].get("batchnorm") == "group":
        sentences.append(
            f"{len(few)} of {len(record['groups'])} groups have fewer than {FEW_USERS} users in the batch: batch-norm "
            "over so few rows divides by nearly 0 and leaves float32 few digits."
        )
    if 0 in batch["by_group"]:
        absent = [name for name, pairs in zip(record["groups"], batch["by_group"], strict=True) if not pairs]
        sentences.append(f"No training pairs of {', '.join(absent)}: their heads were checked to get exactly 0.")
    return sentences


def verdict(record: GradcheckRecord) -> list[tuple[str, Tone]]:
    """The result: lines with their tones."""
    wrong = [block for block in record["blocks"] if not block["agrees"]]
    right = [block for block in record["blocks"] if block["agrees"]]
    if record["agrees"]:
        differences = sum(len(comparisons(block)) for block in record["blocks"])
        counts = f"{len(right)} blocks, {differences} finite differences, {len(record['steps'])} steps of Adam"
        if record["masked"]:
            counts += f", {counted(len(record['masked']), 'masked head')}"
        if record["bug"]:
            return [(f"NOT CAUGHT: everything agrees ({counts}) despite the bug.", "alarm")]
        return [(f"All agree: {counts}.", "good")]
    faults = []
    if wrong:
        which = f"the gradients of {names_of(wrong)}" if right else "all gradients"
        faults.append(f"{which} ({len(wrong)} of {len(record['blocks'])} blocks)")
    if not record["loss"]["agrees"]:
        faults.append("the loss")
    if any(not mask["agrees"] for mask in record["masked"]):
        faults.append("heads that get a gradient from other groups’ rows")
    steps = [str(step["step"]) for step in record["steps"] if not step["agrees"]]
    if steps:
        faults.append(f"step{'s' if len(steps) > 1 else ''} {', '.join(steps)} of Adam")
    lines: list[tuple[str, Tone]] = [(f"Wrong: {'; '.join(faults)}.", "alarm")]
    if right:
        lines.append((f"Right: {names_of(right) if wrong else f'all gradients ({len(right)} blocks)'}.", "good"))
    if record["bug"]:
        return [("Caught.", "good"), *lines, ("", ""), (f"Why these: {record['bug']['why']}", "")]
    return [*lines, *((hint, "") for hint in hints(wrong, record["loss"]["agrees"]))]


def hints(wrong: Sequence[BlockCheck], same_loss: bool) -> list[str]:
    """Where to look."""
    sentences = []
    if any(textbook_wrong(part) for block in wrong for part in comparisons(block)):
        sentences.append("Textbook against differences: model/reference.py has a wrong backward pass.")
    if same_loss and any(engine_wrong(part) for block in wrong for part in comparisons(block)):
        sentences.append("Engine against textbook: the bug is just below the lowest of the right blocks.")
    if not same_loss:
        sentences.append("Textbook and engine compute different losses: compare their forward passes first.")
    return sentences


def names_of(blocks: Sequence[BlockCheck]) -> str:
    """Parameters of some blocks."""
    return ", ".join(dict.fromkeys(block["parameter"] for block in blocks))
