"""What ``twotower group`` prints: the groups of territories."""

import numpy as np
from rich.console import Console

from twotower.core.formatting import counted
from twotower.data.territories import Territories
from twotower.report.table import COUNT, PERCENT, TEXT, Column, Table
from twotower.report.terminal import print_table


def print_groups(console: Console, territories: Territories, majors: np.ndarray, name_all: bool = False) -> None:
    """Print a row per group; its major territories are named, and the others too if asked for."""
    print_table(group_table(territories, majors, name_all), console)


def group_table(territories: Territories, majors: np.ndarray, name_all: bool = False) -> Table:
    """A row per group: its territories, how many of them are major, and its users."""
    words = [Column("group", TEXT), Column("territories", TEXT)]
    counts = [Column(name, COUNT) for name in ("major", "minor", "users")]
    table = Table([*words, *counts, Column("share", PERCENT)])
    for group in range(territories.group.max() + 1):
        rows = [row for row in territories.majors(len(territories)) if territories.group[row] == group]
        named = rows if name_all else [row for row in rows if row in majors]
        names = ", ".join(territories.name[row] for row in named)
        others = len(rows) - len(named)
        large = sum(row in majors for row in rows)
        users, all_users = territories.users[rows].sum(), territories.users.sum()
        table.add(
            str(group),
            " and ".join(filter(None, [names, counted(others, "other") if others else ""])),
            large,
            len(rows) - large,
            users,
            users / all_users if all_users else None,
        )
    return table
