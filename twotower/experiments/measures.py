"""What a run shows the audience: popularity bias, calibration, histograms, and some probabilities to compare runs by.

They are kept beside the runs, ``measures/METHOD-SEED.json`` and ``.npz``, so that an experiment that is taken up again
measures only what is new.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.progress import Progress, silent
from twotower.core.serialisation import plain
from twotower.core.storage import read_json, whole_file, write_file
from twotower.experiments.methods import Method
from twotower.experiments.panel import Audience, gather_audience, score_all
from twotower.experiments.setup import Laboratory
from twotower.metrics.calibration import calibration_by, reliability
from twotower.metrics.histograms import user_histograms
from twotower.metrics.popularity_bias import measures, probability
from twotower.training.run import RunReader

SHOWN_TERRITORIES = 16  # in histograms, by audience
SHOWN_TITLES = 60  # of each territory, by training positives there
HISTOGRAM_SEED = 0  # whose histograms are kept
BINS = 20


def measure_missing(laboratory: Laboratory, progress: Progress) -> Audience:
    """Measure every run that has not been; returns the audience that all were measured on."""
    plan = laboratory.plan
    audience = gather_audience(laboratory, progress)
    missing = [(m, seed) for m, seed in plan.runs() if not is_measured(laboratory, m.name, seed)]
    for done, (method, seed) in enumerate(missing):
        progress(f"measuring runs · {method.name}, seed {seed}", done, len(missing))
        measure_one(laboratory, audience, method, seed)
    if missing:
        progress("measuring runs", len(missing), len(missing))
    return audience


def is_measured(laboratory: Laboratory, method: str, seed: int) -> bool:
    """Whether measures lie there that are of the run that lies there, on this audience."""
    path = laboratory.plan.measures_path(method, seed)
    if not (path.is_file() and path.with_suffix(".npz").is_file()):
        return False
    return read_json(path).get("of") == origin(laboratory, method, seed)


def origin(laboratory: Laboratory, method: str, seed: int) -> dict[str, Any]:
    """What measures depend on."""
    run = RunReader(laboratory.plan.run_path(method, seed))
    sample = laboratory.plan.method(laboratory.plan.ours).sample
    return {"run": run.created, "reference": sample, "day": laboratory.last_period[0]}


def measure_one(laboratory: Laboratory, audience: Audience, method: Method, seed: int) -> None:
    """Measure one run and keep what was found."""
    plan = laboratory.plan
    path, file = plan.run_path(method.name, seed), plan.measures_path(method.name, seed)
    dataset, _ = laboratory.heads(method, seed)
    with threadpool_limits(1, "blas"):
        scores = score_all(path, dataset, audience.rows, silent)
    homes = audience.homes
    bias = measures(
        scores,
        audience.allowed,
        audience.territory,
        audience.popularity,
        homes.local,
        homes.is_global,
        audience.profile,
    )
    pairs, p = laboratory.test_pairs, probability(np.asarray(RunReader(path).scores))
    home = np.asarray(dataset.user_territory)[pairs.user]
    ece, excess = calibration_by(pairs.label, p, home, dataset.n_territories)
    calibration = reliability(pairs.label, p).record() | {"territories": {"ece": ece, "excess": excess}}
    arrays: dict[str, Any] = {kind: probability(scores[cells]) for kind, cells in audience.probes.items()}
    if seed == HISTOGRAM_SEED:
        arrays["histograms"] = histograms(laboratory, audience, scores)
    file.parent.mkdir(exist_ok=True)
    with whole_file(file.with_suffix(".npz")) as partial, open(partial, "wb") as out:
        np.savez(out, **arrays)
    record = {"of": origin(laboratory, method.name, seed), "bias": bias.record(), "calibration": calibration}
    write_file(file, json.dumps(plain(record)))


def shown_titles(laboratory: Laboratory, audience: Audience) -> tuple[np.ndarray, np.ndarray]:
    """The territories (c,) whose histograms are kept, and their titles (c, m), −1 for none.

    Local titles of the territory come first, then those with most positives there.
    """
    dataset = laboratory.dataset
    counts = laboratory.positives[laboratory.plan.method(laboratory.plan.ours).sample]
    present = np.bincount(audience.territory, minlength=dataset.n_territories) > 0
    territories = np.array([c for c in dataset.territories.majors() if present[c]][:SHOWN_TERRITORIES], np.int64)
    titles = np.full((len(territories), SHOWN_TITLES), -1)
    for row, c in enumerate(territories):
        known = np.flatnonzero(np.asarray(dataset.availability)[:, c] & (counts[c] > 0))
        order = np.lexsort((known, -counts[c, known], ~audience.homes.local[c, known]))
        chosen = known[order][:SHOWN_TITLES]
        titles[row, : len(chosen)] = chosen
    return territories, titles


def histograms(laboratory: Laboratory, audience: Audience, scores: np.ndarray) -> np.ndarray:
    """Users by the probability of a title that they may be offered, in each shown territory: (c, m, bins) uint32."""
    territories, titles = shown_titles(laboratory, audience)
    counts = np.zeros((*titles.shape, BINS), np.uint32)
    for row, c in enumerate(territories):
        who, known = np.flatnonzero(audience.territory == c), titles[row][titles[row] >= 0]
        p = probability(scores[np.ix_(who, known)])
        allowed = audience.allowed[np.ix_(who, known)]
        found, _ = user_histograms(p, np.zeros(len(who), np.int64), 1, BINS, allowed)
        counts[row, : len(known)] = found[0]
    return counts


class Measured:
    """The measures of all runs of an experiment."""

    def __init__(self, laboratory: Laboratory):
        self.plan = laboratory.plan
        runs = self.plan.runs()
        self.found: Mapping[tuple[str, int], dict[str, Any]] = {
            (method.name, seed): read_json(self.plan.measures_path(method.name, seed)) for method, seed in runs
        }

    def array(self, method: str, seed: int, name: str) -> np.ndarray:
        """Probabilities of the audience's probes of a kind, or the histograms of seed 0."""
        path: Path = self.plan.measures_path(method, seed).with_suffix(".npz")
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]

    def overall(self, method: str, measure: str) -> list[float]:
        """A measure of all users, of each seed; NaN where undefined."""
        return [number(self._bias(method, seed)["overall"][measure]) for seed in range(self.plan.seeds)]

    def by_territory(self, method: str, measure: str) -> np.ndarray:
        """A measure per territory of each seed (S, C)."""
        return numbers([self._bias(method, seed)["territories"][measure] for seed in range(self.plan.seeds)])

    def calibration_by_territory(self, method: str, name: str) -> np.ndarray:
        """Expected calibration error or excess per territory of each seed (S, C)."""
        return numbers([curve["territories"][name] for curve in self.calibration(method)])

    def calibration(self, method: str) -> list[dict[str, Any]]:
        """The reliability curve of each seed."""
        return [self.found[method, seed]["calibration"] for seed in range(self.plan.seeds)]

    def _bias(self, method: str, seed: int) -> dict[str, Any]:
        return self.found[method, seed]["bias"]


def numbers(rows: list[list[float | None]]) -> np.ndarray:
    return np.array([[number(value) for value in row] for row in rows])


def number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
