"""Whatever the processor: the path of the matrix product is chosen by itself, and training comes to the same."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from llvmlite import binding
from networks import make_batch, make_network

from twotower.core.config import ModelConfig, TrainConfig
from twotower.model.engine import gemm
from twotower.training.loop import make_optimiser

SETTINGS = ("NUMBA_DISABLE_JIT", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
#: Processors that this one can play, by Numba's settings; on another one than x86-64 only those that are its own.
X86 = {
    "x86-64 without AVX": {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"},
    "AVX without FMA": {"NUMBA_CPU_NAME": "sandybridge", "NUMBA_CPU_FEATURES": "+sse4.2,+avx"},
    "as doctor advises where a path is wrong": {"NUMBA_CPU_NAME": "generic"},
    "AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"},
}
PROCESSORS = {**X86, "64-bit Arm": {"MACHINE": "aarch64"}, "without the JIT": {"NUMBA_DISABLE_JIT": "1"}}
NEEDS = {"AVX without FMA": "avx", "AVX2": "avx2"}  # what it takes to play them
ON_X86 = gemm.platform.machine() in ("x86_64", "AMD64")
STEPS, MODEL = 10, ModelConfig(hidden=40, groups=3, head="lowrank", rank=8, title_bias=True)

PLAY = """
import os, platform, sys
machine = os.environ.get("MACHINE")
if machine:
    platform.machine = lambda: machine
"""
TRAIN = "import test_portability\ntest_portability.train(sys.argv[1])"
DOCTOR = "from twotower.cli import cli\ncli(['doctor', '--json'], standalone_mode=False)"


def train(target=None) -> dict[str, np.ndarray]:
    """Losses of ten steps, and where they lead to: parameters and running statistics; and the last gradients."""
    rng = np.random.default_rng(5)
    network = make_network(MODEL, rng, user_width=30, title_width=50)
    optimiser = make_optimiser(network, TrainConfig(learning_rate=0.01))
    begin, losses = network.params.flat.copy(), []
    for _ in range(STEPS):
        batch = make_batch(rng, pairs=600, users=301, titles=45, user_width=30, title_width=50)
        losses.append(network.loss_and_gradients(batch).total)
        optimiser.update(network.grads, [0, 1, 2], network.threads)
    ends = {"begin": begin, "end": network.params.flat, "running": network.running.flat}
    gradients = {f"gradient of {name}": value for name, value in network.grads.items()}
    found = {"path": np.array(gemm.PATH), "losses": np.array(losses)} | ends | gradients
    if target:
        np.savez(target, **found)
    return found


def played(code: str, processor: str, *arguments: str) -> str:
    """What a process prints that believes to run on another processor; a skip where this one cannot play it."""
    able = not NEEDS.get(processor) or binding.get_host_cpu_features().get(NEEDS[processor])
    if processor in X86 and not (ON_X86 and able):
        pytest.skip(f"this {gemm.platform.machine()} processor cannot play {processor}")
    environment = {k: v for k, v in os.environ.items() if k not in SETTINGS} | PROCESSORS[processor]
    environment["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    command = [sys.executable, "-c", PLAY + code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def path_of(processor: str) -> str:
    """The path that should run there."""
    return "avx2" if processor == "AVX2" else "numpy"


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
def test_ten_steps_of_training_come_to_the_same(processor, tmp_path):
    facts = json.loads(played(f"{TRAIN}\n{DOCTOR}", processor, str(tmp_path / "found.npz")))
    assert facts["gemm"] == path_of(processor) and facts["gemm_agrees"] is True
    found, ours = np.load(tmp_path / "found.npz"), train()
    assert found["path"] == path_of(processor)
    assert np.array_equal(found["begin"], ours["begin"]), "the same start"
    np.testing.assert_allclose(found["losses"], ours["losses"], rtol=1e-6)
    np.testing.assert_allclose(found["running"], ours["running"], rtol=1e-5, atol=1e-5)
    way = np.linalg.norm(ours["end"] - ours["begin"])
    assert np.linalg.norm(found["end"] - ours["end"]) < 1e-4 * way
    # Adam's steps do not tell the size of a gradient, so that it is looked at itself
    for name in (name for name in ours if name.startswith("gradient")):
        assert np.linalg.norm(found[name] - ours[name]) < 1e-4 * np.linalg.norm(ours[name]), name


@pytest.mark.parametrize("processor", ["AVX without FMA", "AVX2"])  # all of them: above
def test_doctor_says_which_path_runs_there_and_that_it_agrees(processor):
    facts = json.loads(played(DOCTOR, processor))
    assert facts["gemm"] == path_of(processor) and facts["gemm_agrees"] is True


@pytest.mark.parametrize("machine", ["aarch64", "arm64", "ppc64le", "riscv64", "i686", ""])
def test_another_architecture_takes_the_portable_path(machine, monkeypatch):
    monkeypatch.setattr(gemm.platform, "machine", lambda: machine)
    assert gemm._choose_path() == ("numpy", 8)


@pytest.mark.skipif(not ON_X86, reason="the features are those of x86-64 processors")
@pytest.mark.parametrize(
    "features, path",
    [
        ("+avx512f,+avx2,+fma", "avx512"),
        ("-avx512f,+avx2,+fma", "avx2"),
        ("+avx2,-fma", "numpy"),  # no such processor was sold, but a virtual machine may hide either
        ("-avx2,+fma,+fma4", "numpy"),
        ("+sse4.2,+avx,-avx2,-fma,-avx512f", "numpy"),
        ("", "numpy"),
    ],
)
def test_the_path_follows_the_features_that_numba_compiles_for(features, path, monkeypatch):
    class Target:
        def codegen(self):
            return self

        def magic_tuple(self):
            return "x86_64-unknown-linux-gnu", "some-cpu", features

    class Registry:
        target_context = Target()

    monkeypatch.setattr(gemm, "cpu_target", Registry)
    monkeypatch.setitem(vars(gemm.numba.config), "DISABLE_JIT", 0)
    assert gemm._choose_path()[0] == path
