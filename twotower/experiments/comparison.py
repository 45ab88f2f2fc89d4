"""Compare runs that were trained one by one: which are one method, and what one method gains over another.

The record has the structure of the same parts of ``experiment.json``, so that both are shown by the same tables.
"""

import glob
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twotower.core.config import Config
from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.core.serialisation import plain
from twotower.data.dataset import Dataset
from twotower.data.sample import Pairs, Sample
from twotower.experiments.gains import ENOUGH_SEEDS, TestSet, as_one_stage, figures_of, gains_record
from twotower.experiments.plan import period_name
from twotower.experiments.ranked_runs import choose_test_users, last_days
from twotower.experiments.schema import (
    ComparedRankings,
    ComparisonRecord,
    RankingRecord,
    RunsRecord,
    ScoresRecord,
    TerritoryRecord,
)
from twotower.experiments.user_figures import Rankings
from twotower.metrics.averages import mean_defined
from twotower.metrics.bootstrap import Resampled, without_replicates
from twotower.metrics.gains import match_runs, relative_gain
from twotower.metrics.recommended import TOP
from twotower.metrics.results import ENOUGH_POSITIVES, TerritoryResults
from twotower.metrics.significance import GainSummary, summarise
from twotower.training.periods import period_of
from twotower.training.run import RunReader

MAX_DAYS = 7  # test days whose gains are averaged by default; more are one ranking, since a day has few positives
NOT_THE_METHOD = {"seed", "threads"}  # settings that may differ between runs of one method


