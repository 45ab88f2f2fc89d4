"""From curves of validation PR-AUC over training time to the time that it takes to be so good."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

SHARES = (0.95, 0.98, 0.99, 1.0)  # of the best PR-AUC that the reference reaches
REFERENCE = "pairs"
METRICS = ("overall", "macro")
CASE = ("data", "model", "learning_rate")  # within which modes are compared

Curve = Sequence[dict[str, float]]


def best(curve: Curve, metric: str) -> float:
    """The highest PR-AUC of any validation."""
    return max(point[metric] for point in curve)


def time_to(curve: Curve, metric: str, level: float) -> float | None:
    """Seconds of training until ``metric`` is first at ``level``, linear between validations; None: never.

    Before the first validation the curve is not known, so that its time is the earliest answer.
    """
    for before, after in zip([None, *curve], curve, strict=False):
        if after[metric] >= level:
            if before is None:
                return after["seconds"]
            way = (level - before[metric]) / (after[metric] - before[metric])
            return before["seconds"] + way * (after["seconds"] - before["seconds"])
    return None


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a dataset, model, learning rate and mode, over the seeds that the reference was run with as well.

    Levels are shares of the best PR-AUC that the reference reached with the same seed, hence on the same
    validation users, and the same learning rate.
    """
    rows = []
    for case in dict.fromkeys(tuple(run[name] for name in CASE) for run in runs):
        mine = [run for run in runs if tuple(run[name] for name in CASE) == case]
        reference = {run["seed"]: run["curve"] for run in mine if run["batching"] == REFERENCE}
        for mode in dict.fromkeys(run["batching"] for run in mine):
            chosen = [run for run in mine if run["batching"] == mode and run["seed"] in reference]
            if chosen:
                rows.append(dict(zip(CASE, case, strict=True)) | row(mode, chosen, reference))
    return rows


def row(mode: str, runs: list[dict[str, Any]], reference: dict[int, Curve]) -> dict[str, Any]:
    """One mode on one dataset: speed, best PR-AUC and how far it is from the reference's, time to each level."""
    speed = [run["pairs"] * run["epochs"] / run["curve"][-1]["seconds"] for run in runs]
    found: dict[str, Any] = {
        "batching": mode,
        "seeds": [run["seed"] for run in runs],
        "users_per_batch": round(statistics.mean(run["users_per_batch"] for run in runs)),
        "pairs_per_second": round(statistics.mean(speed)),
    }
    for metric in METRICS:
        highest = [best(run["curve"], metric) for run in runs]
        gains = [
            100 * (high / best(reference[run["seed"]], metric) - 1) for high, run in zip(highest, runs, strict=True)
        ]
        found[metric] = {
            "best": round(statistics.mean(highest), 4),
            "gain_percent": round(statistics.mean(gains), 2),  # over the reference with the same seed
            "gain_error": round(statistics.stdev(gains) / len(gains) ** 0.5, 2) if len(gains) > 1 else None,
            "time_to": {f"{share:.0%}": median_time(runs, metric, share, reference) for share in SHARES},
        }
    return found


def median_time(runs: list[dict[str, Any]], metric: str, share: float, reference: dict[int, Curve]) -> dict[str, Any]:
    """The median of the seeds' times, where a seed that never gets there counts as the slowest; None: never."""
    times = []
    for run in runs:
        time = time_to(run["curve"], metric, share * best(reference[run["seed"]], metric))
        times.append(math.inf if time is None else time)
    middle = statistics.median(times)
    reached = sum(map(math.isfinite, times))
    return {"seconds": round(middle, 2) if math.isfinite(middle) else None, "reached": reached}


def tables(rows: list[dict[str, Any]]) -> str:
    """The figures for the screen, a table a dataset, model and learning rate."""
    lines: list[str] = []
    before = None
    for r in rows:
        if before != (before := tuple(r[name] for name in CASE)):
            levels = "".join(f"{s:>8.0%}" for s in SHARES)
            lines += [
                f"\n{r['data']}, {r['model']}, learning rate {r['learning_rate']:g}, {len(r['seeds'])} seeds: best "
                f"PR-AUC and its gain over {REFERENCE}, seconds to a share of the best of {REFERENCE}",
                f"{'':10}{'users':>7}{'pairs/s':>10}" + "".join(f"{m:>10}{'gain, %':>15}{levels}" for m in METRICS),
            ]
        cells = []
        for metric in METRICS:
            q = r[metric]
            gain = f"{q['gain_percent']:+.2f}" + (f" ± {q['gain_error']:.2f}" if q["gain_error"] is not None else "")
            times = "".join(cell(q["time_to"][f"{s:.0%}"], len(r["seeds"])) for s in SHARES)
            cells.append(f"{q['best']:10.4f}{gain:>15}{times}")
        lines.append(f"{r['batching']:10}{r['users_per_batch']:7,}{r['pairs_per_second']:10,}" + "".join(cells))
    return "\n".join([*lines, "* not with every seed"] if lines else [])


def cell(time: dict[str, Any], seeds: int) -> str:
    """Seconds, with a star where some seed never gets there."""
    if time["seconds"] is None:
        return f"{'never':>8}"
    return f"{time['seconds']:.1f}{'' if time['reached'] == seeds else '*'}".rjust(8)
