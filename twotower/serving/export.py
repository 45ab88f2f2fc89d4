"""Embeddings for serving: a trained model as arrays whose product is its score, for an index of nearest neighbours.

    users.npy        (n, D) float32   s·U of each user, through the head of the user's group
    titles.npy       (T, D) float32   V of each title
    bias.npy         (C, T) float32   logit bias of a title in a territory: c, title biases and offsets; −∞ in a
                                      territory of a newer dataset that the run has no head for
    users.csv        user, territory: the ids in the order of users.npy
    titles.csv, territories.csv       the ids in the order of the other two
    changed_titles.csv                with ``since``: titles that are new or newly available, and the territories where
    manifest.json    the run, the days of its weights and data, the formula, and every file's size and checksum

    logit(user, title) = <users[user], titles[title]> + bias[territory of the user, title],  probability = sigmoid

A model with memory has five more. Its terms of territories and titles are in the bias; those of a user's history are
no inner product, and are added as the manifest's formula says:

    memory.npy                 (n, 6) float32   coefficients of each user: of cos, log(cos + 0.001), few, some, all, 1
    history.npz                (n, T)           1 where the user watched the title in the history
    cosines.npz                (T, T) float32   between titles; both are CSR, as scipy.sparse.load_npz reads
    profiles.npy, factors.npy  (n, R), (T, R) float32   of users and titles: few, some and all are the products of
                                                the first 8, the first 24 and all factors

and, where its ReLU layer has H units, three more:

    units.npy                  (n, H) float32   weights of the units of each user
    unit_user.npy              (n, 6, H) float32   coefficients of the units, as in memory.npy
    unit_title.npy             (C, T, H) float32   what a title brings the units in a territory

The network is not needed to score with them; ``onnx_graphs`` adds it for users and titles that are not among them.
Availability, launch days and watched titles are not part of the arrays: ``recommend`` applies them.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from twotower.core.progress import Progress, silent
from twotower.core.staging import StagedDirectory
from twotower.core.storage import reserve_array, write_csv
from twotower.core.version import __version__
from twotower.data.dataset import Dataset
from twotower.data.memory.factors import SCALES
from twotower.data.memory.memory import SMALLEST_COSINE, Memory
from twotower.data.sample import Sample
from twotower.model.memory import MemoryWeights
from twotower.model.retrieval import check_embeddings
from twotower.serving.nearest import IndexReport, import_voyager, write_index
from twotower.serving.onnx_graphs import import_onnx, write_graphs
from twotower.serving.open_run import user_rows
from twotower.serving.provenance import changed_since, changed_titles, provenance_of
from twotower.serving.ranker import Ranker
from twotower.serving.recommend import recommendation_day
from twotower.serving.remap import UNKNOWN, is_like
from twotower.training.run import RunReader

FORMULA = "logit = users[user] · titles[title] + bias[territory of the user, title]"
MEMORY_FORMULA = (
    f"{FORMULA} + a[0]·cos + a[1]·log(cos + {SMALLEST_COSINE}) + a[2]·few + a[3]·some + a[4]·all + a[5], where "
    "a = memory[user], "
    "cos = (history[user] · cosines)[title] / √max(1, titles in history[user]), "
    f"few = profiles[user, :{SCALES[0]}] · factors[title, :{SCALES[0]}], some = profiles[user, :{SCALES[1]}] · "
    f"factors[title, :{SCALES[1]}], all = profiles[user] · factors[title]"
)
UNIT_FORMULA = (
    f"{MEMORY_FORMULA}, + units[user] · max(0, unit_title[territory of the user, title] + b[0]·cos + "
    f"b[1]·log(cos + {SMALLEST_COSINE}) + b[2]·few + b[3]·some + b[4]·all + b[5]), where b = unit_user[user]"
)


class Exported(NamedTuple):
    """What was written."""

    users: int
    titles: int
    territories: int
    width: int
    nearest: IndexReport | None = None


class IndexOptions(NamedTuple):
    """What is asked of an index."""

    min_recall: float = 0.95
    candidates: int | None = None  # as few as the recall needs


def export(
    run_path: Path,
    dataset: Dataset,
    out: Path,
    users: np.ndarray | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    unknown_territory: str = "fail",
    onnx: bool = False,
    ann: IndexOptions | None = None,
    since: str | None = None,
) -> Exported:
    """Write the embeddings of a finished run to the directory ``out``, which appears when it is complete.

    ``users`` (n,) are rows of the dataset, all by default. Their array is filled on disk, tile by tile.
    ``unknown_territory``: see ``open_model``. ``onnx`` adds the graphs of ``onnx_graphs``, ``ann`` the index of
    ``nearest``. With ``since``, a day of the run, only users who are new or watched after it are written, and a list
    of the titles that are new or newly available.

    Errors: InputError as for ``open_model``, ``write_graphs`` and ``write_index``, for vectors that are not finite, and
    when ``out`` cannot be written.
    """
    rows, report = user_rows(dataset, users), None
    if since is not None:
        rows = rows[np.isin(rows, changed_since(dataset, since))]
    if onnx:
        import_onnx()  # a missing package is reported before the work
    if ann:
        import_voyager()
    with StagedDirectory(out, overwrite, plain=True, mark="formula") as staged, threadpool_limits(1, "blas"):
        path, day = staged.path, recommendation_day(dataset, None)
        ranker = Ranker(run_path, dataset, rows, day, unknown_territory, progress)
        origin = provenance_of(Path(run_path), dataset)
        model, memory, territory_group = ranker.model, ranker.memory, ranker.territory_group
        if onnx:
            write_graphs(path, {**origin, "day": day}, dataset, model, territory_group, memory)
        if ann:
            report = write_index(path, ranker, rows, held_out_users(run_path, dataset, rows), day, *ann, progress)
        who, _ = ranker.users(rows)
        U = reserve_array(path / "users.npy", (len(rows), model.config.hidden), np.float32)
        ranker.retrieval.embed_users(U, who, progress)
        U.flush()
        if memory is not None:
            write_memory(path, memory, rows, ranker.weights.rows(who.group))
        check_embeddings("title", np.arange(dataset.n_titles), ranker.added.T)
        np.save(path / "titles.npy", ranker.retrieval.V)
        np.save(path / "bias.npy", np.where((territory_group == UNKNOWN)[:, None], np.float32(-np.inf), ranker.added))
        write_ids(path, dataset, rows)
        if since is not None:
            write_csv(path / "changed_titles.csv", changed_titles(dataset, since))
        facts = {
            **origin,
            "twotower": __version__,
            "formula": FORMULA if memory is None else UNIT_FORMULA if model.config.memory_units else MEMORY_FORMULA,
        }
        exported = Exported(len(rows), dataset.n_titles, dataset.n_territories, model.config.hidden, report)
        counts = exported._asdict()
        del counts["nearest"]
        index = {"index": report._asdict()} if report else {}
        staged.commit({**facts, **index, "counts": counts}, progress)
    return exported


def held_out_users(run_path: Path, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Of users (n,) those whom a run was not trained on, or all where that is not known or there are none."""
    run = RunReader(run_path)
    if is_like(run, dataset) or "day" in run.facts or run.sample not in dataset.samples():
        return rows
    others = rows[~np.isin(rows, Sample(dataset, run.sample).train_users)]
    return others if len(others) else rows


