"""A run's model remapped to a dataset with other titles and territories, whose vectors have the same columns.

Parameters of single titles and territories are matched by id: title offsets (C, T) and territory parameters. A title
unknown to the run has offset 0. A territory unknown to it has no parameters of its own and average title offsets; where
there are several heads it has none (UNKNOWN), because its group is not known, unless it shares one more group with
others of its kind. Memory is matched likewise.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.random_streams import placeholder
from twotower.core.storage import rows_of
from twotower.data.dataset import Dataset
from twotower.data.memory.files import Kept, read_memory
from twotower.data.memory.memory import TITLE_TERMS, Memory
from twotower.data.sample import Pairs, Sample
from twotower.model.two_tower import TwoTower
from twotower.training.run import RunReader

UNKNOWN = -1  # the group of a territory that a model with several heads does not know
SHARED_HEADS = ("none", "lowrank", "residual", "mmoe", "market-gate")  # those that add to what all groups share


def is_like(run: RunReader, dataset: Dataset) -> bool:
    """Whether the vectors of a dataset have the columns that a run was trained on, for other users or titles."""
    return dataset.projected_from is not None and run.vectors == dataset.identity["vectors"]


def groups_by_code(run: RunReader, codes: Sequence[str], groups: int) -> np.ndarray:
    """Group of each territory (C,) in a run's model, by its code."""
    table = run.evaluation.territories
    row = rows_of(codes, table.code)
    return np.where(row < 0, UNKNOWN if groups > 1 else 0, table.group[row])


def remapped(run: RunReader, model: TwoTower, dataset: Dataset) -> TwoTower:
    """The model for the titles and territories of a dataset with the same vector columns.

    Errors: InputError when the run's offsets and tables do not match.
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
            raise InputError(
                f"{run.path}: {found} and {len(ids)} titles in its tables: the run is damaged, train again"
            )
        title = rows_of(dataset.title_ids, ids)
        moved.title_offsets = offsets_by_id(model.title_offsets, territory, title, table.users)
    return moved


def with_territories(model: TwoTower, row: np.ndarray) -> TwoTower:
    """The same model for other territories: each takes the parameters of ``row`` (C,) of the old ones, −1 none."""
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

    A row −1 gets the average, weighted by ``users`` (C,); a column −1 gets 0.
    """
    weights = np.maximum(users, 1e-9)
    everywhere = offsets[0] if (offsets == offsets[0]).all() else np.average(offsets, axis=0, weights=weights)  # (T,)
    rows = np.where((territory < 0)[:, None], everywhere, offsets[territory])  # (C', T)
    return np.where(title < 0, 0, rows[:, title]).astype(np.float32)


def remembered(run: RunReader, path: Path, dataset: Dataset) -> Memory:
    """The memory of a run in ``path`` for a dataset with the same vector columns, with the histories of its users.

    Errors: InputError as for ``read_memory``.
    """
    table, ids = run.evaluation.territories, run.evaluation.titles.title
    territory, title = rows_of(dataset.territories.code, table.code), rows_of(dataset.title_ids, ids)
    kept = read_memory(path, len(table.code), len(ids))
    return memory_by_id(kept, territory, title, table.users).for_users_of(dataset)


def memory_by_id(kept: Kept, territory: np.ndarray, title: np.ndarray, users: np.ndarray) -> Kept:
    """The memory of the territories (C',) and titles (T',) in these rows of it.

    A title −1 has the terms of one that nobody has watched, no neighbours and no factors. A territory −1 has no users
    to speak of: its rates are those of the world, and its latest labels the average, weighted by ``users`` (C,).
    """
    known = np.concatenate([kept.tables, kept.unwatched[:, :, None]], axis=2)[:, :, title]  # (F_t, C, T')
    world = np.average(known, axis=1, weights=np.maximum(users, 1e-9)).astype(np.float32)  # (F_t, T')
    world[[name.endswith((", group", ", territory")) for name in TITLE_TERMS]] = 0
    tables = np.where((territory < 0)[:, None], world[:, None], known[:, territory])
    unwatched = kept.unwatched[:, territory]  # −1: any, since no further title will come
    column = np.full(kept.tables.shape[2], UNKNOWN)
    column[title[title >= 0]] = np.flatnonzero(title >= 0)

    own = kept.cosines.tocoo()
    row, neighbour = column[own.row], column[own.col]
    both = (row >= 0) & (neighbour >= 0)
    cosines = sp.csr_array((own.data[both], (row[both], neighbour[both])), shape=(len(title), len(title)))
    return Kept(tables, unwatched, kept.mean, kept.spread, cosines, kept.factors.take(title))


