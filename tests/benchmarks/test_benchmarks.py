"""The benchmarks measure the right thing: their workloads, their answers and their control. Needs PyTorch."""

from dataclasses import replace

import numpy as np
import pytest
from numba import config as numba_config

torch = pytest.importorskip("torch", reason="PyTorch is a peer in benchmarks only: pip install -e '.[bench]'")

from benchmarks import answers, machine, phases  # noqa: E402
from benchmarks.contenders import CONTENDERS  # noqa: E402
from benchmarks.step import MODELS, step_flops  # noqa: E402
from benchmarks.workload import draw_batch, make_workload  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
EAGER = [name for name in CONTENDERS if name != "torch-compile"]  # compiling takes a minute


@pytest.fixture(scope="module", params=MODELS)
def problem(request):
    """A small workload, the model's shape, parameters to start from, and the true answers."""
    model = replace(MODELS[request.param], hidden=24)
    workload = make_workload(2, np.random.default_rng(0), model.groups, batches=2, pairs=192, users=150)
    start = answers.start_values(model, workload)
    return workload, model, start, answers.find_answers(model, workload, start)


@pytest.mark.parametrize("name", EAGER)
def test_every_contender_computes_the_same_step(name, problem):
    workload, model, start, true = problem
    errors = answers.errors_of(lambda: CONTENDERS[name][0](workload, model, start), workload, true)
    assert not answers.complaint(errors)


@pytest.mark.parametrize("name", ["twotower", "torch-best"])
def test_a_contender_that_cheats_is_not_timed(name, problem):
    workload, model, start, true = problem

    class Cheat(CONTENDERS[name][0]):
        def loss_and_gradients(self, batch):
            loss, gradients = super().loss_and_gradients(batch)
            return loss, gradients | {"title.gamma1": 1.001 * gradients["title.gamma1"]}

    assert "small" in answers.complaint(answers.errors_of(lambda: Cheat(workload, model, start), workload, true))


def test_a_contender_without_bias_correction_is_not_timed(problem):
    workload, model, start, true = problem

    class Slow(CONTENDERS["twotower"][0]):
        def step(self, batch):
            self.adam.steps = [1000 for _ in self.adam.steps]
            return super().step(batch)

    assert "steps" in answers.complaint(answers.errors_of(lambda: Slow(workload, model, start), workload, true))


def test_the_small_batch_has_no_activation_near_zero(problem):
    workload, model, start, true = problem
    oracle = answers.Oracle(workload, model, start)
    oracle.loss_and_gradients(true.small.batch)
    assert oracle.margin > answers.FLIP_MARGIN


@pytest.mark.parametrize("pairs_per_user", [1, 4, 8])
def test_each_user_of_a_batch_has_as_many_different_titles(pairs_per_user):
    batch = draw_batch(64, pairs_per_user, 100, np.random.default_rng(1))
    assert set(np.unique(batch.user, return_counts=True)[1]) == {pairs_per_user}
    assert len(set(zip(batch.user, batch.title, strict=True))) == 64


def test_titles_come_in_zipf_order():
    batch = draw_batch(8192, 1, 8192, np.random.default_rng(2))
    counts = np.bincount(batch.title, minlength=700)
    assert counts[0] > 800 and 1.6 < counts[0] / counts[1] < 2.4


def test_own_rows_heads_save_their_share_of_the_work():
    model, workload = MODELS["paper"], make_workload(1, np.random.default_rng(3), batches=1, pairs=192)
    assert step_flops(model, workload, expanded=True) > 1.5 * step_flops(model, workload, expanded=False)


@pytest.mark.skipif(bool(numba_config.DISABLE_JIT), reason="the loop exists only as machine code")
def test_the_control_multiplies_and_adds():
    for lanes in machine.fma_widths().values():
        loop = machine.fma_loop(lanes)
        # total = total/2 + 1 tends to 2 in every lane of every accumulator
        assert loop(1000, 0.5, 1.0) == 2 * lanes * machine.ACCUMULATORS
        starts = lanes * sum(range(machine.ACCUMULATORS))
        assert loop(1, 1.0, 0.0) == starts


def test_the_facts_name_machine_and_libraries():
    text = machine.describe(machine.facts(2))
    assert f"NumPy {np.__version__}" in text and "threads 2" in text and "GiB" in text


def test_the_breakdown_of_a_step_covers_all_of_it(problem):
    workload, model, start, _ = problem
    run, threads = phases.Threads.run, torch.get_num_threads()
    found = phases.breakdown(CONTENDERS["twotower"][0](workload, model, start), workload, threads, 3)
    assert phases.Threads.run is run
    assert sum(row["share"] for row in found["phases"].values()) == pytest.approx(1, abs=0.01)
    assert {"first layers", "second layers, back", "Adam", phases.BATCH} <= found["phases"].keys()
    assert all(row["busy"] is None or 0 <= row["busy"] <= 1 for row in found["phases"].values())
    assert {"matmul", "adam", "moments"} <= found["kernels_ms"].keys()
    assert {"matmul_transposed", "rows_of_transposed"} & found["kernels_ms"].keys(), "one of both, by the processor"
    assert "workspaces" in phases.table(found)
