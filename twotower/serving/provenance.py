"""Where served numbers come from: the run, the days of its weights and of its data, and the digest of the vectors."""

from pathlib import Path
from typing import TypedDict

import numpy as np

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.grown import GrownDataset, Part
from twotower.training.run import RunReader


class Provenance(TypedDict):
    """Two exports belong together when all of it is equal."""

    run: str  # name of the trained run
    model_day: str  # until which its weights have learned; empty for a run without days
    data_day: str  # until which users have histories
    vectors: str  # digest of the vectors that users and titles are made of


def provenance_of(run_path: Path, dataset: Dataset) -> Provenance:
    """Of the numbers that a run's weights make of a dataset."""
    run = RunReader(run_path)
    day = run.facts.get("day")
    return {
        "run": run_path.parent.parent.name if day else run_path.name,
        "model_day": day["date"] if day else "",
        "data_day": dataset.data_day if isinstance(dataset, GrownDataset) else dataset.manifest["days"].get("last", ""),
        "vectors": dataset.identity["vectors"],
    }


def changed_since(dataset: Dataset, day: str) -> np.ndarray:
    """Rows of the users who are new or watched after a day. Errors: InputError for a day that the dataset has not."""
    later = [part.array("vector_user") for part in parts_after(dataset, day)]
    return np.unique(np.concatenate([np.empty(0, np.int64), *later])).astype(np.int64)


def changed_titles(dataset: Dataset, day: str) -> dict[str, list[str]]:
    """Titles that are new or became available somewhere after a day, in their order, and the territories where."""
    opened: dict[int, list[str]] = {}
    parts, codes = parts_after(dataset, day), dataset.territories.code
    first_new = dataset.n_titles - sum(part.day["new_titles"] for part in parts)
    for title in range(first_new, dataset.n_titles):
        opened[title] = []
    for title, territory in (pair for part in parts for pair in part.array("available").tolist()):
        opened.setdefault(title, []).append(codes[territory])
    rows = sorted(opened)
    state = ["new" if row >= first_new else "available" for row in rows]
    where = ["|".join(sorted(opened[row])) for row in rows]
    return {"title": [dataset.title_ids[row] for row in rows], "state": state, "territories": where}


def parts_after(dataset: Dataset, day: str) -> list[Part]:
    """The days after one. Errors: InputError for a day that the dataset has not."""
    days = [part.day["date"] for part in dataset.parts] if isinstance(dataset, GrownDataset) else []
    if day not in days or not isinstance(dataset, GrownDataset):
        known = ", ".join(days) or "which has none"
        raise InputError(f"--changed-since {day}: expected one of the run's days, {known}")
    return dataset.parts[days.index(day) + 1 :]
