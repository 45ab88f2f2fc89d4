"""Write a part into the run of its day."""

import numpy as np

from twotower.core.storage import write_csv
from twotower.data.grown import Part
from twotower.training.run import RunWriter


def save_part(part: Part, writer: RunWriter) -> None:
    """Its arrays and tables, in ``data/``."""
    folder = writer.path / "data"
    folder.mkdir(exist_ok=True)
    for name, array in part.arrays.items():
        with open(folder / f"{name}.npy", "wb") as file:
            np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    for name, table in part.tables.items():
        if table:
            write_csv(folder / f"{name}.csv", table)
