"""Gains of PR-AUC of one method over another on the same test pairs, with bootstrap intervals and verdicts.

``experiment`` and ``compare`` both measure gains here. Names: S seeds, B test pairs, N periods, C territories.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from twotower.core.environment import usable_cores
from twotower.core.formatting import duration
from twotower.core.progress import DETAIL, Progress
from twotower.core.random_streams import Stream, generator
from twotower.core.serialisation import plain
from twotower.core.storage import read_record_or_none, write_record
from twotower.experiments.methods import BASELINES
from twotower.experiments.parts import steps
from twotower.experiments.plan import MEASURES, Plan
from twotower.experiments.schema import FiguresRecord, GainsRecord, ScoresRecord
from twotower.experiments.setup import Setup
from twotower.metrics.average_precision import average_precision_by
from twotower.metrics.averages import lowest_and_gap, mean_defined
from twotower.metrics.bootstrap import STAGE, Resampled, Resampling
from twotower.metrics.significance import ENOUGH_USERS, GainSummary, enough_support, summarise
from twotower.training.run import RunReader

ENOUGH_SEEDS = 5  # fewer hardly show how trainings differ


@dataclass(frozen=True, eq=False)
class TestSet:
    """Test pairs, with the requirements for evaluating a territory."""

    label: np.ndarray  # (B,)
    user: np.ndarray  # (B,)
    territory: np.ndarray  # (B,) of the user
    period: np.ndarray  # (B,) 0 to N − 1
    n_periods: int
    major: np.ndarray  # (C,) bool
    min_positives: int  # of an evaluated territory
    replicates: int  # of the bootstrap

    __test__ = False  # no class of tests, though its name begins like one

    @property
    def n_territories(self) -> int:
        return len(self.major)

    def support(self) -> dict[str, np.ndarray]:
        """Users, pairs, positives and users with positives of each territory (C,), and whether it is evaluated."""
        positive, C = self.label > 0, self.n_territories
        home = np.full(int(self.user.max(initial=-1)) + 1, -1)
        home[self.user] = self.territory
        users, with_positives = np.unique(self.user), np.unique(self.user[positive])
        counts = {
            "users": np.bincount(home[users], minlength=C),
            "pairs": np.bincount(self.territory, minlength=C),
            "positives": np.bincount(self.territory[positive], minlength=C),
            "users_with_positives": np.bincount(home[with_positives], minlength=C),
        }
        enough = (counts["positives"] >= self.min_positives) & (counts["users_with_positives"] >= ENOUGH_USERS)
        return counts | {"evaluated": enough}

    def pr_auc(self, scores: np.ndarray) -> np.ndarray:
        """PR-AUC per period and territory (N, C) of scores (S, B), the mean over seeds."""
        cell, n_cells = self.period * self.n_territories + self.territory, self.n_periods * self.n_territories
        by_seed = np.stack([average_precision_by(self.label, of_seed, cell, n_cells) for of_seed in scores])
        return by_seed.mean(axis=0).reshape(self.n_periods, self.n_territories)

    @cached_property
    def resampling(self) -> Resampling:
        """The replicates, the same for all methods."""
        return Resampling(
            self.label,
            self.user,
            self.territory,
            self.n_territories,
            self.period,
            rng=generator(0, Stream.BOOTSTRAP),
            replicates=self.replicates,
            threads=usable_cores(),
            n_periods=self.n_periods,
        )

    def gains(self, method: Resampled, baseline: Resampled) -> GainSummary:
        """Gains of one method over the other, with seeds in the same order."""
        gains = self.resampling.gains(method, baseline)
        return summarise(gains, self.major, enough_support(gains, self.min_positives))


def gains_record(metric: str, method: str, baseline: str, summary: GainSummary, order: np.ndarray) -> GainsRecord:
    """A comparison as it stands in records, with territories in their ``order``."""
    facts = {"metric": metric, "method": method, "baseline": baseline}
    record: GainsRecord = plain({**facts, **asdict(summary.ordered(order))})
    return record


def figures_of(
    overall: Sequence[float], pr_auc: np.ndarray, evaluated: np.ndarray, codes: Sequence[str]
) -> FiguresRecord:
    """Figures of a method, of each seed: ``overall`` PR-AUC, and what that per territory (S, C) comes to.

    ``evaluated`` (C,) bool are the territories with enough support.
    """
    judged = pr_auc[:, evaluated]
    means = judged.mean(axis=0)
    lowest = [lowest_and_gap(of_seed) for of_seed in judged]
    names = [code for code, there in zip(codes, evaluated, strict=True) if there]
    record: FiguresRecord = plain(
        {
            "overall": list(overall),
            "macro": mean_defined(pr_auc, axis=1),
            "macro_evaluated": mean_defined(judged, axis=1),
            "worst": [worst for worst, _ in lowest],
            "gap": [gap for _, gap in lowest],
            "worst_territory": names[int(np.nanargmin(means))] if names and not np.isnan(means).all() else None,
        }
    )
    return record


def as_one_stage(progress: Progress, name: str, done: int, total: int, started: float) -> Progress:
    """Progress of the bootstrap of one method, ``done`` of ``total`` before it, with how long all will take together.

    ``started`` is when the first of them began (``time.perf_counter``).
    """

    def tell(_: str, replicates: int, of: int) -> None:
        share = (done + replicates / of) / total
        expected = f", {duration((time.perf_counter() - started) / share)} in all" if share else ""
        progress(f"{STAGE}{DETAIL}{name}{expected}", done * of + replicates, total * of)

    return tell


def comparisons(plan: Plan) -> list[tuple[str, str]]:
    """Which methods are compared: the main method with every other one, and the others with the baselines.

    Among many methods the others are compared with the last baseline, the strongest, alone.
    """
    names = [method.name for method in plan.methods]
    others = [name for name in names if name != plan.main_method]
    known = [name for name in BASELINES if name in names]
    networks = [method for method in plan.methods if not method.rival]
    known = known if len(networks) <= len(BASELINES) + 4 else known[-1:]
    first = [(plan.main_method, name) for name in [*plan.baselines, *(n for n in others if n not in plan.baselines)]]
    further = [(name, base) for name in others for base in known if names.index(name) > names.index(base)]
    parts = [(method, baseline) for _, method, baseline in steps(plan)]
    return list(dict.fromkeys([*first, *further, *parts]))


class ExperimentGains:
    """PR-AUC and gains of the methods of an experiment; gains are kept beside the runs."""

    def __init__(self, setup: Setup):
        dataset, pairs, plan = setup.dataset, setup.test_pairs, setup.plan
        self.plan = plan
        self.order = dataset.territories.majors(dataset.n_territories)  # (C,) most users first
        self.test = TestSet(
            label=pairs.label,
            user=pairs.user,
            territory=np.asarray(dataset.user_territory)[pairs.user].astype(np.int64),
            period=setup.period,
            n_periods=len(setup.periods),
            major=np.isin(np.arange(dataset.n_territories), dataset.territories.majors()),
            min_positives=plan.min_positives,
            replicates=plan.replicates,
        )

    def scores(self, method: str) -> np.ndarray:
        """Logits (S, B) of the test pairs."""
        seeds = range(self.plan.seeds)
        return np.stack([np.asarray(RunReader(self.plan.run_path(method, seed)).scores) for seed in seeds])

    def pr_auc(self, method: str) -> ScoresRecord:
        """PR-AUC per territory, by period and their mean; each the mean over seeds."""
        by_period = self.test.pr_auc(self.scores(method))[:, self.order]
        return {"average": plain(mean_defined(by_period, axis=0)), "by_period": plain(by_period)}

    def gains(self, compared: Sequence[tuple[str, str]], progress: Progress) -> list[GainsRecord]:
        """The comparisons of the record; each is kept, and read again as long as the runs are the same.

        Each method is resampled once, and forgotten after its last comparison.
        """
        missing = [pair for pair in compared if self.kept(*pair) is None]
        names = list(dict.fromkeys(name for pair in missing for name in pair))
        resampled: dict[str, Resampled] = {}
        started = time.perf_counter()
        for done, name in enumerate(names):
            tell = as_one_stage(progress, name, done, len(names), started)
            resampled[name] = self.test.resampling.pr_auc(self.scores(name), tell)
            for pair in [pair for pair in missing if set(pair) <= set(resampled)]:
                summary = self.test.gains(*(resampled[one] for one in pair))
                record = gains_record("pr_auc", *pair, summary, self.order)
                write_record(self.file(*pair), {"origin": self.origin(*pair), "gains": record})
                missing.remove(pair)
            awaited = {one for pair in missing for one in pair}
            resampled = {one: values for one, values in resampled.items() if one in awaited}
        records = [self.kept(*pair) for pair in compared]
        return [record for record in records if record is not None]

    def kept(self, method: str, baseline: str) -> GainsRecord | None:
        """A comparison that was made before, of the same runs."""
        file = self.file(method, baseline)
        kept = read_record_or_none(file)
        if kept is not None and kept.get("origin") == self.origin(method, baseline):
            gains: GainsRecord = kept["gains"]
            return gains
        return None

    def file(self, method: str, baseline: str) -> Path:
        return self.plan.path / MEASURES / f"{method}-over-{baseline}.json"

    def origin(self, method: str, baseline: str) -> dict[str, Any]:
        """What a comparison depends on."""
        runs = [
            [RunReader(self.plan.run_path(name, seed)).created for seed in range(self.plan.seeds)]
            for name in (method, baseline)
        ]
        return {"runs": runs, "replicates": self.plan.replicates, "min_positives": self.plan.min_positives}
