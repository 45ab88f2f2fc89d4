"""All users against all titles, and the ten best of each: twotower, PyTorch, and scoring pair by pair.

    python -m benchmarks.scoring
    python -m benchmarks.scoring --users 20000 --titles 20000 --rounds 3

From feature tables to recommendations: both towers, the heads of the users' groups, all logits, and the ten best of
what each user may have (a fifth of the titles is barred in a group) and has not seen (thirty titles). Users lie on
disk in half precision, memory-mapped. Everyone has the same weights and must agree with the textbook in float64 on a
sample of users before being timed. Pairs are scored on a part of the users, and compared by scores a second.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import machine
from benchmarks.scoring_problem import MODEL, PAIRS, SEEN, TOP, K, Problem
from twotower.data.batches import Batcher
from twotower.model import retrieval
from twotower.model.retrieval import Candidates, Retrieval, Users

try:
    import torch

    from benchmarks.torch_scoring import TorchOneDNN, TorchPairs, TorchScorer
except ModuleNotFoundError:
    torch = None

RESULTS = Path(__file__).parent / "results" / "scoring.json"
SAMPLE = 64  # users whose answers are checked
TOLERANCE = 1e-5  # of a score, in units of the largest one
BUSY = 0.8  # a round that reads less than this share of the best one was not alone on the machine
PAUSE = 0.1  # seconds between contenders, in which the waiting threads of the last one fall asleep
FIRST = "twotower, top 10"  # whom the others are compared with

Found = tuple[np.ndarray, np.ndarray]  # titles and scores, (n, k) each


class Twotower:
    """twotower's part."""

    def __init__(self, problem: Problem):
        self.problem = problem

    def _prepare(self, rows: np.ndarray | None) -> tuple[Retrieval, Users, Candidates]:
        p = self.problem
        rows = np.arange(len(p.users)) if rows is None else rows
        found = Retrieval(p.model, p.titles)
        offset = np.where(p.allowed, found.bias, np.float32(-np.inf))
        choice = Candidates(offset, p.group[rows], np.arange(len(rows) + 1) * SEEN, p.seen[rows].reshape(-1))
        return found, Users(p.users, rows, p.group[rows]), choice

    def top(self, rows: np.ndarray | None = None) -> Found:
        found, users, choice = self._prepare(rows)
        return found.top(TOP, users, choice)

    def logits(self) -> None:
        """All logits, block by block; nobody keeps them."""
        found, users, choice = self._prepare(None)
        scale = self.problem.model.params["logit.scale"][0]
        found.scan(
            users, lambda who, first, dots: retrieval.logits(dots, scale, choice.offset, choice.kind[who], first)
        )

    def pairs(self, users: int) -> None:
        """The logits of so many users with all titles, as pairs: by ``TwoTower.predict``, which evaluation uses."""
        p, T = self.problem, len(self.problem.titles)
        batcher = Batcher(p.users, p.titles, p.group, K, PAIRS, buffers=1)
        labels = np.zeros(PAIRS, np.float32)
        for start in range(0, users * T, PAIRS):
            pair = np.arange(start, min(start + PAIRS, users * T))
            p.model.predict(batcher.batch_view(pair // T, pair % T, labels[: len(pair)]))


def check(problem: Problem, contenders: dict[str, Callable[[np.ndarray], Found]]) -> dict[str, float]:
    """Largest error of each contender's scores and choices on a sample. Errors: ClickException when too large."""
    rows = np.random.default_rng(1).choice(len(problem.users), min(SAMPLE, len(problem.users)), replace=False)
    z = problem.exact(rows)
    best = -np.sort(-z, axis=1)[:, :TOP]
    errors = {}
    for name, top in contenders.items():
        titles, scores = top(rows)
        chosen = np.take_along_axis(z, titles.astype(np.int64), axis=1)
        errors[name] = max(np.abs(chosen - best).max(), np.abs(scores - chosen).max()) / np.abs(best).max()
        if not errors[name] <= TOLERANCE:
            raise click.ClickException(f"{name}: {errors[name]:.1e} from the best scores; not timed")
        if any(len(set(row)) < TOP for row in titles.tolist()):
            raise click.ClickException(f"{name}: recommends a title twice; not timed")
    return errors


def race(
    contenders: dict[str, Callable[[], object]], rounds: int, threads: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each contender, and the machine's readings, in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    readings: dict[str, list[float]] = {}
    names = list(contenders)
    for turn in range(rounds):
        for name, rate in machine.readings(threads).items():
            readings.setdefault(name, []).append(rate)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(PAUSE)
            seconds[name].append(machine.timed(contenders[name]))
    return seconds, readings


@click.command(context_settings={"show_default": True})
@click.option("--users", default=100_000)
@click.option("--titles", default=5_000)
@click.option("--pair-users", default=200, help="Users whose pairs with all titles are scored as pairs.")
@click.option("--rounds", default=5, help="Rounds in which each contender has its turn.")
@click.option("--threads", default=os.cpu_count() or 1, help="Threads of every contender.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where the figures go.")
def main(users: int, titles: int, pair_users: int, rounds: int, threads: int, target: Path) -> None:
    """Time the scoring of all users with all titles."""
    facts = machine.facts(threads)
    print(machine.describe(facts), f"PyTorch {torch.__version__ if torch else 'is not installed'}", sep="\n")
    print(f"{users:,} users × {titles:,} titles, {TOP} for each user; D {MODEL.hidden}, K {K}, {MODEL.head} heads")
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1, "blas"):
        problem = Problem(users, titles, threads, Path(folder))
        twotower = Twotower(problem)
        tops: dict[str, Callable[..., Found]] = {FIRST: twotower.top}
        timed: dict[str, Callable[[], object]] = {FIRST: twotower.top, "twotower, all logits": twotower.logits}
        scores = dict.fromkeys(timed, users * titles)
        timed["twotower, pairs"], scores["twotower, pairs"] = lambda: twotower.pairs(pair_users), pair_users * titles
        if torch:
            torch.set_num_threads(threads)
            peers = {"PyTorch, top 10": TorchScorer(problem), "PyTorch oneDNN, top 10": TorchOneDNN(problem)}
            for name, peer in peers.items():
                tops[name] = timed[name] = peer.top
                scores[name] = users * titles
            timed["PyTorch, pairs"], scores["PyTorch, pairs"] = TorchPairs(problem).score, PAIRS
        errors = check(problem, tops)
        for run in timed.values():
            run()  # compiles, allocates, reads the file
        seconds, readings = race(timed, rounds, threads)
    outcome = summary(seconds, scores, problem.flops() / (users * titles), readings, errors)
    print(table(outcome, readings))
    results = {"machine": facts, "torch": torch.__version__ if torch else None, "users": users, "titles": titles}
    results |= {"readings_gflops": readings, "contenders": outcome, "seconds": seconds}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


def summary(
    seconds: dict[str, list[float]], scores: dict[str, int], flops_a_score: float,
    readings: dict[str, list[float]], errors: dict[str, float],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Median seconds, scores a second, times the first within each round; and shares of the readings, of tops."""
    outcome = {}
    for name, times in seconds.items():
        cost = [t / scores[name] for t in times]
        first = [t / scores[FIRST] for t in seconds[FIRST]]
        outcome[name] = {
            "median_s": round(statistics.median(times), 4),
            "range_s": [round(min(times), 4), round(max(times), 4)],
            "scores_per_second": round(1 / statistics.median(cost)),
            "times_the_first": round(statistics.median(c / f for c, f in zip(cost, first, strict=True)), 2),
            "error": errors.get(name),
        }
        if not name.endswith("pairs"):  # who scores pairs embeds more often, by a number that is its own affair
            rates = [flops_a_score / c / 1e9 for c in cost]
            outcome[name] |= {"gflops": round(statistics.median(rates), 1), "share": {
                reading: round(statistics.median(r / m for r, m in zip(rates, values, strict=True)), 3)
                for reading, values in readings.items()
            }}  # fmt: skip
    return outcome


def table(outcome: dict[str, dict[str, Any]], readings: dict[str, list[float]]) -> str:
    """The figures for the screen."""
    machine_line = "; ".join(f"{name} {min(rates):.0f}–{max(rates):.0f}" for name, rates in readings.items())
    lines = [f"machine, GFLOP/s over the rounds: {machine_line}", ""]
    heads = "".join(f"{f'of {name}':>15}" for name in readings)
    lines.append(f"{'':24} {'seconds':>8} {'scores/s':>9} {'ratio':>8} {'GFLOP/s':>8}{heads}   error")
    for contender, row in outcome.items():
        rates = ""
        if "share" in row:
            rates = f"{row['gflops']:8.0f}" + "".join(f"{row['share'][name]:15.0%}" for name in readings)
        error = f"   {row['error']:.0e}" if row["error"] is not None else ""
        lines.append(
            f"{contender:24} {row['median_s']:8.3f} {row['scores_per_second'] / 1e6:8.2f}M "
            f"{row['times_the_first']:7,.2f}× {rates:{8 + 15 * len(readings)}}{error}"
        )
    if any(min(rates) < BUSY * max(rates) for rates in readings.values()):
        lines.append("The readings differ: the machine was busy, and the ratios are worth little. Run it again.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
