"""Why one user gets one title with this score, as a record: terms, hidden units, heads, and what moves between them.

T titles, K groups, D hidden units; ``views`` holds the maths.
"""

from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.progress import Progress, silent
from twotower.core.version import __version__
from twotower.data.dataset import Dataset
from twotower.data.sample import Pairs, Sample
from twotower.lab.explain.lookup import find_row
from twotower.lab.explain.views import Views, assumed_territories, view
from twotower.metrics.local_titles import NOWHERE, TitleLocality, count_positives, title_locality
from twotower.serving.open_run import open_model
from twotower.serving.recommend import watched
from twotower.serving.remap import is_like
from twotower.training.predict import user_groups
from twotower.training.run import RunReader
from twotower.training.warm_up import compile_kernels

FORMAT_VERSION = 1
SHOWN = 10  # titles of a ranking that anybody sees: `recommend` gives as many
NAMED = 3  # territories of a group that are named


def explain(
    run_path: Path, dataset: Dataset, user: str, title: str, top: int = 5, progress: Progress = silent
) -> dict[str, Any]:
    """The record of one score: its terms, hidden units, heads, and the ``top`` titles that move between heads.

    ``user`` and ``title`` are ids, or ``#`` and a row. Recommended would be at the start of the day after the log.

    Errors: InputError as for ``open_model``, for an unknown user or title, and for scores that are not finite.
    """
    row, t = find_row("user", user, dataset), find_row("title", title, dataset)
    run = RunReader(run_path)
    model, territory_group = open_model(run_path, dataset, np.array([row]))
    compile_kernels(progress)
    K = model.config.groups
    home, own = int(dataset.head_territory[row]), int(user_groups(dataset, territory_group, K)[row])
    assumed = assumed_territories(dataset.territories.users, territory_group, home, own, K)
    with threadpool_limits(1, "blas"):
        views = view(model, dataset, row, t, assumed, territory_group, progress)
    day = dataset.train_days + dataset.test_days
    _, seen = watched(dataset, np.array([row]), day, progress)
    here = np.asarray(dataset.availability)[:, home] & (np.asarray(dataset.launch_day) <= day)  # (T,)
    allowed = here.copy()
    allowed[seen] = False
    drawn = sample_of(run, dataset)
    pairs = None if drawn is None else drawn.train_pairs()
    homes = None if pairs is None else homes_of(pairs, dataset)
    z = float(views.logits[own, t])
    return {
        "format": FORMAT_VERSION,
        "kind": "explanation",
        "twotower": __version__,
        "run": str(run_path),
        "dataset": str(dataset.path),
        "sample": run.sample if pairs is not None else None,
        "head": model.config.head,
        "user": user_record(dataset, row, own if K > 1 else None, len(seen), drawn),
        "title": title_record(dataset, t, homes)
        | {"available": bool(here[t]), "watched": bool(t in seen), "allowed": bool(allowed[t])},
        "terms": views.terms[own],
        "logit": z,
        "probability": probability(z),
        "base_rates": [] if pairs is None else base_rates(pairs, dataset, t, home),
        "hidden": hidden_record(float(model.params["logit.scale"][0]), views.U[own], views.v, top),
        "titles": int(allowed.sum()),
        "heads": head_records(dataset, views, territory_group, assumed, own, t, allowed),
        "moved": [] if K == 1 else moved_records(dataset, views.logits, own, allowed, homes, top),
    }


def hidden_record(scale: float, u: np.ndarray, v: np.ndarray, top: int) -> dict[str, Any]:
    """What each hidden unit adds to s·<U, V>: the largest of both signs, and how few they are; u and v (D,).

    ``half`` units hold half of all magnitude. ``effective`` is (Σ|x|)²/Σx²: D where all are equal, 1 where one is all.
    """
    contribution = scale * u * v
    size = np.abs(contribution)
    total, order = size.sum(), np.argsort(-contribution, kind="stable")
    signs = {"positive": contribution > 0, "negative": contribution < 0}
    chosen = {"positive": order, "negative": order[::-1]}
    grown = np.cumsum(np.sort(size)[::-1])
    return {
        "units": len(size),
        "half": int(np.searchsorted(grown, total / 2) + 1) if total else 0,
        "effective": float(total**2 / (size @ size)) if total else 0.0,
        **{
            name: {
                "units": int(mask.sum()),
                "sum": float(contribution[mask].sum()),
                "largest": [
                    {"unit": int(d), "u": float(u[d]), "v": float(v[d]), "contribution": float(contribution[d])}
                    for d in chosen[name][:top]
                    if mask[d]
                ],
            }
            for name, mask in signs.items()
        },
    }