class Comparison:
    """Some methods' runs, all evaluated on the same test pairs."""

    def __init__(
        self,
        methods: dict[str, list[RunReader]],
        dataset: Path | None = None,
        top: int | None = 16,
        min_positives: int = ENOUGH_POSITIVES,
        by_day: bool | None = None,
        replicates: int = 1000,
        k: int = TOP,
    ):
        """Read the test pairs from ``dataset``, by default that of the runs.

        Where the runs' own dataset is gone or has changed there are gains without intervals, and a note says so.

        ``top`` is the number of territories (those with most users; None: all) that count as major. Gains are averaged
        over test days ``by_day``, or taken from one ranking of all days; None: by day up to MAX_DAYS days. ``k`` titles
        per user count in ranking metrics.
        """
        self.methods = methods
        run = next(iter(methods.values()))[0]
        self.results = run.evaluation.territories
        self.order = self.results.largest()
        self.major = np.isin(np.arange(len(self.results.code)), self.order[:top])
        days = list(run.evaluation.days)
        self.by_day = len(days) <= MAX_DAYS if by_day is None else by_day
        self.periods = [(day,) for day in days] if self.by_day else [tuple(days)]
        self.min_positives = min_positives
        self.replicates, self.k = replicates, k
        self.test, self.ranked, self.notes = None, None, few_seeds(methods)
        self.known: dict[tuple[Path, ...], Resampled] = {}
        self.started = time.perf_counter()
        try:
            opened, pairs = open_test_pairs(run, dataset or run.dataset)
        except InputError as error:
            if dataset is not None:
                raise
            self.notes.append(f"No intervals, and no verdicts: {error}")
        else:
            territory = np.asarray(opened.user_territory)[pairs.user].astype(np.int64)
            period = period_of(pairs.day, self.periods)
            settings = (self.major, min_positives, replicates)
            self.test = TestSet(pairs.label, pairs.user, territory, period, len(self.periods), *settings)
            latest = last_days([run for runs in methods.values() for run in runs])
            self.ranked = choose_test_users(opened, pairs, latest)

    @property
    def evaluated(self) -> np.ndarray:
        """Which territories (C,) have enough positives, and users with positives where the pairs are known."""
        return self.test.support()["evaluated"] if self.test else self.results.positives >= self.min_positives

    def of_runs(self, runs: Sequence[RunReader]) -> np.ndarray:
        """PR-AUC as saved with each run, (S, N, C)."""
        by_run = [list(e.days.values()) if self.by_day else [e.territories] for e in (run.evaluation for run in runs)]
        return np.array([[period.pr_auc for period in periods] for periods in by_run])

    def gains(self, method: str, baseline: str, progress: Progress) -> GainSummary:
        """The gains of one method over another, runs matched by seed."""
        matched = self.matched(method, baseline)
        if self.test:
            return self.test.gains(*(self.resampled(runs, progress) for runs in matched))
        by_seed = relative_gain(*(self.of_runs(runs) for runs in matched))
        overall = relative_gain(*(np.array([[run.evaluation.overall] for run in runs]) for runs in matched))
        if len(self.periods) > 1:  # the rankings of single days were not saved
            overall = np.full(by_seed.shape[:2], np.nan)
        return summarise(without_replicates(by_seed, overall), self.major, self.evaluated)

    def matched(self, method: str, baseline: str) -> tuple[list[RunReader], list[RunReader]]:
        """The runs of two methods, one to one by their seeds."""
        pairs = match_runs(*([run.seed for run in self.methods[name]] for name in (method, baseline)))
        return [self.methods[method][a] for a, _ in pairs], [self.methods[baseline][b] for _, b in pairs]

    def rankings(self, compared: Iterable[tuple[str, str]], progress: Progress) -> ComparedRankings:
        """Ranking metrics of each method that recommends, and gains; a note says of which there are none."""
        if self.ranked is None or not len(self.ranked.rows):
            return {"ranking_users": [], "rankings": {}, "ranking_gains": []}
        rankings = Rankings(self.ranked.territory, self.major, self.order, self.replicates)
        values: dict[Path, dict[str, np.ndarray]] = {}
        levels: dict[str, RankingRecord] = {}
        for name, runs in self.methods.items():
            try:
                values |= {run.path: self.ranked.ranking(run, self.k, progress) for run in runs}
            except InputError as error:
                self.notes.append(f"No ranking metrics of {name}: {error}")
            else:
                levels[name] = rankings.record(rankings.resampled([values[run.path] for run in runs]))
        gains = []
        for pair in compared:
            if levels.keys() >= set(pair):
                both = ([values[run.path] for run in runs] for runs in self.matched(*pair))
                gains += rankings.gains(pair, *(rankings.resampled(of_runs) for of_runs in both))
        users = rankings.users.population.residents[self.order].tolist()
        return {"ranking_users": users, "rankings": levels, "ranking_gains": gains}

    def resampled(self, runs: Sequence[RunReader], progress: Progress) -> Resampled:
        """The bootstrap of some runs of a method, kept for its next comparison."""
        key = tuple(run.path for run in runs)
        if key not in self.known:
            assert self.test is not None
            n_methods = len(self.methods)
            tell = as_one_stage(progress, runs[0].label, len(self.known) % n_methods, n_methods, self.started)
            self.known[key] = self.test.resampling.pr_auc(np.stack([np.asarray(run.scores) for run in runs]), tell)
        return self.known[key]

    def record(self, compared: Sequence[tuple[str, str]], progress: Progress) -> ComparisonRecord:
        """The comparison as plain values: methods, territories with test pairs, PR-AUC and gains."""
        results, order, evaluated = self.results, self.order, self.evaluated
        pr_auc: dict[str, ScoresRecord] = {}
        for name, runs in self.methods.items():
            by_period = self.of_runs(runs).mean(axis=0)[:, order]
            pr_auc[name] = {"average": plain(mean_defined(by_period, axis=0)), "by_period": plain(by_period)}
        gains = [gains_record("pr_auc", *pair, self.gains(*pair, progress), order) for pair in compared]
        rankings = self.rankings(compared, progress)
        record: ComparisonRecord = {
            "test_digest": next(iter(self.methods.values()))[0].test_digest,
            "notes": self.notes,
            "k": self.k,
            "methods": [self.method_record(name) for name in self.methods],
            "periods": [{"name": period_name(days), "days": list(days)} for days in self.periods],
            "min_positives": self.min_positives,
            "territories": [territory_record(results, c, self.major[c], evaluated[c]) for c in order],
            "pr_auc": pr_auc,
            "gains": gains,
            **rankings,
        }
        record = plain(record)
        return record

    def method_record(self, name: str) -> RunsRecord:
        """The runs of a method and their figures."""
        runs = self.methods[name]
        pr_auc = np.stack([run.evaluation.territories.pr_auc for run in runs])
        return {
            "name": name,
            "runs": [str(run.path) for run in runs],
            "seeds": [run.seed for run in runs],
            **figures_of([run.overall for run in runs], pr_auc, self.evaluated, self.results.code),
        }


def compare_runs(
    patterns: Sequence[str], against: str | None = None, progress: Progress = silent, **options: Any
) -> ComparisonRecord:
    """Compare the first method among some runs with each other one, or each other one with the method ``against``.

    ``options`` are those of ``Comparison``. Errors: InputError when a path is no run, when runs were evaluated on
    different test pairs, and when there is nothing to compare.
    """
    reference = open_runs([against]) if against else []
    runs = open_runs([*patterns, *([against] if against else [])])
    if len(runs) < 2:
        raise InputError(f"{runs[0].path}: only one run; name another one to compare it with")
    check_comparable(runs)
    methods = group_by_method(runs)
    first, *others = methods
    if reference:
        baseline = method_among(reference, methods)
        compared = [(name, baseline) for name in methods if name != baseline]
    else:
        compared = [(first, name) for name in others]
    return Comparison(methods, **options).record(compared, progress)


