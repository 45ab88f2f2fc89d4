"""Popularity bias of a model's scores and of its top titles, per territory and overall.

Every test user is recommended the k titles with the highest scores among those allowed (available, launched, not
watched before). Figures are averaged over the users of a territory, and over all users, each with the same weight;
``MEASURES`` says what is computed, docs/explanation/popularity-bias.md gives formulas, sources and limits.

Scores are read a block of users at a time: of the probabilities only sums are kept.

Names: n users, T titles, C territories, k titles for each user.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.metrics.averages import mean_defined, ratio
from twotower.metrics.checks import check_column, check_key
from twotower.metrics.recommended import NOBODY, TOP, blocks, check_scores, count_places, top_titles

HEAD_SHARE = 0.8  # of the training positives belong to the head; the titles outside are the long tail
BY_USER = ("local_share", "local_exposure", "global_share", "global_exposure", "average_popularity", "long_tail_share")


class Measure(NamedTuple):
    """What a figure is called, what it says, where it comes from, and which direction means less bias."""

    title: str
    better: str  # "higher", "lower" or "neither"
    source: str
    about: str


MEASURES = {
    "mean_score": Measure(
        "Mean score", "neither", "",
        "Mean predicted probability over all allowed pairs. The scale for reading local and global scores.",
    ),
    "local_score": Measure(
        "Mean score of local titles", "neither", "Gampa et al. 2023, section 4.4",
        "Mean predicted probability of the titles local to the user's own territory.",
    ),
    "global_score": Measure(
        "Mean score of global titles", "neither", "Gampa et al. 2023, section 4.4",
        "Mean predicted probability of global titles.",
    ),
    "local_to_global": Measure(
        "Local over global score", "higher", "after Gampa et al. 2023, section 4.4",
        "Mean score of local over that of global titles, for the same users: unchanged when all scores rise alike.",
    ),
    "local_share": Measure(
        "Local titles in the top 10", "higher", "",
        "Share of a user's top 10 that is local to the user's territory; users of territories with local titles.",
    ),
    "local_exposure": Measure(
        "Exposure of local titles", "higher", "Singh & Joachims 2018",
        "The same, each place weighted by 1 / log2(1 + rank): the first place counts 3.5 times the tenth.",
    ),
    "global_share": Measure(
        "Global titles in the top 10", "lower", "",
        "Share of a user's top 10 that is global titles.",
    ),
    "global_exposure": Measure(
        "Exposure of global titles", "lower", "Singh & Joachims 2018",
        "The same, each place weighted by 1 / log2(1 + rank).",
    ),
    "average_popularity": Measure(
        "Average recommendation popularity", "lower", "ARP: Yin et al. 2012, Abdollahpouri et al. 2019",
        "Mean number of training positives of the titles in a user's top 10.",
    ),
    "long_tail_share": Measure(
        "Long tail in the top 10", "higher", "APLT: Abdollahpouri et al. 2017, 2019",
        "Share of a user's top 10 outside the most popular titles that hold 80 % of the training positives.",
    ),
    "popularity_lift": Measure(
        "Popularity lift", "lower", "ΔGAP: Abdollahpouri et al. 2019",
        "How much more popular the top 10 of users are than what they watched themselves; 0: as popular.",
    ),
    "gini": Measure(
        "Gini of exposure", "lower", "Gini 1912; Fleder & Hosanagar 2009",
        "Inequality of the places that allowed titles get in the top 10s; 0: all the same, near 1: a few have all.",
    ),
    "coverage": Measure(
        "Catalogue coverage", "higher", "Ge et al. 2010",
        "Share of the allowed titles that are in the top 10 of at least one user.",
    ),
}


@dataclass(frozen=True, eq=False)
class PopularityBias:
    """Every measure, per territory and overall; NaN where undefined, such as in a territory without users."""

    overall: dict[str, float]
    territories: dict[str, np.ndarray]  # each (C,) float64
    users: np.ndarray  # (C,) int64 test users
    by_user: dict[str, np.ndarray]  # measures that are means over users, each (n,)
    top: np.ndarray  # (n, k) int32 the recommended titles, NOBODY where there are fewer


def measures(
    scores: np.ndarray,
    allowed: np.ndarray,
    user_territory: np.ndarray,
    popularity: np.ndarray,
    local: np.ndarray,
    is_global: np.ndarray,
    profile: np.ndarray | None = None,
    k: int = TOP,
    progress: Progress = silent,
) -> PopularityBias:
    """All ``MEASURES`` of the logits ``scores`` (n, T) of test users for all titles.

    ``allowed`` (n, T) bool, the titles that may be recommended; ``user_territory`` (n,) integer; ``popularity`` (T,)
    training positives of each title; ``local`` (C, T) bool, titles local to a territory; ``is_global`` (T,) bool;
    ``profile`` (n,) mean popularity of what each user watched (see ``profile_popularity``), NaN for nothing.

    Errors: InputError when shapes do not fit, a territory does not exist, or a score is NaN.
    """
    scores, allowed = np.asarray(scores), np.asarray(allowed)
    popularity, local, is_global = np.asarray(popularity, np.float64), np.asarray(local), np.asarray(is_global)
    n, T = check_scores(scores, allowed)
    C = len(local)
    profile = np.full(n, np.nan) if profile is None else np.asarray(profile, np.float64)
    user_territory = check_key(user_territory, C, n, "user_territory")
    popularity = check_column("popularity", popularity, (T,))
    local = check_column("local", local, (C, T), "b")
    is_global = check_column("is_global", is_global, (T,), "b")
    profile = check_column("profile", profile, (n,))

    top = np.full((n, min(k, T)), NOBODY, np.int32)
    total, count = np.zeros((3, n)), np.zeros((3, n))  # of all, local and global titles: probabilities, and how many
    reachable = np.zeros((C, T), bool)  # allowed to somebody of the territory
    for rows in blocks(n, T):
        here, home = allowed[rows], user_territory[rows]
        top[rows] = top_titles(scores[rows], here, k)
        p = probability(scores[rows])
        for which, mask in enumerate((here, here & local[home], here & is_global)):
            total[which, rows] = np.where(mask, p, np.float32(0)).sum(axis=1, dtype=np.float64)
            count[which, rows] = np.count_nonzero(mask, axis=1)
        for c in np.unique(home):
            reachable[c] |= here[home == c].any(axis=0)
        progress("popularity bias", rows.stop, n)

    by_user = top_figures(top, popularity, local[user_territory[:, None], top], is_global)
    has_local = np.any(local, axis=1, keepdims=True)[user_territory, 0]
    for name in ("local_share", "local_exposure"):
        by_user[name][~has_local] = np.nan
    per_territory = {name: group_mean(values, user_territory, C) for name, values in by_user.items()}
    overall = {name: float(mean_defined(values)) for name, values in by_user.items()}

    both = ~np.isnan(profile) & ~np.isnan(by_user["average_popularity"])
    recommended, own = np.where(both, by_user["average_popularity"], 0), np.where(both, profile, 0)
    sums = [group_sum(values, user_territory, C) for values in (recommended, own)]
    per_territory["popularity_lift"] = ratio(*sums) - 1
    overall["popularity_lift"] = float(ratio(recommended.sum(), own.sum()) - 1)

    for which, name in enumerate(("mean_score", "local_score", "global_score")):
        sums = [group_sum(values, user_territory, C) for values in (total[which], count[which])]
        per_territory[name], overall[name] = ratio(*sums), float(ratio(total[which].sum(), count[which].sum()))
    per_territory["local_to_global"] = ratio(per_territory["local_score"], per_territory["global_score"])
    # overall against global scores of the same users: those of territories with local titles
    there = ratio(total[2, has_local].sum(), count[2, has_local].sum())
    overall["local_to_global"] = float(ratio(np.array(overall["local_score"]), there))

    places = count_places(top, user_territory, C, T)
    shapes = [(places[c][reachable[c]] if reachable[c].any() else np.empty(0)) for c in range(C)]
    shapes.append(places.sum(axis=0)[reachable.any(axis=0)])
    for name, figure in (("gini", gini), ("coverage", covered)):
        *each, whole = [figure(counts) for counts in shapes]
        per_territory[name], overall[name] = np.array(each), whole
    return PopularityBias(overall, per_territory, np.bincount(user_territory, minlength=C), by_user, top)


def top_figures(
    top: np.ndarray, popularity: np.ndarray, is_local: np.ndarray, is_global: np.ndarray
) -> dict[str, np.ndarray]:
    """Figures of each user's titles ``top`` (n, k), each (n,), NaN where a user has none; ``is_local`` (n, k)."""
    there = (top != NOBODY).astype(np.float64)
    attention = there / np.log2(2 + np.arange(top.shape[1]))  # rank 1 comes first
    tail = long_tail(popularity)

    def mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return ratio((values * weight).sum(axis=1), weight.sum(axis=1))

    return {
        "local_share": mean(is_local, there),
        "local_exposure": mean(is_local, attention),
        "global_share": mean(is_global[top], there),
        "global_exposure": mean(is_global[top], attention),
        "average_popularity": mean(popularity[top], there),
        "long_tail_share": mean(tail[top], there),
    }


