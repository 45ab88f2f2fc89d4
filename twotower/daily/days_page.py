"""The days of a run as a table, and as a page with PR-AUC by day."""

import math
from collections.abc import Sequence
from pathlib import Path

from twotower.core.storage import read_csv, write_file
from twotower.daily.daily_table import TABLE
from twotower.daily.history import DayLine
from twotower.report.html import escape, table_of
from twotower.report.table import COUNT, INTERVAL, SCORE, TEXT, Column, Table, decimal
from twotower.training.days import DAYS

WIDTH, HEIGHT, LEFT, BOTTOM = 760, 300, 48, 28  # of the figure in CSS pixels; room for the axes
LINES = {"all": "#1f6fb4", "macro": "#b35c00", "frozen": "#6b6b6b"}  # rows of daily.csv
DASHES = {"all": "none", "macro": "7 3", "frozen": "2 3"}
NAMES = {"all": "all pairs, with 95 % interval", "macro": "mean of territories",
         "frozen": "frozen pairs of the first days, after learning"}  # fmt: skip
CSS = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ccc }
th:first-child, td:last-child { text-align: left } .scroll { overflow-x: auto } svg { max-width: 100%; height: auto }
.visually-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }"""



def days_table(lines: Sequence[DayLine], run_path: Path) -> Table:
    """State, size and time of each day, and PR-AUC with its interval."""
    columns = [Column("day", TEXT), Column("state", TEXT), *(Column(name, COUNT) for name in ("events", "new users",
               "new titles", "pairs learned")), Column("PR-AUC", SCORE),
               Column("95 % interval", INTERVAL, on=("page",)),
               Column("MiB", decimal(1)), Column("seconds", decimal(1)), Column("why", TEXT)]  # fmt: skip
    table, bounds = Table(columns, id="days"), intervals_of(run_path)
    for line in lines:
        day = line.record
        if day is None:
            table.add(line.name, line.state, *[None] * 8, "")
            continue
        counts = day["events"], day["new_users"], day["new_titles"], day["training_pairs"]
        cost = (day["bytes"] / 2**20, day["seconds"]) if day["number"] >= 0 and day["content"] else (None, None)
        why = [f"with {day['compacted']} days before it"] if day["compacted"] else []
        why += day["reasons"]
        table.add(line.name, line.state, *counts, line.pr_auc, bounds.get(line.name), *cost, "; ".join(why))
    return table


def evaluations(run_path: Path) -> dict[str, list[str]]:
    path = run_path / DAYS / TABLE
    return read_csv(path) if path.is_file() else {}


def intervals_of(run_path: Path) -> dict[str, tuple[float, float]]:
    """Interval of the PR-AUC of all pairs, by day."""
    rows = zip(*evaluations(run_path).values(), strict=True)
    return {row[0]: (float(row[7]), float(row[8])) for row in rows if row[1] == "all" and row[7]}


def write_page(run_path: Path, lines: Sequence[DayLine], path: Path) -> None:
    """The table and the figure as one file. Errors: InputError when it cannot be written."""
    title, table = escape(f"Days of {run_path.name}"), days_table(lines, run_path)
    table.title = "Days"
    write_file(path, f"<!doctype html>\n<html lang='en'>\n<meta charset='utf-8'>\n<title>{title}</title>\n"
                     f"<style>{CSS}</style>\n<h1>{title}</h1>\n<p>PR-AUC of held-out users on each day, by the "
                     f"model of the day before.</p>\n{figure(evaluations(run_path))}\n"
                     f"{table_of(table)}\n</html>\n")  # fmt: skip


def figure(columns: dict[str, list[str]]) -> str:
    """PR-AUC by day as inline SVG: a line per row of ``LINES``; nothing without days."""
    rows = [row for row in zip(*columns.values(), strict=True) if row[6]]
    days = sorted({row[0] for row in rows})
    if not days:
        return ""
    top = max(float(cell) for row in rows if row[1] in LINES for cell in (row[6], row[8]) if cell)
    top = math.ceil(10 * top) / 10
    x = {day: LEFT + (WIDTH - LEFT - 8) * (i + 0.5) / len(days) for i, day in enumerate(days)}

    def points(pairs: Sequence[tuple[str, str]]) -> str:
        at = [(x[day], (HEIGHT - BOTTOM) * (1 - float(value) / top) + 4) for day, value in pairs]
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in at)

    shapes = []
    for tick in range(6):
        value = top * tick / 5
        height = (HEIGHT - BOTTOM) * (1 - tick / 5) + 4
        shapes.append(f'<path d="M{LEFT} {height:.1f}H{WIDTH}" stroke="#ccc" stroke-width=".8"/>'
                      f'<text x="{LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{value:.2f}</text>')  # fmt: skip
    for place, day in ((LEFT, days[0]), (WIDTH, days[-1])):
        anchor = "start" if place == LEFT else "end"
        shapes.append(f'<text x="{place}" y="{HEIGHT - 4}" text-anchor="{anchor}">{escape(day)}</text>')
    band = [row for row in rows if row[1] == "all" and row[7]]
    around = [(row[0], row[7]) for row in band] + [(row[0], row[8]) for row in band[::-1]]
    shapes.append(f'<polygon points="{points(around)}" fill="{LINES["all"]}" opacity=".15"/>')
    keys = []
    for name, colour in LINES.items():
        line = [(row[0], row[6]) for row in rows if row[1] == name]
        shapes.append(f'<polyline points="{points(line)}" fill="none" stroke="{colour}" stroke-width="2" '
                      f'stroke-dasharray="{DASHES[name]}"/>')  # fmt: skip
        keys.append(f'<span style="color:{colour}">{NAMES[name]}</span>')
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"'
    return (f'<figure><svg {size} role="img" font-size="12" aria-label="PR-AUC by day">{"".join(shapes)}'
            f'</svg><figcaption>{" · ".join(keys)}</figcaption></figure>')  # fmt: skip
