"""The plot of docs/explanation/growth.md: cost over size, both logarithmic, with the fitted exponents."""

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from benchmarks.exponents import Growth

INK = "#010203"  # stands for the reader's own colour of text
COLOURS = ("#2f7fd6", "#d9730d", "#2a9d5c", "#a45bd1", "#c2453d")  # readable on white and on black
DECADES = 300  # from the smallest to the largest size: an axis of more than that shows powers of ten
STYLE = """<style>
svg { color: #24292f; }
@media (prefers-color-scheme: dark) { svg { color: #e6edf3; } }
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif !important; }
</style>"""
SETTINGS = {
    "svg.fonttype": "none", "svg.hashsalt": "twotower", "font.size": 9, "axes.titlesize": 10, "text.color": INK,
    "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
    "axes.spines.right": False, "path.simplify": True, "legend.frameon": False,
}  # fmt: skip
TIMES = {"step": "step", "batch": "batch", "batch from the disk": "batch from the disk",
         "batch from the disk, not reading ahead": "not reading ahead"}  # fmt: skip
PATHS = {"step": "step_ms", "batch": "batch_ms", "batch from the disk": "cold_batch_ms",
         "batch from the disk, not reading ahead": "cold_random_batch_ms"}  # fmt: skip


def draw(sweeps: dict[str, Any], path: Path) -> None:
    """A panel a sweep for time, and one for the memory of all."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(9.6, 6.2), layout="constrained")
        panels = figure.subplots(2, 3).ravel()
        for axes, sweep in zip(panels, sweeps.values(), strict=False):
            draw_times(axes, sweep)
        draw_memory(panels[len(sweeps)], sweeps)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    path.write_text(for_both_themes(text.getvalue()), encoding="utf-8")


def for_both_themes(svg: str) -> str:
    """The drawing in the reader's own colour of text, without trailing blanks."""
    head, _, rest = svg.partition("<defs>")
    named = head.replace("<svg ", '<svg role="img" aria-label="Time and memory of a training step over its sizes" ')
    whole = f"{named}{STYLE}\n <defs>{rest}".replace(INK, "currentColor")
    return "\n".join(line.rstrip() for line in whole.splitlines()) + "\n"


def draw_times(axes: Axes, sweep: dict[str, Any]) -> None:
    """Medians as points, the fits as lines, the exponents in the legend."""
    series = sweep["series"]
    lines = [(name, found, cost) for name, found in series.items() for cost in TIMES if cost in found["growth"]]
    if len(series) > 1:  # steps of several kinds: what a batch takes is in the table
        lines = [line for line in lines if line[2] == "step"]
    for colour, (name, found, cost) in zip(COLOURS, lines, strict=False):
        sizes = [point["value"] for point in found["points"]]
        label = ", ".join(filter(None, (name, "" if len(series) > 1 else TIMES[cost])))
        growth = as_growth(found["growth"][cost])
        axes.plot(sizes, [p[PATHS[cost]]["median"] for p in found["points"]], "o", ms=3.5, color=colour)
        draw_fit(axes, growth, sizes, colour, f"{label}: {slopes(growth)}")
    finish(axes, f"time over {sweep['unit']}", "ms")
    sizes = [point["value"] for point in next(iter(series.values()))["points"]]
    if sizes[-1] < DECADES * sizes[0]:
        axes.xaxis.set_major_locator(FixedLocator(sizes[::2]))


def draw_memory(axes: Axes, sweeps: dict[str, Any]) -> None:
    """Memory over how many times as large a size is as in the common point."""
    for colour, sweep in zip(COLOURS, sweeps.values(), strict=False):
        points = next(iter(sweep["series"].values()))["points"]
        sizes = np.array([point["value"] for point in points]) / sweep["base"][sweep["size"]]
        mib = [sum(point["bytes"].values()) / 2**20 for point in points]
        axes.plot(sizes, mib, "o-", ms=3.5, lw=1.2, color=colour, label=sweep["unit"])
    finish(axes, "memory over size (1: common)", "MiB")


def draw_fit(axes: Axes, growth: Growth, sizes: list[int], colour: str, label: str) -> None:
    ends = [sizes[0], *([growth.bend] if growth.bend else []), sizes[-1]]
    axes.plot(ends, growth.at(np.array(ends)), "-", lw=1.2, color=colour, label=label)


def slopes(growth: Growth) -> str:
    return ", then ".join(f"{exponent:.2f}".replace("-0.00", "0.00") for exponent in growth.exponents)


def as_growth(record: dict[str, Any]) -> Growth:
    return Growth(**record | {"exponents": tuple(record["exponents"])})


def finish(axes: Axes, title: str, unit: str) -> None:
    """Logarithmic axes with plain numbers, a faint grid, room for the legend above the points."""
    axes.set(title=title, ylabel=unit, xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(plain))
        axis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.3, high * (high / low) ** 0.45 * 1.3)
    if np.ptp(np.log10(axes.get_ylim())) < 1.5:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.grid(color=INK, alpha=0.12, lw=0.6)
    axes.legend(fontsize=8, loc="upper left")


def plain(value: float, _position: object = None) -> str:
    """``0.5``, ``2048``, ``30k``, ``10M``."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size and value % size == 0:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
