"""Find users and titles by id, or by ``#`` and row; suggest the nearest ids for an unknown one."""

import difflib
from collections.abc import Sequence

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset

NEAREST = 3  # suggested ids
MOST_DIGITS = 20  # of a row: Python refuses to parse numbers of thousands of digits
SEARCHED = 50_000  # ids compared with an unknown one, at most: takes a second


def find_row(what: str, name: str, dataset: Dataset) -> int:
    """Row of a "user" or a "title" by id, or by ``#`` and the row.

    Errors: InputError with the nearest ids. In a dataset without user ids, such as a simulated one, users are numbered
    from 0.
    """
    rows = dataset.n_users if what == "user" else dataset.n_titles
    ids: Sequence[str] | None = dataset.user_ids if what == "user" else dataset.title_ids
    if ids is not None and name in ids:
        return ids.index(name)
    number = name.removeprefix("#")
    is_row = number.isdecimal() and len(number) < MOST_DIGITS and (ids is None or name.startswith("#"))
    if is_row and int(number) < rows:
        return int(number)
    if ids is None or name.startswith("#"):
        raise InputError(f"no {what} {name!r} in {dataset.path}: expected a number from {'#' * (ids is not None)}0 to "
                         f"{rows - 1}")  # fmt: skip
    near = ", ".join(map(repr, nearest(name, ids)))
    raise InputError(f"no {what} {name!r} in {dataset.path}; the nearest: {near}")


def nearest(name: str, ids: Sequence[str]) -> list[str]:
    """The ids most like a name: those that contain it first, then those with few differences."""
    containing = [known for known in ids if name.casefold() in known.casefold()][:NEAREST]
    lower = {known.casefold(): known for known in ids[:SEARCHED]}
    close = difflib.get_close_matches(name.casefold(), lower, NEAREST, cutoff=0.0 if not containing else 0.6)
    return list(dict.fromkeys([*containing, *(lower[known] for known in close)]))[:NEAREST]
