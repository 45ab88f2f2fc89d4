"""The model of a finished run, opened for a dataset."""

from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.environment import usable_cores
from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.dataset import Dataset
from twotower.data.epochs import LabelledPairs
from twotower.model.two_tower import TwoTower
from twotower.serving.remap import check_heads, groups_by_code, is_like, transferred
from twotower.training.checkpoint import load_model
from twotower.training.predict import make_scorer, predict_pairs
from twotower.training.run import TERRITORIES, RunReader


def score_pairs(run_path: Path, dataset: Dataset, pairs: LabelledPairs, progress: Progress = silent) -> np.ndarray:
    """Logits (n,) float32 of pairs of a dataset under the weights and the grouping of a finished run.

    The probability is the logit's sigmoid; logits rank the same and do not saturate into ties.

    Errors: InputError as for ``open_model``.
    """
    model, territory_group = open_model(run_path, dataset, pairs.user)
    scorer = make_scorer(model, dataset, territory_group)
    with threadpool_limits(1, "blas"):
        return predict_pairs(model, scorer, pairs, progress)


def open_model(run_path: Path, dataset: Dataset, users: np.ndarray | None = None) -> tuple[TwoTower, np.ndarray]:
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
    group = groups_by_code(run, dataset.territories.code, model.config.groups)
    check_heads(run, dataset, group, np.arange(dataset.n_users) if users is None else users)
    return transferred(run, model, dataset), group


def check_shapes(run: RunReader, dataset: Dataset, model: TwoTower) -> None:
    """Errors: InputError unless vectors are as wide as a run's, and its groups are those of its heads."""
    widths = dataset.user_vectors.shape[1], dataset.title_vectors.shape[1]
    if widths != model.widths:
        trained = f"{run.path} was trained on {model.widths}"
        raise InputError(f"{dataset.path}: its vectors are {widths} wide; {trained}")
    group, groups = run.evaluation.territories.group, model.config.groups
    if groups > 1 and (group.min() < 0 or group.max() >= groups):
        found = f"groups from {group.min()} to {group.max()}"
        raise InputError(f"{run.path / TERRITORIES}: {found}, expected 0 to {groups - 1}")


def check_fits(run: RunReader, dataset: Dataset, model: TwoTower) -> None:
    """Errors: InputError unless a run's weights mean something for the vectors, territories and titles of a dataset."""
    check_shapes(run, dataset, model)
    if run.evaluation.territories.code != dataset.territories.code:
        raise InputError(f"{dataset.path}: its territories are not those that {run.path} was trained on")
    if run.vectors not in (None, dataset.identity["vectors"]) and dataset.has_fitted_columns:
        other = f"its vectors are not those that {run.path} was trained on"
        way_out = f"train anew, or see twotower embed --basis-from {run.dataset}"
        raise InputError(f"{dataset.path}: {other}: each embed gives its columns another meaning; {way_out}")
    if model.title_offsets is not None:
        trained_on = model.title_offsets.shape[1]
        if trained_on != dataset.n_titles or run.titles not in (None, dataset.identity["titles"]):
            what = f"{run.path} has offsets of the {trained_on:,} titles that it was trained on"
            raise InputError(f"{dataset.path}: other titles; {what} (--title-offsets none trains without)")
