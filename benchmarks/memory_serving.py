"""Recommending all users × all titles with memory in the score and without, by the same network in the same run.

    python -m benchmarks.memory_serving
    python -m benchmarks.memory_serving --titles 5000 --hidden 512

Both start from user features and end with the ten best titles of each user. Memory has its ReLU layer; histories are
made up by a Zipf law (``benchmarks.memory``). Before anything is timed, logits of some users with all titles are
compared with those of pairs. Times are the processor's, of all threads, since others may be using the machine.
"""

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import machine
from benchmarks.memory import made_up
from twotower.core.config import ModelConfig
from twotower.data.memory.memory import Memory
from twotower.model.engine import kernels
from twotower.model.retrieval import Candidates, Retrieval, Users
from twotower.model.two_tower import TwoTower
from twotower.serving.ranker import user_terms

RESULTS = Path(__file__).parent / "results" / "memory_serving.json"
TERRITORIES, GROUPS, WIDTH, WATCHED, TOP = 200, 4, 256, 20, 10
CHECKED, TOLERANCE = 50, 1e-4  # users, and how far a logit may be off


class Problem:
    """A network with memory, users, titles, and what they watched."""

    def __init__(self, users: int, titles: int, hidden: int, threads: int):
        rng = np.random.default_rng(0)
        model = ModelConfig(hidden=hidden, groups=GROUPS, head="lowrank", title_bias=True, memory=True)
        self.model = TwoTower(model, WIDTH, WIDTH, rng, threads=threads)
        for name, value in self.model.params.items():
            if name.startswith("memory."):
                value[...] = 0.3 * rng.standard_normal(value.shape)
        known = made_up(users, users * WATCHED, titles, TERRITORIES, users)
        self.memory = Memory.of(known)
        some = rng.integers(users, size=20_000), rng.integers(titles, size=20_000)
        self.memory.standardise(self.memory.of_pairs(*some))
        X, Y = (rng.standard_normal((n, WIDTH)).astype(np.float32) for n in (users, titles))
        rows, territory = np.arange(users), known.territory
        self.group = known.group[territory].astype(np.int32)
        self.users, self.retrieval = Users(X, rows, self.group, territory), Retrieval(self.model, Y)
        self.weights, nothing_seen = self.model.memory_weights(), np.zeros(users + 1, np.int64)
        self.layer = self.memory.layer(self.weights.layer)
        bias = self.retrieval.territory_bias(known.group)
        self.without = Candidates(bias, territory, nothing_seen, np.empty(0, np.int32))
        terms = self.memory.of_territories(self.weights.rows(known.group).linear)
        self.with_memory = self.without._replace(offset=bias + terms)

    def top(self, memory: bool) -> tuple[np.ndarray, np.ndarray]:
        """The best titles of all users."""
        if not memory:
            return self.retrieval.top(TOP, self.users, self.without)
        own = user_terms(self.memory, self.users.rows, self.weights.rows(self.group), self.layer)
        return self.retrieval.top(TOP, self.users, self.with_memory, own=own)

    def check(self) -> float:
        """The largest error of what memory adds, against pairs. Errors: ClickException when it is too large."""
        titles, scores = self.top(True)
        U = np.empty((len(scores), self.model.config.hidden), np.float32)
        self.retrieval.embed_users(U, self.users)
        worst = 0.0
        for user in range(0, len(scores), max(1, len(scores) // CHECKED)):
            own, k = titles[user], self.group[user]
            z = self.retrieval.V[own] @ U[user] + self.without.offset[self.without.kind[user], own]
            m = self.memory.of_pairs(np.full(TOP, user), own.astype(np.int64))
            kernels.memory_score(z, m, self.weights.linear[k], self.weights.layer, self.weights.units[k])
            worst = max(worst, float(np.abs(z - scores[user]).max()))
        if not worst <= TOLERANCE:
            raise click.ClickException(f"logits are {worst:.1e} from those of pairs; not timed")
        return worst


def measure(users: int, titles: int, hidden: int, rounds: int, threads: int) -> dict[str, Any]:
    """Processor seconds of both, and the speed that is left, as a median over rounds."""
    problem = Problem(users, titles, hidden, threads)
    error = problem.check()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(rounds):
        for memory in (False, True) if turn % 2 else (True, False):
            begun = time.process_time()
            problem.top(memory)
            seconds[memory].append(time.process_time() - begun)
    left = statistics.median(a / b for a, b in zip(seconds[False], seconds[True], strict=True))
    print(
        f"{titles:6,} titles, D {hidden}: {min(seconds[True]) / users * 1e6:5.1f} µs per user with memory, "
        f"{min(seconds[False]) / users * 1e6:5.1f} without: {left:.0%} of the speed; error {error:.0e}", flush=True,
    )  # fmt: skip
    named = {"with": seconds[True], "without": seconds[False]}
    return {"users": users, "titles": titles, "hidden": hidden, "share": round(left, 3), "seconds": named}


@click.command(context_settings={"show_default": True})
@click.option("--users", default=20_000)
@click.option("--titles", type=int, multiple=True, default=(1_000, 5_000))
@click.option("--hidden", type=int, multiple=True, default=(128, 512))
@click.option("--rounds", default=5)
@click.option("--threads", default=os.cpu_count() or 1)
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where the figures go.")
def main(
    users: int, titles: tuple[int, ...], hidden: tuple[int, ...], rounds: int, threads: int, target: Path
) -> None:
    """Measure each number of titles at each width."""
    facts = machine.facts(threads)
    print(machine.describe(facts))
    with threadpool_limits(1, "blas"):
        found = [measure(users, T, D, rounds, threads) for T in titles for D in hidden]
    target.write_text(json.dumps({"machine": facts, "measured": found}, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
