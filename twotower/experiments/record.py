"""All results of an experiment as one record of plain values: ``experiment.json``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twotower.core.environment import environment_facts
from twotower.core.progress import Progress
from twotower.core.serialisation import plain
from twotower.core.version import __version__
from twotower.experiments.gains import ExperimentGains, comparisons, figures_of
from twotower.experiments.measures import Measured
from twotower.experiments.panel import Panel
from twotower.experiments.parts import part_records
from twotower.experiments.plan import FORMAT_VERSION, period_name
from twotower.experiments.schema import (
    BiasRecord,
    CalibrationRecord,
    Column,
    DatasetRecord,
    ExperimentRecord,
    MethodRecord,
    TrainedTerritoryRecord,
)
from twotower.experiments.setup import Setup
from twotower.experiments.summary import summary
from twotower.experiments.titles import (
    distance_records,
    histogram_record,
    kind_records,
    pair_records,
    title_records,
    title_scores,
)
from twotower.experiments.user_figures import change_records, of_experiment
from twotower.metrics.averages import mean_and_spread, mean_defined, ratio, spread
from twotower.metrics.popularity_bias import MEASURES
from twotower.metrics.recommended import TOP
from twotower.training.run import RunReader


def make_record(setup: Setup, panel: Panel, created: str, progress: Progress) -> ExperimentRecord:
    """The record of an experiment whose runs have all been trained and measured."""
    plan, gains, measured = setup.plan, ExperimentGains(setup), Measured(setup)
    methods = [method_record(setup, gains, method.name) for method in plan.methods]
    scores = title_scores(setup)
    gained = gains.gains(comparisons(plan), progress)
    record: ExperimentRecord = {
        "format": FORMAT_VERSION,
        "created": created,
        "twotower": __version__,
        "name": plan.name,
        "main_method": plan.main_method,
        "baselines": plan.baselines,
        "summary": [],
        "dataset": dataset_record(setup),
        "samples": sample_records(setup),
        "environment": environment_facts(),
        "seconds": sum(sum(method["seconds"]) for method in methods),
        "methods": methods,
        "periods": [{"name": period_name(days), "days": list(days)} for days in setup.periods],
        "territories": territory_records(setup, gains),
        "min_positives": plan.min_positives,
        "replicates": plan.replicates,
        "panel_users": len(panel.rows),
        "panel_day": panel.day,
        "pr_auc": {method.name: gains.pr_auc(method.name) for method in plan.methods},
        "gains": gained,
        "parts": part_records(plan, methods, gained),
        "k": TOP,
        **of_experiment(gains, measured, panel, progress),
        "titles": title_records(setup, panel, scores),
        "title_pairs": pair_records(setup, panel, scores),
        "title_kinds": kind_records(setup, panel, scores),
        "bias": {method.name: bias_record(gains, measured, method.name) for method in plan.methods},
        "bias_changes": change_records(gains, measured, panel, progress),
        "measures": {name: measure._asdict() for name, measure in MEASURES.items()},
        "calibration": {method.name: calibration_record(gains, measured, method.name) for method in plan.methods},
        "distances": distance_records(setup, panel, measured),
        "histograms": histogram_record(setup, panel, measured),
    }
    record = plain(record)
    record["summary"] = summary(record)
    return record


def dataset_record(setup: Setup) -> DatasetRecord:
    """What the data are."""
    dataset = setup.dataset
    return {
        "path": without_folders(str(dataset.path)),
        "users": dataset.n_users,
        "titles": dataset.n_titles,
        "territories": dataset.n_territories,
        "train_days": dataset.train_days,
        "test_days": dataset.test_days,
        "has_time": dataset.has_time,
        "vectors": [dataset.user_vectors.shape[1], dataset.title_vectors.shape[1]],
        "about": without_folders(dataset.manifest.get("provenance", {})),
    }


def without_folders(facts: Any) -> Any:
    """Nested facts with the names of files alone: where they lay on one machine is nobody else's business."""
    if isinstance(facts, dict):
        return {key: without_folders(value) for key, value in facts.items()}
    if isinstance(facts, list):
        return [without_folders(value) for value in facts]
    return Path(facts).name if isinstance(facts, str) and Path(facts).is_absolute() else facts


