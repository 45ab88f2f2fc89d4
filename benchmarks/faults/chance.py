"""Kills at random instants, and a soak: commands in one process for as long as one likes, others killed beside it."""

import os
import random
import resource
import signal
import time
from collections import Counter
from pathlib import Path

from benchmarks.faults.children import code_of
from benchmarks.faults.commands import COMMANDS, begin, call, contents, copied, give, removed, said
from benchmarks.faults.operations import Outcomes, again, bad, undisturbed


def at_random(name: str, made: Path, work: Path, kills: int, seed: int = 0) -> Outcomes:
    """Kill a command at random instants, once or several times in a row, and give it again."""
    rng, outcomes = random.Random(f"{name} {seed}"), Counter[str]()
    wanted, _ = undisturbed(name, made, work)
    place = copied(made, work)
    started = time.perf_counter()
    give(COMMANDS[name], place)
    seconds = time.perf_counter() - started
    removed(place)
    while outcomes.total() < kills:
        place = copied(made, work)
        child = begin(COMMANDS[name], place)
        time.sleep(rng.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        code = code_of(child)
        outcome = again(name, place, wanted) if code in (-signal.SIGKILL, 0) else bad(place, code, -1)
        outcomes["finished before the kill" if code == 0 and not outcome[0].isupper() else outcome] += 1
        removed(place)
    return outcomes


def soak(made: Path, work: Path, seconds: float) -> tuple[Outcomes, list[float]]:
    """Train, recommend and draw samples in this process, while others are killed; memory in MiB after each round.

    What a round makes must be the same every time.
    """
    rng, outcomes, memory = random.Random(1), Counter[str](), list[float]()
    names = ("train", "sample --overwrite", "recommend", "export --overwrite", "embed --overwrite")
    wanted = {name: undisturbed(name, made, work)[0] for name in names}
    home, end = Path.cwd(), time.monotonic() + seconds
    silence = os.open(os.devnull, os.O_WRONLY)
    while time.monotonic() < end:
        name = rng.choice(names)
        place, other = copied(made, work), copied(made, work)
        victim = begin(COMMANDS[name], other)
        kept = os.dup(1), os.dup(2)
        os.dup2(silence, 1), os.dup2(silence, 2)
        os.chdir(place)
        code = call(COMMANDS[name])
        os.chdir(home)
        for number, handle in zip((1, 2), kept, strict=True):
            os.dup2(handle, number)
            os.close(handle)
        os.kill(victim, signal.SIGKILL)
        code_of(victim)
        fine = code == 0 and contents(place) == wanted[name]
        outcomes["the same files" if fine else f"OTHER FILES {name} {code} {said(place)}"] += 1
        outcomes[again(name, other, wanted[name])] += 1
        removed(place)
        removed(other)
        memory.append(round(current_mib(), 1))
    return outcomes, memory


def current_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
