"""Which part of a gain heads, memory per group and offsets have, from the methods that there are."""

from pathlib import Path

import pytest
from made_up_experiments import gains_over

from twotower.data.sampling.sample_config import SampleConfig
from twotower.experiments.gains import comparisons
from twotower.experiments.methods import find_methods
from twotower.experiments.parts import part_records, steps
from twotower.experiments.plan import Plan


def plan_of(methods: str, **model) -> Plan:
    asked = {"seeds": 1, "groups": 4, "periods": 0, "preset": "default", "settings": {"model": model}}
    chosen = tuple(find_methods(methods))
    return Plan(Path("x"), Path("y"), "y", chosen, **asked, sample=SampleConfig(), min_positives=50, replicates=10)


def test_methods_that_differ_in_more_than_the_ingredients_are_no_step():
    """Heads without decay are other heads; other users are another sample; users at random are a control."""
    others = "lowrank-bias,unshrunk,shuffled,random-groups,baseline,mtl-random,separate,no-offsets,popular"
    assert steps(plan_of(f"mtl,{others},upsampled,offsets")) == [
        ("title offsets", "offsets", "upsampled"),
        ("memory weights per group and heads", "mtl", "offsets"),
    ]
    without = steps(plan_of("mtl,lowrank-bias,upsampled,offsets", memory=False))
    assert [part[0] for part in without] == ["title offsets", "heads"]
    assert steps(plan_of("mtl,baseline,popular")) == steps(plan_of("upsampled,offsets,popular"))[1:] == []


def test_parts_that_no_chain_reaches_are_told_alone():
    plan = plan_of("upsampled,offsets,memory-per-group,mtl")
    assert [(part, method) for part, method, _ in steps(plan)] == [
        ("memory weights per group", "memory-per-group"),
        ("title offsets and heads", "mtl"),
        ("title offsets, alone", "offsets"),
    ]
    assert {(method, baseline) for _, method, baseline in steps(plan)} <= set(comparisons(plan))


@pytest.mark.parametrize(("best", "shares"), [(0.5, [0.25, 0.75]), (0.05, [None, None])])
def test_shares_are_of_the_difference_between_the_main_method_and_none(best, shares, rng):
    plan = plan_of("upsampled,offsets,mtl")
    methods = [{"name": name, "overall": [value - 0.01, value + 0.01]} for name, value in
               (("upsampled", 0.1), ("offsets", 0.2), ("mtl", best))]  # fmt: skip
    gains = [{**gains_over("offsets", 3.0, [{}] * 4, rng), "method": "mtl"},
             {**gains_over("upsampled", 1.0, [{}] * 4, rng), "method": "offsets"}]  # fmt: skip
    records = part_records(plan, methods, gains)
    assert [record["share"] for record in records] == [share and pytest.approx(share) for share in shares]
    assert [record["overall"]["mean"] for record in records] == [1.0, 3.0]
