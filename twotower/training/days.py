"""The days of a run on disk: a run per day, one on the other, and the name of the one that is served.

    RUN/days/start/         the run as it was trained, with the test days learned from
    RUN/days/2024-03-02/    that day evaluated and learned from: a run, with what the day adds to the dataset in data/
    RUN/days/CURRENT        the name of the day that is served; replaced by one rename when all else is on the disk
    RUN/days/daily.csv      the evaluation of each day; made again from the days whenever it lacks one
"""

import re
from collections.abc import Iterator
from pathlib import Path

from twotower.core.errors import InputError
from twotower.core.storage import write_file, write_record
from twotower.data.dataset import Dataset
from twotower.data.grown import GrownDataset, Part
from twotower.training.run import RUN, RunReader

DAYS = "days"
CURRENT = "CURRENT"
START = "start"
DAY_NAME = re.compile(r"start|\d{4}-\d\d-\d\d")


def day_path(run: Path, name: str) -> Path:
    return run / DAYS / name


def current_day(run: Path) -> str | None:
    """The day of a run that is served; None where it has none. Errors: InputError where CURRENT is damaged."""
    path = run / DAYS / CURRENT
    try:
        name = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable ({error})") from None
    if not DAY_NAME.fullmatch(name) or not (day_path(run, name) / RUN).is_file():
        raise InputError(f"{path}: names no finished day of the run; set one with: twotower rollback {run} --to DAY")
    return name


def serve_day(run: Path, name: str) -> None:
    """From now on, this day is served."""
    write_file(run / DAYS / CURRENT, f"{name}\n")


def move_dataset(run: Path, dataset: Path) -> None:
    """Say in a run and its days where their dataset is now."""
    place = str(dataset.resolve())
    for path in (run, *(run / DAYS).glob("*")):
        if (path / RUN).is_file() and (facts := RunReader(path).facts)["dataset"] != place:
            write_record(path / RUN, facts | {"dataset": place})


def chain(run: Path, name: str) -> Iterator[Part]:
    """The parts that a day stands on, the day first and the start last. Errors: InputError where one is missing."""
    seen: set[str] = set()
    while name and name not in seen:
        part = Part.read(day_path(run, name))
        yield part
        seen.add(name)
        name = part.day["previous"]


def dataset_of_day(run: Path, name: str, base: Path | None = None) -> GrownDataset:
    """The dataset as it is after a day, all of it history; ``base`` is where the one of the run is now."""
    return GrownDataset(Dataset.open(base or RunReader(day_path(run, name)).dataset), list(chain(run, name))[::-1])


def served(run: Path, directory: Path | None = None) -> tuple[Path, Dataset]:
    """The run whose weights serve, and the dataset of a directory, by default that of these weights.

    A run with days serves its current one; a day of a run is served with the data of that day.
    """
    name = current_day(run)
    if name is not None:
        return day_path(run, name), Dataset.open(directory) if directory else dataset_of_day(run, name)
    reader = RunReader(run)
    if "day" in reader.facts and directory is None:
        return run, dataset_of_day(run.parent.parent, run.name)
    return run, Dataset.open(directory or reader.dataset)
