"""Runs → methods → gains: which runs are one method with several seeds, and who is evaluated against whom."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twotower.core.config import Config
from twotower.core.errors import InputError
from twotower.metrics.gains import Comparison, Method, gains_over
from twotower.training.run import RunReader

MOST_DAYS = 7  # test days that are evaluated one by one unless asked for; more are one ranking
ALL_DAYS = "all"  # what the days are called then
NOT_THE_METHOD = {"seed", "threads"}  # settings that may differ between runs of one method


def compare_runs(
    patterns: Sequence[str],
    against: str | None = None,
    top: int | None = 16,
    min_positives: int = 0,
    by_day: bool | None = None,
) -> Comparison:
    """Judge the first method among some runs against each other one, or each other one ``against`` one.

    Chosen are the ``top`` territories by users (all when None) with at least ``min_positives`` positives.

    Gains are taken ``by_day`` and averaged, or over the pairs of all test days in one ranking, which is better
    when a day has few positives: unless told, up to MOST_DAYS test days are taken one by one.

    Errors: InputError when a path is no run, when runs were evaluated on different test pairs, and when there
    is nothing to compare.
    """
    reference = open_runs([against]) if against else []
    runs = open_runs([*patterns, *([against] if against else [])])
    if len(runs) < 2:
        raise InputError(f"{runs[0].path}: only one run; name another one to compare it with")
    check_comparable(runs)
    groups = group_by_method(runs)
    days: list[int | str] = list(runs[0].evaluation.days)
    if not (len(days) <= MOST_DAYS if by_day is None else by_day):
        days = [ALL_DAYS]
    methods = [method_of(name, members, min_positives, days == [ALL_DAYS]) for name, members in groups.items()]
    if reference:
        baseline = the_method(reference, groups)
        gains = [gains_over(method, methods[baseline]) for i, method in enumerate(methods) if i != baseline]
    else:
        gains = [gains_over(methods[0], other) for other in methods[1:]]

    evaluation = groups[gains[0].method.name][0].evaluation
    rows = evaluation.territories.largest(top, min_positives)
    if not len(rows):
        raise InputError(f"no territory has {min_positives} positives among the test pairs")
    return Comparison(methods, gains, days, evaluation.territories, rows, runs[0].test_digest)


def open_runs(patterns: Iterable[str]) -> list[RunReader]:
    """The runs at some paths; ``*``, ``?`` and ``[`` in a path that does not exist stand for what matches.

    A run named twice counts once.

    Errors: InputError for a pattern that matches nothing, and for what is no run.
    """
    runs: dict[Path, RunReader] = {}
    for pattern in patterns:
        paths = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern))
        if not paths and glob.has_magic(pattern):
            raise InputError(f"{pattern}: no run matches")
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
        here, there = run.evaluation.territories, first.evaluation.territories
        if here.code != there.code or (here.users != there.users).any():
            raise InputError(f"{run.path} and {first.path}: their territories differ; compare runs of one dataset")


def group_by_method(runs: Sequence[RunReader]) -> dict[str, list[RunReader]]:
    """Runs by the name of their method, in order of first appearance.

    Runs with the same label, sample and configuration, the seed aside, are one method. If that would make a
    single method of all runs, each stands for itself: someone wants to see them side by side.
    """
    groups: dict[str, list[RunReader]] = {}
    for run in runs:
        settings = Config.from_dict(run.config, str(run.path)).to_dict()  # a run may be older than a setting
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


def method_of(name: str, runs: Sequence[RunReader], min_positives: int = 1, pooled: bool = False) -> Method:
    """The figures of a method's runs; their macro counts territories with at least ``min_positives``.

    With ``pooled``, all test days are one day.
    """
    found = [run.evaluation for run in runs]
    days = [[e.territories] if pooled else list(e.days.values()) for e in found]
    return Method(
        name=name,
        seeds=[run.seed for run in runs],
        by_day=np.stack([np.stack([day.pr_auc for day in of_run]) for of_run in days]),
        pooled=np.stack([e.territories.pr_auc for e in found]),
        overall=np.array([e.overall for e in found]),
        macro=np.array([e.macro(min_positives) for e in found]),
        runs=[str(run.path) for run in runs],
    )


def the_method(runs: Sequence[RunReader], groups: dict[str, list[RunReader]]) -> int:
    """The position of the one method that some runs belong to.

    Errors: InputError when they are of several.
    """
    paths = {run.path.resolve() for run in runs}
    found = [i for i, group in enumerate(groups.values()) if paths & {run.path.resolve() for run in group}]
    if len(found) > 1:
        names = ", ".join(list(groups)[i] for i in found)
        raise InputError(f"{runs[0].path} and others: runs of several methods ({names}), expected one")
    return found[0]
