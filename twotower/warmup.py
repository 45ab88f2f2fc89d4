"""Compile every kernel that training needs, once, on tiny inputs; Numba keeps the result in its cache."""

import numpy as np

from twotower.config import ModelConfig, TrainConfig
from twotower.data.batches import Batcher
from twotower.evaluation.average_precision import average_precision, average_precision_by
from twotower.nn.model import TwoTower
from twotower.progress import Progress, silent
from twotower.train import make_optimiser

STAGE = "compiling kernels (kept in a cache for the next run)"
PAIRS, USERS, TITLES, WIDTH = 8, 4, 3, 4  # of the tiny batch


def compile_kernels(progress: Progress = silent) -> None:
    """Run each kernel once with the types that training gives it; a second time this takes milliseconds."""
    parts = [_compile_batches, _compile_plain_network, _compile_lowrank_network, _compile_metrics]
    for done, part in enumerate(parts):
        progress(STAGE, done, len(parts))
        part()
    progress(STAGE, len(parts), len(parts))


def _compile_batches() -> None:
    for table in (np.float16, np.float32):
        batcher = _batcher(table)
        for mode in ("pairs", "positives", "users"):
            list(batcher.batches(_Pairs(), np.random.default_rng(0), mode))


def _compile_plain_network() -> None:
    _one_step(ModelConfig(hidden=WIDTH, groups=2, head="plain", output="relu"))


def _compile_lowrank_network() -> None:
    _one_step(ModelConfig(hidden=WIDTH, groups=2, head="lowrank", rank=1, title_bias=True))


def _compile_metrics() -> None:
    scores, key = np.arange(PAIRS, dtype=np.float32), np.zeros(PAIRS, np.int64)
    average_precision(_Pairs.label, scores)
    average_precision_by(_Pairs.label, scores, key, 1)


class _Pairs:
    """As many pairs as it takes."""

    user = np.arange(PAIRS, dtype=np.int64) % USERS
    title = (np.arange(PAIRS) % TITLES).astype(np.int32)
    label = (np.arange(PAIRS) % 2).astype(np.float32)


def _batcher(table: type) -> Batcher:
    features = [np.eye(rows, WIDTH).astype(table) for rows in (USERS, TITLES)]
    return Batcher(*features, np.arange(USERS) % 2, 2, PAIRS)


def _one_step(model: ModelConfig) -> None:
    network = TwoTower(model, WIDTH, WIDTH, np.random.default_rng(0))
    batch = _batcher(np.float32).batch(_Pairs.user, _Pairs.title, _Pairs.label)
    network.loss_and_gradients(batch)
    make_optimiser(network, TrainConfig()).update(network.grads, [0, 1], network.workers)
    network.predict(batch)
