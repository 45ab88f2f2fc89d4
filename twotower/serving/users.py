"""The users of a dataset that a command is for."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.data.dataset import Dataset
from twotower.serving.remap import has_head
from twotower.training.run import RunReader

UNKNOWN_TERRITORY = ("skip", "shared", "fail")  # what to do with users of territories that a run has no head for


class ChosenUsers(NamedTuple):
    """Rows of users, in their order, and notes on those left out."""

    rows: np.ndarray  # (n,) int64
    notes: list[str]


def choose_users(
    dataset: Dataset, territories: Sequence[str] = (), file: Path | None = None, run_path: Path | None = None,
    unknown_territory: str = "fail",
) -> ChosenUsers:  # fmt: skip
    """The users of a file, or all; with ``territories``, residents only; with "skip", those that a run has a head for.

    Errors: InputError for an unknown territory, and when no user is left.
    """
    rows, notes = (dataset.people, []) if file is None else users_from_file(dataset, file)
    if territories:
        try:
            wanted = [dataset.territories.index(name) for name in territories]
        except InputError as error:
            raise InputError(f"--territory: {error}") from None
        rows = rows[np.isin(np.asarray(dataset.user_territory)[rows], wanted)]
    if not len(rows):
        where = f" in {', '.join(territories)}" if territories else ""
        raise InputError(f"{file or dataset.path}: no users{where}, expected at least one (see --users, --territory)")
    if run_path is not None and unknown_territory == "skip":
        kept = has_head(RunReader(run_path), dataset, rows)
        if not kept.all():
            territory = np.asarray(dataset.head_territory)[rows[~kept]]
            codes = [repr(dataset.territories.code[c]) for c in np.unique(territory)[:3]]
            who = f"{len(territory):,} of {counted(len(rows), 'user')} left out: {run_path} has no head for"
            note = f"{who} {', '.join(codes)} (--unknown-territory shared serves them without a head)"
            if not kept.any():
                raise InputError(note)
            rows, notes = rows[kept], [*notes, f"{note}."]
    return ChosenUsers(rows, notes)


def users_from_file(dataset: Dataset, file: Path) -> ChosenUsers:
    """The users whose ids are the first cell of each line of a text or CSV file, each once; others are left out.

    A first line ``user`` is a header. In a dataset without ids, such as a simulated one, users are numbers from 0.

    Errors: InputError with file and line when it cannot be read, and when the dataset has none of its users.
    """
    ids = dataset.user_ids if dataset.user_ids is not None else map(str, range(dataset.n_users))
    row_of = {name: row for row, name in enumerate(ids)}
    rows: list[int] = []
    unknown: list[tuple[int, str]] = []  # line, id
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            for cells in reader:
                name = cells[0].strip() if cells else ""
                if name in row_of:
                    rows.append(row_of[name])
                elif name and not (name == "user" and reader.line_num == 1):
                    unknown.append((reader.line_num, name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file}: not readable ({reason}), expected ids of users, one per line (--users)") from None
    if unknown and not rows:
        line, name = unknown[0]
        raise InputError(
            f"{file} line {line}: no user {name!r} in {dataset.path}, nor are others of this file; "
            f"--users expects ids as the log has them, such as {next(iter(row_of))!r}"
        )
    notes = []
    if unknown:
        line, name = unknown[0]
        of_all = f"{len(unknown):,} of {counted(len(unknown) + len(rows), 'user')} in {file}"
        notes.append(f"{of_all} left out: not in {dataset.path}, such as {name!r} on line {line}.")
    return ChosenUsers(np.array(list(dict.fromkeys(rows)), np.int64), notes)
