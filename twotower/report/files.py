"""Results for machines: CSV and JSON. What is undefined is an empty cell in CSV and null in JSON."""

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from twotower.errors import InputError
from twotower.evaluation.gains import Comparison, Gains, Method, mean_and_spread
from twotower.evaluation.results import ENOUGH_POSITIVES, Evaluation


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


def try_file(path: str | Path) -> None:
    """Errors: InputError when ``write_file`` could not write there. Nothing is left behind."""
    write_file(path, None)


def write_file(path: str | Path, text: str | None) -> None:
    """Write a file whole: a reader sees the old one or the new one; None only tries. Errors: InputError, by name."""
    path = Path(path)
    if not path.name or path.is_dir():  # ".", "/" and "" have no name
        raise InputError(f"{path}: cannot write (Is a directory)")
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text or "", encoding="utf-8", newline="")
        if text is None:
            partial.unlink()
        else:
            partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # under a file there is none to take away
            partial.unlink()
        raise InputError(f"{path}: cannot write ({error.strerror})") from None


def territory_rows(evaluation: Evaluation) -> dict[str, list[Any]]:
    """The table of the territories with test pairs, by audience."""
    columns, rows = evaluation.territories.columns(), evaluation.territories.largest()
    return {name: [column[row] for row in rows] for name, column in columns.items()}


def title_rows(evaluation: Evaluation) -> dict[str, list[Any]]:
    """The table of the titles with test pairs, by positives."""
    columns, rows = evaluation.titles.columns(), evaluation.titles.most_positives()
    return {name: [column[row] for row in rows] for name, column in columns.items()}


def records(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """A table as a list of its rows."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def evaluation_record(evaluation: Evaluation, min_positives: int = ENOUGH_POSITIVES) -> dict[str, Any]:
    """The figures of the whole test set; the macro also of the territories with enough positives alone."""
    territories = evaluation.territories
    return {
        "overall": evaluation.overall,
        "macro": territories.macro(),
        "macro_territories": int(territories.counted().sum()),
        "min_positives": min_positives,
        "macro_supported": territories.macro(min_positives),
        "macro_supported_territories": int(territories.counted(min_positives).sum()),
        "pairs": evaluation.pairs,
        "positives": evaluation.positives,
        "base_rate": evaluation.base_rate,
    }


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """A comparison: the figures of its methods, and the gains of those that were judged."""
    return {
        "test_digest": comparison.test_digest,
        "days": comparison.days,
        "methods": [method_record(method) for method in comparison.methods],
        "comparisons": [gains_record(gains, comparison) for gains in comparison.gains],
    }


def method_record(method: Method) -> dict[str, Any]:
    """The figures of one method over its runs."""
    return {
        "name": method.name,
        "runs": list(method.runs),
        "seeds": list(method.seeds),
        "overall": dict(zip(("mean", "spread"), mean_and_spread(method.overall), strict=True)),
        "macro": dict(zip(("mean", "spread"), mean_and_spread(method.macro), strict=True)),
    }


def gains_record(gains: Gains, comparison: Comparison) -> dict[str, Any]:
    """One method judged against another: the summary over the chosen territories, and each of them."""
    territories, rows = comparison.territories, comparison.rows
    mean, mean_spread = gains.mean(rows)
    return {
        "ours": gains.ours.name,
        "theirs": gains.theirs.name,
        "matches": len(gains.matches),
        "matched_by_seed": gains.same_seeds,
        "mean_gain": mean,
        "mean_gain_spread": mean_spread,
        "territories_won": gains.won(rows),
        "territories_defined": gains.defined(rows),
        "territories": [
            {
                "code": territories.code[c],
                "name": territories.name[c],
                "group": territories.group[c],
                "audience": territories.audience[c],
                "positives": territories.positives[c],
                "pr_auc_ours": gains.ours.mean_pooled[c],
                "pr_auc_theirs": gains.theirs.mean_pooled[c],
                "gain_by_day": {str(day): gains.by_day[d, c] for d, day in enumerate(comparison.days)},
                "gain": gains.average[c],
                "spread": gains.spread[c],
            }
            for c in rows
        ],
    }


def gains_csv(comparison: Comparison) -> str:
    """All gains as one flat table: a row a comparison and territory, a column a test day."""
    table: dict[str, list[Any]] = {}
    for gains in comparison_record(comparison)["comparisons"]:
        for territory in gains["territories"]:
            row = {"ours": gains["ours"], "theirs": gains["theirs"], **territory}
            row |= {f"gain_day_{day}": gain for day, gain in row.pop("gain_by_day").items()}
            for name, cell in row.items():
                table.setdefault(name, []).append(cell)
    return csv_text(table)
