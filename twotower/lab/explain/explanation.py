"""Explain one score: its terms, every head's score, and the titles that other heads move.

T titles, K groups; ``head_scores`` holds the maths.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.progress import Progress, silent
from twotower.core.serialisation import plain
from twotower.data.dataset import Dataset
from twotower.data.sample import Pairs, Sample
from twotower.lab.explain.head_scores import HeadScores, assumed_territories, head_scores
from twotower.lab.explain.ids import find_row
from twotower.lab.explain.memory_part import Recalled, memory_part
from twotower.lab.explain.record import BaseRate, Explanation, HeadScore, HiddenUnits, MovedTitle, TitleFacts, UserFacts
from twotower.metrics.local_titles import NOWHERE, TitleLocality, count_positives, title_locality
from twotower.serving.open_run import open_memory, open_model
from twotower.serving.recommend import watched
from twotower.serving.remap import is_like
from twotower.training.predict import user_groups
from twotower.training.run import RunReader
from twotower.training.warm_up import compile_kernels

SHOWN = 10  # titles of a ranking that users see: `recommend` gives as many
NAMED_TERRITORIES = 3  # of a group


def explain(
    run_path: Path, dataset: Dataset, user: str, title: str, top: int = 5, progress: Progress = silent
) -> Explanation:
    """The record of one score, with the ``top`` titles that each other head moves most.

    ``user`` and ``title`` are ids, or ``#`` and a row. Recommendations would be made on the day after the log.

    Errors: InputError as for ``open_model``, for an unknown user or title, and for scores that are not finite.
    """
    row, t = find_row("user", user, dataset), find_row("title", title, dataset)
    run = RunReader(run_path)
    model, territory_group = open_model(run_path, dataset, np.array([row]))
    memory = open_memory(run_path, dataset, model)
    recalled = None if memory is None else Recalled(memory, model)
    compile_kernels(progress)
    K = model.config.groups
    home, own = int(dataset.head_territory[row]), int(user_groups(dataset, territory_group, K)[row])
    assumed = assumed_territories(dataset.territories.users, territory_group, home, own, K)
    with threadpool_limits(1, "blas"):
        scores = head_scores(model, dataset, row, t, assumed, territory_group, progress, recalled)
    day = dataset.train_days + dataset.test_days
    _, seen = watched(dataset, np.array([row]), day, progress)
    available = np.asarray(dataset.availability)[:, home] & (np.asarray(dataset.launch_day) <= day)  # (T,)
    allowed = available.copy()
    allowed[seen] = False
    sample = sample_of(run, dataset)
    pairs = None if sample is None else sample.train_pairs()
    locality = None if pairs is None else locality_of(pairs, dataset)
    heads = score_of_each_head(dataset, scores, territory_group, assumed, own, t, allowed)

    def facts(title: int) -> TitleFacts:
        return title_facts(dataset, title, locality)

    return Explanation(
        run=str(run_path),
        dataset=str(dataset.path),
        sample=run.sample if pairs is not None else None,
        head=model.config.head,
        user=user_facts(dataset, row, own if K > 1 else None, len(seen), sample),
        title=facts(t),
        available=bool(available[t]),
        watched=bool(t in seen),
        own=heads[own],
        memory=None if recalled is None else memory_part(recalled, dataset, row, t, home, own, top),
        base_rates=[] if pairs is None else base_rates(pairs, dataset, t, home),
        hidden=hidden_units(scores.units[own]),
        titles=int(allowed.sum()),
        heads=heads,
        moved=moved_titles(scores.logits, own, allowed, facts, top),
    )


def hidden_units(contribution: np.ndarray) -> HiddenUnits:
    """How s·<U, V> spreads over the hidden units, given what each contributes (D,)."""
    size, above, below = np.abs(contribution), contribution > 0, contribution < 0
    total, cumulative = size.sum(), np.cumsum(np.sort(size)[::-1])
    half, effective = (int(np.searchsorted(cumulative, total / 2) + 1), total**2 / (size @ size)) if total else (0, 0.0)
    return HiddenUnits(int(above.sum()), float(contribution[above].sum()), int(below.sum()),
                       float(contribution[below].sum()), half, float(effective))  # fmt: skip


def score_of_each_head(
    dataset: Dataset, scores: HeadScores, territory_group: np.ndarray, assumed: np.ndarray, own: int, t: int,
    allowed: np.ndarray,
) -> list[HeadScore]:  # fmt: skip
    """The title's score and rank among the allowed titles under each head."""
    codes, users = dataset.territories.code, dataset.territories.users
    heads = []
    for k, z in enumerate(scores.logits):
        members = np.flatnonzero(territory_group == k) if len(scores.logits) > 1 else np.arange(len(codes))
        largest = members[np.argsort(-users[members], kind="stable")][:NAMED_TERRITORIES]
        logit = float(z[t])
        probability = float(np.exp(-np.logaddexp(0, -logit)))  # 1/(1 + e^−z) without overflow
        heads.append(HeadScore(k, k == own, len(members), [codes[c] for c in largest], codes[assumed[k]],
                               scores.terms[k], logit, probability, int(ranks(z, allowed)[t])))  # fmt: skip
    return heads


