"""A traced training step on a terminal: every array with name, shape, formula and numbers, 80 columns wide."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

from twotower.core.formatting import in_words
from twotower.lab.trace.numbers import DECIMALS, GAP, aligned, number_text, number_texts
from twotower.lab.trace.record import Step, Trace, TraceLeak
from twotower.report.record_table import table_of
from twotower.report.terminal import rendered, stdout_console

WIDTH = 80  # characters per line
LEAK_CAPTION = (
    "Norms: of the gradient; of its change when all labels of other groups are flipped; of what rows of other groups "
    "add to it without the mask."
)
ADAM = {"learning_rate": "lr", "beta1": "β₁", "beta2": "β₂", "eps": "ε"}


def trace_text(record: Trace, mask: str = "on", stages: Sequence[str] = (), every_block: bool = False) -> Group:
    """The step with the mask ``on`` or ``off``, all stages or some; ``every_block`` shows Adam for every block."""
    steps = [step for step in record.runs[mask].steps if not stages or step.stage in stages]
    return Group(*opening(record, mask), *step_texts(steps, record, mask, every_block), *closing(record))


def print_trace(record: Trace, mask: str = "on", stages: Sequence[str] = (), every_block: bool = False) -> None:
    """Print it, at most 80 columns wide."""
    console = stdout_console()
    console.width = min(console.width, WIDTH)
    console.print(trace_text(record, mask, stages, every_block))


def opening(record: Trace, mask: str) -> Iterator[RenderableType]:
    """The batch, the network and the optimiser."""
    network = record.network
    title = f"One training step · {network.model.head} heads · mask {mask} · seed {record.seed}"
    yield Rule(Text(title, "bold"), characters="━")
    for each in [*network.users, *network.titles]:
        where = "" if each.group is None else f" in group {each.group}, {network.groups[each.group]}"
        yield Text(f"{each.name}{where}: features {'  '.join(number_texts(each.features.tolist()))}")
    pairs = ", ".join(f"{pair.user}·{pair.title} {pair.label}" for pair in network.pairs)
    yield Text(f"B = {len(network.pairs)} pairs, 1 = streamed: {pairs}")
    adam = ", ".join(f"{letter} {in_words(network.train[name], 'g')}" for name, letter in ADAM.items())
    yield Text(f"D = {network.model.hidden}, K = {network.model.groups}. Adam: {adam}, t = 1.")
    yield Text("0 is exactly 0; 0.0000 is rounded.")


def step_texts(steps: Iterable[Step], record: Trace, mask: str, every_block: bool) -> Iterator[RenderableType]:
    """All steps, with a heading wherever stage or place in the network change."""
    full = next((part.parameter for part in record.leak), None)
    for (stage, block, group, parameter), of_place in groupby(
        steps, lambda step: (step.stage, step.block, step.group, step.parameter)
    ):
        place = list(of_place)
        if stage == "adam" and not every_block and parameter != full:
            yield adam_line(place)
            continue
        yield heading(f"{stage.capitalize()} · {parameter or place_text(block, group, record)}")
        for step in place:
            yield from step_text(step, record, mask)


def heading(text: str) -> RenderableType:
    return Group(Text(), Rule(Text(text, "bold"), align="left"))


def place_text(block: str, group: int | None, record: Trace) -> str:
    """``user tower, layer 1``, or ``score, head 0 (North)``."""
    room, _, layer = block.partition(".")
    name = f"{room} tower, layer {layer}" if layer else room
    if group is None:
        return name
    owner = f"{group} ({record.network.groups[group]})"
    return f"head {owner}" if block in ("head", "loss") else f"{name}, head {owner}"


def step_text(step: Step, record: Trace, mask: str) -> Iterator[RenderableType]:
    """Name, shape and formula; the line of the textbook; the numbers."""
    title = Text.assemble((step.name, "bold"), f" {tuple(step.shape)}", GAP, (step.maths, "cyan"))
    title.rstrip()
    yield title
    yield indented(step.source, "dim")
    if step.note:
        yield indented(step.note, "italic")
    yield from pair_rows(step, record, mask) if step.pairs is not None else array_lines(step.values)


def indented(text: str, style: str) -> Text:
    """A line under a step's name, wrapped if long."""
    return Text(textwrap.fill(text, WIDTH - 2, initial_indent=GAP, subsequent_indent=2 * GAP), style)


def adam_line(place: Sequence[Step]) -> Text:
    """One block's step in a line."""
    values = {step.name: step.values for step in place}  # the last P is the updated one
    before = next(step.values for step in place if step.name == "P")
    g, moved = (number_text(float(np.abs(x).max())) for x in (values["G"], values["P"] - before))
    text = f"largest |g| {g}, largest step {moved}"
    return Text.assemble((f"{place[0].parameter}", "bold"), f" {tuple(place[0].shape)}", GAP, (text, "dim"))


def array_lines(values: np.ndarray) -> Iterator[RenderableType]:
    """The numbers, a line per row."""
    columns = values.shape[-1] if values.ndim else 1
    lines = aligned(number_texts(values.ravel().tolist()), columns)
    per_part = values.shape[1] if values.ndim == 3 else len(lines)
    for k in range(len(lines) // per_part):
        if values.ndim == 3:
            yield Text(f"  [{k}]")
        yield Text("\n".join("    " + line for line in lines[k * per_part : (k + 1) * per_part]))


def pair_rows(step: Step, record: Trace, mask: str) -> Iterator[RenderableType]:
    """Rows that are pairs of the batch; those of other groups than the head's in brackets, dimmed."""
    network, vector = record.network, step.values.ndim == 1
    lines = aligned(number_texts(step.values.ravel().tolist()), 1 if vector else step.shape[1])
    focus = record.group if step.group is None else step.group
    rows, hidden = [], 0
    for line, i in zip(lines, step.pairs or [], strict=True):
        pair = network.pairs[i]
        other = focus is not None and pair.group != focus
        if other and step.group is None:
            hidden += 1
            continue
        name = f"{pair.user}·{pair.title}"
        name = name if vector else f"{network.groups[pair.group]} {name}"
        name = f"({name})" if other else name if vector else f" {name} "
        style = ("dim" if mask == "on" else "yellow") if other else ""
        rows.append((Text(name if vector else f"    {name:19}", style), Text(line.strip() if vector else line, style)))
    table = Grid.grid(padding=(0, 0))
    if vector:
        for _ in rows:
            table.add_column(justify="right")
        rows = list(zip(*(tuple(Text("    ").append_text(cell) for cell in row) for row in rows), strict=True))
    for row in rows:
        table.add_row(*row)
    yield table
    if hidden:
        yield Text(f"    and {hidden} rows of other groups", "dim")


def closing(record: Trace) -> Iterator[RenderableType]:
    """The loss, and what the mask keeps out of each head."""
    on, off = (record.runs[name].loss for name in ("on", "off"))
    yield heading(f"Loss: {on:.{DECIMALS}f} with the mask, {off:.{DECIMALS}f} without")
    if record.leak:
        yield rendered(table_of(TraceLeak, record.leak, caption=LEAK_CAPTION), WIDTH)