def long_tail(popularity: np.ndarray, head_share: float = HEAD_SHARE) -> np.ndarray:
    """Titles (T,) outside the head: the fewest, most popular ones that hold ``head_share`` of all positives.

    Of equally popular titles the lower one comes first. A title without positives is in the tail.
    """
    order = np.argsort(-popularity, kind="stable")
    before = np.cumsum(popularity[order]) - popularity[order]  # held by the more popular ones
    tail = np.empty(len(order), bool)
    tail[order] = before >= head_share * popularity.sum()
    return tail


def profile_popularity(start: np.ndarray, titles: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """Mean popularity of what each of n users watched, (n,), NaN for nothing.

    User i watched ``titles[start[i]:start[i + 1]]``; ``start`` is (n + 1,).

    Errors: InputError for a title that does not exist, and unless ``start`` ascends from 0 to the number of titles.
    """
    titles = check_key(titles, len(popularity), len(titles), "titles")
    if not len(start) or start[0] != 0 or start[-1] != len(titles) or (np.diff(start) < 0).any():
        raise InputError(f"start: expected bounds that ascend from 0 to {len(titles)}")
    counts = np.diff(start)
    running = np.concatenate([[0.0], np.cumsum(np.asarray(popularity, np.float64)[titles])])
    return ratio(running[start[1:]] - running[start[:-1]], counts)


def gini(counts: np.ndarray) -> float:
    """Gini coefficient of counts: mean difference of two of them over twice the mean; NaN when all are 0.

    Σ_i (2i − m − 1) x_i / (m Σ x) over the m counts in ascending order, i from 1.
    """
    x, m = np.sort(counts).astype(np.float64), len(counts)
    if not m or not x[-1] > 0:
        return float("nan")
    return float((2 * np.arange(1, m + 1) - m - 1) @ x / (m * x.sum()))


def covered(counts: np.ndarray) -> float:
    """Share of the counts that are not 0; NaN without any."""
    return float(np.count_nonzero(counts) / len(counts)) if len(counts) else float("nan")


def group_sum(values: np.ndarray, key: np.ndarray, n_keys: int) -> np.ndarray:
    """Sums of values (n,) by key, (n_keys,) float64."""
    return np.bincount(key, weights=values, minlength=n_keys)


def group_mean(values: np.ndarray, key: np.ndarray, n_keys: int) -> np.ndarray:
    """Means by key of the values (n,) that are not NaN, (n_keys,) float64; NaN where there is none."""
    defined = ~np.isnan(values)
    return ratio(group_sum(np.where(defined, values, 0), key, n_keys), np.bincount(key[defined], minlength=n_keys))


def probability(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−z), in the logits' precision."""
    with np.errstate(over="ignore"):  # e^−z = inf gives 0, which is right
        return 1 / (1 + np.exp(-logits))
