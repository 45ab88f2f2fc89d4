"""The days of a run: list them, go back to one, accept a candidate."""

from dataclasses import dataclass
from pathlib import Path

from twotower.core.errors import InputError
from twotower.core.locks import locked
from twotower.core.storage import write_record
from twotower.daily.update import finish
from twotower.data.grown import DayRecord, Part
from twotower.training.days import DAY_NAME, DAYS, START, chain, current_day, day_path, serve_day
from twotower.training.run import RUN, RunReader


@dataclass(frozen=True)
class DayLine:
    """A day as it is on the disk; ``state`` is one of "served", "before", "candidate", "rolled back", "unfinished"."""

    name: str
    state: str
    record: DayRecord | None  # of an unfinished one there is none
    pr_auc: float


def days_of(run_path: Path) -> list[DayLine]:
    """All days in order. Errors: InputError for a run without days."""
    served = current_day(run_path)
    folders = sorted(path.name for path in (run_path / DAYS).glob("*") if DAY_NAME.fullmatch(path.name))
    if not folders:
        raise InputError(f"{run_path}: no days yet; twotower update RUN --events FILE takes one in")
    names = {part.day["date"] for part in chain(run_path, served or START)}
    lines = []
    for name in sorted(folders, key=lambda name: (name != START, name)):
        path = day_path(run_path, name)
        if not (path / RUN).is_file():
            lines.append(DayLine(name, "unfinished", None, float("nan")))
            continue
        day, overall = Part.read(path).day, RunReader(path).overall
        state = "served" if name == served else "before" if name in names else "rolled back"
        if day["reasons"] and not day["accepted"]:
            state = "candidate"
        lines.append(DayLine(name, state, day, overall))
    return lines


def rollback(run_path: Path, name: str) -> str:
    """Serve an earlier day again; the days after it stay on the disk. Returns the day that was served.

    Errors: InputError for a day that the served one does not stand on.
    """
    with locked(run_path / DAYS) if (run_path / DAYS).is_dir() else locked(run_path):
        served = current_day_or_none(run_path)
        folders = sorted(path.name for path in (run_path / DAYS).glob("*") if DAY_NAME.fullmatch(path.name))
        finished = [day for day in folders if (day_path(run_path, day) / RUN).is_file()]
        known = [part.day["date"] for part in chain(run_path, served)] if served else finished
        if name not in known:
            raise InputError(f"--to {name}: expected one of {', '.join(sorted(known)) or 'no days: none was taken in'}")
        serve_day(run_path, name)
    return served or "none"


def current_day_or_none(run_path: Path) -> str | None:
    """The day that is served, unless CURRENT is damaged."""
    try:
        return current_day(run_path)
    except InputError:
        return None


def accept(run_path: Path, name: str) -> DayRecord:
    """Serve a candidate. Errors: InputError for a day that is none, or does not stand on the served day."""
    path = day_path(run_path, name)
    if not DAY_NAME.fullmatch(name) or not (path / RUN).is_file():
        raise InputError(f"{run_path}: no day {name!r} (twotower days {run_path} lists them)")
    with locked(run_path / DAYS):
        reader, day = RunReader(path), Part.read(path).day
        served = current_day(run_path) or START
        if served == name:
            return day
        if day["previous"] != served:
            raise InputError(f"{name} stands on {day['previous']}, but {served} is served: take the day in again")
        write_record(path / RUN, {**reader.facts, "day": {**day, "accepted": True}})
        finish(run_path, name)
    return day
