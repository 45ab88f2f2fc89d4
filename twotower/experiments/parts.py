"""Which part of the main method's gain each ingredient has: heads, weights of memory per group, offsets of titles.

Methods that have some of the main method's ingredients, and are otherwise like it, form a chain from none to all of
them; each step adds what it does not share with the one before. Without such methods there is one step.
"""

from collections.abc import Sequence
from itertools import pairwise

from twotower.core.config import CELL_OFFSETS, Config
from twotower.experiments.methods import BASELINES, GROUP_TRAINING
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
        "heads": model.head != "none" or model.title_bias or model.territory_bias,
        "memory": model.memory and model.groups > 1,
        "offsets": model.title_offsets in CELL_OFFSETS,
    }
    return frozenset(part for part, there in parts.items() if there)


def steps(plan: Plan) -> list[tuple[str, str, str]]:
    """What a part is, the method that has it, and the one that has not; the chain first, then parts alone.

    Where the last step of the chain adds several ingredients, methods with a single one are set against its start.
    """
    main = plan.method(plan.main_method)
    configs = {method.name: plan.config(method, 0) for method in plan.methods}
    own, goal = configs[main.name], ingredients(configs[main.name])
    known: dict[str, frozenset[str]] = {}
    for method in plan.methods:
        alike = method.sample == main.sample and method.grouping in ("none", main.grouping)
        parts = ingredients(configs[method.name])
        if alike and not method.rival and not method.separate and differs_by(configs[method.name], own, goal - parts):
            known[method.name] = parts
    names = sorted((name for name, parts in known.items() if not parts), key=lambda name: name not in BASELINES)[:1]
    while names and names[-1] != main.name:
        further = [name for name, parts in known.items() if known[names[-1]] < parts < goal]
        names.append(min(further, key=lambda name: len(known[name])) if further else main.name)
    found = [(in_words(known[one] - known[base]), one, base) for base, one in pairwise(names)]
    if found and len(known[names[-1]] - known[names[-2]]) > 1:
        alone = [name for name, parts in known.items() if len(parts) == 1 and name not in names]
        found += [(f"{in_words(known[name])}, alone", name, names[0]) for name in alone]
    return found


def in_words(parts: frozenset[str]) -> str:
    return " and ".join(word for part, word in WORDS.items() if part in parts)


def differs_by(one: Config, other: Config, parts: frozenset[str]) -> bool:
    """Whether two configurations differ in nothing but settings of some ingredients."""
    mine, its = one.to_dict(), other.to_dict()
    apart = {key for section in mine for key in mine[section] if mine[section][key] != its[section][key]}
    return apart <= {key for part in parts for key in SETTINGS[part]}


def part_records(plan: Plan, methods: Sequence[MethodRecord], gains: Sequence[GainsRecord]) -> list[PartRecord]:
    """A record per step; the whole is what the main method has over the method without any ingredient."""
    found = steps(plan)
    means = {method["name"]: average(method["overall"]) for method in methods}
    compared = {(told["method"], told["baseline"]): told for told in gains}
    whole = means[plan.main_method] - means[found[0][2]] if found else 0.0
    records: list[PartRecord] = []
    for part, method, baseline in found:
        told = compared[method, baseline]
        share = (means[method] - means[baseline]) / whole if whole > 0 else None
        pair = {"part": part, "method": method, "baseline": baseline}
        records.append({**pair, "overall": told["overall"], "mean": mean_of(told), "share": share})  # type: ignore[typeddict-item]
    return records
