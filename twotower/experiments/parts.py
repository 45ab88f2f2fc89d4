"""Which part of the main method's gain each ingredient has: heads, weights of memory per group, offsets of titles.

Methods that have some of the main method's ingredients, and are otherwise like it, form a chain from none to all of
them; each step adds what it does not share with the one before. Without such methods there is one step.
"""

from collections.abc import Sequence
from itertools import pairwise

from twotower.core.config import CELL_OFFSETS, Config
from twotower.experiments.methods import GROUP_TRAINING
from twotower.experiments.plan import Plan
from twotower.experiments.report.wording import average, mean_of
from twotower.experiments.schema import GainsRecord, MethodRecord, PartRecord

WORDS = {"offsets": "title offsets", "memory": "memory weights per group", "heads": "heads"}
SETTINGS = {  # what else changes with an ingredient
    "offsets": ("title_offsets", "group_prior"),
    "memory": ("groups",),
    "heads": ("groups", "head", "rank", "experts", "title_bias", "territory_bias", "batchnorm", *GROUP_TRAINING),
}


def ingredients(config: Config) -> frozenset[str]:
    """What of a model territories or groups have for themselves."""
    model = config.model
    parts = {
        "heads": model.multi_task or model.territory_bias,
        "memory": model.memory and model.groups > 1,
        "offsets": model.title_offsets in CELL_OFFSETS,
    }
    return frozenset(part for part, there in parts.items() if there)


def chain(plan: Plan) -> list[str]:
    """Methods from one without any ingredient to the main one, on its sample; empty where there are none."""
    main = plan.method(plan.main_method)
    configs = {method.name: plan.config(method, 0) for method in plan.methods}
    own, goal = configs[main.name], ingredients(configs[main.name])
    known: dict[str, frozenset[str]] = {}
    for method in plan.methods:
        alike = method.sample == main.sample and method.grouping in ("none", main.grouping)
        parts = ingredients(configs[method.name])
        if alike and not method.rival and not method.separate and differs_by(configs[method.name], own, goal - parts):
            known[method.name] = parts
    names = [name for name, parts in known.items() if not parts][:1]
    while names and names[-1] != main.name:
        further = [name for name, parts in known.items() if known[names[-1]] < parts < goal]
        names.append(min(further, key=lambda name: len(known[name])) if further else main.name)
    return names


def differs_by(one: Config, other: Config, parts: frozenset[str]) -> bool:
    """Whether two configurations differ in nothing but settings of some ingredients."""
    mine, its = one.to_dict(), other.to_dict()
    apart = {key for section in mine for key in mine[section] if mine[section][key] != its[section][key]}
    return apart <= {key for part in parts for key in SETTINGS[part]}


def part_records(plan: Plan, methods: Sequence[MethodRecord], gains: Sequence[GainsRecord]) -> list[PartRecord]:
    """A record per step of the chain."""
    names = chain(plan)
    means = {method["name"]: average(method["overall"]) for method in methods}
    compared = {(told["method"], told["baseline"]): told for told in gains}
    records: list[PartRecord] = []
    for baseline, method in pairwise(names):
        added = ingredients(plan.config(plan.method(method), 0)) - ingredients(plan.config(plan.method(baseline), 0))
        told = compared[method, baseline]
        whole = means[names[-1]] - means[names[0]]
        share = (means[method] - means[baseline]) / whole if whole > 0 else None
        words = " and ".join(word for part, word in WORDS.items() if part in added)
        records.append(
            {
                "part": words,
                "method": method,
                "baseline": baseline,
                "overall": told["overall"],
                "mean": mean_of(told),
                "share": share,
            }
        )
    return records