def few_seeds(methods: Mapping[str, Sequence[RunReader]]) -> list[str]:
    """A warning where a method has too few runs to show how trainings differ."""
    fewest = min(map(len, methods.values()))
    if fewest >= ENOUGH_SEEDS:
        return []
    found = f"{counted(fewest, 'seed')} of a method"
    return [f"{found}: intervals show little of how trainings differ; {ENOUGH_SEEDS} are better."]


def open_test_pairs(run: RunReader, path: Path) -> tuple[Dataset, Pairs]:
    """The dataset of a run and its test pairs.

    Errors: InputError when there is no dataset any more, or its test pairs or territories have changed.
    """
    dataset = Dataset.open(path)
    pairs = Sample(dataset, run.sample).test_pairs()
    if pairs.digest() != run.test_digest or dataset.territories.code != run.evaluation.territories.code:
        raise InputError(f"{path}: the test pairs of sample {run.sample!r} have changed since {run.path}; train again")
    return dataset, pairs


def territory_record(results: TerritoryResults, c: int, major: bool, evaluated: bool) -> TerritoryRecord:
    """A territory with its support."""
    return {
        "code": results.code[c],
        "name": results.name[c],
        "group": results.group[c],
        "users": results.users[c],
        "test_users": results.test_users[c],
        "test_pairs": results.pairs[c],
        "test_positives": results.positives[c],
        "base_rate": results.base_rate[c],
        "major": major,
        "evaluated": evaluated,
    }


def open_runs(patterns: Iterable[str]) -> list[RunReader]:
    """The runs at some paths; ``*``, ``?`` and ``[`` in a path that does not exist are a pattern.

    A run named twice counts once.

    Errors: InputError for a pattern that matches nothing, and for what is no run.
    """
    runs: dict[Path, RunReader] = {}
    for pattern in patterns:
        paths = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern))
        if not paths and glob.has_magic(pattern):
            raise InputError(f"{pattern}: no run matches, expected directories of runs, such as runs/*")
        for path in paths or [pattern]:
            runs.setdefault(Path(path).resolve(), RunReader(path))
    return list(runs.values())


def check_comparable(runs: Sequence[RunReader]) -> None:
    """Errors: InputError unless all runs were evaluated on the same test pairs of the same territories."""
    first = runs[0]
    for run in runs[1:]:
        if run.test_digest != first.test_digest:
            raise InputError(
                f"{run.path} and {first.path} were evaluated on different test pairs "
                f"(digests {run.test_digest[:8]} and {first.test_digest[:8]}); compare runs of one sample"
            )
        one, other = run.evaluation.territories, first.evaluation.territories
        if one.code != other.code or (one.users != other.users).any():
            raise InputError(f"{run.path} and {first.path}: their territories differ; compare runs of one dataset")


def group_by_method(runs: Sequence[RunReader]) -> dict[str, list[RunReader]]:
    """Runs by the name of their method, in order of first appearance.

    Runs with the same label, sample and configuration, the seed aside, are one method. If that would make a
    single method of all runs, each is a method of its own: they are to be seen side by side.
    """
    groups: dict[str, list[RunReader]] = {}
    for run in runs:
        settings = run.config if run.rival else Config.from_dict(run.config, str(run.path)).to_dict()
        groups.setdefault(repr((run.label, run.sample, method_settings(settings))), []).append(run)
    members = list(groups.values()) if len(groups) > 1 else [[run] for run in runs]

    names = [group[0].label for group in members]
    for further in (lambda run: run.path.name, lambda run: str(run.path)):
        names = [
            further(group[0]) if names.count(name) > 1 else name for name, group in zip(names, members, strict=True)
        ]
    return dict(zip(names, members, strict=True))


def method_settings(config: Any) -> Any:
    """A configuration without what may differ between runs of one method, in one order of keys."""
    if not isinstance(config, dict):
        return config
    return {key: method_settings(config[key]) for key in sorted(config) if key not in NOT_THE_METHOD}


def method_among(runs: Sequence[RunReader], methods: dict[str, list[RunReader]]) -> str:
    """The name of the one method that some runs belong to. Errors: InputError when they belong to several."""
    paths = {run.path.resolve() for run in runs}
    names = [name for name, members in methods.items() if paths & {run.path.resolve() for run in members}]
    if len(names) > 1:
        raise InputError(f"{runs[0].path} and others: runs of several methods ({', '.join(names)}), expected one")
    return names[0]
