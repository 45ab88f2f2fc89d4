"""benchmarks/gemm.py times the right products: all of them, checked first, shared out as the model does."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import gemm as benchmark
from benchmarks.products import BACKWARD, CONTENDERS, FORWARD, WEIGHTS, Case, Ours, cases, error
from twotower.model.engine.threads import tile_height

KINDS = (FORWARD, BACKWARD, WEIGHTS)
SMALL = Case("heads", FORWARD, (150, 7, 300, 40), 20, 36)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_computes_every_kind(name, kind):
    if name not in ("twotower", "numpy"):
        pytest.importorskip("torch", reason="PyTorch is a peer in benchmarks only: pip install -e '.[bench]'")
    assert error(replace(SMALL, kind=kind), CONTENDERS[name](replace(SMALL, kind=kind), 1)) < benchmark.TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [(1,), (252,), (1000, 3)])
def test_ours_is_right_on_two_threads_and_again_when_it_has_run(rows, kind):
    case = Case("", kind, rows, 12, 33)
    contender = Ours(case, 2)
    assert error(case, contender) < benchmark.TOLERANCE
    assert error(case, contender) < benchmark.TOLERANCE, "nothing is added to what was there"


def test_a_wrong_product_is_not_timed(monkeypatch):
    class Wrong(Ours):
        def run(self):
            super().run()
            self.C[0, 0] += 1e-3

    monkeypatch.setitem(CONTENDERS, "twotower", Wrong)
    with pytest.raises(benchmark.click.ClickException, match="twotower is wrong at heads"):
        benchmark.time_case(SMALL, {"twotower": benchmark.Seat("twotower", 1)}, 1)


def test_the_cases_are_the_models_and_no_two_are_the_same():
    found = cases()
    keys = {(case.kind, case.rows, case.inputs, case.outputs, case.batch) for case in found}
    assert len(keys) == len(found)
    shapes = {(case.rows, case.inputs, case.outputs) for case in found}
    tile = (tile_height(8192),)
    assert {((8192,), 512, 512), ((700,), 896, 512), (tile, 512, 8), ((1,), 512, 512), ((1,), 1, 1)} <= shapes


def test_packing_counts_in_the_ratio_and_not_in_the_bare_one():
    outcome = {"seconds": {"twotower": [1.0, 1.0], "numpy A": [3.0, 3.0], "numpy B": [1.5, 1.5]}, "packing_s": 1.0}
    row = benchmark.summary(outcome, flops=2e9, limit=2.0)
    assert row["ratio"] == {"numpy A": 1.5, "numpy B": 0.75} and row["ratio_to_best_numpy"] == 0.75
    assert row["ratio_bare"] == {"numpy A": 3.0, "numpy B": 1.5}
    assert row["gflops"] == 1.0 and row["share_of_fma"] == 0.5


def test_a_lone_tile_is_one_product_and_a_batch_is_cut_in_tiles():
    tile, batch = (next(case for case in cases() if case.name == name) for name in ("a tile", "users"))
    assert len(Ours(tile, 1).calls) == 1
    assert len(Ours(replace(batch, inputs=4, outputs=4), 1).calls) > 30
    assert np.isclose(tile.packing, tile_height(8192) / 8192, rtol=0.2)


def test_numpy_with_other_kernels_answers_from_another_process():
    with benchmark.seats_of(["numpy"], 1) as seats:
        for seat in seats.values():
            assert seat.sit(SMALL) < benchmark.TOLERANCE and 0 < seat.seconds(3) < 1
        assert len(seats) == 1 + len(benchmark.other_core_types())
