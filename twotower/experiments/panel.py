"""The test users whose scores of all titles are looked at: the same for every run.

A run keeps the weights that the last period was evaluated with, trained on all days before it. So recommendations are
computed as of the first day of that period: allowed are the titles available in the user's territory, launched by then
and not watched by the user before, in earlier test periods neither. Names: n users, T titles, C territories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twotower.core.errors import InputError
from twotower.core.progress import Progress
from twotower.core.random_streams import Stream, generator
from twotower.data.dataset import TITLE_ORIGIN, Dataset
from twotower.data.sample import Pairs
from twotower.experiments.separate import members_of
from twotower.experiments.setup import Setup
from twotower.metrics.local_titles import TitleLocality, title_locality
from twotower.metrics.origins import origin_profiles, origin_shares
from twotower.metrics.popularity_bias import profile_popularity
from twotower.model.retrieval import Retrieval, Users
from twotower.model.score import logits
from twotower.serving.open_run import open_memory, open_model
from twotower.serving.recommend import watched
from twotower.training.predict import user_groups
from twotower.training.run import RunReader

MOST_USERS = 20_000  # test users whose scores of all titles are computed
MOST_SCORES = 1 << 26  # at most, of users × titles: 256 MiB
MEMORY_ROWS = 512  # users whose memory terms are held at a time
PROBED = 100_000  # pairs of a kind whose probabilities are kept, for distances between models


@dataclass(frozen=True, eq=False)
class Panel:
    """Some test users, which titles may be recommended to them, and what is known of the titles."""

    rows: np.ndarray  # (n,) int64 users, ascending
    territory: np.ndarray  # (n,) int64
    day: int  # on which they are looked at
    allowed: np.ndarray  # (n, T) bool: the territory has it by then, and the user has not watched it
    popularity: np.ndarray  # (T,) training positives
    profile: np.ndarray  # (n,) mean popularity of what they watched, NaN for nothing
    found: tuple[np.ndarray, np.ndarray]  # position of the user, and title, of what they then watched in the period
    shares: np.ndarray  # (T, O) of countries of origin in titles; O = 0 where titles have none
    profiles: np.ndarray  # (n, O) the same in what they watched
    locality: TitleLocality
    probes: dict[str, tuple[np.ndarray, np.ndarray]]  # kind of title → user (position) and title of some allowed pairs


def choose_panel(setup: Setup, progress: Progress) -> Panel:
    """Choose them by chance, but the same ones every time."""
    dataset, sampled = setup.dataset, setup.reference
    most = max(1, min(MOST_USERS, MOST_SCORES // dataset.n_titles))
    rows = np.sort(generator(0, Stream.PANEL_USERS).permutation(sampled.test_users)[:most])
    day = setup.last_period[0]
    start, seen = watched(dataset, rows, day, progress)
    territory = np.asarray(dataset.user_territory)[rows].astype(np.int64)
    there = np.asarray(dataset.availability).T & (np.asarray(dataset.launch_day) <= day)  # (C, T)
    allowed = there[territory]
    watcher = np.repeat(np.arange(len(rows)), np.diff(start))
    allowed[watcher, seen] = False
    counts = setup.positives[setup.plan.method(setup.plan.main_method).sample]  # (C, T)
    popularity = counts.sum(axis=0)
    locality = title_locality(counts, dataset.territories.users)
    kinds = {"local": locality.local[territory], "global": np.broadcast_to(locality.is_global, allowed.shape)}
    probes = {kind: choose_pairs(allowed & mask, PROBED) for kind, mask in kinds.items()}
    profile = profile_popularity(start, seen, popularity)
    found = to_find(setup.test_pairs, setup.last_period, rows, allowed)
    shares = origin_shares(dataset.titles.get(TITLE_ORIGIN, [""] * dataset.n_titles))
    origins = shares, origin_profiles(watcher, seen, len(rows), shares)
    return Panel(rows, territory, day, allowed, popularity, profile, found, *origins, locality, probes)


def to_find(
    pairs: Pairs, days: Sequence[int], rows: np.ndarray, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positives of users ``rows`` (n,) on some days, among the titles ``allowed`` (n, T): positions and titles."""
    some = pairs.take((pairs.label > 0) & np.isin(pairs.day, days) & np.isin(pairs.user, rows))
    user = np.searchsorted(rows, some.user)
    there = allowed[user, some.title]
    return user[there], some.title[there]


def choose_pairs(mask: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """User and title of at most ``most`` true cells of a mask (n, T), by chance, but the same ones every time."""
    cells = np.flatnonzero(mask)
    if len(cells) > most:
        cells = np.sort(generator(0, Stream.PANEL_PAIRS).choice(cells, most, replace=False))
    user, title = np.unravel_index(cells, mask.shape)
    return user.astype(np.int32), title.astype(np.int32)


def score_all(run: Path, dataset: Dataset, rows: np.ndarray, progress: Progress) -> np.ndarray:
    """Logits (n, T) float32 of users for all titles under a finished run; ``dataset`` says whose head serves whom.

    Errors: InputError as for ``open_model``, and when a score is not finite.
    """
    if parts := RunReader(run).parts:
        return score_by_parts(parts, dataset, rows, progress)
    model, territory_group = open_model(run, dataset)
    retrieval = Retrieval(model, dataset.title_vectors, progress)
    group = user_groups(dataset, territory_group, model.config.groups)[rows]
    kind = np.asarray(dataset.head_territory)[rows].astype(np.int64)
    scale, offset = model.params["logit.scale"][0], retrieval.territory_bias(territory_group)  # (C, T)
    if model.title_offsets is not None:
        offset = offset + model.title_offsets
    scores = np.empty((len(rows), dataset.n_titles), np.float32)

    def keep(who: np.ndarray, first: int, dots: np.ndarray) -> None:
        logits(dots, scale, offset, kind[who], first)
        scores[who, first : first + dots.shape[1]] = dots

    retrieval.scan(Users(dataset.user_vectors, rows, group, kind), keep, progress)
    memory = open_memory(run, dataset, model)
    if memory is not None:
        weights = model.memory_weights()
        own, layer = weights.rows(group), memory.layer(weights.layer)
        for start in range(0, len(rows), MEMORY_ROWS):
            part = slice(start, start + MEMORY_ROWS)
            scores[part] += memory.logits(rows[part], own.linear[part], layer, own.units[part])
    if not np.isfinite(scores).all():
        found = f"{np.count_nonzero(~np.isfinite(scores))} scores are not finite"
        raise InputError(f"{run}: {found}; train again with a lower --learning-rate")
    return scores


def score_by_parts(parts: Sequence[Path], dataset: Dataset, rows: np.ndarray, progress: Progress) -> np.ndarray:
    """The same under a run that consists of one model per group of territories."""
    scores = np.empty((len(rows), dataset.n_titles), np.float32)
    for path in parts:
        own = members_of(path, dataset)[rows]
        scores[own] = score_all(path, dataset, rows[own], progress)
    return scores
