"""A run's model for a dataset with other titles and territories, whose vectors were made like those it was trained on.

What the model has of single titles and territories goes by their ids: title offsets (C, T), and what a territory has to
itself beside its group. A title that the run does not know has offset 0. A territory that it does not know has nothing
of its own; its titles have the offsets that hold on average. Where there are several heads it has none (UNKNOWN), for
nothing says which group it would belong to.
"""

from collections.abc import Sequence

import numpy as np

from twotower.core.errors import InputError
from twotower.core.random_streams import placeholder
from twotower.core.storage import rows_of
from twotower.data.dataset import Dataset
from twotower.data.sample import Pairs, Sample
from twotower.model.two_tower import TwoTower
from twotower.training.run import RunReader

UNKNOWN = -1  # the group of a territory that a model with several heads does not know


def is_like(run: RunReader, dataset: Dataset) -> bool:
    """Whether the vectors of a dataset were made in the columns that a run was trained on, though for others."""
    return dataset.projected_from is not None and run.vectors == dataset.identity["vectors"]


def groups_by_code(run: RunReader, codes: Sequence[str], groups: int) -> np.ndarray:
    """Group of each territory (C,) in a run's model, by its code."""
    table = run.evaluation.territories
    row = rows_of(codes, table.code)
    return np.where(row < 0, UNKNOWN if groups > 1 else 0, table.group[row])


def transferred(run: RunReader, model: TwoTower, dataset: Dataset) -> TwoTower:
    """The model for the titles and territories of a dataset whose vectors are like the run's.

    Errors: InputError when the run does not tell which titles its offsets are of.
    """
    table, codes = run.evaluation.territories, dataset.territories.code
    territory = rows_of(codes, table.code)  # (C,) rows of the run's
    moved = model
    if model.territories and codes != table.code:
        moved = with_territories(model, territory)
    if model.title_offsets is not None:
        ids = run.evaluation.titles.title
        if model.title_offsets.shape != (len(table.code), len(ids)):
            found = f"offsets of shape {model.title_offsets.shape} for {len(table.code)} territories"
            raise InputError(f"{run.path}: {found} and {len(ids)} titles in its tables")
        title = rows_of(dataset.title_ids, ids)
        moved.title_offsets = offsets_by_id(model.title_offsets, territory, title, table.users)
    return moved


def with_territories(model: TwoTower, row: np.ndarray) -> TwoTower:
    """The same model for other territories: each has what ``row`` (C,) of the old ones had to itself, −1 nothing."""
    moved = TwoTower(model.config, *model.widths, placeholder(), threads=model.threads.count, territories=len(row))
    for name, value in model.params.items():
        if model.parameters[name].owner == "territory":
            moved.params[name][...] = np.where((row < 0)[:, None], 0, value[row])
        else:
            moved.params[name][...] = value
    moved.running.flat[:] = model.running.flat
    moved.title_offsets = model.title_offsets
    return moved


def offsets_by_id(offsets: np.ndarray, territory: np.ndarray, title: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Offsets (C', T') of the rows ``territory`` (C',) and columns ``title`` (T',) of offsets (C, T).

    A row −1 gets what holds on average, weighted by ``users`` (C,); a column −1 gets 0.
    """
    weights = np.maximum(users, 1e-9)
    everywhere = offsets[0] if (offsets == offsets[0]).all() else np.average(offsets, axis=0, weights=weights)  # (T,)
    rows = np.where((territory < 0)[:, None], everywhere, offsets[territory])  # (C', T)
    return np.where(title < 0, 0, rows[:, title]).astype(np.float32)


def check_heads(run: RunReader, dataset: Dataset, territory_group: np.ndarray, users: np.ndarray) -> None:
    """Errors: InputError when some of the users (n,) live in a territory that the run has no head for."""
    homes = np.asarray(dataset.head_territory)[users]
    homeless = territory_group[homes] == UNKNOWN
    if homeless.any():
        codes = [dataset.territories.code[c] for c in np.unique(homes[homeless])]
        where = f"{codes[0]!r}" if len(codes) == 1 else f"{len(codes)} territories, such as {codes[0]!r}"
        told = f"{int(homeless.sum()):,} of {len(homes):,} users live in {where}"
        way_out = "--users and --territory choose others"
        raise InputError(f"{dataset.path}: {told}, for which {run.path} has no head ({way_out})")


def unseen_pairs(run: RunReader, dataset: Dataset, pairs: Pairs, groups: int) -> Pairs:
    """Of a like dataset's test pairs those that a run can be judged by: of users whom it was not trained on, by their
    ids, and whom it has a head for.

    Errors: InputError when that cannot be told, because ids or the run's own sample are missing, and when none is left.
    """
    there = Dataset.open(run.dataset)
    drawn = Sample(there, run.sample)
    if drawn.test_pairs().digest() != run.test_digest:
        raise InputError(f"{drawn.path}: drawn anew since {run.path}: whom that was trained on is not known")
    if dataset.user_ids is None or there.user_ids is None:
        raise InputError(f"{dataset.path}: without ids of users it is not known whom {run.path} was trained on")
    trained_on = np.zeros(there.n_users + 1, bool)  # the last is for those who were not there
    trained_on[drawn.train_users] = True
    group = groups_by_code(run, dataset.territories.code, groups)
    good = ~trained_on[rows_of(dataset.user_ids, there.user_ids)] & (group[dataset.head_territory] != UNKNOWN)
    left = pairs.take(good[pairs.user])
    if not len(left):
        raise InputError(f"{dataset.path}: no test pairs of users that {run.path} was not trained on")
    return left
