"""The processes of a training run: this one alone, or the ranks of an MPI launch.

mpi4py is imported only where ``join`` is called, inside such a launch. All waiting has a time limit: a process that
stopped answering ends the others.
"""

import hashlib
import os
import time
from typing import Any

import numpy as np

from twotower.core.environment import usable_cores
from twotower.core.errors import InputError

PATIENCE = float(os.environ.get("TWOTOWER_PATIENCE", 600))  # seconds that a process waits for the others
POLL = 1e-4  # seconds between two looks; waiting without a pause would take a core from those that work


class Processes:
    """The communicator of one process alone, and what all share. ``rank`` r owns shards r·S/P to (r + 1)·S/P − 1."""

    rank, size = 0, 1
    here = 1  # of them on this machine
    cores = usable_cores()  # that those together may use; some launchers bind each to its own

    def allgather(self, own: np.ndarray) -> np.ndarray:
        """The arrays of all ranks, (P, …); all have one shape and dtype."""
        return own[None]

    def sum(self, own: np.ndarray) -> np.ndarray:
        """The sum of the ranks' flat arrays, in place, by a binary tree over the ranks."""
        return own

    def check_same(self, *arrays: np.ndarray) -> None:
        """Errors: InputError with the ranks whose arrays differ in a bit from those of most."""
        digest = hashlib.md5(b"".join(np.ascontiguousarray(array).data for array in arrays)).digest()
        every = [row.tobytes() for row in self.allgather(np.frombuffer(digest, np.uint8))]
        usual = max(every, key=every.count)
        if others := [str(rank) for rank, found in enumerate(every) if found != usual]:
            raise InputError(f"the parameters of rank {', '.join(others)} differ from those of the other processes; "
                             "use machines with equal processors and versions")  # fmt: skip


class Ranks(Processes):
    """The ranks of an MPI launch."""

    def __init__(self, comm: Any):
        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()

    def allgather(self, own: np.ndarray) -> np.ndarray:
        own = np.ascontiguousarray(own)
        every = np.empty((self.size, *own.shape), own.dtype)
        self._await(self.comm.Iallgather(own, every))
        return every

    def sum(self, own: np.ndarray) -> np.ndarray:
        """Each rank adds one slice of all, in the order of the tree, and gives it to the others."""
        width = -(-len(own) // self.size)
        padded = np.zeros(self.size * width, own.dtype)
        padded[: len(own)] = own
        slices = np.empty((self.size, width), own.dtype)
        self._await(self.comm.Ialltoall(padded, slices))
        own[:] = self.allgather(tree_sum(list(slices))).reshape(-1)[: len(own)]
        return own

    def _await(self, request: Any) -> None:
        end = time.monotonic() + PATIENCE
        while not request.Test():
            if time.monotonic() > end:
                waited = f"rank {self.rank} has waited {PATIENCE:g} s for the other processes"
                raise InputError(f"{waited}: one does not answer")
            time.sleep(POLL)


def tree_sum(parts: list[np.ndarray]) -> np.ndarray:
    """Neighbours are added, then the sums of neighbours, …, into the first array: P is a power of two.

    A half of the tree is the tree of half the parts, so that it does not matter which process adds what.
    """
    while len(parts) > 1:
        parts = [np.add(a, b, out=a) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


class _State:
    joined: Processes = Processes()


def processes() -> Processes:
    """The processes that this one trains with."""
    return _State.joined


def join(expected: int) -> Ranks:
    """Take part in an MPI launch of so many processes. Errors: InputError when it has another number."""
    from mpi4py import MPI

    ranks = Ranks(MPI.COMM_WORLD)
    local = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED)
    ranks.here = local.Get_size()
    if hasattr(os, "sched_getaffinity"):
        ranks.cores = len(set().union(*local.allgather(os.sched_getaffinity(0))))
    tasks = os.environ.get("SLURM_NTASKS")
    if ranks.size != expected:
        started = f"; srun started {tasks} tasks that do not see each other, try srun --mpi=pmi2" if tasks else ""
        raise InputError(f"--processes {expected}: MPI started {ranks.size} (this is rank {ranks.rank}){started}")
    _State.joined = ranks
    return ranks
