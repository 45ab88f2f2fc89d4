"""Forget users: their ids, profiles, events, vectors and kept pairs leave all days of a run.

Rows keep their numbers, so that nothing else moves: a forgotten row has neither id nor events, its vector is zero, and
it is never sampled, recommended to or exported. What they taught is in weights and counts, and stays there.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twotower.core.errors import InputError
from twotower.core.storage import rows_of
from twotower.daily.daily_table import TABLE
from twotower.daily.growth import replaced
from twotower.daily.replay import KINDS as KEPT
from twotower.daily.replay import KeptPairs, kept_of
from twotower.daily.rewrite import days_anew, link_day, link_table, where, write_day
from twotower.data.dataset import Dataset
from twotower.data.grown import FORGOTTEN, HELD_OUT, KINDS, GrownDataset, Part
from twotower.data.ingest.cleaning import clean_id
from twotower.training.run import RunReader

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Forgotten:
    """What was removed."""

    users: int
    unknown: list[str]  # ids that the run does not have
    events: int
    vectors: int
    trained_on: int  # of the users: those who were never held out
    dataset: Path  # that still has those of them who were imported
    days: int  # that stand on it


def read_ids(file: Path) -> list[str]:
    """Ids, one per line, or the first column of a CSV. Errors: InputError for a file without them."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            cells = [clean_id(row[0]) for row in csv.reader(lines) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file}: not readable ({reason}), expected ids of users, one per line (--users)") from None
    ids = list(dict.fromkeys(cell for cell in cells[cells[:1] == ["user"] :] if cell))
    if not ids:
        raise InputError(f"{file}: no ids, expected ids of users, one per line (--users)")
    return ids


def forget(run_path: Path, file: Path) -> Forgotten:
    """Remove the users of a file from all days of a run, in one step; days that are not served go as a whole.

    Errors: InputError for a file without ids, a run without days or without user ids, and while somebody else
    updates it.
    """
    ids, run = read_ids(file), RunReader(run_path)
    with days_anew(run_path) as (folder, parts):
        dataset = GrownDataset(run_dataset(run_path, parts), parts)
        if dataset.user_ids is None:
            raise InputError(f"{dataset.path}: has no user ids")
        rows = rows_of(ids, dataset.user_ids)
        gone = np.zeros(dataset.n_users, bool)
        gone[rows[rows >= 0]] = True
        first, events, vectors = 0, 0, 0
        for part in parts:
            arrays, removed = without(part, gone)
            last = first + len(part.array("role"))
            if gone[first:last].any():
                arrays["role"] = np.where(gone[first:last], FORGOTTEN, part.array("role")).astype(np.int8)
            own = gone[last - part.day["new_users"] : last]  # of the part's table
            tables = {"users": {name: ["" if out else cell for cell, out in zip(column, own, strict=True)]
                                for name, column in part.table("users").items()}} if own.any() else {}  # fmt: skip
            source, target = where(run_path, part), folder / part.day["date"]
            if arrays or tables:
                write_day(source, target, replaced(part.day, digests=part.digests), arrays, tables)
            else:
                link_day(source, target)
            first, events, vectors = last, events + removed[0], vectors + removed[1]
        link_table(run_path, folder, TABLE)
    unknown = [name for name, row in zip(ids, rows, strict=True) if row < 0]
    trained = int(np.count_nonzero(dataset.roles[gone] != HELD_OUT))
    return Forgotten(int(gone.sum()), unknown, events, vectors, trained, run.dataset, len(parts))


def run_dataset(run_path: Path, parts: list[Part]) -> Dataset:
    return Dataset.open(RunReader(where(run_path, parts[-1])).dataset)


def without(part: Part, gone: np.ndarray) -> tuple[Arrays, tuple[int, int]]:
    """The arrays of a part that change when users (U,) are gone; the events and vectors that leave it."""
    arrays: Arrays = {}
    events = vectors = 0
    there = {name.removeprefix("data/").removesuffix(".npy") for name in part.files.facts} if part.files else set()
    if "start" in there:
        start = part.array("start")
        user = np.repeat(np.arange(len(start) - 1), np.diff(start))
        keep = ~gone[user]
        if not keep.all():
            counts = np.bincount(user[keep], minlength=len(start) - 1)
            arrays |= {"start": np.append(0, np.cumsum(counts)).astype(start.dtype)}
            arrays |= {name: part.array(name)[keep] for name in ("log_title", "log_day")}
            events += int(np.count_nonzero(~keep))
    for kind in KINDS:
        keep = ~gone[part.array(f"{kind}_user")]
        if not keep.all():
            arrays |= {name: part.array(name)[keep] for name in (f"{kind}_user", f"{kind}_title")}
            events += int(np.count_nonzero(~keep))
    keep = ~gone[part.array("vector_user")]
    if not keep.all():
        of_users = {"vector_user", "vectors", "home", "elsewhere"} & there
        arrays |= {name: part.array(name)[keep] for name in of_users}
        vectors = int(np.count_nonzero(~keep))
    for kind in KEPT:
        if f"{kind}_who" in there and gone[part.array(f"{kind}_who")].any():
            arrays |= KeptPairs(**kept_of(part, kind)).without(np.flatnonzero(gone)).arrays(kind)
    return arrays, (events, vectors)
