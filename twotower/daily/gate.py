"""The gate: reasons not to serve a day, which is then kept as a candidate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twotower.core.errors import InputError
from twotower.data.grown import GrownDataset
from twotower.metrics.results import ENOUGH_POSITIVES, Evaluation

FEWEST_DAYS = 3  # before, to compare a day with
ENOUGH_EVENTS = 100  # of a territory, for its volume to be compared


@dataclass(frozen=True)
class Limits:
    """What a day must keep to, in order to be served."""

    drop: float = 0.3  # share that PR-AUC may fall below the mean of the last days, overall or in a territory
    days: int = 7  # that are compared with
    unknown_titles: float = 0.5  # share of the day's events with new titles
    without_history: float = 0.9  # share of the day's users without history
    volume: float = 10.0  # factor by which a territory's events may differ from the mean of the last days

    def __post_init__(self) -> None:
        for name in ("drop", "unknown_titles", "without_history"):
            if not 0 < getattr(self, name) <= 1:
                option = f"--max-{name.replace('_', '-')}"
                raise InputError(f"{option} {getattr(self, name)}: expected above 0 and at most 1")
        if self.volume <= 1:
            raise InputError(f"--max-volume {self.volume:g}: expected a factor above 1")


def reasons_against(
    limits: Limits, before: GrownDataset, earlier: Sequence[Evaluation], dataset: GrownDataset, evaluation: Evaluation,
    params: np.ndarray,
) -> list[str]:  # fmt: skip
    """One line per reason to keep the last day of a dataset as a candidate; none where it may be served.

    ``before`` is the dataset without the day, ``earlier`` the evaluations of the days before it, the latest first.
    """
    part = dataset.parts[-1]
    events, users = part.arrays["event_title"], part.arrays["vector_user"]
    reasons = [] if np.isfinite(params).all() else ["weights are not finite"]
    twins = [other.day["date"] for other in before.parts if other.day["content"] == part.day["content"]]
    reasons += [f"has the same events as {twin}" for twin in twins]
    reasons += drops(limits, earlier, evaluation)
    unknown = np.count_nonzero(events >= before.n_titles) / max(len(events), 1)
    if unknown > limits.unknown_titles:
        reasons.append(f"{unknown:.0%} of the events have new titles (--max-unknown-titles {limits.unknown_titles:g})")
    strangers = np.count_nonzero(users >= before.n_users) / max(len(users), 1)
    if strangers > limits.without_history:
        limit = f"--max-without-history {limits.without_history:g}"
        reasons.append(f"{strangers:.0%} of the users have no history ({limit})")
    return reasons + odd_volumes(limits, before, dataset)


def drops(limits: Limits, earlier: Sequence[Evaluation], evaluation: Evaluation) -> list[str]:
    """PR-AUC below the band around the last days: of all pairs, and of territories with enough positives."""
    series = [("all", evaluation.positives, evaluation.overall, [(e.positives, e.overall) for e in earlier])]
    now = evaluation.territories
    for c, code in enumerate(now.code):
        tables = [e.territories for e in earlier if c < len(e.territories.code)]
        series.append((code, int(now.positives[c]), float(now.pr_auc[c]),
                       [(int(table.positives[c]), float(table.pr_auc[c])) for table in tables]))  # fmt: skip
    reasons = []
    for name, positives, pr_auc, past in series:
        known = [value for support, value in past if support >= ENOUGH_POSITIVES][: limits.days]
        if positives < ENOUGH_POSITIVES or len(known) < FEWEST_DAYS:
            continue
        mean = float(np.mean(known))
        if pr_auc < (1 - limits.drop) * mean:
            reasons.append(f"PR-AUC of {name} {pr_auc:.4f}, {mean:.4f} on the days before (--max-drop {limits.drop:g})")
    return reasons


def odd_volumes(limits: Limits, before: GrownDataset, dataset: GrownDataset) -> list[str]:
    """Territories whose events are far from their mean of the last days."""
    last = before.parts[1:][-limits.days :]
    if len(last) < FEWEST_DAYS:
        return []
    territory, C = np.asarray(dataset.user_territory), dataset.n_territories
    of_days = [np.bincount(territory[part.array("event_user")], minlength=C) for part in (*last, dataset.parts[-1])]
    mean, now = np.mean(of_days[:-1], axis=0), of_days[-1]
    odd = (np.maximum(mean, now) >= ENOUGH_EVENTS) & ((now > limits.volume * mean) | (now * limits.volume < mean))
    odd &= mean > 0  # a territory that opens
    return [f"{now[c]:,} events of {dataset.territories.code[c]}, {mean[c]:,.0f} on the days before "
            f"(--max-volume {limits.volume:g})" for c in np.flatnonzero(odd).tolist()]  # fmt: skip
