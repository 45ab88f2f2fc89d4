"""Explain one score: its terms, its hidden units, every head's score, and the titles that other heads move.

T titles, K groups, D hidden units; ``head_scores`` holds the maths.
"""

from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.progress import Progress, silent
from twotower.core.version import __version__
from twotower.data.dataset import Dataset
from twotower.data.sample import Pairs, Sample
from twotower.lab.explain.head_scores import HeadScores, assumed_territories, head_scores
from twotower.lab.explain.ids import find_row
from twotower.lab.explain.memory_part import Recalled, memory_part
from twotower.lab.explain.record import (
    BaseRate,
    Explanation,
    HeadScore,
    HiddenUnits,
    MovedTitles,
    TitleKind,
    UnitsOfSign,
    UserFacts,
)
from twotower.metrics.local_titles import NOWHERE, TitleLocality, count_positives, title_locality
from twotower.serving.open_run import open_memory, open_model
from twotower.serving.recommend import watched
from twotower.serving.remap import is_like
from twotower.training.predict import user_groups
from twotower.training.run import RunReader
from twotower.training.warm_up import compile_kernels

FORMAT_VERSION = 1
SHOWN = 10  # titles of a ranking that users see: `recommend` gives as many
NAMED_TERRITORIES = 3  # of a group


def explain(
    run_path: Path, dataset: Dataset, user: str, title: str, top: int = 5, progress: Progress = silent
) -> Explanation:
    """The record of one score, with the ``top`` hidden units of either sign and titles that other heads move.

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
    return {
        "format": FORMAT_VERSION,
        "kind": "explanation",
        "twotower": __version__,
        "run": str(run_path),
        "dataset": str(dataset.path),
        "sample": run.sample if pairs is not None else None,
        "head": model.config.head,
        "user": user_facts(dataset, row, own if K > 1 else None, len(seen), sample),
        "title": {
            **title_kind(dataset, t, locality),
            "available": bool(available[t]), "watched": bool(t in seen), "allowed": bool(allowed[t]),
        },
        "terms": heads[own]["terms"],
        "logit": heads[own]["logit"],
        "probability": heads[own]["probability"],
        "memory": None if recalled is None else memory_part(recalled, dataset, row, t, home, own, top),
        "base_rates": [] if pairs is None else base_rates(pairs, dataset, t, home),
        "hidden": hidden_units(float(model.params["logit.scale"][0]), scores.U[own], scores.v, top),
        "titles": int(allowed.sum()),
        "heads": heads,
        "moved": [] if K == 1 else moved_titles(dataset, scores.logits, own, allowed, locality, top),
    }  # fmt: skip


def hidden_units(scale: float, u: np.ndarray, v: np.ndarray, top: int) -> HiddenUnits:
    """s·<U, V> by hidden unit, and the ``top`` units of either sign; u and v (D,)."""
    contribution = scale * u * v
    size = np.abs(contribution)
    total, order = size.sum(), np.argsort(-contribution, kind="stable")
    cumulative = np.cumsum(np.sort(size)[::-1])

    def of_sign(mask: np.ndarray, ranked: np.ndarray) -> UnitsOfSign:
        largest = [int(d) for d in ranked[:top] if mask[d]]
        return {
            "units": int(mask.sum()),
            "sum": float(contribution[mask].sum()),
            "largest": [
                {"unit": d, "u": float(u[d]), "v": float(v[d]), "contribution": float(contribution[d])} for d in largest
            ],
        }

    return {
        "units": len(size),
        "half": int(np.searchsorted(cumulative, total / 2) + 1) if total else 0,
        "effective": float(total**2 / (size @ size)) if total else 0.0,
        "positive": of_sign(contribution > 0, order),
        "negative": of_sign(contribution < 0, order[::-1]),
    }


def score_of_each_head(
    dataset: Dataset, scores: HeadScores, territory_group: np.ndarray, assumed: np.ndarray, own: int, t: int,
    allowed: np.ndarray,
) -> list[HeadScore]:  # fmt: skip
    """The title's score and rank among the allowed titles under each head."""
    codes, users = dataset.territories.code, dataset.territories.users
    heads: list[HeadScore] = []
    for k, z in enumerate(scores.logits):
        members = np.flatnonzero(territory_group == k) if len(scores.logits) > 1 else np.arange(len(codes))
        largest = members[np.argsort(-users[members], kind="stable")]
        logit = float(z[t])
        heads.append(
            {
                "group": k,
                "own": k == own,
                "territories": len(members),
                "largest": [codes[c] for c in largest[:NAMED_TERRITORIES]],
                "territory": codes[assumed[k]],
                "terms": scores.terms[k],
                "logit": logit,
                "probability": float(np.exp(-np.logaddexp(0, -logit))),  # 1/(1 + e^−z) without overflow
                "rank": int(ranks(z, allowed)[t]),
            }
        )
    return heads


def moved_titles(
    dataset: Dataset, z: np.ndarray, own: int, allowed: np.ndarray, locality: TitleLocality | None, top: int
) -> list[MovedTitles]:
    """For each other head the ``top`` titles whose logit differs most from that under the own head.

    Only the SHOWN best titles of either head count: changes further down a ranking are never seen.
    """
    rank = np.stack([ranks(of_head, allowed) for of_head in z])
    moved: list[MovedTitles] = []
    for k in range(len(z)):
        if k == own:
            continue
        candidates = np.flatnonzero(allowed & ((rank[k] <= SHOWN) | (rank[own] <= SHOWN)))
        change = np.abs(z[k, candidates] - z[own, candidates])
        titles = candidates[np.argsort(-change, kind="stable")[:top]].tolist()
        moved.append({"group": k, "titles": [
            {**title_kind(dataset, t, locality), "own_logit": float(z[own, t]), "logit": float(z[k, t]),
             "own_rank": int(rank[own, t]), "rank": int(rank[k, t])}
            for t in titles
        ]})  # fmt: skip
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
    return {
        "id": str(row) if dataset.user_ids is None else dataset.user_ids[row],
        "row": row,
        "territory": territories.code[c],
        "territory_name": territories.name[c],
        "group": group,
        "watched": n_watched,
        "part": part,
    }


def title_kind(dataset: Dataset, t: int, locality: TitleLocality | None) -> TitleKind:
    """The title, and whether it is local or global by the training positives."""
    title, names = dataset.title_ids[t], dataset.titles.get("name", dataset.title_ids)
    record: TitleKind = {
        "id": title, "name": names[t] or title, "row": t,
        "kind": None, "home": None, "share": None, "lift": None, "positives": None,
    }  # fmt: skip
    if locality is not None:
        home = int(locality.home_territory[t])
        record["kind"] = locality.kind[t]
        record["home"] = None if home == NOWHERE else dataset.territories.code[home]
        record["share"], record["lift"] = float(locality.share[t]), float(locality.lift[t])
        record["positives"] = int(locality.positives[t])
    return record


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
    counts = {name: (int(pairs.label[mask].sum()), int(mask.sum())) for name, mask in masks.items()}
    return [{"of": name, "positives": p, "pairs": n, "rate": p / n if n else None} for name, (p, n) in counts.items()]
