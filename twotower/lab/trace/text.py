"""A traced training step on a terminal: every array with name, shape, formula and numbers, 80 columns wide."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

from twotower.core.formatting import in_words, minus
from twotower.lab.trace.record import Step, Trace
from twotower.report.table import TEXT, Column, Kind, Table
from twotower.report.terminal import rendered, stdout_console

WIDTH = 80  # characters per line
DECIMALS = 4
SMALL = 1e-3  # arrays whose largest number is below are written with exponents
GAP = "  "  # before each column
LEAK_CAPTION = (
    "Norms: of the gradient; of its change when all labels of other groups are flipped; of what rows of other groups "
    "add to it without the mask."
)
BLOCKS = {"user": "user tower", "title": "title tower", "head": "head", "score": "score", "loss": "loss"}


def trace_text(record: Trace, mask: str = "on", stages: Sequence[str] = (), every_block: bool = False) -> Group:
    """The step with the mask ``on`` or ``off``, all stages or some; ``every_block`` shows Adam for every block."""
    run = record["runs"][mask]
    steps = [step for step in run["steps"] if not stages or step["stage"] in stages]
    return Group(
        *opening(record, mask),
        *step_texts(steps, record, mask, every_block),
        *closing(record, mask),
    )


def print_trace(record: Trace, mask: str = "on", stages: Sequence[str] = (), every_block: bool = False) -> None:
    """Print it, at most 80 columns wide."""
    console = stdout_console()
    console.width = min(console.width, WIDTH)
    console.print(trace_text(record, mask, stages, every_block))


def opening(record: Trace, mask: str) -> Iterator[RenderableType]:
    """The batch, the network and the optimiser."""
    network = record["network"]
    model, groups = network["model"], network["groups"]
    title = f"One training step · {model['head']} heads · mask {mask} · seed {record['seed']}"
    yield Rule(Text(title, "bold"), characters="━")
    for kind in ("users", "titles"):
        for row in network[kind]:
            where = f" in group {row['group']}, {groups[row['group']]}" if "group" in row else ""
            yield Text(f"{row['name']}{where}: features {'  '.join(number_texts(row['features']))}")
    pairs = ", ".join(f"{pair['user']}·{pair['title']} {pair['label']}" for pair in network["pairs"])
    yield Text(f"B = {len(network['pairs'])} pairs, 1 = streamed: {pairs}")
    train = network["train"]
    names = {"learning_rate": "lr", "beta1": "β₁", "beta2": "β₂", "eps": "ε"}
    adam = ", ".join([*(f"{letter} {in_words(train[name], 'g')}" for name, letter in names.items()), "t = 1"])
    yield Text(f"D = {model['hidden']}, K = {model['groups']}. Adam: {adam}.")
    yield Text("0 is exactly 0; 0.0000 is rounded.")


def step_texts(steps: Iterable[Step], record: Trace, mask: str, every_block: bool) -> Iterator[RenderableType]:
    """All steps, with a heading wherever stage or place in the network change."""
    shown = next((part["parameter"] for part in record["leak"]), None)
    for (stage, block, group, parameter), of_place in groupby(steps, place_of):
        place = list(of_place)
        if stage != "adam":
            yield heading(f"{stage.capitalize()} · {block_text(block, group, record)}")
        elif every_block or parameter == shown:
            yield heading(f"Adam · {parameter}")
        else:
            yield adam_line(place)
            continue
        for step in place:
            yield from step_text(step, record, mask)


def place_of(step: Step) -> tuple[str, str, int | None, str | None]:
    return step["stage"], step["block"], step["group"], step.get("parameter")


def heading(text: str) -> RenderableType:
    return Group(Text(), Rule(Text(text, "bold"), align="left"))


def block_text(block: str, group: int | None, record: Trace) -> str:
    """``user tower, layer 1``, or ``score, head 0 (North)``."""
    room, _, layer = block.partition(".")
    name = BLOCKS.get(room, room) + (f", layer {layer}" if layer else "")
    if group is None:
        return name
    owner = f"{group} ({record['network']['groups'][group]})"
    return f"head {owner}" if block in ("head", "loss") else f"{name}, head {owner}"


def step_text(step: Step, record: Trace, mask: str) -> Iterator[RenderableType]:
    """Name, shape and formula; the line of the textbook; the numbers."""
    yield Text.assemble((step["name"], "bold"), f" {shape_text(step)}", GAP, (step["maths"], "cyan"))
    yield indented(step["source"], "dim")
    if step["note"]:
        yield indented(step["note"], "italic")
    yield from array_text(step, record, mask)


def indented(text: str, style: str) -> Text:
    """A line under a step's name, wrapped if long."""
    return Text(textwrap.fill(text, WIDTH - 2, initial_indent=GAP, subsequent_indent=2 * GAP), style)


