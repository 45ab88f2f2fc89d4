"""Methods against each other: relative gains of PR-AUC per territory and period, and how sure they are.

Names: S seeds, B test pairs, N periods, C territories. In records territories stand with most users first.
"""

from dataclasses import asdict
from typing import Any

import numpy as np

from twotower.core.environment import usable_cores
from twotower.core.progress import Progress
from twotower.core.random_streams import Stream, generator
from twotower.core.serialisation import plain
from twotower.core.storage import read_json, write_json
from twotower.experiments.methods import BASELINES
from twotower.experiments.plan import MEASURES, Plan
from twotower.experiments.setup import Setup
from twotower.metrics.average_precision import average_precision_by
from twotower.metrics.averages import mean_defined
from twotower.metrics.bootstrap import bootstrap_gains
from twotower.metrics.significance import ENOUGH_USERS, enough_support, summarise
from twotower.training.run import RunReader


def comparisons(plan: Plan) -> list[tuple[str, str]]:
    """Who is evaluated against whom: method against every other method, and those against the baselines.

    Where there are many, the others only meet the last baseline, the strongest.
    """
    names = [method.name for method in plan.methods]
    others = [name for name in names if name != plan.main_method]
    known = [name for name in BASELINES if name in names]
    networks = [method for method in plan.methods if not method.rival]
    known = known if len(networks) <= len(BASELINES) + 4 else known[-1:]
    first = [(plan.main_method, name) for name in [*plan.baselines, *(n for n in others if n not in plan.baselines)]]
    further = [(name, base) for name in others for base in known if names.index(name) > names.index(base)]
    return first + [pair for pair in further if pair not in first]


class Judge:
    """All that a comparison needs, read once."""

    def __init__(self, setup: Setup):
        dataset, pairs = setup.dataset, setup.test_pairs
        self.setup, self.plan = setup, setup.plan
        self.labels, self.user = pairs.label, pairs.user
        self.territory = np.asarray(dataset.user_territory)[pairs.user].astype(np.int64)  # (B,)
        self.order = dataset.territories.majors(dataset.n_territories)  # (C,) most users first
        self.major = np.zeros(dataset.n_territories, bool)
        self.major[dataset.territories.majors()] = True

    @property
    def C(self) -> int:
        return len(self.order)

    def scores(self, method: str) -> np.ndarray:
        """Logits (S, B) of the test pairs."""
        seeds = range(self.plan.seeds)
        return np.stack([np.asarray(RunReader(self.plan.run_path(method, seed)).scores) for seed in seeds])

    def support(self) -> dict[str, np.ndarray]:
        """Users, pairs, positives and users with positives of each territory (C,), and whether it can be evaluated."""
        positive = self.labels > 0
        home = np.full(int(self.user.max(initial=-1)) + 1, -1)
        home[self.user] = self.territory
        users, winners = np.unique(self.user), np.unique(self.user[positive])
        found = {
            "users": np.bincount(home[users], minlength=self.C),
            "pairs": np.bincount(self.territory, minlength=self.C),
            "positives": np.bincount(self.territory[positive], minlength=self.C),
            "users_with_positives": np.bincount(home[winners], minlength=self.C),
        }
        enough = (found["positives"] >= self.plan.min_positives) & (found["users_with_positives"] >= ENOUGH_USERS)
        return found | {"evaluated": enough}

    def pr_auc(self, method: str) -> dict[str, Any]:
        """PR-AUC per territory, by period and their mean; each the mean over seeds."""
        scores, period = self.scores(method), self.setup.period
        n = len(self.setup.periods)
        cell = period * self.C + self.territory
        found = np.stack([average_precision_by(self.labels, one, cell, n * self.C) for one in scores])
        by_period = found.mean(axis=0).reshape(n, self.C)[:, self.order]  # (N, C)
        return {"average": mean_defined(by_period, axis=0), "by_period": by_period}

    def gains(self, method: str, baseline: str, progress: Progress) -> dict[str, Any]:
        """One comparison of the record; it is kept, and read again as long as the runs are the same."""
        file = self.plan.path / MEASURES / f"{method}-over-{baseline}.json"
        origin = {
            "runs": [[RunReader(self.plan.run_path(name, seed)).created for seed in range(self.plan.seeds)]
                     for name in (method, baseline)],
            "replicates": self.plan.replicates,
            "min_positives": self.plan.min_positives,
        }  # fmt: skip
        if file.is_file() and (kept := read_json(file)).get("origin") == origin:
            return dict(kept["gains"])
        told = self._bootstrap(method, baseline, progress)
        write_json(file, {"origin": origin, "gains": told})
        return told

    def _bootstrap(self, method: str, baseline: str, progress: Progress) -> dict[str, Any]:
        found = bootstrap_gains(
            self.labels,
            self.scores(method),
            self.scores(baseline),
            self.user,
            self.territory,
            self.C,
            self.setup.period,
            rng=generator(0, Stream.BOOTSTRAP),
            replicates=self.plan.replicates,
            threads=usable_cores(),
            progress=lambda stage, done, total: progress(f"{stage}: {method} over {baseline}", done, total),
        )
        summary = summarise(found, self.major, enough_support(found, self.plan.min_positives))
        gains: dict[str, Any] = plain(asdict(summary.ordered(self.order)))
        return {"method": method, "baseline": baseline, **gains}