def write_memory(path: Path, memory: Memory, rows: np.ndarray, weights: MemoryWeights) -> None:
    """What the histories of users (n,) add to logits, and what units of the ReLU layer; weights of the users."""
    np.save(path / "memory.npy", memory.coefficients(rows, weights.linear))
    if weights.units.size:
        np.save(path / "units.npy", weights.units)
        np.save(path / "unit_user.npy", memory.unit_coefficients(rows, weights.layer))
        np.save(path / "unit_title.npy", memory.layer(weights.layer).of_titles.transpose(0, 2, 1))
    np.save(path / "profiles.npy", memory.profiles(rows))
    np.save(path / "factors.npy", memory.factors.scored)
    for name, matrix in (("history", memory.history[rows]), ("cosines", memory.cosines)):
        sp.save_npz(path / f"{name}.npz", matrix, compressed=False)


def write_ids(path: Path, dataset: Dataset, rows: np.ndarray) -> None:
    """Ids of the rows of the arrays; users without ids are numbers from 0."""
    codes, ids = dataset.territories.code, dataset.user_ids
    users = rows.tolist()
    names = users if ids is None else [ids[user] for user in users]
    territories = np.array(codes, object)[np.asarray(dataset.user_territory)[rows]]
    write_csv(path / "users.csv", {"user": names, "territory": territories.tolist()})
    write_csv(path / "titles.csv", {"title": dataset.title_ids})
    write_csv(path / "territories.csv", {"territory": codes})
