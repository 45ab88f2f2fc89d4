"""Users and titles by their ids, or by ``#`` and their rows; for an unknown one, the nearest there are."""

import difflib
from collections.abc import Sequence

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset

NEAREST = 3  # ids that are named where one is unknown
MOST_DIGITS = 20  # of a row: Python refuses to read a number of some thousand digits
SEARCHED = 50_000  # ids that are compared with an unknown one, at most: it takes a second


def find_row(what: str, name: str, dataset: Dataset) -> int:
    """Row of a "user" or a "title" by id, or by ``#`` and the row.

    Errors: InputError with the nearest ids. In a dataset without ids of users, such as a simulated one, they are
    numbers from 0.
    """
    rows = dataset.n_users if what == "user" else dataset.n_titles
    ids: Sequence[str] | None = dataset.user_ids if what == "user" else dataset.title_ids
    if ids is not None and name in ids:
        return ids.index(name)
    number = name.removeprefix("#")
    asked = number.isdecimal() and len(number) < MOST_DIGITS and (ids is None or name.startswith("#"))
    if asked and int(number) < rows:
        return int(number)
    if ids is None or name.startswith("#"):
        raise InputError(f"no {what} {name!r} in {dataset.path}: expected a number from {'#' * (ids is not None)}0 to "
                         f"{rows - 1}")  # fmt: skip
    near = ", ".join(map(repr, nearest(name, ids)))
    raise InputError(f"no {what} {name!r} in {dataset.path}; the nearest: {near}")


def nearest(name: str, ids: Sequence[str]) -> list[str]:
    """The ids that look most like a name: those that hold it first, then those with few differences."""
    holding = [known for known in ids if name.casefold() in known.casefold()][:NEAREST]
    lower = {known.casefold(): known for known in ids[:SEARCHED]}
    close = difflib.get_close_matches(name.casefold(), lower, NEAREST, cutoff=0.0 if not holding else 0.6)
    return list(dict.fromkeys([*holding, *(lower[known] for known in close)]))[:NEAREST]
