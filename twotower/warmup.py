"""Compile every kernel of training and recommending, once, on tiny inputs; Numba keeps the result in its cache."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import numpy as np

from twotower.config import BATCHINGS, ModelConfig, TrainConfig
from twotower.data.batches import Batcher
from twotower.evaluation.average_precision import average_precision, average_precision_by
from twotower.nn.model import TwoTower
from twotower.nn.retrieval import Choice, Retrieval, Users
from twotower.progress import Progress, silent
from twotower.train import make_optimiser

STAGE = "compiling kernels (kept in a cache for the next run)"
HEARTBEAT = 0.5  # seconds between two signs of life; a cold cache takes many seconds, and no kernel reports
PAIRS, USERS, TITLES, WIDTH = 8, 4, 3, 4  # of the tiny batch


def compile_kernels(progress: Progress = silent) -> None:
    """Run each kernel once with the types that training gives it; a second time this takes milliseconds."""
    with _heartbeat(progress):
        _compile_batches()
        _compile_plain_network()
        _compile_lowrank_network()
        _compile_metrics()
        _compile_retrieval()
    progress(STAGE, 1, 1)


@contextmanager
def _heartbeat(progress: Progress) -> Iterator[None]:
    """Report that the stage has begun, and then every half second until the body ends."""
    over = Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            progress(STAGE, 0, 1)

    progress(STAGE, 0, 1)
    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _compile_batches() -> None:
    for table in (np.float16, np.float32):
        batcher = _batcher(table)
        for mode in BATCHINGS:
            list(batcher.batches(_Pairs(), np.random.default_rng(0), mode))


def _compile_plain_network() -> None:
    _one_step(ModelConfig(hidden=WIDTH, groups=2, head="plain", output="relu"))


def _compile_lowrank_network() -> None:
    _one_step(ModelConfig(hidden=WIDTH, groups=2, head="lowrank", rank=1, title_bias=True))


def _compile_metrics() -> None:
    scores, key = np.arange(PAIRS, dtype=np.float32), np.zeros(PAIRS, np.int64)
    average_precision(_Pairs.label, scores)
    average_precision_by(_Pairs.label, scores, key, 1)


def _compile_retrieval() -> None:
    network = TwoTower(ModelConfig(hidden=WIDTH), WIDTH, WIDTH, np.random.default_rng(0))
    found, users = Retrieval(network, np.eye(TITLES, WIDTH, dtype=np.float32)), np.zeros(USERS, np.int64)
    nothing_seen = np.zeros(USERS + 1, np.int64), np.empty(0, np.int32)
    found.top(1, Users(np.eye(USERS, WIDTH, dtype=np.float32), users, users), Choice(found.bias, users, *nothing_seen))


class _Pairs:
    """As many pairs as it takes."""

    user = np.arange(PAIRS, dtype=np.int64) % USERS
    title = (np.arange(PAIRS) % TITLES).astype(np.int32)
    label = (np.arange(PAIRS) % 2).astype(np.float32)


def _batcher(table: type) -> Batcher:
    users: np.ndarray = np.eye(USERS, WIDTH, dtype=table)
    titles: np.ndarray = np.eye(TITLES, WIDTH, dtype=table)
    users.flags.writeable = titles.flags.writeable = False  # as memory maps are: another type to Numba
    return Batcher(users, titles, np.arange(USERS) % 2, 2, PAIRS)


def _one_step(model: ModelConfig) -> None:
    network = TwoTower(model, WIDTH, WIDTH, np.random.default_rng(0))
    batch = _batcher(np.float32).batch(_Pairs.user, _Pairs.title, _Pairs.label)
    network.loss_and_gradients(batch)
    make_optimiser(network, TrainConfig()).update(network.grads, [0, 1], network.workers)
    network.predict(batch)
