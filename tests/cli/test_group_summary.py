"""The table of groups, as it is printed."""

from dataclasses import replace
from io import StringIO

import numpy as np
from rich.console import Console

from twotower.cli.summaries.groups import print_groups
from twotower.data.territories import look_up


def test_groups_as_they_are_printed(snapshot):
    found = look_up(["DE", "FR", "BR", "PE", "JP", "NR", "[/Off]"])
    users = np.array([4000, 3000, 2000, 100, 1000, 0, 7])
    found = replace(found, users=users, group=np.array([0, 0, 1, 1, 2, 2, 2]))
    for name_all in (False, True):
        console = Console(width=80, file=StringIO())
        print_groups(console, found, found.majors(4), name_all)
        snapshot(console.file.getvalue(), name="all" if name_all else "majors")
