"""Write the days of a run anew, beside those that are there, and exchange the two in one step."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from twotower.core.errors import InputError
from twotower.core.locks import create_held, locked, remove, sweep
from twotower.core.manifest import describe
from twotower.core.staging import flush_all, swap
from twotower.core.storage import read_record, write_file, write_record
from twotower.daily.part_files import save_part
from twotower.data.grown import DayRecord, Part
from twotower.training.days import CURRENT, DAYS, chain, current_day, day_path
from twotower.training.run import RUN


@contextmanager
def days_anew(run_path: Path) -> Iterator[tuple[Path, list[Part]]]:
    """An empty folder that takes the place of the run's days when the body ends, and the days that are served, first
    to last. What was served is served until then; days that are not served are gone after it.

    Errors: InputError for a run without days, and while somebody else changes them.
    """
    days = run_path / DAYS
    name = current_day(run_path)
    if name is None:
        raise InputError(f"{run_path}: no days yet; twotower update RUN --events FILE takes one in")
    sweep(days)
    folder, handle = create_held(days, directory=True)
    try:
        with locked(folder), locked(days):  # the second lock goes first: by then its file is beside the days
            yield folder, list(chain(run_path, name))[::-1]
            write_file(folder / CURRENT, f"{name}\n")
            flush_all(folder)
            swap(folder, days)
    finally:
        os.close(handle)
        remove(folder)


def write_day(
    source: Path, target: Path, day: DayRecord, arrays: Mapping[str, np.ndarray],
    tables: Mapping[str, dict[str, list[str]]], dropped: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """A day with another record, and other arrays and tables in place of those of these names. The rest is linked, but
    for data whose names begin with one of ``dropped``."""
    record = read_record(source / RUN)
    target.mkdir()
    save_part(Part(day, arrays, tables), target)
    changed = describe(target)
    out = tuple(f"data/{name}" for name in dropped) + tuple(f"data/{name}.csv" for name in tables)
    kept = {k: facts for k, facts in record["files"].items() if k not in changed and not k.startswith(out)}
    for name in kept:
        link(source / name, target / name)
    write_record(target / RUN, {**record, "day": day, "files": kept | changed})


def link_day(source: Path, target: Path) -> None:
    """A day as it is."""
    target.mkdir()
    for name in [*read_record(source / RUN)["files"], RUN]:
        link(source / name, target / name)


def link(source: Path, target: Path) -> None:
    """A second name of a file that is never changed; a copy where the file system has none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def link_table(run_path: Path, folder: Path, table: str) -> None:
    """The table of evaluations: a copy, since days are added to it."""
    if (run_path / DAYS / table).is_file():
        shutil.copyfile(run_path / DAYS / table, folder / table)


def where(run_path: Path, part: Part) -> Path:
    return day_path(run_path, part.day["date"])
