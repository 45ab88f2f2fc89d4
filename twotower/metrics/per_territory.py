"""Scores of labelled pairs → PR-AUC of all of them, per territory, per title and per test day.

Names: B pairs, U users, C territories, T titles.
"""

from collections.abc import Sequence

import numpy as np

from twotower.core.progress import Progress, silent
from twotower.metrics.average_precision import average_precision, average_precision_by, support_by
from twotower.metrics.averages import mean_defined
from twotower.metrics.checks import check_key
from twotower.metrics.results import Evaluation, TerritoryResults, TerritoryTable, TitleResults


def evaluate_scores(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    user: np.ndarray,
    title: np.ndarray,
    day: np.ndarray,
    user_territory: np.ndarray,
    territories: TerritoryTable,
    title_ids: Sequence[str],
    title_kind: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Evaluate the scores (B,) of pairs: their labels, users, titles and test days, each (B,).

    ``user_territory`` (U,) says where every user lives, ``territories`` what the C territories are called.

    Errors: InputError when columns differ in length, a label is neither 0 nor 1, a score is NaN, or a user or
    title does not exist.
    """
    stage, steps = "evaluation", 4
    progress(stage, 0, steps)
    overall = average_precision(labels, scores)
    labels, scores = np.asarray(labels), np.asarray(scores)
    user_territory = check_key(user_territory, len(territories.code), len(user_territory), "user_territory")
    user = check_key(user, len(user_territory), len(scores), "users")
    title = check_key(title, len(title_ids), len(scores), "titles")
    day = check_key(day, 2**31 - 1, len(scores), "days")

    progress(stage, 1, steps)
    by_territory = territory_results(labels, scores, user, user_territory, territories)

    progress(stage, 2, steps)
    by_day = {}
    for number in np.unique(day):
        rows = np.flatnonzero(day == number)
        by_day[int(number)] = (
            by_territory  # of the only day
            if len(rows) == len(day)
            else territory_results(labels[rows], scores[rows], user[rows], user_territory, territories)
        )

    progress(stage, 3, steps)
    by_title = title_results(labels, scores, title, title_ids, title_kind)
    progress(stage, steps, steps)
    return Evaluation(overall=overall, territories=by_territory, titles=by_title, days=by_day)


def territory_results(
    labels: np.ndarray,
    scores: np.ndarray,
    user: np.ndarray,
    user_territory: np.ndarray,
    table: TerritoryTable,
) -> TerritoryResults:
    """PR-AUC and support of each territory, from the pairs of its users."""
    n = len(table.code)
    territory = user_territory[user]  # (B,)
    pairs, positives = support_by(labels, territory, n)
    seen = np.zeros(len(user_territory), bool)
    seen[user] = True
    return TerritoryResults(
        code=list(table.code),
        name=list(table.name),
        group=np.array(table.group, np.int64),
        users=np.array(table.users, np.int64),
        test_users=np.bincount(user_territory[seen], minlength=n),
        pairs=pairs,
        positives=positives,
        pr_auc=average_precision_by(labels, scores, territory, n),
    )


def title_results(
    labels: np.ndarray,
    scores: np.ndarray,
    title: np.ndarray,
    ids: Sequence[str],
    kind: Sequence[str] | None = None,
) -> TitleResults:
    """PR-AUC and support of each title, from all pairs it is in: does it find its users?"""
    pairs, positives = support_by(labels, title, len(ids))
    return TitleResults(
        title=list(ids),
        kind=[""] * len(ids) if kind is None else list(kind),
        pairs=pairs,
        positives=positives,
        pr_auc=average_precision_by(labels, scores, title, len(ids)),
    )


def macro_average_precision(
    labels: np.ndarray,
    scores: np.ndarray,
    territory: np.ndarray,
    n_territories: int,
    min_positives: int = 1,
) -> float:
    """Mean average precision of the territories with at least ``min_positives`` positives; NaN without any.

    ``territory`` (B,) is that of each pair's user. This is what early stopping watches: unlike the overall
    figure it does not let the largest territories speak for all.
    """
    _, positives = support_by(labels, territory, n_territories)
    pr_auc = average_precision_by(labels, scores, territory, n_territories)
    return float(mean_defined(pr_auc[positives >= max(1, min_positives)]))
