"""Results for people: tables of rich. What is undefined, for want of a positive, says so in words."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from twotower.core.formatting import counted
from twotower.metrics.gains import Comparison, Gains, Method, mean_and_spread
from twotower.metrics.results import ENOUGH_POSITIVES, Evaluation
from twotower.report.terminal import PIPE_WIDTH

TOP = 20  # rows of a table of results, unless all are asked for


def print_comparison(comparison: Comparison, console: Console, by_rows: bool = False) -> None:
    """Methods, gains as in Table 2 (or ``by_rows``: a row a territory), and each comparison in a line."""
    console.print(method_table(comparison.methods), "")
    if by_rows:
        for gains in comparison.gains:
            console.print(territory_gains_table(gains, comparison), "")
    else:
        console.print(gains_table(comparison, console.width))
    for gains in comparison.gains:
        console.print(summary(gains, comparison.rows))


def territory_table(evaluation: Evaluation, top: int | None = TOP, min_positives: int = ENOUGH_POSITIVES) -> Table:
    """PR-AUC of the ``top`` territories by users (all when None), the macro, and that of all pairs.

    The macro is told twice: for territories with a positive, and for those with ``min_positives`` of them.
    """
    results = evaluation.territories
    rows = results.largest(top)
    table = new_table(
        ("code", "territory"),
        ("group", "users", "pairs", "positives", "base rate", "PR-AUC"),
        caption=shown(rows, results.largest(), "territories", "by users"),
    )
    for c in rows:
        table.add_row(
            results.code[c],
            results.name[c],
            group_text(results.group[c]),
            count_text(results.test_users[c]),
            count_text(results.pairs[c]),
            count_text(results.positives[c]),
            score_text(results.base_rate[c]),
            score_text(results.pr_auc[c]),
        )
    table.add_section()
    for least in dict.fromkeys((1, min_positives)):
        table.add_row(
            "macro",
            counted(int(results.counted(least).sum()), "territory", "territories"),
            *("", "", "", f"{least}+", ""),
            score_text(results.macro(least)),
            style="bold",
        )
    table.add_row(
        "overall",
        "all pairs",
        "",
        count_text(results.test_users.sum()),
        count_text(evaluation.pairs),
        count_text(evaluation.positives),
        score_text(evaluation.base_rate),
        score_text(evaluation.overall),
        style="bold",
    )
    return table


def title_table(evaluation: Evaluation, top: int | None = TOP) -> Table:
    """PR-AUC of the ``top`` titles by positives (all when None)."""
    results = evaluation.titles
    rows = results.most_positives(top)
    with_kind = any(results.kind)
    table = new_table(
        ("title", "kind") if with_kind else ("title",),
        ("pairs", "positives", "base rate", "PR-AUC"),
        caption=shown(rows, results.most_positives(), "titles", "by positives"),
    )
    for t in rows:
        table.add_row(
            results.title[t],
            *([results.kind[t]] if with_kind else []),
            count_text(results.pairs[t]),
            count_text(results.positives[t]),
            score_text(results.base_rate[t]),
            score_text(results.pr_auc[t]),
        )
    return table


def method_table(methods: Sequence[Method]) -> Table:
    """Overall and macro PR-AUC of each method: the mean over its seeds, and their spread."""
    table = new_table(("method", "seeds"), ("overall PR-AUC", "macro PR-AUC"))
    for method in methods:
        table.add_row(
            method.name,
            ", ".join(map(str, method.seeds)),
            score_with_spread(method.overall),
            score_with_spread(method.macro),
        )
    return table


class Line(NamedTuple):
    """A row of a gains table, to be cut into blocks of territories."""

    method: str
    label: str
    cells: list[Text]  # one a territory
    bold: bool
    last: bool  # of its comparison


def gains_table(comparison: Comparison, width: int = PIPE_WIDTH) -> Group:
    """Relative gains in the form of the paper's Table 2: a column a territory, a row a test day, the average.

    Territories that do not fit ``width`` characters go on in further blocks below, of about one size.
    """
    rows = comparison.rows
    lines = [line for gains in comparison.gains for line in gain_lines(gains, comparison.days, rows)]
    codes = [comparison.territories.code[c] for c in rows]
    ruler = Console(width=10_000)
    for blocks in range(1, len(rows) + 1):
        size = -(-len(rows) // blocks)
        tables = [gains_block(lines, codes, slice(i, i + size)) for i in range(0, len(rows), size)]
        if size == 1 or max(ruler.measure(table).maximum for table in tables) <= width:
            return Group(*(part for table in tables for part in (table, "")))
    return Group()


def gain_lines(gains: Gains, days: Sequence[int | str], rows: np.ndarray) -> list[Line]:
    """The rows of one comparison."""
    several_days = len(days) > 1
    by_day = [(f"day {day}", gain_cells(gains.by_day[d, rows])) for d, day in enumerate(days)]
    found = by_day if several_days else []
    found.append(("average" if several_days else "gain", gain_cells(gains.average[rows], gains.spread[rows])))
    if len(gains.matches) > 1:
        found.append(("± spread", [spread_text(value) for value in gains.spread[rows]]))
    names = [f"{gains.method.name} over", gains.baseline.name] + [""] * len(found)
    if len(found) == 1:
        names = [" ".join(names[:2])]
    return [
        Line(name, label, cells, label in ("average", "gain"), last=i + 1 == len(found))
        for i, (name, (label, cells)) in enumerate(zip(names, found, strict=False))
    ]


def gains_block(lines: Sequence[Line], codes: Sequence[str], part: slice) -> Table:
    """The columns of some territories."""
    table = new_table(("gain, %", ""), codes[part])
    for line in lines:
        table.add_row(line.method, line.label, *line.cells[part], style="bold" if line.bold else None)
        if line.last:
            table.add_section()
    return table


def territory_gains_table(gains: Gains, comparison: Comparison) -> Table:
    """One comparison with a row a territory: support, PR-AUC of both over all test days, gain, spread."""
    several_matches, territories = len(gains.matches) > 1, comparison.territories
    table = new_table(
        ("code", "territory"),
        ("group", "positives", "baseline", "method", "gain, %", *(["± spread"] if several_matches else [])),
        title=f"PR-AUC of {gains.method.name} and {gains.baseline.name}",
    )
    for c in comparison.rows:
        table.add_row(
            territories.code[c],
            territories.name[c],
            group_text(territories.group[c]),
            count_text(territories.positives[c]),
            score_text(gains.baseline.mean_pooled[c]),
            score_text(gains.method.mean_pooled[c]),
            *gain_cells(gains.average[[c]], gains.spread[[c]]),
            *([spread_text(gains.spread[c])] if several_matches else []),
        )
    return table


def summary(gains: Gains, rows: np.ndarray) -> Text:
    """One comparison in one line."""
    mean, mean_spread = gains.mean(rows)
    spread = "" if np.isnan(mean_spread) else f" ± {mean_spread:.2f}"
    over = ""
    if len(gains.matches) > 1:
        over = f" over {len(gains.matches)} {'seeds' if gains.same_seeds else 'pairs of runs'}"
    return Text(
        f"{gains.method.name} over {gains.baseline.name}: better in {gains.won(rows)} of "
        f"{counted(int(gains.defined(rows)), 'territory', 'territories')}, mean gain {mean:+.2f}{spread} %{over}"
    )


def new_table(left: Sequence[str], right: Sequence[str], title: str | None = None, caption: str | None = None) -> Table:
    """An empty table: columns of words, which may fold, then columns of numbers, which may not."""
    table = Table(box=box.SIMPLE, show_edge=False, padding=(0, 1, 0, 0), title=title, caption=caption)
    table.title_justify = table.caption_justify = "left"
    for name in left:
        table.add_column(name, overflow="fold", min_width=len(name))
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def shown(rows: np.ndarray, of: np.ndarray, what: str, order: str) -> str | None:
    """What a table leaves out, if anything."""
    return None if len(rows) == len(of) else f"the first {len(rows)} of {len(of)} {what} {order}"


def group_text(group: int) -> str:
    return "–" if group < 0 else str(group)


def count_text(count: int) -> str:
    return f"{count:,}"


def score_text(score: float) -> Text:
    """A PR-AUC or base rate."""
    return undefined() if np.isnan(score) else Text(f"{score:.4f}")


def score_with_spread(scores: np.ndarray) -> Text:
    """The mean of some PR-AUC, with the spread where there are several."""
    mean, spread = mean_and_spread(scores)
    return score_text(mean) + (Text("") if np.isnan(spread) else Text(f" ± {spread:.4f}"))


def gain_cells(gains: np.ndarray, spreads: np.ndarray | None = None) -> list[Text]:
    """Gains in percent: green where more was won than seeds differ in, red where more was lost; else without colour."""
    found = []
    for gain, spread in zip(gains, np.full(len(gains), np.nan) if spreads is None else spreads, strict=True):
        style = ("green" if gain > 0 else "red") if abs(gain) > spread else ""  # no spread, no colour
        found.append(undefined() if np.isnan(gain) else Text(f"{gain:+.2f}", style=style))
    return found


def spread_text(spread: float) -> Text:
    return undefined() if np.isnan(spread) else Text(f"{spread:.2f}", style="dim")


def undefined() -> Text:
    return Text("undefined", style="dim")
