"""Warming up: afterwards training compiles nothing more, and the wait is never silent."""

import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from numba.core.dispatcher import Dispatcher
from tiny_runs import MTL, train

from twotower.cli import cli
from twotower.core.config import BATCHINGS, HEADS
from twotower.training import warm_up
from twotower.training.warm_up import HEARTBEAT, STAGE, compile_kernels, warm_up_commands


def kernels() -> dict[str, Dispatcher]:
    """Every kernel of the modules that are loaded."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("twotower.")]
    found = [thing for module in modules for thing in vars(module).values() if isinstance(thing, Dispatcher)]
    return {f"{kernel.py_func.__module__}.{kernel.py_func.__name__}": kernel for kernel in found}


def signatures() -> dict[str, set]:
    """The argument types that every kernel has been compiled for."""
    return {name: set(kernel.signatures) for name, kernel in kernels().items()}


def compiled_since(before: dict[str, set]) -> dict[str, set]:
    """The types for which kernels have been compiled since then, of those for which some were."""
    return {name: new for name, types in signatures().items() if (new := types - before.get(name, set()))}


@pytest.fixture(scope="module", autouse=True)
def as_in_a_new_process():
    """What earlier tests have compiled does not count."""
    for kernel in kernels().values():
        kernel._reset_overloads()


@pytest.fixture(autouse=True)
def not_ready():
    warm_up._ready.clear()


VARIANTS = [
    {}, *({"head": head} for head in HEADS if head != "none"), {"territory_bias": True},
    {"batchnorm": "group"}, {"memory": True},
]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_training_compiles_nothing_more(tiny_world, tmp_path, variant):
    compile_kernels()
    before = signatures()
    model = MTL | variant if variant else {}
    for batching in BATCHINGS:
        train(tiny_world, tmp_path / batching, model, batching=batching, epochs=1)
    assert compiled_since(before) == {}


LOG = "user,title,territory,time\n" + "".join(
    f"u{i % 40},t{i % 13},{('DE', 'JE')[i % 2]},{19700 + i % 9}\n" for i in range(400)
)
WITHOUT_TIMES = "user,title,territory\n" + "".join(f"{i % 40},{i % 13},{i % 40 % 3}\n" for i in range(200))
COMMANDS = (
    "simulate world --users 300 --titles 30 --territories 6 --groups 2 --user-dim 8 --title-dim 8 --history-days 9",
    "import timed --events log.csv --time time --user-info user --title-info title",
    "import untimed --events pairs.csv",
    *(f"embed {name} --user-dims 4 --text-dims 3" for name in ("timed", "untimed")),
    "group timed --groups 2",
    *(f"sample {name}" for name in ("world", "timed", "untimed")),
    "train world --epochs 1 --hidden 8 --run one",
    "train timed --epochs 1 --hidden 8 --run two --mtl --groups 2 --title-bias",
    *(f"evaluate {run}" for run in ("one", "two")),
    "recommend two",
    "doctor timed",
)


@pytest.mark.parametrize("quickly", [False, True])
def test_after_a_warm_up_no_command_compiles_anything(tmp_path, monkeypatch, quickly):
    compile_kernels()
    warm_up_commands()
    before = signatures()
    if quickly:  # as large logs are
        monkeypatch.setattr("twotower.data.ingest.events.FAST_FROM_BYTES", 0)
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text(LOG)
    Path("pairs.csv").write_text(WITHOUT_TIMES)
    for command in COMMANDS:
        result = CliRunner().invoke(cli, command.split())
        assert result.exit_code == 0, (command, result.output)
    assert compiled_since(before) == {}


def test_a_warm_up_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = []
    warm_up_commands(lambda *where: seen.append(where))
    assert not any(tmp_path.iterdir())
    assert seen[0] == (warm_up.COMMANDS, 0, 1) and seen[-1] == (warm_up.COMMANDS, 1, 1)


def test_it_says_what_it_does_when_it_begins_and_ends():
    seen = []
    compile_kernels(lambda *where: seen.append(where))
    assert seen[0] == (STAGE, 0, 1) and seen[-1] == (STAGE, 1, 1)
    assert set(seen) == {(STAGE, 0, 1), (STAGE, 1, 1)}


def test_a_long_wait_is_not_silent(monkeypatch):
    beats = threading.Semaphore(0)
    monkeypatch.setattr(warm_up, "HEARTBEAT", 0.01)
    monkeypatch.setattr(warm_up, "_compile_plain_network", lambda: [beats.acquire(timeout=60) for _ in range(5)])
    seen = []
    compile_kernels(lambda *where: (seen.append(where), beats.release()))
    assert seen.count((STAGE, 0, 1)) >= 5
    assert HEARTBEAT <= 1, "twice in the two seconds that a display may be silent"


def test_the_signs_of_life_end_with_an_error(monkeypatch):
    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(warm_up, "HEARTBEAT", 0.01)
    monkeypatch.setattr(warm_up, "_compile_batches", fail)
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError):
        compile_kernels()
    assert set(threading.enumerate()) <= before