def shape_text(step: Step) -> str:
    """``(5, 4)``, or ``(4,)`` for a vector."""
    return str(tuple(step["shape"]))


def adam_line(place: Sequence[Step]) -> Text:
    """One block's step in a line."""
    values = {step["name"]: step["values"] for step in place}  # the last P is the updated one
    before = next(step["values"] for step in place if step["name"] == "P")
    moved = max((abs(a - b) for a, b in zip(flat(values["P"]), flat(before), strict=True)), default=0.0)
    g = max(map(abs, flat(values["G"])), default=0.0)
    return Text.assemble(
        (f"{place[0]['parameter']}", "bold"), f" {shape_text(place[0])}", GAP,
        (f"largest |g| {number_texts([g])[0]}, largest step {number_texts([moved])[0]}", "dim"),
    )  # fmt: skip


def array_text(step: Step, record: Trace, mask: str) -> Iterator[RenderableType]:
    """The numbers: a line per row; rows that are pairs have their user, title and group."""
    values, dimensions = step["values"], len(step["shape"])
    if step["pairs"] is not None:
        yield from pair_rows(step, record, mask)
    elif dimensions == 3:
        texts = aligned(number_texts(flat(values)), step["shape"][2])
        for k in range(step["shape"][0]):
            yield Text(f"  [{k}]")
            yield Text("\n".join("    " + line for line in texts[k * step["shape"][1] :][: step["shape"][1]]))
    else:
        columns = step["shape"][-1] if dimensions else 1
        yield Text("\n".join("    " + line for line in aligned(number_texts(flat(values)), columns)))


def pair_rows(step: Step, record: Trace, mask: str) -> Iterator[RenderableType]:
    """Rows that are pairs of the batch; those of other groups than the head's in brackets, dimmed."""
    network, vector = record["network"], len(step["shape"]) == 1
    columns = 1 if vector else step["shape"][1]
    lines = aligned(number_texts(flat(step["values"])), columns)
    focus = record["group"] if step["group"] is None else step["group"]
    hidden = 0
    table = Grid.grid(padding=(0, 0))
    cells: list[list[Text]] = [[], []]
    for line, i in zip(lines, step["pairs"] or [], strict=True):
        pair = network["pairs"][i]
        other = focus is not None and pair["group"] != focus
        if other and step["group"] is None:
            hidden += 1
            continue
        style = "" if not other else "dim" if mask == "on" else "yellow"
        name = f"{pair['user']}·{pair['title']}"
        if vector:
            cells[0].append(Text(f"({name})" if other else name, style))
            cells[1].append(Text(line.strip(), style))
        else:
            owner = f"{network['groups'][pair['group']]} {name}"
            label = f"({owner})" if other else f" {owner} "
            table.add_row(Text(f"    {label:19}", style), Text(line, style))
    if vector:
        for _ in cells[0]:
            table.add_column(justify="right")
        for row in cells:
            table.add_row(*(Text("    ").append_text(cell) for cell in row))
    yield table
    if hidden:
        yield Text(f"    and {hidden} rows of other groups", "dim")


def closing(record: Trace, mask: str) -> Iterator[RenderableType]:
    """The loss, and what the mask keeps out of each head."""
    on, off = (record["runs"][name]["loss"] for name in ("on", "off"))
    yield heading(f"Loss: {on:.{DECIMALS}f} with the mask, {off:.{DECIMALS}f} without")
    if record["leak"]:
        names = ["own\nrows", "other groups’\nlabels flipped", "other groups’\nrows, mask off"]
        table = Table([Column("gradient of", TEXT), *(Column(name, NORM) for name in names)], caption=LEAK_CAPTION)
        for part in record["leak"]:
            table.add(part["parameter"], part["own"], part["flipped"], part["others"])
        yield rendered(table, WIDTH)


def flat(values: Any) -> list[float]:
    """The numbers of nested lists, in order."""
    return [values] if not isinstance(values, list) else [number for part in values for number in flat(part)]


def number_texts(numbers: Sequence[float]) -> list[str]:
    """Numbers in one format: integers if all are, exponents if all are small; an exact zero as 0."""
    largest = max(map(abs, numbers), default=0.0)
    if all(number == int(number) for number in numbers):
        return [minus(str(int(number))) for number in numbers]
    kind = "1e" if largest < SMALL else f"{DECIMALS}f"
    return ["0" if number == 0 else minus(f"{number:.{kind}}") for number in numbers]


def aligned(texts: Sequence[str], columns: int) -> list[str]:
    """Lines of ``columns`` texts each, right-aligned in a common width."""
    width = max(map(len, texts), default=0)
    rows = [texts[start : start + columns] for start in range(0, len(texts), max(columns, 1))]
    return ["".join(f"{GAP}{text:>{width}}" for text in row) for row in rows]


NORM = Kind(lambda value: number_texts([value])[0])
