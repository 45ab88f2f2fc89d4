"""A finished run, opened once, that ranks all titles for any users of a dataset."""

import threading
from pathlib import Path

import numpy as np

from twotower.core.progress import Progress, silent
from twotower.data.dataset import Dataset
from twotower.data.memory.memory import Layer, Memory
from twotower.model.memory import MemoryWeights
from twotower.model.retrieval import Candidates, Consumer, Retrieval, Users, check_embeddings
from twotower.serving.open_run import open_memory, open_model
from twotower.training.warm_up import compile_kernels

Seen = tuple[np.ndarray, np.ndarray]  # of users: start (n+1,) int64, and ascending titles


class Ranker:
    """Scores of all titles as of the start of one day. One thread at a time may use it, with BLAS at one thread."""

    def __init__(
        self, run_path: Path, dataset: Dataset, users: np.ndarray, day: int, unknown_territory: str = "fail",
        progress: Progress = silent,
    ):  # fmt: skip
        """``users`` (n,) are the rows that will be ranked for. Errors: as ``recommend``."""
        self.dataset = dataset
        self.model, self.territory_group = open_model(run_path, dataset, users, unknown_territory)
        self.memory = open_memory(run_path, dataset, self.model)
        compile_kernels(progress)
        dataset.check_vectors(progress)
        self.retrieval = Retrieval(self.model, dataset.title_vectors, progress)
        self.added = self.retrieval.territory_bias(self.territory_group)  # (C, T) to s·<U, V>, for all users alike
        if self.model.title_offsets is not None:
            self.added = self.added + self.model.title_offsets
        if self.memory is not None:
            self.weights = self.model.memory_weights()
            self.added = self.added + self.memory.of_territories(self.weights.rows(self.territory_group).linear)
            self.layer = self.memory.layer(self.weights.layer)
        allowed = np.asarray(dataset.availability).T & (np.asarray(dataset.launch_day) <= day)
        self.bias = np.where(allowed, self.added, np.float32(-np.inf))  # the same of titles that can be watched there

    def users(self, rows: np.ndarray, territory: int | None = None) -> tuple[Users, np.ndarray]:
        """Users (n,) for the network, and the territory (n,) where each is served: their own, or another for all."""
        dataset = self.dataset
        place = np.asarray(dataset.user_territory)[rows]
        head = np.asarray(dataset.head_territory)[rows]
        if territory is not None:
            place = head = np.full(len(rows), territory, np.int64)
        group = self.territory_group[head] if self.model.config.groups > 1 else np.zeros(len(rows), np.int32)
        return Users(dataset.user_vectors, rows, group.astype(np.int32), head), place

    def top(
        self, rows: np.ndarray, k: int, seen: Seen, territory: int | None = None, progress: Progress = silent
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` best titles (n, k) int32 of users (n,) and their logits, without those in ``seen``.

        All are served where they live, or in one ``territory``: by its head, its counts and what is available there.
        """
        k, own = min(k, self.dataset.n_titles), None
        users, place = self.users(rows, territory)
        if self.memory is not None:
            own = user_terms(self.memory, rows, self.weights.rows(users.group), self.layer, place)
        return self.retrieval.top(k, users, Candidates(self.bias, place, *seen), progress, own)


def user_terms(
    memory: Memory, rows: np.ndarray, weights: MemoryWeights, layer: Layer, territory: np.ndarray | None = None
) -> Consumer:
    """Adds to blocks of logits what memory makes of users' histories; weights of the users in ``rows`` (n,).

    They are taken to live in ``territory`` (n,), by default where they do.
    """
    kept = threading.local()  # terms of the tile that a thread is at, with all titles, while blocks of these come by

    def add(which: np.ndarray, first: int, dots: np.ndarray) -> None:
        if getattr(kept, "which", None) is not which:
            out = getattr(kept, "terms", None)
            out = None if out is None or len(out) < len(which) else out  # another array would be new pages
            linear, v = weights.linear[which], weights.units[which]
            home = memory.territory[rows[which]] if territory is None else territory[which].astype(np.int64)
            kept.which, kept.terms = which, memory.of_users(rows[which], linear, out, layer, v, home)
            check_embeddings("user", rows[which], kept.terms)
        dots += kept.terms[:, first : first + dots.shape[1]]

    return add
