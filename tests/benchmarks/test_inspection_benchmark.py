"""The benchmark of inspections: it does not time a wrong record, and the page quotes what was measured."""

import json
from pathlib import Path

import click
import numpy as np
import pytest

from benchmarks import inspection as benchmark
from twotower.lab.attribution import tables
from twotower.lab.attribution.inspection import inspect

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "inspect.md").read_text("utf-8")
MEASURED = json.loads(benchmark.RESULTS.read_text("utf-8"))


@pytest.mark.parametrize("name", ["default", "baseline", "cross-stitch"])
def test_the_small_record_agrees_with_the_textbook(name):
    assert benchmark.check(name) < benchmark.TOLERANCE


@pytest.mark.parametrize("key", ["by_group", "unmasked"])
def test_a_wrong_record_is_not_timed(monkeypatch, key):
    def wrong(subject):
        record = inspect(subject)
        block = next(block for block in record["blocks"] if block["name"] == "head.P[2]")
        block[key][2] *= 1.001
        return record

    monkeypatch.setattr(benchmark, "inspect", wrong)
    with pytest.raises(click.ClickException, match="not timed"):
        benchmark.check("default")


def test_an_inspection_costs_at_most_three_steps_a_group():
    ratios = [row["ratio_per_group"] for row in MEASURED["workloads"]]
    assert max(ratios) == MEASURED["worst"] <= benchmark.LIMIT == 3
    assert {row["model"] for row in MEASURED["workloads"]} == set(benchmark.MODELS)
    assert f"between {min(ratios):.1f} and {max(ratios):.1f} steps' time per group" in " ".join(PAGE.split())


def test_the_page_tells_every_key_of_the_record():
    record = inspect(benchmark.subject_of("default", 2, 1, hidden=24, pairs=192, users=400))
    told = [key for key in record if f"`{key}`" in PAGE]
    assert set(record) - set(told) == {"format", "kind", "twotower"}
    for entries in (record["blocks"][0], record["groups"][0], record["leak"][0], record["dead"][0], record["conflict"]):
        assert not {key for key in entries if f"`{key}`" not in PAGE} - {"head", "name", "layer"}


def test_the_page_shows_the_tables_that_are_printed():
    code = Path(tables.__file__).read_text("utf-8")
    for title in (
        "Gradient norm of each block, by the group of the rows",
        "Cosines between the groups’ gradients of the towers",
        "Without the mask: the gradient from each group’s rows",
    ):
        assert title in PAGE and title in code


def test_both_take_turns_on_the_same_batch(monkeypatch):
    subject = benchmark.subject_of("default", 2, 1, hidden=24, pairs=192, users=400)
    monkeypatch.setattr(benchmark.machine, "fma_rates", lambda threads: {"FMA": 1.0})  # exists only as machine code
    found = benchmark.race(subject, rounds=2, threads=1)
    assert len(found["seconds"]["step"]) == len(found["seconds"]["inspect"]) == 2
    assert found["ratio_per_group"] == pytest.approx(found["ratio"] / 4, abs=1e-3)
    assert np.isfinite(found["step_ms"])
