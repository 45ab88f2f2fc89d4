"""Recommendations and logits under a run of any method: one network, a network per group of territories, or a rival.

A network ranks as ``twotower recommend`` does. The others score all titles of some users at a time: n users, T titles.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.checks import check_count
from twotower.core.progress import Progress, silent
from twotower.data.dataset import Dataset
from twotower.data.memory.knowledge import read_history
from twotower.data.sample import Pairs
from twotower.data.sampling.sample_config import SampleConfig
from twotower.experiments.methods import METHODS, Method
from twotower.experiments.panel import score_all
from twotower.experiments.plan import Plan
from twotower.experiments.rivals.registry import BLOCK_CELLS, blocks
from twotower.experiments.rivals.runs import fitted
from twotower.experiments.setup import Setup
from twotower.metrics.recommended import top_titles
from twotower.serving.newcomers import Newcomers
from twotower.serving.open_run import score_pairs, user_rows
from twotower.serving.recommend import Recommendations, nothing_watched, recommend, recommendation_day, watched
from twotower.training.predict import evaluate_pairs
from twotower.training.run import RunReader


class Answers:
    """What a finished run of a method says of the users of a dataset, of newcomers and of restricted views alike."""

    def __init__(self, run: Path, method: Method, setup: Setup | None = None):
        """``setup`` is that of the run; a rival is fitted again from it, since its run keeps test scores alone."""
        self.run, self.method = run, method
        self.is_network = not (method.rival or method.separate)
        self.rival = None
        if method.rival:
            assert setup is not None
            self.rival = fitted(setup, method, len(setup.periods) - 1)

    def logits(self, dataset: Dataset, rows: np.ndarray, progress: Progress = silent) -> np.ndarray:
        """Logits (n, T) float32 of users (n,) for all titles."""
        if self.rival is None:
            return score_all(self.run, dataset, rows, progress)
        history = read_history(dataset) if isinstance(dataset, Newcomers) else None
        return self.rival.of(history, np.asarray(dataset.user_territory).astype(np.int64)).of_users(rows)

    def recommend(
        self, dataset: Dataset, users: np.ndarray | None = None, top: int = 10, day: int | None = None,
        progress: Progress = silent, filter_watched: bool = True,
    ) -> Recommendations:  # fmt: skip
        """As ``serving.recommend``."""
        if self.is_network:
            return recommend(self.run, dataset, users, top, day, progress, filter_watched)
        check_count("top", top)
        rows, day = user_rows(dataset, users), recommendation_day(dataset, day)
        start, seen = watched(dataset, rows, day, progress) if filter_watched else nothing_watched(len(rows))
        there = np.asarray(dataset.availability).T & (np.asarray(dataset.launch_day) <= day)  # (C, T)
        k = min(top, dataset.n_titles)
        title, score = np.empty((len(rows), k), np.int32), np.full((len(rows), k), -np.inf, np.float32)
        step = max(1, BLOCK_CELLS // dataset.n_titles)
        with threadpool_limits(1, "blas"):
            for first in range(0, len(rows), step):
                part = slice(first, min(first + step, len(rows)))
                z = self.logits(dataset, rows[part])
                allowed = there[np.asarray(dataset.user_territory)[rows[part]]]
                bounds = start[part.start : part.stop + 1]
                allowed[np.repeat(np.arange(len(z)), np.diff(bounds)), seen[bounds[0] : bounds[-1]]] = False
                title[part] = top_titles(z, allowed, k)
                found = title[part] >= 0
                score[part][found] = np.take_along_axis(z, np.maximum(title[part], 0), axis=1)[found]
                progress("ranking titles", part.stop, len(rows))
        return Recommendations(rows, title, score)

    def score(self, dataset: Dataset, pairs: Pairs, progress: Progress = silent) -> np.ndarray:
        """Logits (n,) float32 of pairs."""
        if self.is_network:
            return score_pairs(self.run, dataset, pairs, progress)
        found = np.empty(len(pairs), np.float32)
        for index, users, row in blocks(pairs.user, max(1, BLOCK_CELLS // dataset.n_titles)):
            found[index] = self.logits(dataset, users, progress)[row, pairs.title[index]]
        return found

    def per_territory(self, dataset: Dataset, pairs: Pairs, progress: Progress = silent) -> dict[str, list[Any]]:
        """Columns territory, users, positives and pr_auc, and a last row ``all``, of labelled pairs."""
        logits, group = self.score(dataset, pairs, progress), RunReader(self.run).evaluation.territories.group
        found = evaluate_pairs(dataset, group, pairs, logits, progress)
        of, users = found.territories, np.unique(pairs.user)
        here = np.flatnonzero(np.asarray(of.positives) > 0)
        living = np.bincount(np.asarray(dataset.user_territory)[users], minlength=dataset.n_territories)
        return {
            "territory": [of.code[c] for c in here] + ["all"],
            "users": [*living[here].tolist(), len(users)],
            "positives": [*np.asarray(of.positives)[here].tolist(), int(pairs.label.sum())],
            "pr_auc": [*np.asarray(of.pr_auc)[here].tolist(), found.overall],
        }


def one_run(
    root: Path, dataset: str, name: str, method: Method, groups: int, preset: str,
    settings: Mapping[str, Mapping[str, Any]], sample: SampleConfig, progress: Progress = silent,
) -> Setup:  # fmt: skip
    """An experiment of one run, ``name``, of a ``dataset``, both in ``root``.

    With a single territory there are no groups: then ``upsampled`` is run.
    """
    groups = min(groups, Dataset.open(root / dataset).n_territories)
    if groups == 1 and (method.multi_task or method.separate):
        method = METHODS["upsampled"]
    plan = Plan(
        root / dataset, root / name, name, (method,), 1, groups, 0, preset, settings, sample, min_positives=1,
        replicates=0,
    )  # fmt: skip
    return Setup(plan, progress)
