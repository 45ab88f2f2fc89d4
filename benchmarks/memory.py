"""How long it takes, and how much memory, to prepare memory terms for a large log.

    python -m benchmarks.memory                                    # 2 million users, 50 million pairs
    python -m benchmarks.memory --users 40000 --pairs 1000000

The answer is checked first, on a small log: cosines and factors against dense matrices, rates against counts. The log
is made up: titles by a Zipf law, territories too, each user with about as many titles. Memory is that of the process at
its largest, minus what it held when the log was there.
"""

import resource
import time
from collections.abc import Callable

import click
import numpy as np

from benchmarks.machine import processor
from twotower.data.memory.factors import FACTORS, TITLES_PER_FACTOR
from twotower.data.memory.knowledge import Knowledge, ones
from twotower.data.memory.memory import Memory, blocks_of_days, training_terms
from twotower.data.sample import Pairs

ALPHA = 8  # negatives per positive of the training pairs


def made_up(users: int, pairs: int, titles: int, territories: int, labels: int, seed: int = 0) -> Knowledge:
    """A log of about so many pairs in the history, and labelled training pairs."""
    rng = np.random.default_rng(seed)

    def zipf(size: int, n: int) -> np.ndarray:
        ends = np.cumsum(1 / np.arange(1, size + 1))
        return np.searchsorted(ends / ends[-1], rng.random(n, np.float32)).clip(0, size - 1).astype(np.int32)

    user = np.sort(rng.integers(users, size=pairs, dtype=np.int32))
    history = ones(user, zipf(titles, pairs), (users, titles))
    n = labels * (1 + ALPHA)
    label = (np.arange(n) % (1 + ALPHA) == 0).astype(np.float32)
    title = np.where(label > 0, zipf(titles, n), rng.integers(titles, size=n)).astype(np.int32)
    sampled = Pairs(rng.integers(users, size=n), title, label, (np.arange(n) * 60 // n).astype(np.int32))
    return Knowledge(
        history, sampled, zipf(territories, users).astype(np.int64), np.arange(territories) % 4,
        np.ones((titles, territories), bool), np.zeros(titles, np.int32),
    )  # fmt: skip


def check() -> None:
    """Errors: AssertionError where the terms of a small log are not what their definitions say."""
    known = made_up(400, 6000, 150, 9, 60)
    memory = Memory.of(known)
    X = known.watched.toarray().astype(np.float64)
    gram = X.T @ X
    cosines = gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)).clip(1))
    np.fill_diagonal(cosines, 0)
    np.testing.assert_allclose(memory.cosines.toarray(), cosines, atol=1e-5)
    V = np.linalg.eigh(cosines + np.diag(np.diag(gram) > 0))[1]
    root, V = np.sqrt(np.diag(gram).clip(1)), V[:, -min(FACTORS, 150 // TITLES_PER_FACTOR) :]
    projected = V @ V.T / root[:, None] * root
    np.testing.assert_allclose(memory.factors.watched @ memory.factors.scored.T, projected, atol=1e-3)
    world = np.log((known.history.sum(0) + 0.5) / (400 + 1))
    np.testing.assert_allclose(memory.tables[0, 3], world, atol=1e-5)
    some = np.arange(0, len(known.pairs), 7)  # no label of the user's fold, nor of a later block of days
    block, m = blocks_of_days(known.pairs.day), training_terms(known)[some]
    for n, (i, user) in enumerate(zip(some, known.pairs.user[some], strict=True)):
        before = known.only(known.pairs.take(block < block[i]))
        if block[i] == 0:
            before = known.only(known.pairs.take(block == 0)).without_labels_of(known.fold[user])
        expected = Memory.of(before).of_pairs(user[None], known.pairs.title[i : i + 1])
        np.testing.assert_allclose(m[n], expected[0], atol=1e-4)


def peak() -> float:
    """The most memory that the process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(what: str, work: Callable[[], object]) -> object:
    start = time.perf_counter(), time.process_time()
    made = work()
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    click.echo(f"{what}: {wall:.1f} s, {cpu:.1f} s of CPU; {peak():.2f} GiB at most so far")
    return made


@click.command()
@click.option("--users", default=2_000_000, show_default=True)
@click.option("--pairs", default=50_000_000, show_default=True)
@click.option("--titles", default=1_000, show_default=True)
@click.option("--territories", default=200, show_default=True)
@click.option("--labels", default=500_000, show_default=True, help="Positive training pairs; with 8 negatives each.")
def main(users: int, pairs: int, titles: int, territories: int, labels: int) -> None:
    """Prepare memory for a made-up log."""
    check()
    click.echo(f"checked on a small log; {processor()}")
    known = timed("making the log", lambda: made_up(users, pairs, titles, territories, labels))
    assert isinstance(known, Knowledge)
    click.echo(f"{known.history.nnz:,} pairs of users and titles, {len(known.pairs):,} training pairs")
    timed("memory of all", lambda: Memory.of(known))
    timed("terms of the training pairs", lambda: training_terms(known))


if __name__ == "__main__":
    main()
