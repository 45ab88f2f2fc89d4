"""From curves of validation PR-AUC over training time to the time that it takes to be so good."""

import statistics
from collections.abc import Sequence
from typing import Any

SHARES = (0.95, 0.98, 0.99, 1.0)  # of the best PR-AUC that the reference reaches
REFERENCE = "pairs"
METRICS = ("overall", "macro")

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
    """A row a dataset, learning rate and mode: means over the seeds that the reference was run with as well.

    Levels are shares of the best PR-AUC that the reference reached with the same seed, hence on the same
    validation users, and the same learning rate.
    """
    rows = []
    for data, rate in sorted({(run["data"], run["learning_rate"]) for run in runs}):
        mine = [run for run in runs if (run["data"], run["learning_rate"]) == (data, rate)]
        reference = {run["seed"]: run["curve"] for run in mine if run["batching"] == REFERENCE}
        for mode in dict.fromkeys(run["batching"] for run in mine):
            chosen = [run for run in mine if run["batching"] == mode and run["seed"] in reference]
            if chosen:
                rows.append({"data": data, "learning_rate": rate} | row(mode, chosen, reference))
    return rows


def row(mode: str, runs: list[dict[str, Any]], reference: dict[int, Curve]) -> dict[str, Any]:
    """One mode on one dataset: speed, best PR-AUC, and the time to each level."""
    speed = [run["pairs"] * run["epochs"] / run["curve"][-1]["seconds"] for run in runs]
    found: dict[str, Any] = {
        "batching": mode,
        "seeds": [run["seed"] for run in runs],
        "users_per_batch": round(statistics.mean(run["users_per_batch"] for run in runs)),
        "pairs_per_second": round(statistics.mean(speed)),
    }
    for metric in METRICS:
        highest = [best(run["curve"], metric) for run in runs]
        gain = [high / best(reference[run["seed"]], metric) - 1 for high, run in zip(highest, runs, strict=True)]
        times = {}
        for share in SHARES:
            reached = [time_to(r["curve"], metric, share * best(reference[r["seed"]], metric)) for r in runs]
            known = [t for t in reached if t is not None]
            mean = round(statistics.mean(known), 2) if known else None
            times[f"{share:.0%}"] = {"seconds": mean, "reached": len(known)}
        found[metric] = {
            "best": round(statistics.mean(highest), 4),
            "spread": round(statistics.stdev(highest), 4) if len(highest) > 1 else None,
            "gain_percent": [round(100 * g, 2) for g in gain],  # over the reference, a seed each
            "time_to": times,
        }
    return found


def tables(rows: list[dict[str, Any]]) -> str:
    """The figures for the screen, a table a dataset and learning rate."""
    lines, before = [], None
    for r in rows:
        if before != (before := (r["data"], r["learning_rate"])):
            levels = "".join(f"{s:>8.0%}" for s in SHARES)
            lines += [
                f"\n{r['data']}, learning rate {r['learning_rate']:g}, mean of seeds {r['seeds']}; "
                f"seconds to a share of the best PR-AUC of {REFERENCE}",
                f"{'':10}{'users':>7}{'pairs/s':>10}  "
                + "  ".join(f"{m:>7} best {'gain, %':>16} {levels}" for m in METRICS),
            ]
        cells = []
        for metric in METRICS:
            q = r[metric]
            gains = " ".join(f"{g:+.2f}" for g in q["gain_percent"])
            times = "".join(cell(q["time_to"][f"{s:.0%}"], len(r["seeds"])) for s in SHARES)
            cells.append(f"{q['best']:>12.4f} {gains:>16} {times}")
        lines.append(f"{r['batching']:10}{r['users_per_batch']:7,}{r['pairs_per_second']:10,}  " + "  ".join(cells))
    return "\n".join(lines)


def cell(time: dict[str, Any], seeds: int) -> str:
    """Seconds; in brackets how many seeds got there, where not all did."""
    if not time["reached"]:
        return f"{'never':>8}"
    text = f"{time['seconds']:.1f}"
    return f"{text + ('' if time['reached'] == seeds else '*'):>8}"