def head_records(
    dataset: Dataset, views: Views, territory_group: np.ndarray, assumed: np.ndarray, own: int, t: int,
    allowed: np.ndarray,
) -> list[dict[str, Any]]:  # fmt: skip
    """A record a head: where the user is taken to live, the terms, and the title's rank among what is allowed."""
    codes, users, found = dataset.territories.code, dataset.territories.users, []
    for k, z in enumerate(views.logits):
        members = np.flatnonzero(territory_group == k) if len(views.logits) > 1 else np.arange(len(codes))
        largest = members[np.argsort(-users[members], kind="stable")]
        found.append(
            {
                "group": k,
                "own": k == own,
                "territories": len(members),
                "largest": [codes[c] for c in largest[:NAMED]],
                "territory": codes[assumed[k]],
                "terms": views.terms[k],
                "logit": float(z[t]),
                "probability": probability(float(z[t])),
                "rank": int(ranks(z, allowed)[t]),
            }
        )
    return found


def moved_records(
    dataset: Dataset, z: np.ndarray, own: int, allowed: np.ndarray, homes: TitleLocality | None, top: int
) -> list[dict[str, Any]]:
    """For each other head the ``top`` titles whose logit differs most from that under the own head.

    They are taken from the best SHOWN of either head: nobody ever sees what moves at the end of a ranking.
    """
    rank = np.stack([ranks(of_head, allowed) for of_head in z])
    found = []
    for k in range(len(z)):
        if k != own:
            among = np.flatnonzero(allowed & ((rank[k] <= SHOWN) | (rank[own] <= SHOWN)))
            change = np.abs(z[k, among] - z[own, among])
            chosen = among[np.argsort(-change, kind="stable")[:top]]
            titles = [
                title_record(dataset, int(t), homes)
                | {"own_logit": float(z[own, t]), "logit": float(z[k, t])}
                | {"own_rank": int(rank[own, t]), "rank": int(rank[k, t])}
                for t in chosen
            ]
            found.append({"group": k, "titles": titles})
    return found


def ranks(z: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Rank of each title (T,) among the allowed ones and itself, 1 for the best; of equal ones the lower is better."""
    order = np.argsort(-z, kind="stable")
    rank = np.empty(len(z), np.int64)
    rank[order] = np.cumsum(allowed[order]) + ~allowed[order]
    return rank


def user_record(dataset: Dataset, row: int, group: int | None, n_watched: int, drawn: Sample | None) -> dict[str, Any]:
    """Who it is. ``part`` is "training" or "test" in the run's sample, else null."""
    territories, c, part = dataset.territories, int(dataset.user_territory[row]), None
    if drawn is not None:
        part = "training" if row in drawn.train_users else "test" if row in drawn.test_users else None
    name = str(row) if dataset.user_ids is None else dataset.user_ids[row]
    place = {"territory": territories.code[c], "territory_name": territories.name[c], "group": group}
    return {"id": name, "row": row, **place, "watched": n_watched, "part": part}


def title_record(dataset: Dataset, t: int, homes: TitleLocality | None) -> dict[str, Any]:
    """Which title, and whether it is local or global by the training positives; nulls where they are not at hand."""
    names = dataset.titles.get("name", dataset.title_ids)
    found: dict[str, Any] = {"id": dataset.title_ids[t], "name": names[t] or dataset.title_ids[t], "row": t}
    if homes is None:
        return found | dict.fromkeys(("kind", "home", "share", "lift", "positives"))
    home = None if homes.home_territory[t] == NOWHERE else dataset.territories.code[homes.home_territory[t]]
    numbers = {"share": float(homes.share[t]), "lift": float(homes.lift[t]), "positives": int(homes.positives[t])}
    return found | {"kind": homes.kind[t], "home": home} | numbers


def sample_of(run: RunReader, dataset: Dataset) -> Sample | None:
    """What a run was trained and tested on, or None where that is not in this dataset.

    A dataset made like the run's may have a sample of the same name, of its own users.
    """
    if run.sample not in dataset.samples():
        return None
    drawn = Sample(dataset, run.sample)
    return None if is_like(run, dataset) and drawn.test_pairs().digest() != run.test_digest else drawn


def homes_of(pairs: Pairs, dataset: Dataset) -> TitleLocality:
    """Local and global titles by training pairs."""
    positive = pairs.label > 0
    territory = np.asarray(dataset.user_territory)[pairs.user[positive]]
    counts = count_positives(pairs.title[positive], territory, dataset.n_titles, dataset.n_territories)
    return title_locality(counts, dataset.territories.users)


def base_rates(pairs: Pairs, dataset: Dataset, t: int, territory: int) -> list[dict[str, Any]]:
    """Positives and pairs in training: of all, of the title, and of the title among users of a territory."""
    of_title = pairs.title == t
    there = of_title & (np.asarray(dataset.user_territory)[pairs.user] == territory)
    masks = {"all": np.ones(len(pairs), bool), "title": of_title, "title_in_territory": there}
    counts = {name: (int(pairs.label[mask].sum()), int(mask.sum())) for name, mask in masks.items()}
    return [{"of": name, "positives": p, "pairs": n, "rate": p / n if n else None} for name, (p, n) in counts.items()]


def probability(z: float) -> float:
    """1/(1 + e^−z) without overflow."""
    return float(np.exp(-np.logaddexp(0, -z)))
