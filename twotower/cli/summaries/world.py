"""A simulated world and the groups of territories, as tables for the terminal."""

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from twotower.core.formatting import counted
from twotower.report.tables import count_text, new_table


def print_world(console: Console, world: Any) -> None:
    """Print what a simulated ``Dataset`` holds, and how unequal its territories are."""
    kinds, days = world.titles["kind"], world.manifest["days"]
    counts, files = world.manifest["counts"], world.manifest["files"]
    titles = ", ".join(f"{kinds.count(kind):,} {kind}" for kind in ("global", "regional", "local"))
    split = f"{counted(days['train'], 'training day')}, {counted(days['test'], 'test day')}"
    console.print(world_table(world))
    for line in (
        "",
        f"{counted(counts['users'], 'user')} in {counted(counts['territories'], 'territory', 'territories')}",
        f"{counted(counts['titles'], 'title')}: {titles}",
        f"{counted(counts['events'], 'stream')}: history, {split}",
        f"{sum(file['bytes'] for file in files.values()) / 1e6:,.1f} MB on disk",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def world_table(world: Any) -> Table:
    """Users and positives of each major territory, of the others together, and of all."""
    positives = world.truth("discoveries")  # (C, days)
    train, test = (days.sum(axis=1) for days in np.split(positives, [world.train_days], axis=1))  # (C,)
    table = new_table(
        ("code", "major territory"),
        ("users", "positives", "in test", "a user"),
        caption="positives: first streams of a title on training days",
    )
    majors = world.territories.majors()
    others = np.setdiff1d(np.arange(len(world.territories)), majors)

    def cells(rows: Any) -> list[str]:
        counts = [column[rows].sum() for column in (world.territories.users, train, test)]
        return [*map(count_text, counts), f"{counts[1] / counts[0]:.1f}"]

    for row in majors:
        table.add_row(world.territories.code[row], world.territories.name[row], *cells([row]))
    if len(others):
        table.add_row("", f"{len(others)} others", *cells(others), style="dim")
    table.add_section()
    table.add_row("", "all", *cells(np.arange(len(world.territories))), style="bold")
    return table


def print_groups(console: Console, territories: Any, majors: np.ndarray, name_all: bool = False) -> None:
    """Print the groups of ``Territories``; majors (m,) are rows, and the others are named if asked for."""
    console.print(group_table(territories, majors, name_all))


def group_table(territories: Any, majors: np.ndarray, name_all: bool = False) -> Table:
    """A row a group: its territories, how many of them are major, and how many users it has."""
    table = new_table(("group", "territories"), ("major", "minor", "users", "share"))
    for group in range(territories.group.max() + 1):
        rows = [row for row in territories.majors(len(territories)) if territories.group[row] == group]
        named = rows if name_all else [row for row in rows if row in majors]
        names = ", ".join(territories.name[row] for row in named)
        left = len(rows) - len(named)
        large = sum(row in majors for row in rows)
        users, everybody = territories.users[rows].sum(), territories.users.sum()
        table.add_row(
            str(group),
            f"{names}{' and ' if names else ''}{left} others" if left else names,
            count_text(large),
            count_text(len(rows) - large),
            count_text(users),
            f"{users / everybody:.1%}" if everybody else "–",
        )
    return table
