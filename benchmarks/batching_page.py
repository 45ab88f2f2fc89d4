"""What docs/explanation/sampling.md says in figures about batching, from the JSON of benchmarks/batching.py."""

from pathlib import Path
from typing import Any

from benchmarks.page import table
from benchmarks.time_to_quality import REFERENCE

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "sampling.md"
MARK = "batching"
LEARNING_RATE = 1e-3  # the table's; the others are in the JSON
NAMES = {"lastfm": "Last.fm", "retail": "Online Retail", "world": "built-in world"}
LEVELS = ("95%", "98%", "99%")


def blocks(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Markdown by the name of its block."""
    return {model: mode_table([r for r in rows if r["model"] == model]) for model in ("mtl", "baseline")}


def mode_table(rows: list[dict[str, Any]]) -> str:
    """A row a dataset and mode."""
    heads = ["data", "seeds", "batching", "users a batch", "pairs/s", *(f"s to {level}" for level in LEVELS)]
    heads += ["best overall PR-AUC", "best macro PR-AUC"]
    chosen = [row for row in rows if row["learning_rate"] == LEARNING_RATE]
    return table(heads, [cells(row) for row in chosen], left=3)


def cells(row: dict[str, Any]) -> list[str]:
    """Names and PR-AUC in the first row, gains in the others; a star where some seed never reaches a level."""
    first = row["batching"] == REFERENCE
    times = []
    for level in LEVELS:
        time = row["overall"]["time_to"][level]
        star = "" if time["reached"] == len(row["seeds"]) else "*"
        times.append("never" if time["seconds"] is None else f"{time['seconds']:.1f}{star}")
    best = [f"{row[m]['best']:.4f}" if first else gain(row[m]) for m in ("overall", "macro")]
    names = [NAMES[row["data"]], str(len(row["seeds"]))] if first else ["", ""]
    speed = [f"{row[name]:,}" for name in ("users_per_batch", "pairs_per_second")]
    return [*names, f"`{row['batching']}`", *speed, *times, *best]


def gain(metric: dict[str, Any]) -> str:
    """Over the reference: the mean over the seeds and its standard error."""
    error = "" if metric["gain_error"] is None else f" ± {metric['gain_error']:.2f}"
    return f"{metric['gain_percent']:+.2f}{error} %"
