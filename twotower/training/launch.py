"""Starting the processes of a training run, and ending all of them when one fails, with one line.

``start`` runs mpiexec; ``taking_part`` is what each process does that mpiexec, srun or an MPIJob has started. All
ranks do the same work on their own shards; rank 0 alone shows progress and writes the run. The others write theirs to
a temporary directory.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress
from twotower.training.job import open_dataset, open_sample
from twotower.training.processes import Processes, join, processes
from twotower.training.warm_up import compile_kernels

RANK_VARIABLES = "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_STEP_ID"  # one of them is set in a launch
FOLDER = "TWOTOWER_LAUNCH"  # of a launch: the first failure, and what ranks other than 0 write
FAILURE = "failure.txt"
NOISE = "=", "Abort(", "application called MPI_Abort", "[mpiexec@", "[proxy"  # what MPICH says about a failure


def is_rank() -> bool:
    """Whether this process was started by MPI."""
    return any(name in os.environ for name in RANK_VARIABLES)


def start(arguments: Sequence[str], count: int, program: Sequence[str] = ("-m", "twotower.cli")) -> None:
    """Run a Python program, by default twotower, in so many processes on this machine.

    Errors: InputError with the first failure.
    """
    mpiexec = Path(sys.executable).with_name("mpiexec")
    if find_spec("mpi4py") is None or not mpiexec.is_file():
        needs = "needs mpi4py and mpiexec; install them with pip install 'twotower[mpi]'"
        raise InputError(f"--processes {count}: {needs}")
    command = [str(mpiexec), "-n", str(count), sys.executable, "-m", "mpi4py", *program, *arguments]
    with TemporaryDirectory(prefix="twotower-") as folder, open(Path(folder, "stdout"), "w+") as printed:
        environment = os.environ | {FOLDER: folder}
        child = subprocess.Popen(command, env=environment, stdout=printed, stderr=subprocess.PIPE, text=True)
        try:
            assert child.stderr is not None
            for line in child.stderr:
                if not line.startswith(NOISE):
                    sys.stderr.write(line)
            code = child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
        said = Path(folder, FAILURE)
        if code:  # then what was printed is a box of MPICH's about it
            lost = f"one of the {count} processes was killed or ended (exit code {code}), and the others with it"
            raise InputError(said.read_text() if said.is_file() else f"{lost}; continue with twotower train --resume")
        printed.seek(0)
        sys.stdout.write(printed.read())


@contextmanager
def taking_part(expected: int | None) -> Iterator[Processes]:
    """The body is one rank's part, or with None that of a process alone.

    When the body of a rank raises, all processes end, and the first failure is said once.
    """
    if expected is None:
        yield processes()
        return
    ranks = None
    try:
        ranks = join(expected)
        if ranks.rank:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (to the end of the process)
        yield ranks
    except BaseException as error:
        fail(error, 0 if ranks is None else ranks.rank)


def fail(error: BaseException, rank: int) -> None:
    """Say an error unless another rank has, and end all processes; that of a process alone is raised."""
    from mpi4py import MPI

    if MPI.COMM_WORLD.Get_size() == 1:
        raise error
    kind = "" if isinstance(error, (InputError, OSError)) else f"{type(error).__name__}: "
    text = f"rank {rank}: {kind}{error}" if rank or kind else str(error)
    if hint := getattr(error, "hint", ""):
        text += f"; resume with {hint}"
    try:
        if not isinstance(error, KeyboardInterrupt):  # the launcher ends the others when one was killed
            with open(Path(os.environ[FOLDER], FAILURE), "x") as file:
                file.write(text)
    except FileExistsError:
        pass
    except (KeyError, OSError):  # started by another launcher than ``start``
        print(f"twotower: error: {text}", file=sys.stderr, flush=True)
    MPI.COMM_WORLD.Abort(2)


def take_turns(ranks: Processes, directory: Path | None, sample_name: str, progress: Progress) -> None:
    """What all ranks need is made by rank 0 first: missing data, and compiled kernels, whose cache all share."""
    if ranks.size > 1 and ranks.rank == 0:
        if directory is not None:
            open_sample(open_dataset(directory, progress), sample_name, progress)
        compile_kernels(progress)
    ranks.allgather(np.zeros(1, np.uint8))


def warn_of_crowding(ranks: Processes, threads: int) -> None:
    """Say on stderr when the processes of this machine have more threads than cores; 0: as many as there are cores."""
    most = (threads or max(1, ranks.cores // ranks.here)) * ranks.here
    if ranks.rank == 0 and most > ranks.cores and ranks.size > 1:
        crowd = f"{ranks.here} processes with {counted(most // ranks.here, 'thread')} each"
        print(f"{crowd} share {counted(ranks.cores, 'core')} here: they wait for each other", file=sys.stderr)


def own_place(ranks: Processes, resumed: Path | None) -> Path | None:
    """Where a rank other than 0 writes the run: a temporary directory, with a copy of a run to go on with."""
    place = None
    if ranks.rank:
        place = Path(mkdtemp(dir=os.environ.get(FOLDER), prefix="twotower-rank-")) / "run"
        if resumed is not None:
            copytree(resumed, place)
    ranks.allgather(np.zeros(1, np.uint8))  # until all have their copy, rank 0 goes no further
    return place