def has_head(run: RunReader, dataset: Dataset, users: np.ndarray) -> np.ndarray:
    """Which of the users (n,) live in a territory that a run has a head for: (n,) bool."""
    if not is_like(run, dataset):
        return np.ones(len(users), bool)
    groups = int(run.evaluation.territories.group.max()) + 1
    return (groups_by_code(run, dataset.territories.code, groups) != UNKNOWN)[np.asarray(dataset.head_territory)[users]]


def check_heads(run: RunReader, dataset: Dataset, territory_group: np.ndarray, users: np.ndarray) -> None:
    """Errors: InputError when some of the users (n,) live in a territory that the run has no head for."""
    territory = np.asarray(dataset.head_territory)[users]
    without_head = territory_group[territory] == UNKNOWN
    if without_head.any():
        codes = [dataset.territories.code[c] for c in np.unique(territory[without_head])]
        where = f"{codes[0]!r}" if len(codes) == 1 else f"{len(codes)} territories, such as {codes[0]!r}"
        affected = f"{int(without_head.sum()):,} of {counted(len(territory), 'user')} live in {where}"
        hint = "--unknown-territory skip leaves them out, shared serves them without a head; see --users, --territory"
        raise InputError(f"{dataset.path}: {affected}, for which {run.path} has no head ({hint})")


def with_shared_group(run: RunReader, model: TwoTower) -> TwoTower:
    """The same model with one more group K, of users whose group is not known.

    Its head adds nothing: U is the user tower's output, which all heads start from. Title biases and weights of memory
    that groups have to themselves, and statistics of a batch-norm per group, are averages weighted by users.

    Errors: InputError for heads that add to nothing shared.
    """
    if model.config.head not in SHARED_HEADS:
        expected = f"expected --head {', '.join(SHARED_HEADS)} when training, or --unknown-territory skip"
        raise InputError(f"{run.path}: --head {model.config.head} has no part that all groups share, {expected}")
    K, table = model.config.groups, run.evaluation.territories
    share = np.bincount(table.group, weights=np.maximum(table.users, 1e-9), minlength=K)
    share = share / share.sum()  # (K,)
    config = replace(model.config, groups=K + 1)
    wider = TwoTower(config, *model.widths, placeholder(), threads=model.threads.count, territories=model.territories)
    for name, value in model.params.items():
        wider.params[name][: len(value)] = value
        if model.parameters[name].owner == "group":
            wider.params[name][K] = 0 if name.startswith("head.") else np.tensordot(share, value, 1)
    for name, value in model.running.items():
        wider.running[name][: len(value)] = value
        if value.ndim == 2:
            mean = model.running[name.replace(".var", ".mean")]
            spread = np.tensordot(share, (mean - share @ mean) ** 2, 1) if ".var" in name else 0
            wider.running[name][K] = share @ value + spread
    wider.title_offsets = model.title_offsets
    return wider


def unseen_pairs(run: RunReader, dataset: Dataset, pairs: Pairs) -> Pairs:
    """The test pairs of a compatible dataset of users whom a run was not trained on, by their ids.

    Errors: InputError when ids or the run's own sample are missing, so that its training users are unknown, and when
    no pair is left.
    """
    original = Dataset.open(run.dataset)
    sampled = Sample(original, run.sample)
    if sampled.test_pairs().digest() != run.test_digest:
        raise InputError(
            f"{sampled.path}: resampled since {run.path}, whose training users are therefore unknown; train again"
        )
    if dataset.user_ids is None or original.user_ids is None:
        unknown = f"without user ids, the training users of {run.path} are unknown"
        raise InputError(f"{dataset.path}: {unknown}; evaluate it on its own dataset")
    trained_on = np.zeros(original.n_users + 1, bool)  # the last is for users who are not in it
    trained_on[sampled.train_users] = True
    remaining = pairs.take(~trained_on[rows_of(dataset.user_ids, original.user_ids)][pairs.user])
    if not len(remaining):
        raise InputError(
            f"{dataset.path}: no test pairs of users that {run.path} was not trained on; "
            "sample more with twotower sample --overwrite --test-users"
        )
    return remaining
