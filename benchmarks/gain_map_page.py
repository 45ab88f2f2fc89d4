"""The tables and the plot of docs/explanation/gain-map.md, from the JSON of gain_map.py."""

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.gain_map_worlds import named, order
from benchmarks.growth_plot import COLOURS, INK, SETTINGS, for_both_themes, plain
from benchmarks.page import filled, table

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "gain-map.md"
PLOT = PAGE.with_suffix(".svg")
MARK = "gain-map"
MAIN_COMPARISON = "mtl over upsampled"
TITLES = {
    MAIN_COMPARISON: "`mtl` over `upsampled`",
    "lowrank-bias over upsampled": "heads alone over `upsampled`",
    "offsets over upsampled": "offsets alone over `upsampled`",
    "mtl over offsets": "`mtl` over offsets alone",
}
BINS = (0, 3000, 5000, 8000, 12_000, 1e9)  # training positives of a territory
DARK = 0.75  # of the largest gain: from there on a cell is dark
FEWEST = 3  # territories in a bin that is drawn

Cells = list[dict[str, Any]]


def write(results: dict[str, Any]) -> None:
    """The page's tables and its plot."""
    PAGE.write_text(filled(PAGE.read_text("utf-8"), MARK, blocks(results["cells"])), encoding="utf-8")
    draw(results["cells"])


def blocks(cells: Cells) -> dict[str, str]:
    """Markdown by the name of its block."""
    return {"overall": gain_table(cells), "parts": part_table(cells)}


def axes_of(cells: Cells) -> tuple[list[str], list[int]]:
    """Worlds by how much places differ, and sizes, ascending."""
    return sorted({cell["world"] for cell in cells}, key=order), sorted({cell["users"] for cell in cells})


def find(cells: Cells, world: str, users: int) -> dict[str, Any] | None:
    return next((cell for cell in cells if (cell["world"], cell["users"]) == (world, users)), None)


def told(gain: list[float] | None) -> str:
    """A mean with its interval."""
    return "–" if gain is None else f"{gain[0]:+.1f} ({gain[1]:+.1f} to {gain[2]:+.1f})"


def gain_table(cells: Cells) -> str:
    """A row a size, a column a world."""
    worlds, sizes = axes_of(cells)
    rows = []
    for users in sizes:
        found = [find(cells, world, users) for world in worlds]
        rows.append([f"{users:,}", *(told(cell and cell["gains"][MAIN_COMPARISON]["overall"]) for cell in found)])
    return table(["users", *map(named, worlds)], rows)


def part_table(cells: Cells) -> str:
    """What heads and offsets bring, each alone, in the largest worlds: all pairs in one ranking."""
    worlds, sizes = axes_of(cells)
    found = [find(cells, world, sizes[-1]) for world in worlds]
    rows = []
    for name, title in TITLES.items():
        rows.append([title, *(told(cell and cell["gains"][name]["overall"]) for cell in found)])
    return table([f"{sizes[-1]:,} users", *map(named, worlds)], rows)


def in_bin(cells: Cells, world: str, low: float, high: float) -> np.ndarray:
    """Training positives and gains (n, 2) of the territories of one kind of world with so many training positives."""
    found = [
        (positives, gain)
        for cell in cells
        if cell["world"] == world
        for gain, positives in zip(cell["gains"][MAIN_COMPARISON]["territories"], cell["train_positives"], strict=True)
        if low <= positives < high and gain is not None
    ]
    return np.array(found).reshape(-1, 2)


def draw(cells: Cells) -> None:
    """Left: the mean gain over shift and size. Right: over the positives of a territory, a line a world."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(9.6, 3.9), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
        draw_map(left, cells)
        draw_lines(right, cells)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = for_both_themes(text.getvalue()).replace(
        "Time and memory of a training step over its sizes",
        "Gain of multi-task learning over the upsampled baseline, by shift, world size and positives of a territory",
    )
    PLOT.write_text(svg, encoding="utf-8")


def draw_map(axes: Axes, cells: Cells) -> None:
    worlds, sizes = axes_of(cells)
    gains = np.full((len(sizes), len(worlds)), np.nan)
    most = max(1.0, *(abs(cell["gains"][MAIN_COMPARISON]["overall"][0]) for cell in cells))
    for row, users in enumerate(sizes):
        for column, world in enumerate(worlds):
            if cell := find(cells, world, users):
                gain, low, high = cell["gains"][MAIN_COMPARISON]["overall"]
                gains[row, column] = gain
                sure = "" if low <= 0 <= high else "*"
                ink = "#ffffff" if abs(gain) > DARK * most else "#101010"
                axes.text(column, row, f"{gain:+.1f}{sure}", ha="center", va="center", color=ink)
    axes.pcolormesh(gains, cmap="RdYlGn", norm=TwoSlopeNorm(0, -most, most), edgecolors="none",
                    shading="nearest")  # fmt: skip
    axes.set(title="gain of mtl over upsampled, all pairs, % (*: interval without 0)", ylabel="users")
    axes.set_xticks(range(len(worlds)), map(named, worlds))
    axes.set_yticks(range(len(sizes)), [f"{users // 1000}k" for users in sizes])


def draw_lines(axes: Axes, cells: Cells) -> None:
    for colour, world in zip(COLOURS, axes_of(cells)[0], strict=False):
        found = [in_bin(cells, world, low, high) for low, high in pairwise(BINS)]
        shown = [of_bin for of_bin in found if len(of_bin) >= FEWEST]
        centres = [np.exp(np.log(of_bin[:, 0]).mean()) for of_bin in shown]
        means = [of_bin[:, 1].mean() for of_bin in shown]
        errors = [of_bin[:, 1].std(ddof=1) / np.sqrt(len(of_bin)) for of_bin in shown]
        axes.errorbar(centres, means, errors, fmt="o-", ms=3.5, lw=1.2, color=colour,
                      label=named(world))  # fmt: skip
    axes.axhline(0, color=INK, lw=0.6)
    axes.set(title="mean gain of territories, % (± standard error)", xlabel="training positives of the territory",
             xscale="log")  # fmt: skip
    axes.xaxis.set_major_locator(FixedLocator([2000, 4000, 8000, 16_000]))
    axes.xaxis.set_major_formatter(FuncFormatter(plain))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(color=INK, alpha=0.12, lw=0.6)
    axes.legend(fontsize=8)
