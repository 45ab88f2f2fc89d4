"""Write what a day adds to the dataset."""

from pathlib import Path

import numpy as np

from twotower.core.storage import write_csv
from twotower.data.grown import Part


def save_part(part: Part, day: Path) -> None:
    """Its arrays and tables, in ``data/`` of the day's run."""
    folder = day / "data"
    folder.mkdir(exist_ok=True)
    for name, array in part.arrays.items():
        with open(folder / f"{name}.npy", "wb") as file:
            np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    for name, table in part.tables.items():
        if table:
            write_csv(folder / f"{name}.csv", table)
