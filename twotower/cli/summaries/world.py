"""What ``twotower simulate`` prints: the size of the synthetic world, and how unequal its territories are."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console

from twotower.core.formatting import counted
from twotower.data.dataset import Dataset
from twotower.report.table import COUNT, TEXT, Column, Table, decimal
from twotower.report.terminal import print_lines, print_table


def print_world(console: Console, world: Dataset) -> None:
    kinds, days = world.titles["kind"], world.manifest["days"]
    counts, files = world.manifest["counts"], world.manifest["files"]
    titles = ", ".join(f"{kinds.count(kind):,} {kind}" for kind in ("global", "regional", "local"))
    split = f"{counted(days['train'], 'training day')}, {counted(days['test'], 'test day')}"
    lines = [
        f"{counted(counts['users'], 'user')} in {counted(counts['territories'], 'territory', 'territories')}",
        f"{counted(counts['titles'], 'title')}: {titles}",
        f"{counted(counts['events'], 'stream')}: history, {split}",
        f"{sum(file['bytes'] for file in files.values()) / 1e6:,.1f} MB on disk",
    ]
    print_table(world_table(world), console)
    print_lines(console, ["", *lines])


def world_table(world: Dataset) -> Table:
    """Users and positives of each major territory, of the others together, and of all."""
    positives = world.truth("first_streams")  # (C, days)
    train, test = (days.sum(axis=1) for days in np.split(positives, [world.train_days], axis=1))  # (C,)
    territories = world.territories
    words = [Column("code", TEXT), Column("major territory", TEXT)]
    counts = [Column(name, COUNT) for name in ("users", "positives", "test positives")]
    caption = "positives: first streams of a title on training days"
    table = Table([*words, *counts, Column("per user", decimal(1))], caption=caption)
    majors = territories.majors()
    others = np.setdiff1d(np.arange(len(territories)), majors)

    def cells(rows: Sequence[int] | np.ndarray) -> tuple[float, ...]:
        users, positives, in_test = (int(column[rows].sum()) for column in (territories.users, train, test))
        return users, positives, in_test, positives / users

    for row in majors:
        table.add(territories.code[row], territories.name[row], *cells([row]))
    if len(others):
        table.add("", f"{len(others)} others", *cells(others), tone="quiet")
    table.total("", "all", *cells(np.arange(len(territories))))
    return table
