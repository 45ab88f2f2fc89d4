"""Average precision of millions of scores, twotower against scikit-learn and NumPy: answers, then times.

    python -m benchmarks.average_precision
    python -m benchmarks.average_precision --pairs 1000000 --rounds 9

Three workloads: scores as a network gives them, scores rounded to three decimals (a thousand pairs a tie),
and PR-AUC per territory of 200 territories, whose numbers of users differ by orders of magnitude. Everyone gets the
same arrays, works on one thread, and is timed only if it agrees with scikit-learn to 1e-12. Contenders run
interleaved, in an order that rotates; ratios are taken within a round. The control, NumPy's sort of the same
scores, shows when the machine itself was slow, and is a lower bound for any method that sorts.
"""

import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import sklearn
from sklearn.metrics import average_precision_score

from benchmarks import machine
from twotower.metrics.average_precision import average_precision, average_precision_by

RESULTS = Path(__file__).parent / "results" / "average_precision.json"
TERRITORIES = 200
BASE_RATE = 0.1
TOLERANCE = 1e-12  # of an average precision, against scikit-learn's
CONTROL = "np.sort (control)"

Contender = Callable[[], Any]


def numpy_argsort(labels: np.ndarray, scores: np.ndarray) -> float:
    """The usual road in plain NumPy: argsort, cumulative sums, and the end of each block of ties."""
    order = np.argsort(scores)[::-1]
    ranked, positives = scores[order], np.cumsum(labels[order], dtype=np.int64)
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    return float((np.diff(positives[ends], prepend=0) * (positives[ends] / (ends + 1))).sum() / positives[-1])


def each_territory(
    of_all: Callable[[np.ndarray, np.ndarray], float],
    labels: np.ndarray,
    scores: np.ndarray,
    territory: np.ndarray,
) -> np.ndarray:
    """PR-AUC per territory from a function for all pairs: group the pairs once, then a call a territory."""
    order = np.argsort(territory, kind="stable")  # a radix sort for 16-bit integers
    ends = np.cumsum(np.bincount(territory, minlength=TERRITORIES))
    parts = zip(np.split(labels[order], ends[:-1]), np.split(scores[order], ends[:-1]), strict=True)
    return np.array([of_all(y, s) if y.any() else np.nan for y, s in parts])


def workloads(pairs: int, rng: np.random.Generator) -> dict[str, dict[str, Contender]]:
    """Name of the workload → its contenders, ready to run."""
    labels = (rng.random(pairs) < BASE_RATE).astype(np.float32)
    scores = (rng.standard_normal(pairs) + labels).astype(np.float32)
    rounded = np.round(scores, 3)
    share = 1 / np.arange(1, TERRITORIES + 1) ** 1.5  # users over three orders of magnitude
    territory = rng.choice(TERRITORIES, pairs, p=share / share.sum()).astype(np.int16)

    def of_all(values: np.ndarray) -> dict[str, Contender]:
        return {
            "twotower": lambda: average_precision(labels, values),
            "scikit-learn": lambda: average_precision_score(labels, values),
            "numpy argsort": lambda: numpy_argsort(labels, values),
            CONTROL: lambda: np.sort(values),
        }

    by_territory: dict[str, Contender] = {
        "twotower": lambda: average_precision_by(labels, scores, territory, TERRITORIES),
        "scikit-learn": lambda: each_territory(average_precision_score, labels, scores, territory),
        "numpy argsort": lambda: each_territory(numpy_argsort, labels, scores, territory),
        CONTROL: lambda: np.sort(scores),
    }
    return {
        f"all pairs, {len(np.unique(scores)):,} distinct scores": of_all(scores),
        f"all pairs, {len(np.unique(rounded)):,} distinct scores": of_all(rounded),
        f"{TERRITORIES} territories": by_territory,
    }


def check(contenders: dict[str, Contender]) -> dict[str, float]:
    """Largest difference of each contender from scikit-learn. Errors: ClickException when it is too large."""
    expected = np.asarray(contenders["scikit-learn"]())
    differences = {}
    for name, run in contenders.items():
        if name != CONTROL:
            found = np.asarray(run())
            if not np.array_equal(np.isnan(found), np.isnan(expected)):
                raise click.ClickException(f"{name}: undefined elsewhere than scikit-learn")
            differences[name] = float(np.nanmax(np.abs(found - expected)))
            if differences[name] > TOLERANCE:
                raise click.ClickException(f"{name}: {differences[name]:.1e} from scikit-learn; not timed")
    return differences


def race(contenders: dict[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(machine.timed(contenders[name]))
    return seconds


def summary(seconds: dict[str, list[float]], differences: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Median milliseconds, and the median of the ratios to twotower within each round."""
    return {
        name: {
            "median_ms": round(1e3 * statistics.median(times), 1),
            "best_ms": round(1e3 * min(times), 1),
            "times_twotower": round(
                statistics.median(t / ours for t, ours in zip(times, seconds["twotower"], strict=True)), 2
            ),
            "difference": differences.get(name),
        }
        for name, times in seconds.items()
    }


@click.command(context_settings={"show_default": True})
@click.option("--pairs", default=10_000_000, help="Scores of a workload.")
@click.option("--rounds", default=5, help="Rounds in which each contender has its turn.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where results go.")
def main(pairs: int, rounds: int, target: Path) -> None:
    """Time average precision."""
    results: dict[str, Any] = {
        "machine": machine.facts(threads=1),
        "scikit-learn": sklearn.__version__,
        "pairs": pairs,
        "workloads": {},
    }
    print(machine.describe(results["machine"]), f"scikit-learn {sklearn.__version__}; {pairs:,} pairs", sep="\n")
    for name, contenders in workloads(pairs, np.random.default_rng(0)).items():
        found = summary(race(contenders, rounds), check(contenders))
        results["workloads"][name] = found
        print(f"\n{name}\n{'':20} {'median ms':>10} {'best ms':>9} {'ratio':>7}   difference")
        for contender, row in found.items():
            times = f"{row['median_ms']:10,.1f} {row['best_ms']:9,.1f} {row['times_twotower']:6.2f}×"
            print(f"{contender:20} {times}   " + ("" if contender == CONTROL else f"{row['difference']:.0e}"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
