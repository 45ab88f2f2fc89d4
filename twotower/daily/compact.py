"""Put the older days of a run together: one day that has all of their users, titles, events and latest vectors.

What an update or a rollback may still want of a single day is kept of the last ones; of the others weights, predictions
and replayed pairs go. ``daily.csv`` keeps its lines. Updates after it give the same bits as without.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twotower.core.errors import InputError
from twotower.daily.daily_table import EVALUATIONS, TABLE, evaluations_until, write_daily
from twotower.daily.growth import replaced
from twotower.daily.replay import HELD_OUT, LAST_DAYS, frozen_pairs
from twotower.daily.replay import KINDS as KEPT
from twotower.daily.rewrite import days_anew, link_day, link_table, where, write_day
from twotower.data.dataset import Dataset
from twotower.data.first_streams import group_by_user
from twotower.data.grown import KINDS, GrownDataset, Part
from twotower.training.days import DAYS
from twotower.training.run import RunReader

OF_ONE_DAY = (*KEPT, "home", "elsewhere")  # data that are not put together


@dataclass(frozen=True)
class Compacted:
    """What became of a run's days."""

    days: int  # that were put together, the state before the first one among them
    into: str
    bytes_before: int
    bytes_after: int


def compact(run_path: Path, keep: int = LAST_DAYS) -> Compacted:
    """Put all days but the last ``keep`` together, in one step.

    Errors: InputError for a run without days, for fewer than ``LAST_DAYS`` to keep, and while somebody else updates it.
    """
    if keep < LAST_DAYS:
        raise InputError(f"--keep {keep}: expected at least {LAST_DAYS}, the days that replay and the gate look at")
    before = bytes_of(run_path)
    with days_anew(run_path) as (folder, parts):
        write_daily(run_path, parts[-1].day["date"])
        old, last = parts[: max(1, len(parts) - keep)], parts[max(1, len(parts) - keep) :]
        into = old[-1].day["date"]
        if len(old) > 1:
            merge(run_path, folder / into, old)
        else:
            link_day(where(run_path, old[0]), folder / into)
        for part in last:
            link_day(where(run_path, part), folder / part.day["date"])
        link_table(run_path, folder, TABLE)
    return Compacted(len(old), into, before, bytes_of(run_path))


def bytes_of(run_path: Path) -> int:
    """Size of all days."""
    return sum(path.stat().st_size for path in (run_path / DAYS).rglob("*") if path.is_file())


def merge(run_path: Path, target: Path, parts: list[Part]) -> None:
    """One day in place of several: the last one's model, and the data of all."""
    source = where(run_path, parts[-1])
    base = Dataset.open(RunReader(source).dataset)
    grown = GrownDataset(base, parts)
    user, title, day = grown.watched_by(np.arange(grown.n_users))
    start, title, day = group_by_user(user, title, day.astype(np.int16), grown.n_users)
    territory, nothing = np.asarray(grown.user_territory), np.empty(0, np.int32)
    moved = np.flatnonzero(territory[: base.n_users] != np.asarray(base.user_territory))
    vector_user = np.unique(np.concatenate([part.array("vector_user") for part in parts]))
    arrays = {
        "start": start, "log_title": title, "log_day": day, "role": grown.roles,
        "user_territory": territory[base.n_users :], "moved": np.stack([moved, territory[moved]], 1).astype(np.int32),
        "vector_user": vector_user, "vectors": grown.vectors_of(vector_user),
        "title_vectors": grown.title_vectors[base.n_titles :], "first_seen": grown.first_seen[base.n_titles :],
        "available": np.concatenate([part.array("available") for part in parts]),
        **{f"{kind}_{what}": nothing for kind in KINDS for what in ("user", "title")},
    }  # fmt: skip
    frozen = frozen_pairs(parts)
    if frozen is not None:
        arrays |= frozen.arrays(HELD_OUT)
    territories: dict[str, list[str]] = {}
    for part in parts:
        for name, cells in part.table("territories").items():
            territories.setdefault(name, []).extend(cells)
    new = {name: {key: column[count:] for key, column in columns.items()} for name, columns, count in
           (("users", grown.user_columns, base.n_users), ("titles", grown.titles, base.n_titles))}  # fmt: skip
    record = replaced(
        parts[-1].day, previous="", compacted=parts[0].day["compacted"] + len(parts) - 1,
        digests=[digest for part in parts for digest in part.digests], moved=len(moved),
        new_users=grown.n_users - base.n_users, new_titles=grown.n_titles - base.n_titles,
        new_territories=grown.territories.code[base.n_territories :],
    )  # fmt: skip
    evaluations = {EVALUATIONS: evaluations_until(run_path, record["date"])}
    write_day(source, target, record, arrays, {**new, "territories": territories, **evaluations}, dropped=OF_ONE_DAY)
