"""Options that select users: all of a dataset, those of some territories, or those listed in a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def user_options(command: Command) -> Command:
    """``territories`` and ``file``, for ``recommend.choose_users``."""
    of_file = click.option(
        "--users",
        "file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Only these users, in this order: ids, one per line, or the first column of a CSV.",
    )
    of_territory = click.option(
        "--territory", "territories", multiple=True, metavar="TERRITORY",
        help="Only users of this territory, by code or name; repeatable.",
    )  # fmt: skip
    return of_territory(of_file(command))
