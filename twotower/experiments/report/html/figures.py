"""Figures as inline SVG that follow the page: its colours, its fonts, its dark mode.

Matplotlib draws with stand-in colours, which become the page's CSS variables, so that one drawing serves both
modes. The same record gives the same bytes: ids are salted with the figure's name, and there is no date.
"""

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from twotower.core.formatting import is_number, signed

WIDTH = 340  # of a figure in CSS pixels: it fits a phone, and the page sets several in a row
VARIABLES = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--good)",
    "#050505": "var(--bad)",
    "#060606": "var(--other)",
    "#070707": "var(--paper)",
}
INK, MUTED, LINE, GOOD, BAD, OTHER, PAPER = VARIABLES
STYLES = ((GOOD, "solid"), (MUTED, "dashed"), (OTHER, "dotted"), (BAD, "dashdot"), (INK, "dashed"), (INK, "dotted"))
DASHES = {"solid": "none", "dashed": "7 3", "dotted": "2 3", "dashdot": "7 3 2 3"}
VERDICT_MARKS = {"better": ("^", GOOD), "worse": ("v", BAD), "undecided": ("o", MUTED), "too small": ("x", MUTED)}
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a title may hold dollar signs
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so that the layout is the same everywhere
    "font.size": 11.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
}


@dataclass(frozen=True)
class Drawing:
    """An SVG text, and what it shows in words."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Series:
    """How one method is drawn everywhere: a colour and a dash, so that colour is not the only carrier."""

    name: str
    color: str
    dash: str

    @property
    def css(self) -> str:
        return VARIABLES[self.color]

    @property
    def dashes(self) -> str:
        return DASHES[self.dash]


def series_of(names: Sequence[str], method: str) -> dict[str, Series]:
    """The main ``method`` first, in green and unbroken, then the others in their order."""
    ordered = sorted(names, key=lambda name: name != method)
    return {name: Series(name, *STYLES[i % len(STYLES)]) for i, name in enumerate(ordered)}


def forest(rows: Sequence[Mapping[str, Any]], mean: Mapping[str, Any], name: str, caption: str) -> Drawing:
    """Gains (percent) with their intervals, a row per territory; the mean is a diamond below."""

    def draw(axes: Any) -> None:
        ends = [0.0]
        for y, row in enumerate(rows):
            mark, color = VERDICT_MARKS[row["verdict"]]
            if is_number(row["low"]) and is_number(row["high"]):
                axes.plot([row["low"], row["high"]], [y, y], color=color, linewidth=1.6, solid_capstyle="round")
                ends += [row["low"], row["high"]]
            if is_number(row["average"]):
                hollow = PAPER if row["verdict"] == "undecided" else color
                axes.plot([row["average"]], [y], mark, color=color, markerfacecolor=hollow, markersize=6.5)
                ends.append(row["average"])
        labels = [row["name"] for row in rows]
        if is_number(mean["mean"]):
            low, high = mean["low"], mean["high"]
            below = len(rows) + 0.4
            if is_number(low) and is_number(high):
                axes.plot([low, high], [below, below], color=INK, linewidth=2)
                ends += [low, high]
            axes.plot([mean["mean"]], [below], "D", color=INK, markersize=6.5)
            ends.append(mean["mean"])
            labels.append(f"mean {signed(mean['mean'], 1)}")
        axes.axvline(0, color=INK, linewidth=0.9)
        margin = 0.05 * (max(ends) - min(ends)) or 1.0
        axes.set_xlim(min(ends) - margin, max(ends) + margin)
        axes.set_ylim(len(labels) + 0.1, -0.7)
        axes.set_yticks([*range(len(rows)), *([len(rows) + 0.4] if len(labels) > len(rows) else [])], labels)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel("relative gain of PR-AUC, percent")

    return Drawing(drawn(draw, name, caption, height=74 + 20 * (len(rows) + 1)), caption)


def histogram(
    counts: Sequence[Sequence[float]],
    edges: Sequence[float],
    series: Sequence[Series],
    name: str,
    heading: str,
    caption: str,
) -> Drawing:
    """Normalised user histograms (models, bins) of the scores of one title; the axis ends at the last filled bin."""

    def draw(axes: Any) -> None:
        filled = max((b for row in counts for b, n in enumerate(row) if n), default=len(edges) - 2) + 1
        for row, one in zip(counts, series, strict=True):
            users = sum(row) or 1
            shares = [100 * n / users for n in row[:filled]]
            wide = 2.2 if one.dash == "solid" else 1.6
            axes.stairs(shares, edges[: filled + 1], color=one.color, linestyle=one.dash, linewidth=wide, baseline=None)
        axes.set_xlim(edges[0], edges[filled])
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_title(shortened(heading), fontsize=12, loc="left", color=INK)
        axes.set_xlabel("score (probability)")
        axes.set_ylabel("users, percent")

    return Drawing(drawn(draw, name, caption, height=230), caption)


def reliability(curves: Mapping[str, Mapping[str, Any]], series: Mapping[str, Series], name: str) -> Drawing:
    """Predicted against observed rates per bin; the curve of a calibrated model is the diagonal."""
    caption = "Reliability curves: mean predicted probability per bin against the observed rate"

    def draw(axes: Any) -> None:
        highest = 0.0
        for method, curve in curves.items():
            points = [
                (x, y)
                for x, y in zip(curve["predicted"], curve["observed"], strict=True)
                if is_number(x) and is_number(y)
            ]
            if points:
                one, (xs, ys) = series[method], zip(*points, strict=True)
                axes.plot(xs, ys, color=one.color, linestyle=one.dash, linewidth=1.8, marker="o", markersize=3.5)
                highest = max(highest, *xs, *ys)
        end = 1.05 * highest or 1.0
        axes.plot([0, end], [0, end], color=LINE, linewidth=1.2, zorder=0)
        axes.set_xlim(0, end)
        axes.set_ylim(0, end)
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("observed rate")

    return Drawing(drawn(draw, name, caption, height=320), caption)


def shortened(text: str, characters: int = 36) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def drawn(draw: Any, name: str, caption: str, height: float) -> str:
    """An SVG element with a title, made by ``draw(axes)``; ``name`` makes its ids its own."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    file = io.StringIO()
    settings: Any = {**SETTINGS, "svg.hashsalt": name}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's browser has the letters
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return inlined(file.getvalue(), name, caption)


def inlined(svg: str, name: str, caption: str) -> str:
    """A Matplotlib file as an element: no prologue, ids of its own, the page's colours."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, variable)
    size = re.search(r'viewBox="[^"]*"', svg)
    assert size is not None
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {size[0]} role="img"'
    head += f' class="drawing" aria-labelledby="{name}-name"><title id="{name}-name">{escape(caption)}</title>'
    return re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1).strip()
