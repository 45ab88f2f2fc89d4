"""Options that select users: all of a dataset, those of some territories, or those listed in a file."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from twotower.core.formatting import visible

if TYPE_CHECKING:
    import numpy as np

    from twotower.data.dataset import Dataset

Command = TypeVar("Command", bound=Callable[..., Any])


def user_options(command: Command) -> Command:
    """``territories``, ``file`` and ``unknown_territory``, for ``users.choose_users``."""
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
    of_unknown = click.option(
        "--unknown-territory", type=click.Choice(["skip", "shared", "fail"]), default="skip", show_default=True,
        help="Users of territories that RUN has no head for: leave them out, serve them without a head, or stop.",
    )  # fmt: skip
    return of_territory(of_file(of_unknown(command)))


def chosen_users(
    run: Path, dataset: "Dataset", territories: tuple[str, ...], file: Path | None, unknown_territory: str
) -> "np.ndarray":
    """Rows (n,) of the users that the options select; notes on others go to stderr."""
    from twotower.serving.users import choose_users

    chosen = choose_users(dataset, territories, file, run, unknown_territory)
    for note in chosen.notes:
        click.echo(visible(note), err=True)
    return chosen.rows