def sample_records(setup: Setup) -> dict[str, dict[str, Any]]:
    """The settings of each sample, and its size."""
    records = {}
    for kind, sampled in setup.samples.items():
        pairs = sampled.train_pairs()
        records[kind] = {
            **sampled.config,
            "train_users": len(sampled.train_users),
            "active_users": int(sampled.active.sum()),
            "test_users": len(sampled.test_users),
            "train_positives": int(pairs.label.sum()),
            "train_pairs": len(pairs),
        }
    return records


def method_record(setup: Setup, gains: ExperimentGains, name: str) -> MethodRecord:
    """What a method is, and the figures of its runs."""
    plan = setup.plan
    method, seeds = plan.method(name), list(range(plan.seeds))
    runs = [RunReader(plan.run_path(name, seed)) for seed in seeds]
    facts = [run.facts for run in runs]
    evaluated = gains.test.support()["evaluated"]  # (C,)
    pr_auc = np.stack([run.evaluation.territories.pr_auc for run in runs])  # (S, C)
    settings = plan.config(method, 0).to_dict()
    settings["train"] = {key: value for key, value in settings["train"].items() if key != "seed"}
    return {
        "name": name,
        "about": method.about,
        "rival": method.rival,
        "sample": method.sample,
        "settings": settings,
        "grouping": method.grouping,
        "seeds": seeds,
        **figures_of([run.overall for run in runs], pr_auc, evaluated, setup.dataset.territories.code),
        "title_offsets": [fact.get("title_offsets") for fact in facts],
        "seconds": [fact.get("seconds", 0.0) for fact in facts],
    }


def territory_records(setup: Setup, gains: ExperimentGains) -> list[TrainedTerritoryRecord]:
    """Every territory with its support, by users: Table 1."""
    territories, support, order = setup.dataset.territories, gains.test.support(), gains.order
    groups, rate = setup.geography, ratio(support["positives"], support["pairs"])
    trained = {kind: counts.sum(axis=1) for kind, counts in setup.positives.items()}
    return [
        {
            "code": territories.code[c],
            "name": territories.name[c],
            "group": groups[c],
            "users": territories.users[c],
            "test_users": support["users"][c],
            "test_pairs": support["pairs"][c],
            "test_positives": support["positives"][c],
            "base_rate": rate[c],
            "train_positives": {kind: counts[c] for kind, counts in trained.items()},
            "major": gains.test.major[c],
            "evaluated": support["evaluated"][c],
        }
        for c in order
    ]


def over_seeds(kept: Sequence[Mapping[str, Column]], order: np.ndarray) -> tuple[dict[str, Column], dict[str, Column]]:
    """Mean and spread over seeds of columns per territory, territories in their ``order``."""
    by_seed = {name: np.array([columns[name] for columns in kept], float)[:, order] for name in kept[0]}  # (S, C) each
    means = {name: mean_defined(values, axis=0) for name, values in by_seed.items()}
    return plain(means), plain({name: spread(values) for name, values in by_seed.items()})


def bias_record(gains: ExperimentGains, measured: Measured, method: str) -> BiasRecord:
    """Every measure of popularity bias: mean and spread over seeds, of all users and per territory."""
    territories, spreads = over_seeds([kept["bias"]["territories"] for kept in measured.of(method)], gains.order)
    overall = {name: list(mean_and_spread(measured.overall(method, name))) for name in MEASURES}
    return {"overall": plain(overall), "territories": territories, "territory_spreads": spreads}


def calibration_record(gains: ExperimentGains, measured: Measured, method: str) -> CalibrationRecord:
    """The reliability curve of all seeds' test pairs together; its error and excess per territory, over seeds."""
    curves = [kept["calibration"] for kept in measured.of(method)]
    pairs = np.array([curve["pairs"] for curve in curves])  # (S, M)
    territories, spreads = over_seeds([curve["territories"] for curve in curves], gains.order)

    def pooled(columns: Sequence[Column]) -> Column:
        sums = np.where(pairs > 0, np.array(columns, float) * pairs, 0.0).sum(axis=0)
        return plain(ratio(sums, pairs.sum(axis=0)))

    return {
        "edges": curves[0]["edges"],
        "predicted": pooled([curve["predicted"] for curve in curves]),
        "observed": pooled([curve["observed"] for curve in curves]),
        "pairs": pairs.sum(axis=0).tolist(),
        "ece": plain(np.mean([curve["ece"] for curve in curves])),
        "excess": plain(np.mean([curve["excess"] for curve in curves])),
        "territories": territories,
        "territory_spreads": spreads,
    }
