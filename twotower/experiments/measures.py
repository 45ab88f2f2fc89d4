"""Measures of a run on the panel: popularity bias, calibration, histograms, and some probabilities to compare runs by.

They are kept beside the runs, ``measures/METHOD-SEED.json`` and ``.npz``, so that an experiment that is taken up again
measures only what is new.
"""

import shutil
from dataclasses import asdict
from typing import cast

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.manifest import digest_of
from twotower.core.progress import Progress, silent
from twotower.core.serialisation import plain
from twotower.core.storage import read_record, read_record_or_none, whole_file, write_record
from twotower.experiments.methods import Method
from twotower.experiments.panel import Panel, choose_panel, score_all
from twotower.experiments.plan import FORMAT_VERSION
from twotower.experiments.rivals.runs import score_panel
from twotower.experiments.schema import MeasuresRecord
from twotower.experiments.setup import Setup
from twotower.metrics.calibration import calibration_by, reliability, user_histograms
from twotower.metrics.origins import MISCALIBRATION, miscalibration
from twotower.metrics.popularity_bias import BY_USER, measures, probability
from twotower.metrics.recommended import RANKING_METRICS, ranking_metrics
from twotower.training.run import RunReader

SHOWN_TERRITORIES = 16  # in histograms, by users
SHOWN_TITLES = 60  # of each territory, by training positives there
HISTOGRAM_SEED = 0  # whose histograms are kept
BINS = 20
USER_FIGURES = (*RANKING_METRICS, MISCALIBRATION, *BY_USER)  # rows of "figures", kept of each user of the panel


def measure_missing(setup: Setup, progress: Progress) -> Panel:
    """Measure every run that has not been; returns the panel that all were measured on."""
    plan = setup.plan
    panel = choose_panel(setup, progress)
    missing = [(m, seed) for m, seed in plan.runs() if not is_measured(setup, m.name, seed)]
    for done, (method, seed) in enumerate(missing):
        progress(f"measuring runs · {method.name}, seed {seed}", done, len(missing))
        measure_one(setup, panel, method, seed)
    if missing:
        progress("measuring runs", len(missing), len(missing))
    return panel


def is_measured(setup: Setup, method: str, seed: int) -> bool:
    """Whether there are measures of the current run, on this panel."""
    path = setup.plan.measures_path(method, seed)
    kept = read_record_or_none(path)
    if kept is None or kept.get("of", kept.get("origin")) != origin(setup, method, seed):
        return False
    arrays = path.with_suffix(".npz")
    return arrays.is_file() and digest_of(arrays) == kept.get("arrays")


def origin(setup: Setup, method: str, seed: int) -> dict[str, object]:
    """What measures depend on."""
    run = RunReader(setup.plan.run_path(method, seed))
    sample = setup.plan.method(setup.plan.main_method).sample
    kept = {"format": FORMAT_VERSION, "figures": list(USER_FIGURES), "day": setup.last_period[0]}
    return {**kept, "run": run.created, "reference": sample}


def measure_one(setup: Setup, panel: Panel, method: Method, seed: int) -> None:
    """Measure one run and save the result."""
    plan = setup.plan
    path, file = plan.run_path(method.name, seed), plan.measures_path(method.name, seed)
    if method.rival and seed:
        return measure_as_first(setup, method, seed)
    dataset, _ = setup.heads(method, seed)
    with threadpool_limits(1, "blas"):
        if method.rival:
            scores = score_panel(setup, method, panel.rows)
        else:
            scores = score_all(path, dataset, panel.rows, silent)
    known = panel.popularity, panel.locality.local, panel.locality.is_global, panel.profile
    bias = measures(scores, panel.allowed, panel.territory, *known)
    pairs, p = setup.test_pairs, probability(np.asarray(RunReader(path).scores))
    home = np.asarray(dataset.user_territory)[pairs.user]
    ece, excess = calibration_by(pairs.label, p, home, dataset.n_territories)
    curve = reliability(pairs.label, p)
    calibration = {**asdict(curve), "ece": curve.ece, "excess": curve.excess}
    arrays = {kind: probability(scores[cells]) for kind, cells in panel.probes.items()}
    ranked = ranking_metrics(bias.top, *panel.found)
    figures = dict(zip(RANKING_METRICS, ranked, strict=True)) | bias.by_user
    figures[MISCALIBRATION] = miscalibration(bias.top, panel.profiles, panel.shares)
    arrays["figures"] = np.stack([figures[name] for name in USER_FIGURES]).astype(np.float32)
    if seed == HISTOGRAM_SEED:
        arrays["histograms"] = histograms(setup, panel, scores)
    file.parent.mkdir(exist_ok=True)
    with whole_file(file.with_suffix(".npz")) as partial, open(partial, "wb") as out:
        np.savez(out, **arrays)  # type: ignore[arg-type]
    record: MeasuresRecord = plain(
        {
            "origin": origin(setup, method.name, seed),
            "bias": {"overall": bias.overall, "territories": bias.territories},
            "calibration": {**calibration, "territories": {"ece": ece, "excess": excess}},
        }
    )
    write_record(file, {**record, "arrays": digest_of(file.with_suffix(".npz"))})


