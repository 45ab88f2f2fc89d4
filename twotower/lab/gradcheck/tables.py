"""The record of a gradient check on a terminal: three gradients side by side, disagreements in red, and a verdict."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import Console

from twotower.core.formatting import counted, in_words, minus
from twotower.lab.gradcheck.blocks import ENGINE_TOLERANCE, NUMERIC_TOLERANCE
from twotower.lab.gradcheck.finite_differences import NEAR_A_KINK
from twotower.lab.gradcheck.record import BatchFacts, BlockCheck, BugFacts, Comparison, GradcheckRecord, StepCheck
from twotower.report.record_table import shown, table_of
from twotower.report.table import COUNT, TEXT, Cell, Kind, Table, Tone
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


def print_gradcheck(record: GradcheckRecord, console: Console, everything: bool = False) -> None:
    """Subject, planted bug, tables, notes and verdict."""
    subject, loss = record.subject, record.loss
    equal = "equal" if loss.agrees else "different"
    text = f"Loss: {loss.textbook:.9f} in the textbook, {loss.engine:.9f} in the engine: {equal}."
    console.print(line(subject.network("as trained" if subject.trained else "after one step"), "strong"))
    console.print(line(batch_line(record.batch)))
    console.print(line(text, "" if loss.agrees else "alarm"))
    if record.bug:
        print_bug(console, record.bug)
    wide = console.width >= WIDE
    for table in (block_table(record, wide, everything), step_table(record, wide)):
        console.print()
        print_table(table, console)
    console.print()
    for text, tone in [*((note, "warning") for note in notes(record)), *verdict(record)]:
        console.print(line(text, tone))


def batch_line(batch: BatchFacts) -> str:
    groups = "" if len(batch.by_group) == 1 else f" ({', '.join(map(str, batch.by_group))} by group)"
    users = f"{batch.users} users with up to {batch.most_of_a_user} pairs"
    titles = f"{batch.titles} titles with up to {batch.most_of_a_title}"
    return f"{batch.pairs} pairs{groups}, {batch.positives} of them positive; {users}, {titles}."


def print_bug(console: Console, bug: BugFacts) -> None:
    """The planted line and its effect on the maths, as a small diff."""
    place = f"twotower/{bug.file}, line {bug.line}, in {bug.function}"
    print_lines(console, ["", line(f"Planted: {bug.sentence}", "strong"), line(place, "quiet")])
    for right, wrong in ((bug.right, bug.wrong), bug.maths):
        print_lines(console, [line(f"  − {right}", "good"), line(f"  + {wrong}", "bad")])


# ---------------------------------------------------------------- tables


@dataclass
class BlockRow:
    """The worst element of a block."""

    block: BlockCheck
    name: str = shown("block", TEXT)
    place: str = shown("worst at", TEXT)
    numeric: float = shown("finite\ndifference", NUMBER)
    textbook: float = shown("textbook\nfloat64", NUMBER)
    engine: float = shown("engine\nfloat32", NUMBER)
    textbook_error: Cell = shown("textbook\noff by", ERROR)
    engine_error: Cell = shown("engine\noff by", ERROR)
    direction_textbook: Cell = shown("direction:\ntextbook", ERROR)
    direction_engine: Cell = shown("\nengine", ERROR)


def block_table(record: GradcheckRecord, wide: bool, everything: bool) -> Table:
    """The worst element of each block; agreeing blocks of one parameter share a row."""

    def cell(row: BlockRow, name: str, value: Any, k: int | None) -> Any:
        element = row.block.elements[0]
        if name in ("name", "place"):
            return Cell(value, "" if row.block.agrees else "alarm")
        if name == "numeric" and element.kinks:
            return Cell(value, "warning", text="a kink")
        wrong = {"textbook": textbook_wrong(element), "engine": engine_wrong(element)}
        return number(value, wrong[name]) if name in wrong else value

    rows = []
    for name, block in named_blocks(record.blocks, everything):
        worst, off = block.elements[0], errors_of(block.elements[0], block.largest)
        rows.append(BlockRow(block, name, str(worst.index), worst.numeric, worst.textbook, worst.engine, *off,
                             *errors_of(block.direction, block.norm)))  # fmt: skip
    numeric, engine = in_words(NUMERIC_TOLERANCE), in_words(ENGINE_TOLERANCE)
    caption = (
        f"off by: relative to the block’s largest element; textbook from difference (allowed {numeric}), "
        f"engine from textbook (allowed {engine})"
    )
    caption += "; direction: along a random one, relative to the gradient’s norm" if wide else ""
    hide = () if wide else ("place", "direction_textbook", "direction_engine")
    title = "Gradients: the worst element of each block"
    return table_of(BlockRow, rows, title, caption, hide=hide, cell=cell, section=lambda row: row.block.part)


def named_blocks(blocks: Sequence[BlockCheck], everything: bool) -> Iterator[tuple[str, BlockCheck]]:
    """Rows of the table: a name and a block. Agreeing blocks of one parameter share a row, which shows the worst."""
    for parameter, of_parameter in groupby(blocks, lambda block: block.parameter):
        ranked = sorted(of_parameter, key=lambda block: block.worst, reverse=True)
        wrong = ranked if everything or len(ranked) == 1 else [b for b in ranked if not b.agrees][:FEW]
        for block in sorted(wrong, key=lambda block: block.owner or 0):
            yield block.name, block
        rest = ranked[len(wrong) :]
        if rest:
            yield f"{parameter}, {len(rest)} more" if wrong else f"{parameter}[0…{len(ranked) - 1}]", rest[0]


def textbook_wrong(part: Comparison) -> bool:
    return (part.textbook_error or 0.0) > 1


def engine_wrong(part: Comparison) -> bool:
    return part.engine_error > 1


def number(value: float, wrong: bool) -> Cell:
    return Cell(value, "alarm" if wrong else "", text="NaN" if math.isnan(value) else None)


def error(difference: float, scale: float, wrong: bool) -> Cell:
    """A relative error."""
    share = abs(difference) / scale if scale else math.inf if difference else 0.0
    return Cell(share, "alarm" if wrong else "quiet", text="NaN" if math.isnan(share) else None)


def errors_of(part: Comparison, scale: float) -> tuple[Cell, Cell]:
    """Textbook against difference, and engine against textbook."""
    textbook = Cell(None, "warning", text="–")
    if not part.kinks:
        textbook = error(part.textbook - part.numeric, scale, textbook_wrong(part))
    return textbook, error(part.engine - part.textbook, scale, engine_wrong(part))


@dataclass
class StepRow:
    """The worst weight of a step of Adam."""

    step: StepCheck
    number: str = shown("step", TEXT)
    without: str = shown("without", TEXT)
    block: str = shown("worst in", TEXT)
    place: str = shown("at", TEXT)
    t: int = shown("t", COUNT)
    gradient: float = shown("gradient", NUMBER)
    textbook: float = shown("formula", NUMBER)
    engine: Cell = shown("engine", NUMBER)
    off: Cell = shown("off by", ERROR)


def step_table(record: GradcheckRecord, wide: bool) -> Table:
    """The worst weight of each step of Adam."""
    rows = []
    for step in record.steps:
        off = error(step.engine - step.textbook, abs(step.textbook), not step.error <= 1)
        absent = f"group {', '.join(map(str, step.absent))}" if step.absent else "–"
        rows.append(StepRow(step, str(step.step), absent, step.block, str(step.index), step.t, step.gradient,
                            step.textbook, number(step.engine, not step.error <= 1), off))  # fmt: skip
    return table_of(
        StepRow, rows, "Adam: the update of a weight by the formula (Kingma & Ba, Algorithm 1) and by the engine",
        "without: a group without pairs, whose head must stay unchanged bit for bit; t: updates of the block so far; "
        "off by: relative to the update, mostly float32 rounding of the weight",
        hide=() if wide else ("place",), tone=lambda row: "" if row.step.agrees else "alarm",
    )  # fmt: skip


# ---------------------------------------------------------------- sentences


def notes(record: GradcheckRecord) -> list[str]:
    """What could not be checked, and what may look like a wrong gradient."""
    sentences, near, batch = [], NEAR_A_KINK, record.batch
    parts = [part for block in record.blocks for part in block.comparisons]
    kinks = [part for part in parts if part.kinks]
    if kinks:
        smallest = in_words(min(part.step for part in kinks))
        sentences.append(f"{len(kinks)} of {len(parts)} differences cross a kink of a ReLU at every step down to "
                         f"{smallest}: the textbook was not checked there.")  # fmt: skip
    if batch.nearest_kink < near:
        sentences.append(
            f"All {batch.tries} batches tried have a ReLU input nearer to 0 than {in_words(near)} "
            f"({in_words(batch.nearest_kink)} in this one). In float32 it may have the other sign, and the engine "
            "be off for that reason alone: try another --batch or fewer --pairs."
        )
    few = [n for n in batch.users_by_group if 0 < n < FEW_USERS]
    if few and record.subject.model.batchnorm == "group":
        sentences.append(
            f"{len(few)} of {len(record.groups)} groups have fewer than {FEW_USERS} users in the batch: batch-norm "
            "over so few rows divides by nearly 0 and leaves float32 few digits."
        )
    absent = [name for name, pairs in zip(record.groups, batch.by_group, strict=True) if not pairs]
    return [*sentences, f"No training pairs of {', '.join(absent)}."] if absent else sentences


def verdict(record: GradcheckRecord) -> list[tuple[str, Tone]]:
    """The result: lines with their tones."""
    wrong = [block for block in record.blocks if not block.agrees]
    right = [block for block in record.blocks if block.agrees]
    if record.agrees:
        differences = sum(len(block.comparisons) for block in record.blocks)
        counts = f"{len(right)} blocks, {differences} finite differences, {counted(len(record.steps), 'step')} of Adam"
        if record.bug:
            return [(f"NOT CAUGHT: everything agrees ({counts}) despite the bug.", "alarm")]
        return [(f"All agree: {counts}.", "good")]
    faults = []
    if wrong:
        which = f"the gradients of {names_of(wrong)}" if right else "all gradients"
        faults.append(f"{which} ({len(wrong)} of {len(record.blocks)} blocks)")
    if not record.loss.agrees:
        faults.append("the loss")
    steps = [str(step.step) for step in record.steps if not step.agrees]
    if steps:
        faults.append(f"step{'s' if len(steps) > 1 else ''} {', '.join(steps)} of Adam")
    lines: list[tuple[str, Tone]] = [(f"Wrong: {'; '.join(faults)}.", "alarm")]
    if right:
        lines.append((f"Right: {names_of(right) if wrong else f'all gradients ({len(right)} blocks)'}.", "good"))
    if record.bug:
        return [("Caught.", "good"), *lines, ("", ""), (f"Why these: {record.bug.why}", "")]
    return [*lines, *((hint, "") for hint in hints(wrong, record.loss.agrees))]


def hints(wrong: Sequence[BlockCheck], same_loss: bool) -> list[str]:
    """Where to look."""
    sentences, parts = [], [part for block in wrong for part in block.comparisons]
    if any(map(textbook_wrong, parts)):
        sentences.append("Textbook against differences: model/reference.py has a wrong backward pass.")
    if same_loss and any(map(engine_wrong, parts)):
        sentences.append("Engine against textbook: the bug is just below the lowest of the right blocks.")
    if not same_loss:
        sentences.append("Textbook and engine compute different losses: compare their forward passes first.")
    return sentences


def names_of(blocks: Sequence[BlockCheck]) -> str:
    """Parameters of some blocks."""
    return ", ".join(dict.fromkeys(block.parameter for block in blocks))