def moved_titles(
    z: np.ndarray, own: int, allowed: np.ndarray, facts: Callable[[int], TitleFacts], top: int
) -> list[MovedTitle]:
    """For each other head the ``top`` titles whose logit differs most from that under the own head.

    Only the SHOWN best titles of either head count: changes further down a ranking are never seen.
    """
    rank = np.stack([ranks(of_head, allowed) for of_head in z])
    moved = []
    for k in (k for k in range(len(z)) if k != own):
        candidates = np.flatnonzero(allowed & ((rank[k] <= SHOWN) | (rank[own] <= SHOWN)))
        change = np.abs(z[k, candidates] - z[own, candidates])
        for t in candidates[np.argsort(-change, kind="stable")[:top]].tolist():
            title, before, after = facts(t), float(z[own, t]), float(z[k, t])
            moved.append(MovedTitle(k, title, title.kind_text(), before, after, after - before, int(rank[own, t]),
                                    int(rank[k, t])))  # fmt: skip
    return moved


def ranks(z: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Rank of each title (T,) among the allowed ones and itself, from 1; ties: the lower row first."""
    order = np.argsort(-z, kind="stable")
    rank = np.empty(len(z), np.int64)
    rank[order] = np.cumsum(allowed[order]) + ~allowed[order]
    return rank


def user_facts(dataset: Dataset, row: int, group: int | None, n_watched: int, sample: Sample | None) -> UserFacts:
    """The user, and whether a training or test user of the run's sample."""
    territories, c, part = dataset.territories, int(dataset.user_territory[row]), None
    if sample is not None:
        part = "training" if row in sample.train_users else "test" if row in sample.test_users else None
    name = str(row) if dataset.user_ids is None else dataset.user_ids[row]
    return UserFacts(name, row, territories.code[c], territories.name[c], group, n_watched, part)


def title_facts(dataset: Dataset, t: int, locality: TitleLocality | None) -> TitleFacts:
    """The title, and whether it is local or global by the training positives."""
    title, name = dataset.title_ids[t], dataset.titles.get("name", dataset.title_ids)[t]
    if locality is None:
        return TitleFacts(title, name or title, t, None, None, None, None, None)
    home = int(locality.home_territory[t])
    code = None if home == NOWHERE else dataset.territories.code[home]
    return TitleFacts(title, name or title, t, locality.kind[t], code, plain(locality.share[t]),
                      plain(locality.lift[t]), int(locality.positives[t]))  # fmt: skip


def sample_of(run: RunReader, dataset: Dataset) -> Sample | None:
    """The sample that a run was trained and tested on; None if this dataset does not have it.

    A dataset made like the run's may have another sample of the same name.
    """
    if run.sample not in dataset.samples():
        return None
    sample = Sample(dataset, run.sample)
    return None if is_like(run, dataset) and sample.test_pairs().digest() != run.test_digest else sample


def locality_of(pairs: Pairs, dataset: Dataset) -> TitleLocality:
    """Local and global titles by training pairs."""
    positive = pairs.label > 0
    territory = np.asarray(dataset.user_territory)[pairs.user[positive]]
    counts = count_positives(pairs.title[positive], territory, dataset.n_titles, dataset.n_territories)
    return title_locality(counts, dataset.territories.users)


def base_rates(pairs: Pairs, dataset: Dataset, t: int, territory: int) -> list[BaseRate]:
    """Positives among training pairs: all, those of the title, and those of the title in a territory."""
    of_title = pairs.title == t
    in_territory = of_title & (np.asarray(dataset.user_territory)[pairs.user] == territory)
    masks = {"all": np.ones(len(pairs), bool), "title": of_title, "title_in_territory": in_territory}
    counts = ((name, int(pairs.label[mask].sum()), int(mask.sum())) for name, mask in masks.items())
    return [BaseRate(name, p, n, p / n if n else None) for name, p, n in counts]
