"""Scores of user–title pairs under a trained model."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.checkpoint import load_model
from twotower.data.batches import Batcher
from twotower.data.dataset import Dataset
from twotower.data.epochs import LabelledPairs
from twotower.data.sample import Pairs
from twotower.environment import usable_cores
from twotower.errors import InputError
from twotower.evaluation.per_territory import evaluate_scores
from twotower.evaluation.results import Evaluation
from twotower.nn.model import TwoTower
from twotower.progress import Progress, silent
from twotower.run import TERRITORIES, RunReader
from twotower.transfer import check_heads, groups_by_code, is_like, transferred

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


def make_scorer(model: TwoTower, dataset: Dataset, territory_group: np.ndarray) -> Scorer:
    """Batches for ``predict_pairs``, and where users live."""
    groups = model.model.groups
    members = np.maximum(user_groups(dataset, territory_group, groups), 0)  # of those without a head none is scored
    batcher = Batcher(
        dataset.user_vectors, dataset.title_vectors, members, groups, SCORING_BATCH, buffers=1,
        user_territory=user_territories(dataset, model),
    )  # fmt: skip
    return Scorer(batcher, np.asarray(dataset.head_territory))


def predict_pairs(
    model: TwoTower,
    scorer: Scorer,
    pairs: LabelledPairs,
    progress: Progress = silent,
    stage: str = "scoring",
) -> np.ndarray:
    """Logits (n,) float32 of the pairs, in their order, title offsets included.

    They are taken user by user, so that each user is embedded about once.
    """
    batcher, logits = scorer.batcher, np.empty(len(pairs.user), np.float32)
    by_user = np.argsort(pairs.user, kind="stable")
    for start in range(0, len(by_user), batcher.batch_size):
        index = by_user[start : start + batcher.batch_size]
        batch = batcher.batch(pairs.user[index], pairs.title[index], pairs.label[index])
        logits[index[batch.order]] = model.predict(batch)
        progress(stage, min(start + batcher.batch_size, len(by_user)), len(by_user))
    if model.title_offsets is not None:
        logits += model.title_offsets[scorer.territory[pairs.user], pairs.title]
    return logits


def score_pairs(
    run_path: Path, dataset: Dataset, pairs: LabelledPairs, progress: Progress = silent
) -> np.ndarray:
    """Logits (n,) float32 of pairs of a dataset under the weights and the grouping of a finished run.

    The probability is the logit's sigmoid; logits rank the same and do not saturate into ties.

    Errors: InputError as for ``open_model``.
    """
    model, territory_group = open_model(run_path, dataset, pairs.user)
    scorer = make_scorer(model, dataset, territory_group)
    with threadpool_limits(1, "blas"):
        return predict_pairs(model, scorer, pairs, progress)


def open_model(
    run_path: Path, dataset: Dataset, users: np.ndarray | None = None
) -> tuple[TwoTower, np.ndarray]:
    """The model of a finished run, for a dataset that it can score, and the group of each territory (C,).

    Where vectors were made like those of the run's dataset, titles and territories may be others: what the model has of
    them goes by their ids (see ``transfer``), and a territory without a head has the group −1. ``users`` (n,) are those
    who will be scored, all unless told.

    Errors: InputError when the run is incomplete, as for ``check_fits``, and for users without a head.
    """
    run = RunReader(run_path)
    model = load_model(run.weights_path, usable_cores())
    if not is_like(run, dataset):
        check_fits(run, dataset, model)
        return model, run.evaluation.territories.group
    check_shapes(run, dataset, model)
    group = groups_by_code(run, dataset.territories.code, model.model.groups)
    check_heads(run, dataset, group, np.arange(dataset.n_users) if users is None else users)
    return transferred(run, model, dataset), group


def check_shapes(run: RunReader, dataset: Dataset, model: TwoTower) -> None:
    """Errors: InputError unless vectors are as wide as a run's, and its groups are those of its heads."""
    widths = dataset.user_vectors.shape[1], dataset.title_vectors.shape[1]
    if widths != model.widths:
        trained = f"{run.path} was trained on {model.widths}"
        raise InputError(f"{dataset.path}: its vectors are {widths} wide; {trained}")
    group, groups = run.evaluation.territories.group, model.model.groups
    if groups > 1 and (group.min() < 0 or group.max() >= groups):
        found = f"groups from {group.min()} to {group.max()}"
        raise InputError(f"{run.path / TERRITORIES}: {found}, expected 0 to {groups - 1}")


def check_fits(run: RunReader, dataset: Dataset, model: TwoTower) -> None:
    """Errors: InputError unless a run's weights mean something for the vectors, territories and titles of a dataset."""
    check_shapes(run, dataset, model)
    if run.evaluation.territories.code != dataset.territories.code:
        raise InputError(f"{dataset.path}: its territories are not those that {run.path} was trained on")
    if run.vectors not in (None, dataset.identity["vectors"]) and dataset.has_made_columns:
        other = f"its vectors are not those that {run.path} was trained on"
        way_out = f"train anew, or see twotower embed --like {run.dataset}"
        raise InputError(f"{dataset.path}: {other}: each embed gives its columns another meaning; {way_out}")
    if model.title_offsets is not None:
        trained_on = model.title_offsets.shape[1]
        if trained_on != dataset.n_titles or run.titles not in (None, dataset.identity["titles"]):
            what = f"{run.path} has offsets of the {trained_on:,} titles that it was trained on"
            raise InputError(f"{dataset.path}: other titles; {what} (--title-offsets none trains without)")


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
