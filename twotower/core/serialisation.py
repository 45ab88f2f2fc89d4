"""CSV and JSON for machines. What is undefined is an empty cell in CSV and null in JSON."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def csv_text(columns: Mapping[str, Sequence[Any]]) -> str:
    """Equally long columns as CSV with a header; numbers read back as they were."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*([cell_text(cell) for cell in column] for column in columns.values()), strict=True))
    return text.getvalue()


def cell_text(cell: Any) -> str:
    return "" if cell is None or cell != cell else str(cell)


def json_text(value: Any) -> str:
    """Results as indented JSON."""
    return json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False)


def plain(value: Any) -> Any:
    """Values for JSON: NumPy's as Python's, and null for what JSON lacks, NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