def measure_as_first(setup: Setup, method: Method, seed: int) -> None:
    """The measures of a run that is the same with every seed."""
    first, file = (setup.plan.measures_path(method.name, s) for s in (0, seed))
    with whole_file(file.with_suffix(".npz")) as partial:
        shutil.copyfile(first.with_suffix(".npz"), partial)
    write_record(file, read_record(first) | {"of": origin(setup, method.name, seed)})


def shown_titles(setup: Setup, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """The territories (c,) whose histograms are kept, and their titles (c, m), −1 for none.

    Local titles of the territory come first, then those with most positives there.
    """
    dataset = setup.dataset
    counts = setup.positives[setup.plan.method(setup.plan.main_method).sample]
    present = np.bincount(panel.territory, minlength=dataset.n_territories) > 0
    territories = np.array([c for c in dataset.territories.majors() if present[c]][:SHOWN_TERRITORIES], np.int64)
    titles = np.full((len(territories), SHOWN_TITLES), -1)
    for row, c in enumerate(territories):
        known = np.flatnonzero(np.asarray(dataset.availability)[:, c] & (counts[c] > 0))
        order = np.lexsort((known, -counts[c, known], ~panel.locality.local[c, known]))
        chosen = known[order][:SHOWN_TITLES]
        titles[row, : len(chosen)] = chosen
    return territories, titles


def histograms(setup: Setup, panel: Panel, scores: np.ndarray) -> np.ndarray:
    """Users by the probability of an allowed title, in each shown territory: (c, m, bins) uint32."""
    territories, titles = shown_titles(setup, panel)
    counts = np.zeros((*titles.shape, BINS), np.uint32)
    for row, c in enumerate(territories):
        who, known = np.flatnonzero(panel.territory == c), titles[row][titles[row] >= 0]
        p = probability(scores[np.ix_(who, known)])
        allowed = panel.allowed[np.ix_(who, known)]
        counts[row, : len(known)] = user_histograms(p, allowed, BINS)
    return counts


class Measured:
    """The measures of all runs of an experiment."""

    def __init__(self, setup: Setup):
        self.plan = setup.plan
        self.of_runs: dict[tuple[str, int], MeasuresRecord] = {
            (method.name, seed): cast(MeasuresRecord, read_record(self.plan.measures_path(method.name, seed)))
            for method, seed in self.plan.runs()
        }

    def array(self, method: str, seed: int, name: str) -> np.ndarray:
        """Probabilities of the panel's probes of a kind, figures of users, or the histograms of seed 0."""
        with np.load(self.plan.measures_path(method, seed).with_suffix(".npz"), allow_pickle=False) as arrays:
            return arrays[name]

    def figure(self, method: str, name: str) -> np.ndarray:
        """One of ``USER_FIGURES`` of each user of the panel, of each seed (S, n)."""
        row = USER_FIGURES.index(name)
        return np.stack([self.array(method, seed, "figures")[row] for seed in range(self.plan.seeds)])

    def of(self, method: str) -> list[MeasuresRecord]:
        """The measures of each seed."""
        return [self.of_runs[method, seed] for seed in range(self.plan.seeds)]

    def overall(self, method: str, measure: str) -> np.ndarray:
        """A measure of popularity bias of all users, of each seed (S,); NaN where undefined."""
        return np.array([kept["bias"]["overall"][measure] for kept in self.of(method)], float)
