"""How often bootstrapped intervals hold the truth, in made-up worlds whose truth is known.

    python -m benchmarks.coverage

A world is one territory, each user with eight pairs, and two models with S trainings each. A user has a taste (how much
is watched) and an ease (how well both models see it), so that pairs of a user are alike; each training has noise of its
own, and the seed moves the distance between positives and negatives by a normal draw. The truth is the gain among very
many users, averaged over all seeds by Gauss–Hermite quadrature. Nothing is timed; the
table it prints is that of docs/explanation/evaluation.md.
"""

import json
import os
from pathlib import Path
from typing import Any

import click
import numpy as np

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.metrics.average_precision import average_precision
from twotower.metrics.bootstrap import BootstrapGains, Resampled, Resampling, percentile_interval

RESULTS = Path(__file__).parent / "results" / "coverage.json"
METHOD, BASELINE = 1.4, 1.2  # how far positives are above negatives
PAIRS = 8  # of a user
MANY = 200_000  # users, for the truth
SPREADS = {"none": 0.0, "some": 0.05, "much": 0.1}  # standard deviation over seeds of that distance
KINDS = [("none", 1, 200), ("none", 5, 200), ("some", 5, 200), ("much", 5, 200), ("much", 5, 60), ("much", 3, 200)]
KINDS += [("much", 2, 200)]
NORMAL_WIDTH = 3.92  # of a 95 % interval, in standard deviations


def scored(rng: np.random.Generator, users: int, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (B,), scores (S, B) with a training for each of ``signals``, and users (B,)."""
    user = np.repeat(np.arange(users), PAIRS)
    taste, ease = rng.normal(size=(2, users))[:, user]
    labels = (rng.random(user.size) < 1 / (1 + np.exp(2 - taste))).astype(np.float32)
    shared = rng.normal(size=user.size) + 0.5 * taste
    scores = [s * labels * (1 + 0.5 * ease) + shared + 0.5 * rng.normal(size=user.size) for s in signals]
    return labels, np.array(scores, np.float32), user


def bootstrap_gains(
    labels: np.ndarray,
    method: np.ndarray,
    baseline: np.ndarray,
    *pairs: Any,
    progress: Progress = silent,
    **options: Any,
) -> BootstrapGains:
    """The gain of ``method`` over ``baseline``, both (S, B) scores of S seeds matched one to one, with replicates.

    What else there is, is that of ``Resampling``. Errors: InputError, also when the two tables differ in shape.
    """
    method, baseline = np.asarray(method), np.asarray(baseline)
    if method.ndim != 2 or method.shape != baseline.shape or method.shape[1:] != np.shape(labels) or not len(method):
        raise InputError(
            f"scores {method.shape} and {baseline.shape}: expected two tables, seeds × {np.size(labels)} pairs"
        )
    resampling = Resampling(labels, *pairs, **options)
    both = resampling.pr_auc(np.concatenate([method, baseline]), progress)
    of_method, of_baseline = (
        Resampled(both.measured[seeds], both.resampled[:, seeds])
        for seeds in (slice(None, len(method)), slice(len(method), None))
    )
    return resampling.gains(of_method, of_baseline)


def true_gain(rng: np.random.Generator, spread: float) -> float:
    """The gain in percent among very many users, the mean over all seeds."""
    nodes, share = np.polynomial.hermite_e.hermegauss(9)
    labels, scores, _ = scored(rng, MANY, np.concatenate([METHOD + spread * nodes, BASELINE + spread * nodes]))
    pr_auc = np.array([average_precision(labels, one) for one in scores])
    share /= share.sum()
    return float(100 * ((pr_auc[:9] @ share) * ((1 / pr_auc[9:]) @ share) - 1))  # seeds of the two are independent


def coverage(spread: float, seeds: int, users: int, worlds: int, replicates: int, seed: int) -> dict[str, float]:
    """The truth, how far estimates are from it, how wide intervals are, and in what share of worlds they hold it."""
    rng = np.random.default_rng(seed)
    truth = true_gain(rng, spread)
    estimates, widths, held = np.empty(worlds), np.empty(worlds), np.empty(worlds)
    for i in range(worlds):
        signals = np.repeat([METHOD, BASELINE], seeds) + spread * rng.normal(size=2 * seeds)
        labels, scores, user = scored(rng, users, signals)
        one = np.zeros_like(user)
        method, baseline = scores[:seeds], scores[seeds:]
        gains = bootstrap_gains(labels, method, baseline, user, one, 1, one, rng=rng, replicates=replicates)
        low, high = percentile_interval(gains.replicates[:, 0])
        estimates[i], widths[i], held[i] = gains.estimate[0], high - low, low <= truth <= high
    return {
        "truth": truth,
        "mean_estimate": float(estimates.mean()),
        "true_deviation": float(estimates.std(ddof=1)),
        "width_over_3.92": float(widths.mean() / NORMAL_WIDTH),
        "held": float(held.mean()),
    }


@click.command(context_settings={"show_default": True})
@click.option("--worlds", default=400, help="Of each kind.")
@click.option("--replicates", default=200, help="Of each bootstrap.")
@click.option("--seed", default=0, help="Of all worlds.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where results go.")
def main(worlds: int, replicates: int, seed: int, target: Path) -> None:
    """Count how often intervals hold the truth."""
    results: dict[str, Any] = {"worlds": worlds, "replicates": replicates, "seed": seed, "kinds": []}
    print("| spread over seeds | seeds | users | gain, % | true ± | width / 3.92 | holds the truth |")
    print("|---" * 7 + "|")
    for name, seeds, users in KINDS:
        found = coverage(SPREADS[name], seeds, users, worlds, replicates, seed)
        results["kinds"].append({"spread": name, "seeds": seeds, "users": users, **found})
        widths = f"{found['truth']:.1f} | {found['true_deviation']:.1f} | {found['width_over_3.92']:.1f}"
        print(f"| {name} | {seeds} | {users} | {widths} | {100 * found['held']:.1f} % |", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
