"""The model of a finished run, opened for a dataset."""

from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.checks import check_labels, check_rows, check_shape
from twotower.core.environment import usable_cores
from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.dataset import Dataset
from twotower.data.epochs import LabelledPairs
from twotower.data.memory.files import load_memory
from twotower.data.memory.memory import Memory
from twotower.model.two_tower import TwoTower
from twotower.serving.remap import (
    UNKNOWN,
    check_heads,
    groups_by_code,
    is_like,
    remapped,
    remembered,
    with_shared_group,
)
from twotower.training.checkpoint import load_model
from twotower.training.predict import make_scorer, predict_pairs
from twotower.training.run import MEMORY, TERRITORIES, RunReader


def score_pairs(
    run_path: Path, dataset: Dataset, pairs: LabelledPairs, progress: Progress = silent, unknown_territory: str = "fail"
) -> np.ndarray:
    """Logits (n,) float32 of pairs of a dataset under the weights and the grouping of a finished run.

    The probability is the logit's sigmoid; logits rank the same and do not saturate into ties. ``unknown_territory``:
    see ``open_model``.

    Errors: InputError as for ``open_model``; ValueError and IndexError for pairs that are not rows of the dataset.
    """
    check_pairs(dataset, pairs)
    model, territory_group = open_model(run_path, dataset, pairs.user, unknown_territory)
    scorer = make_scorer(model, dataset, territory_group, open_memory(run_path, dataset, model))
    with threadpool_limits(1, "blas"):
        logits = predict_pairs(model, scorer, pairs, progress)
    if not np.isfinite(logits).all():
        user = pairs.user[int(np.argmin(np.isfinite(logits)))]
        raise InputError(f"{run_path}: scores beyond float32, the first of user {user}; weights are too large")
    return logits


def open_model(
    run_path: Path, dataset: Dataset, users: np.ndarray | None = None, unknown_territory: str = "fail"
) -> tuple[TwoTower, np.ndarray]:
    """The model of a finished run, for a dataset that it can score, and the group of each territory (C,).

    Where vectors have the columns of the run's dataset, titles and territories may differ: parameters are matched by id
    (see ``remap``), and a territory without a head has the group −1; with ``unknown_territory`` "shared" it has one
    more group, which has what all groups share. ``users`` (n,) are the rows to be scored, all by default.

    Errors: InputError when the run is incomplete, as for ``check_fits``, and for users without a head; ValueError and
    IndexError as for ``user_rows``.
    """
    users = user_rows(dataset, users)
    run = RunReader(run_path)
    model = load_model(run.weights_path, usable_cores())
    if not is_like(run, dataset):
        check_fits(run, dataset, model)
        return model, run.evaluation.territories.group
    check_shapes(run, dataset, model)
    group = groups_by_code(run, dataset.territories.code, model.config.groups)
    moved = remapped(run, model, dataset)
    if unknown_territory == "shared" and (group == UNKNOWN).any():
        return with_shared_group(run, moved), np.where(group == UNKNOWN, model.config.groups, group)
    check_heads(run, dataset, group, users)
    return moved, group


def user_rows(dataset: Dataset, users: np.ndarray | None = None) -> np.ndarray:
    """Rows (n,) int64 of users, all of the dataset by default.

    Errors: ValueError for another shape or type, IndexError for a row that the dataset does not have.
    """
    if users is None:
        return dataset.people
    rows = np.asarray(users)
    check_shape("users", rows, (None,))
    check_rows("users", rows, dataset.n_users)
    return rows.astype(np.int64)


def check_pairs(dataset: Dataset, pairs: LabelledPairs) -> None:
    """Errors: ValueError unless user, title and label are (n,) and labels 0 or 1; IndexError for unknown rows."""
    for name, column in (("user", pairs.user), ("title", pairs.title), ("label", pairs.label)):
        check_shape(name, column, (len(pairs.user),))
    check_rows("user", pairs.user, dataset.n_users)
    check_rows("title", pairs.title, dataset.n_titles)
    check_labels("label", pairs.label)


def open_memory(run_path: Path, dataset: Dataset, model: TwoTower) -> Memory | None:
    """The memory of a finished run for a dataset that it can score; None where its model has none.

    Errors: InputError as for ``read_memory``.
    """
    if not model.config.memory:
        return None
    run = RunReader(run_path)
    path = run.files.path(MEMORY)
    return remembered(run, path, dataset) if is_like(run, dataset) else load_memory(path, dataset)


def check_shapes(run: RunReader, dataset: Dataset, model: TwoTower) -> None:
    """Errors: InputError unless vectors are as wide as in training, and every group has a head."""
    widths = dataset.user_vectors.shape[1], dataset.title_vectors.shape[1]
    if widths != model.widths:
        trained = f"{run.path} was trained on {model.widths}"
        raise InputError(
            f"{dataset.path}: its vectors are {widths} wide; {trained} (twotower embed --basis-from {run.dataset})"
        )
    group, groups = run.evaluation.territories.group, model.config.groups
    if groups > 1 and (group.min() < 0 or group.max() >= groups):
        actual = f"groups from {group.min()} to {group.max()}"
        raise InputError(
            f"{run.path / TERRITORIES}: {actual}, expected 0 to {groups - 1}: the run is damaged, train again"
        )


def check_fits(run: RunReader, dataset: Dataset, model: TwoTower) -> None:
    """Errors: InputError unless a run was trained on the vectors, territories and titles of a dataset."""
    check_shapes(run, dataset, model)
    if run.evaluation.territories.code != dataset.territories.code:
        raise InputError(
            f"{dataset.path}: its territories are not those that {run.path} was trained on; "
            f"make its vectors with twotower embed --basis-from {run.dataset}, or train again"
        )
    if run.vectors != dataset.identity["vectors"] and dataset.has_fitted_columns:
        other = f"its vectors are not those that {run.path} was trained on"
        hint = f"train a new model, or see twotower embed --basis-from {run.dataset}"
        raise InputError(f"{dataset.path}: {other}: every embed gives its columns another meaning; {hint}")
    if model.title_offsets is not None:
        trained_on = model.title_offsets.shape[1]
        if trained_on != dataset.n_titles or run.titles != dataset.identity["titles"]:
            offsets = f"{run.path} has offsets for the {trained_on:,} titles that it was trained on"
            raise InputError(f"{dataset.path}: other titles; {offsets} (train without them: --title-offsets none)")
    if model.config.memory and run.titles != dataset.identity["titles"]:
        raise InputError(
            f"{dataset.path}: other titles than those that {run.path} remembers (--memory); "
            f"make its vectors with twotower embed --basis-from {run.dataset}, or train again"
        )
