"""Gains of PR-AUC of one method over another on the same test pairs, with bootstrap intervals and verdicts.

``experiment`` and ``compare`` both measure gains here. Names: S seeds, B test pairs, N periods, C territories.
"""

from dataclasses import asdict, dataclass

import numpy as np

from twotower.core.environment import usable_cores
from twotower.core.progress import Progress
from twotower.core.random_streams import Stream, generator
from twotower.core.serialisation import plain
from twotower.core.storage import read_json, write_json
from twotower.experiments.methods import BASELINES
from twotower.experiments.plan import MEASURES, Plan
from twotower.experiments.schema import GainsRecord, ScoresRecord
from twotower.experiments.setup import Setup
from twotower.metrics.average_precision import average_precision_by
from twotower.metrics.averages import mean_defined
from twotower.metrics.bootstrap import bootstrap_gains
from twotower.metrics.significance import ENOUGH_USERS, GainSummary, enough_support, summarise
from twotower.training.run import RunReader


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

    def gains(self, method: np.ndarray, baseline: np.ndarray, progress: Progress) -> GainSummary:
        """Gains of one method's scores (S, B) over the other's, with seeds in the same order."""
        gains = bootstrap_gains(
            self.label,
            method,
            baseline,
            self.user,
            self.territory,
            self.n_territories,
            self.period,
            rng=generator(0, Stream.BOOTSTRAP),
            replicates=self.replicates,
            threads=usable_cores(),
            progress=progress,
        )
        return summarise(gains, self.major, enough_support(gains, self.min_positives))


def gains_record(method: str, baseline: str, summary: GainSummary, order: np.ndarray) -> GainsRecord:
    """A comparison as it stands in records, with territories in their ``order``."""
    record: GainsRecord = plain({"method": method, "baseline": baseline, **asdict(summary.ordered(order))})
    return record


def stage_of(progress: Progress, method: str, baseline: str) -> Progress:
    """Progress that names the comparison."""
    return lambda stage, done, total: progress(f"{stage}: {method} over {baseline}", done, total)


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
    return first + [pair for pair in further if pair not in first]


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

    def gains(self, method: str, baseline: str, progress: Progress) -> GainsRecord:
        """One comparison of the record; it is kept, and read again as long as the runs are the same."""
        file = self.plan.path / MEASURES / f"{method}-over-{baseline}.json"
        runs = [
            [RunReader(self.plan.run_path(name, seed)).created for seed in range(self.plan.seeds)]
            for name in (method, baseline)
        ]
        origin = {"runs": runs, "replicates": self.plan.replicates, "min_positives": self.plan.min_positives}
        if file.is_file() and (kept := read_json(file)).get("origin") == origin:
            gains: GainsRecord = kept["gains"]
            return gains
        summary = self.test.gains(self.scores(method), self.scores(baseline), stage_of(progress, method, baseline))
        record = gains_record(method, baseline, summary, self.order)
        write_json(file, {"origin": origin, "gains": record})
        return record
