"""Local and global titles in an experiment: what each method makes of them. T titles, S seeds."""

import numpy as np

from twotower.core.serialisation import plain
from twotower.experiments.measures import HISTOGRAM_SEED, Measured, shown_titles
from twotower.experiments.panel import Panel
from twotower.experiments.schema import DistanceRecord, HistogramRecord, KindRecord, TitlePairRecord, TitleRecord
from twotower.experiments.setup import Setup
from twotower.metrics.averages import mean_defined
from twotower.metrics.distances import Distance, distance
from twotower.metrics.title_gains import comparable_pairs, gains_of_kind, title_gains
from twotower.training.run import RunReader

KINDS = ("local", "global", "")  # of titles; the last are neither
ENOUGH_TITLE_POSITIVES = 10  # test positives of a title, for its PR-AUC to be compared


def title_scores(setup: Setup) -> dict[str, np.ndarray]:
    """PR-AUC of every title under each method's runs, (S, T) each."""
    plan = setup.plan
    return {
        method.name: np.stack(
            [RunReader(plan.run_path(method.name, s)).evaluation.titles.pr_auc for s in range(plan.seeds)]
        )
        for method in plan.methods
    }


def title_records(setup: Setup, panel: Panel, scores: dict[str, np.ndarray]) -> list[TitleRecord]:
    """A record per title, in the order of the dataset."""
    dataset, locality, pairs = setup.dataset, panel.locality, setup.test_pairs
    tested = np.bincount(pairs.title[pairs.label > 0], minlength=dataset.n_titles)
    means = {name: mean_defined(of_method, axis=0) for name, of_method in scores.items()}
    names, codes = dataset.titles.get("name", dataset.title_ids), dataset.territories.code
    return [
        {
            "id": dataset.title_ids[t],
            "name": names[t] or dataset.title_ids[t],
            "kind": locality.kind[t],
            "home_territory": codes[locality.home_territory[t]] if locality.home_territory[t] >= 0 else None,
            "share": locality.share[t],
            "lift": locality.lift[t],
            "train_positives": locality.positives[t],
            "test_positives": tested[t],
            "pr_auc": {name: mean[t] for name, mean in means.items()},
        }
        for t in range(dataset.n_titles)
    ]


def pair_records(setup: Setup, panel: Panel, scores: dict[str, np.ndarray]) -> list[TitlePairRecord]:
    """Local titles beside global ones with comparable positives, and the gains of the main method on both: Table 3."""
    plan, dataset, pairs = setup.plan, setup.dataset, setup.test_pairs
    counts = setup.positives[plan.method(plan.main_method).sample]
    tested = np.bincount(pairs.title[pairs.label > 0], minlength=dataset.n_titles)
    majors = dataset.territories.majors()
    gains = {name: title_gains(scores[plan.main_method], scores[name]) for name in plan.baselines}
    return [
        {
            "territory": dataset.territories.code[pair.territory],
            "local": dataset.title_ids[pair.local],
            "global": dataset.title_ids[pair.global_],
            "local_positives": pair.local_positives,
            "global_positives": pair.global_positives,
            "gains": {name: {"local": g[pair.local], "global": g[pair.global_]} for name, g in gains.items()},
        }
        for pair in comparable_pairs(counts, panel.locality, majors, tested >= ENOUGH_TITLE_POSITIVES)
    ]


def kind_records(setup: Setup, panel: Panel, scores: dict[str, np.ndarray]) -> list[KindRecord]:
    """Gains of the main method over all titles of a kind with enough test positives, since pairs are single titles."""
    plan, pairs, kind = setup.plan, setup.test_pairs, np.array(panel.locality.kind)
    enough = np.bincount(pairs.title[pairs.label > 0], minlength=setup.dataset.n_titles) >= ENOUGH_TITLE_POSITIVES
    records: list[KindRecord] = []
    for baseline in plan.baselines:
        gains = title_gains(scores[plan.main_method], scores[baseline])
        for name in KINDS:
            of_kind = gains_of_kind(gains, (kind == name) & enough)._asdict()
            pair = {"method": plan.main_method, "baseline": baseline, "kind": name or "other"}
            records.append(plain(pair | of_kind))
    return records


def distance_records(setup: Setup, panel: Panel, measured: Measured) -> list[DistanceRecord]:
    """Distances of the main method's probabilities from each baseline's, the mean over seeds.

    Of local and of global titles, over all users and those of each major territory.
    """
    plan, territories, seeds = setup.plan, setup.dataset.territories, range(setup.plan.seeds)
    records: list[DistanceRecord] = []
    for baseline in plan.baselines:
        for kind, (user, _) in panel.probes.items():
            home = panel.territory[user]
            masks = {None: np.ones(len(home), bool)}
            masks |= {territories.code[c]: home == c for c in territories.majors()}
            by_seed = [[measured.array(name, s, kind) for name in (plan.main_method, baseline)] for s in seeds]
            for code, mask in masks.items():
                if mask.any():
                    each = np.array([distance(method[mask], other[mask]) for method, other in by_seed])  # (S, 3)
                    means = dict(zip(Distance._fields, each.mean(axis=0), strict=True))
                    pair = {"method": plan.main_method, "baseline": baseline, "kind": kind, "territory": code}
                    records.append(plain(pair | means))
    return records


def histogram_record(setup: Setup, panel: Panel, measured: Measured) -> HistogramRecord:
    """Figure 2: users by their probability of a title, per territory, under the baselines and the main method."""
    plan, dataset = setup.plan, setup.dataset
    methods = [*plan.baselines[:2], plan.main_method]
    territories, titles = shown_titles(setup, panel)
    counts = [measured.array(name, HISTOGRAM_SEED, "histograms") for name in methods]  # (c, m, bins) each
    codes = [dataset.territories.code[c] for c in territories]
    shown: dict[str, list[str]] = {}
    histograms: dict[str, dict[str, list[list[int]]]] = {}
    for row, code in enumerate(codes):
        known = [(column, dataset.title_ids[t]) for column, t in enumerate(titles[row]) if t >= 0]
        shown[code] = [name for _, name in known]
        histograms[code] = {
            name: [of_method[row, column].tolist() for of_method in counts] for column, name in known
        }
    edges = np.linspace(0, 1, counts[0].shape[-1] + 1).tolist()
    return {"edges": edges, "methods": methods, "territories": codes, "titles": shown, "counts": histograms}
