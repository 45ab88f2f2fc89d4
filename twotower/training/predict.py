"""Scores of user–title pairs under a trained model."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from twotower.core.config import MEMORY_TERMS
from twotower.core.progress import Progress, silent
from twotower.data.batches import Batcher
from twotower.data.dataset import Dataset
from twotower.data.epochs import LabelledPairs
from twotower.data.memory.memory import Memory
from twotower.data.sample import Pairs
from twotower.metrics.per_territory import evaluate_scores
from twotower.metrics.results import Evaluation
from twotower.model.two_tower import TwoTower
from twotower.training.processes import processes

SCORING_BATCH = 32768  # pairs scored at a time


def user_groups(dataset: Dataset, territory_group: np.ndarray, groups: int) -> np.ndarray:
    """Group of every user (U,); all 0 for a model with one group. ``territory_group``: (C,), UNKNOWN also for users."""
    if groups == 1:
        return np.zeros(dataset.n_users, np.int32)
    return np.asarray(territory_group, np.int32)[dataset.head_territory]


def user_territories(dataset: Dataset, model: TwoTower) -> np.ndarray | None:
    """Territory of every user (U,), for a model that has something for each territory; else None."""
    return dataset.head_territory if model.territories else None


class Scorer(NamedTuple):
    """What ``predict_pairs`` needs of a dataset."""

    batcher: Batcher
    territory: np.ndarray  # (U,) of each user: whose offsets of titles are theirs
    memory: Memory | None = None  # of a model with memory


def make_scorer(
    model: TwoTower, dataset: Dataset, territory_group: np.ndarray, memory: Memory | None = None
) -> Scorer:
    """Batches for ``predict_pairs``, and where users live."""
    groups = model.config.groups
    members = np.maximum(user_groups(dataset, territory_group, groups), 0)  # of those without a head none is scored
    batcher = Batcher(
        dataset.user_vectors, dataset.title_vectors, members, groups, SCORING_BATCH, buffers=1,
        user_territory=user_territories(dataset, model), n_territories=dataset.n_territories,
        memory_terms=0 if memory is None else MEMORY_TERMS,
    )  # fmt: skip
    return Scorer(batcher, np.asarray(dataset.head_territory), memory)


def predict_pairs(
    model: TwoTower,
    scorer: Scorer,
    pairs: LabelledPairs,
    progress: Progress = silent,
    stage: str = "scoring",
) -> np.ndarray:
    """Logits (n,) float32 of the pairs, in their order, title offsets included.

    They are taken user by user, so that each user is embedded about once. Memory terms that pairs bring are theirs:
    those of training pairs leave out their own labels. Processes that train together share out the batches.
    """
    memory: np.ndarray | None = getattr(pairs, "memory", None)
    if memory is None and scorer.memory is not None:
        memory = scorer.memory.of_pairs(pairs.user, pairs.title)
    batcher, logits, together = scorer.batcher, np.zeros(len(pairs.user), np.float32), processes()
    by_user = np.argsort(pairs.user, kind="stable")
    for number, start in enumerate(range(0, len(by_user), batcher.batch_size)):
        if number % together.size == together.rank:
            index = by_user[start : start + batcher.batch_size]
            own = None if memory is None else memory[index]
            batch = batcher.batch_view(pairs.user[index], pairs.title[index], np.zeros(len(index), np.float32), own)
            logits[index[batch.order]] = model.predict(batch)
        progress(stage, min(start + batcher.batch_size, len(by_user)), len(by_user))
    if together.size > 1:  # each logit is 0 on all but one of them; added as integers, it keeps its bits
        logits = together.allgather(logits.view(np.int32)).sum(0, dtype=np.int32).view(np.float32)
    if model.title_offsets is not None:
        logits += model.title_offsets[scorer.territory[pairs.user], pairs.title]
    return logits


def evaluate_pairs(
    dataset: Dataset, territory_group: np.ndarray, pairs: Pairs, scores: np.ndarray, progress: Progress = silent
) -> Evaluation:
    """What scores (n,) of a dataset's pairs are worth per territory, title and day; groups (C,) as trained with."""
    return evaluate_scores(
        pairs.label,
        scores,
        user=pairs.user,
        title=pairs.title,
        day=pairs.day,
        user_territory=dataset.user_territory,
        territories=replace(dataset.territories, group=territory_group),
        title_ids=dataset.title_ids,
        title_kind=dataset.titles.get("kind"),
        progress=progress,
    )
