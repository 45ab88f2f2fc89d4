"""A batch in shards is the same batch; the same bits come out of any number of processes; failures are one line."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from networks import make_network
from tiny_runs import MTL, interrupt_at, train

from twotower.core.config import ModelConfig
from twotower.core.errors import InputError
from twotower.data.batches import Batcher
from twotower.training.launch import start, warn_of_crowding
from twotower.training.processes import Processes
from twotower.training.run import RunReader
from twotower.training.shards import ShardedLoss

LIMIT = 240  # seconds, of a launch; on two busy cores one takes about ten
SETTINGS = dict(
    model=MTL | {"batchnorm": "group"},
    epochs=2, validation=0.3, shards=4, incremental_periods=2,
)  # fmt: skip
MPIEXEC = Path(sys.executable).with_name("mpiexec")
mpi = pytest.mark.skipif(not find_spec("mpi4py") or not MPIEXEC.is_file(), reason="needs the extra mpi")


@pytest.mark.parametrize("batchnorm", ["all", "group"])
def test_a_batch_in_shards_has_the_gradients_of_the_whole(rng, batchnorm):
    model = ModelConfig(hidden=8, groups=3, head="lowrank", rank=2, title_bias=True, batchnorm=batchnorm)
    users, titles = rng.standard_normal((40, 4)).astype(np.float32), rng.standard_normal((9, 6)).astype(np.float32)
    group = np.minimum(np.arange(40) // 10, 2)
    user, title = np.repeat(np.arange(40), 5), rng.integers(0, 9, 200)
    label = rng.integers(0, 2, 200).astype(np.float32)
    whole, parted = (make_network(model, np.random.default_rng(1)) for _ in "12")
    batcher = Batcher(users, titles, group, 3, 200)
    losses = whole.loss_and_gradients(batcher.batch(user, title, label))
    # shard 0 has users of two groups, the others of one: groups are absent from shards, not from the batch
    shards = [(user < 15), (user >= 15) & (user < 20), (user >= 20) & (user < 22), user >= 22]
    parts = [batcher.batch(user[own], title[own], label[own]) for own in shards]
    found = ShardedLoss(parted, 4, Processes()).gradients(parted, parts, 0)
    assert found.pairs_by_group == losses.pairs_by_group and found.present == losses.present
    np.testing.assert_allclose(found.by_group, losses.by_group, rtol=1e-5)
    np.testing.assert_allclose(parted.grads.flat, whole.grads.flat, rtol=1e-3, atol=2e-6)
    np.testing.assert_allclose(parted.running.flat, whole.running.flat, rtol=1e-5, atol=1e-6)


@mpi
def test_an_interrupted_run_ends_with_the_same_bits_in_2_and_4_processes(tiny_world, tmp_path):
    alone = train(tiny_world, tmp_path / "alone", **SETTINGS)
    for count in 2, 4:
        path = tmp_path / f"run-{count}"
        with pytest.raises(KeyboardInterrupt):
            train(tiny_world, path, progress=interrupt_at("epoch 2/2"), **SETTINGS)
        command = [sys.executable, "-m", "twotower.cli", "train", "--resume", str(path), "--processes", str(count)]
        done = subprocess.run(command, timeout=LIMIT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        run = RunReader(path)
        assert run.weights_path.read_bytes() == alone.weights_path.read_bytes()
        for name in "territories.csv", "territories_by_day.csv", "titles.csv", "predictions/scores.npy":
            assert (run.path / name).read_bytes() == (alone.path / name).read_bytes(), name


FAILURES = {
    "raises": ("ranks.rank == 1", "raise MemoryError('no room')", "^rank 1: MemoryError: no room$"),
    "is killed": ("ranks.rank == 1", "os.kill(os.getpid(), 9)", "one of the 4 processes was killed"),
    "does not answer": ("ranks.rank == 1", "time.sleep(900)", "rank . has waited 5 s for the other processes"),
    "full disk": ("ranks.rank == 0", "raise OSError(28, 'No space left', 'w')", "No space left: 'w'"),
    "differs": ("True", "ranks.check_same(np.ones(1) * (ranks.rank == 2))", "parameters of rank 2 differ"),
}


@mpi
@pytest.mark.parametrize("failure", FAILURES)
def test_a_process_that_fails_ends_all_and_is_said_in_one_line(tmp_path, monkeypatch, capfd, failure):
    where, what, said = FAILURES[failure]
    script = tmp_path / "part.py"
    script.write_text(
        "import os, time\nimport numpy as np\nfrom twotower.training.launch import taking_part\n"
        f"with taking_part(4) as ranks:\n    if {where}:\n        {what}\n    ranks.allgather(np.zeros(1))\n"
    )
    monkeypatch.setenv("TWOTOWER_PATIENCE", "5" if failure == "does not answer" else "100")
    with pytest.raises(InputError, match=said) as error:
        start([], 4, [str(script)])
    assert "\n" not in str(error.value) and capfd.readouterr() == ("", "")


def test_too_many_threads_for_the_cores_are_said(capsys):
    ranks = Processes()
    ranks.size = ranks.here = 4
    ranks.cores = 8
    warn_of_crowding(ranks, 0)
    warn_of_crowding(ranks, 2)
    assert capsys.readouterr().err == ""
    warn_of_crowding(ranks, 3)
    assert capsys.readouterr().err == "4 processes with 3 threads each share 8 cores here: they wait for each other\n"


@mpi
def test_processes_that_do_not_see_each_other_are_refused(tiny_world, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "twotower.cli", "train", str(tiny_world), "--processes", "2", "--run", str(run)]
    alone = os.environ | {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "2"}
    done = subprocess.run(command, timeout=LIMIT, capture_output=True, text=True, env=alone)
    assert done.returncode == 2 and not run.exists()
    assert done.stderr.startswith("twotower: error: --processes 2: MPI started 1 (this is rank 0); srun started 2 ")
    assert done.stderr.count("\n") == 1
