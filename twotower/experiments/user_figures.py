"""Figures of single users, as records: ranking metrics, and changes of popularity bias, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import sqrt

import numpy as np
from scipy.stats import t as student_t

from twotower.core.progress import Progress
from twotower.core.random_streams import Stream, generator
from twotower.core.serialisation import plain
from twotower.experiments.gains import ExperimentGains, gains_record
from twotower.experiments.measures import Measured
from twotower.experiments.panel import Panel
from twotower.experiments.schema import ChangeRecord, ComparedRankings, GainsRecord, MeanRecord, RankingRecord
from twotower.metrics.averages import mean_and_spread
from twotower.metrics.bootstrap import Resampled
from twotower.metrics.origins import MISCALIBRATION
from twotower.metrics.popularity_bias import BY_USER, MEASURES
from twotower.metrics.recommended import RANKING_METRICS
from twotower.metrics.user_means import UserMeans


def user_resampling() -> np.random.Generator:
    """What all means over users are resampled by, so that commands agree."""
    return generator(0, Stream.USER_BOOTSTRAP)


class Rankings:
    """Ranking metrics of methods: levels of each, and gains of one over another."""

    def __init__(self, territory: np.ndarray, major: np.ndarray, order: np.ndarray, replicates: int):
        """``territory`` (n,) of each user, ``major`` (C,) bool, ``order`` (C,) of the territories in records."""
        self.users = UserMeans(territory, len(major), user_resampling(), replicates)
        self.major, self.order = major, order

    def resampled(self, figures: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Resampled]:
        """Of the figures of users, (n,) each, of one method's runs."""
        return {name: self.users.means(np.stack([of_run[name] for of_run in figures])) for name in figures[0]}

    def record(self, found: Mapping[str, Resampled]) -> RankingRecord:
        levels = {name: self.users.level(of_metric) for name, of_metric in found.items()}
        return plain(
            {
                "overall": {name: asdict(level.overall) for name, level in levels.items()},
                "macro": {name: asdict(level.macro) for name, level in levels.items()},
                "territories": {
                    name: {key: getattr(level, key)[self.order] for key in ("mean", "low", "high")}
                    for name, level in levels.items()
                },
            }
        )

    def gains(
        self, names: tuple[str, str], method: Mapping[str, Resampled], baseline: Mapping[str, Resampled]
    ) -> list[GainsRecord]:
        """A record per metric of one method over another."""
        return [
            gains_record(metric, *names, self.users.gain(method[metric], baseline[metric], self.major), self.order)
            for metric in RANKING_METRICS
        ]


def of_experiment(
    gains: ExperimentGains, measured: Measured, panel: Panel, progress: Progress
) -> ComparedRankings:
    """Users with something to find per territory, ranking metrics per method, and gains of the main one."""
    plan = gains.plan
    some = np.unique(panel.found[0])
    rankings = Rankings(panel.territory[some], gains.test.major, gains.order, plan.replicates)
    records: dict[str, RankingRecord] = {}
    kept: dict[str, dict[str, Resampled]] = {}
    for done, method in enumerate(plan.methods):
        progress("ranking metrics", done, len(plan.methods))
        names = (*RANKING_METRICS, *([MISCALIBRATION] if panel.shares.size else []))
        figures = {name: measured.figure(method.name, name)[:, some] for name in names}
        found = rankings.resampled([{name: of[s] for name, of in figures.items()} for s in range(plan.seeds)])
        records[method.name] = rankings.record(found)
        if method.rival or method.name in (plan.main_method, *plan.baselines):
            kept[method.name] = found
    progress("ranking metrics", len(plan.methods), len(plan.methods))
    pairs = [(plan.main_method, other) for other in kept if other != plan.main_method]
    gained = [record for pair in pairs for record in rankings.gains(pair, *(kept[name] for name in pair))]
    users = rankings.users.population.residents[gains.order].tolist()
    return {"ranking_users": users, "rankings": records, "ranking_gains": gained}


def change_records(
    gains: ExperimentGains, measured: Measured, panel: Panel, progress: Progress
) -> list[ChangeRecord]:
    """Popularity bias of the main method against each baseline: over users and seeds where users have a figure each."""
    plan = gains.plan
    users = UserMeans(panel.territory, len(gains.order), user_resampling(), plan.replicates)
    records: list[ChangeRecord] = []
    for done, name in enumerate(MEASURES):
        progress("changes of popularity bias", done + 1, len(MEASURES))
        of_users = name in BY_USER
        found = {m: users.means(measured.figure(m, name)) for m in (plan.main_method, *plan.baselines) if of_users}
        for baseline in plan.baselines:
            if of_users:
                mean: MeanRecord = plain(asdict(users.change(found[plan.main_method], found[baseline])))
            else:
                mean = over_seeds(*(measured.overall(method, name) for method in (plan.main_method, baseline)))
            over = "users and seeds" if of_users else "seeds"
            pair = {"method": plan.main_method, "baseline": baseline, "measure": name}
            records.append(ChangeRecord(**pair, **mean, direction=direction(mean), over=over))  # type: ignore[typeddict-item]
    return records


def over_seeds(method: np.ndarray, baseline: np.ndarray) -> MeanRecord:
    """The difference of two means over seeds, with Welch's interval at S − 1 degrees of freedom."""
    (new, new_spread), (old, old_spread) = (mean_and_spread(values) for values in (method, baseline))
    margin = float("nan")
    if len(method) > 1:
        margin = float(student_t.ppf(0.975, len(method) - 1)) * sqrt((new_spread**2 + old_spread**2) / len(method))
    return plain({"mean": new - old, "low": new - old - margin, "high": new - old + margin})


def direction(change: MeanRecord) -> str:
    """more, less or undecided by an interval; unknown without one."""
    low, high = change["low"], change["high"]
    if low is None or high is None:
        return "unknown"
    return "more" if low > 0 else "less" if high < 0 else "undecided"
