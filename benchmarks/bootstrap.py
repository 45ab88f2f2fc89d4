"""A bootstrap of PR-AUC gains over users: answers against scikit-learn's weighted average precision, then times.

    python -m benchmarks.bootstrap

120,000 pairs of 10,000 users in 20 territories and three periods, two models of five seeds. The peers do the same for
one replicate at a time: scikit-learn with users as sample weights, territory by territory, and twotower's own
unweighted average precision on the rows repeated. They compute a few replicates, since a thousand would take an hour;
figures are milliseconds a replicate. Contenders run interleaved, in an order that rotates.
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
from benchmarks.coverage import bootstrap_gains
from twotower.metrics.average_precision import average_precision, average_precision_by
from twotower.metrics.averages import mean_defined
from twotower.metrics.bootstrap import Population

RESULTS = Path(__file__).parent / "results" / "bootstrap.json"
PAIRS, USERS, TERRITORIES, PERIODS, SEEDS = 120_000, 10_000, 20, 3, 5
BASE_RATE = 0.111
TOLERANCE = 1e-9  # of a gain in percent

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]  # scores (B,), weights (B,) → PR-AUC (N, C + 1)


def workload(rng: np.random.Generator) -> dict[str, Any]:
    """Arguments of ``bootstrap_gains``; user counts fall as 1/rank."""
    share = 1 / np.arange(1, TERRITORIES + 1)
    home = rng.choice(TERRITORIES, USERS, p=share / share.sum())
    user = rng.integers(0, USERS, PAIRS)
    labels = (rng.random(PAIRS) < BASE_RATE).astype(np.float32)
    base = rng.normal(size=PAIRS) + labels
    noisy = [base + 0.1 * better * labels + 0.5 * rng.normal(size=(SEEDS, PAIRS)) for better in (1, 0)]
    method, baseline = (scores.astype(np.float32) for scores in noisy)
    columns = {"labels": labels, "method": method, "baseline": baseline, "user": user, "territory": home[user]}
    return columns | {"n_territories": TERRITORIES, "period": rng.integers(0, PERIODS, PAIRS)}


def scikit_learn(data: dict[str, Any]) -> Measure:
    """Users' weights as sample weights, a call a cell."""
    masks = [
        [(data["period"] == n) & (data["territory"] == c) for c in range(TERRITORIES)] + [data["period"] == n]
        for n in range(PERIODS)
    ]

    def measure(scores: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return np.array(
            [
                [average_precision_score(data["labels"][m], scores[m], sample_weight=weight[m]) for m in cells]
                for cells in masks
            ]
        )

    return measure


def rows_repeated(data: dict[str, Any]) -> Measure:
    """Every pair as often as its user was resampled, by twotower's unweighted average precision."""
    cell = data["period"] * TERRITORIES + data["territory"]

    def measure(scores: np.ndarray, weight: np.ndarray) -> np.ndarray:
        rows = np.repeat(np.arange(PAIRS), weight)
        labels, scores, period = data["labels"][rows], scores[rows], data["period"][rows]
        by_cell = average_precision_by(labels, scores, cell[rows], PERIODS * TERRITORIES)
        together = [average_precision(labels[period == n], scores[period == n]) for n in range(PERIODS)]
        return np.column_stack([by_cell.reshape(PERIODS, TERRITORIES), together])

    return measure


def replicates_of(measure: Measure, data: dict[str, Any], weights: list[np.ndarray]) -> np.ndarray:
    """Gains (R, S, C + 1) with users weighted so, one replicate after the other."""
    found = []
    for weight in weights:
        method, baseline = (np.array([measure(one, weight) for one in data[side]]) for side in ("method", "baseline"))
        found.append(mean_defined(100 * (method - baseline) / baseline, axis=1))
    return np.array(found)


@click.command(context_settings={"show_default": True})
@click.option("--replicates", default=1000, help="Of twotower's bootstrap.")
@click.option("--rounds", default=3, help="Rounds in which each contender has its turn.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where results go.")
def main(replicates: int, rounds: int, target: Path) -> None:
    """Time the bootstrap."""
    data = workload(np.random.default_rng(0))

    def method(count: int, threads: int) -> np.ndarray:
        found = bootstrap_gains(**data, replicates=count, threads=threads, rng=np.random.default_rng(1))
        return np.concatenate([found.resampled, found.overall_resampled[..., None]], axis=-1)

    population = Population(data["user"], data["territory"], TERRITORIES)
    starts = np.random.default_rng(1).integers(0, 2**63 - 1, 1)  # as bootstrap_gains draws them
    weights = [population.draw(np.random.default_rng(start))[population.row] for start in starts]
    peers = {"scikit-learn": scikit_learn(data), "rows repeated": rows_repeated(data)}
    differences = {
        name: float(np.abs(replicates_of(measure, data, weights) - method(1, 1)).max())
        for name, measure in peers.items()
    }
    if max(differences.values()) > TOLERANCE:
        raise click.ClickException(f"not the same gains: {differences}; not timed")

    contenders: dict[str, tuple[int, Callable[[], Any]]] = {
        "twotower, 2 threads": (replicates, lambda: method(replicates, 2)),
        "twotower, 1 thread": (replicates, lambda: method(replicates, 1)),
        **{name: (1, lambda m=measure: replicates_of(m, data, weights)) for name, measure in peers.items()},
    }
    milliseconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            count, run = contenders[name]
            milliseconds[name].append(1e3 * machine.timed(run) / count)

    facts = machine.facts(threads=2)
    print(machine.describe(facts), f"scikit-learn {sklearn.__version__}; {replicates:,} replicates\n", sep="\n")
    results: dict[str, Any] = {"machine": facts, "scikit-learn": sklearn.__version__, "replicates": replicates}
    for name, times in milliseconds.items():
        ratios = [t / first for t, first in zip(times, milliseconds[names[0]], strict=True)]
        row = {"ms_a_replicate": statistics.median(times), "times_twotower": statistics.median(ratios)}
        results[name] = {**row, "rounds": times, "difference": differences.get(name)}
        print(f"{name:20} {row['ms_a_replicate']:9.2f} ms a replicate {row['times_twotower']:7.1f}×")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
