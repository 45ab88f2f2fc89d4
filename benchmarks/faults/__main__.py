"""Run kinds of faults and keep what came of them.

    python -m benchmarks.faults kill full io torn vanish random tmpfs readonly writers containers stopped clock damage
    python -m benchmarks.faults kill --step 10 --only train     every tenth operation of some commands
    python -m benchmarks.faults soak --seconds 2400
    python -m benchmarks.faults.page                            the table of docs/explanation/faults.md

    kill torn     SIGKILL before each operation on files, or when half of it is written
    full io       from each operation on the disk is full; each operation fails once (EIO)
    vanish        all directories are removed before an operation
    random        SIGKILL at random instants
    tmpfs readonly    a small disk with more and more room; one that cannot be written (both need root)
    writers containers stopped    two commands at once; with equal process ids; beside one that holds a lock (SIGSTOP)
    clock         the calendar clock goes back a minute at each look
    damage forged     bits flipped and files cut; the same, with a manifest that fits
    soak          all that for as long as one likes, in one process

After a fault the same command is given again: the files must be those of an undisturbed one, and nothing else.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults import chance, damage, operations, places, together
from benchmarks.faults.commands import COMMANDS, template, warm_up
from benchmarks.faults.injected import start_anew
from benchmarks.faults.operations import KINDS, Outcomes

RECORD = Path(__file__).parents[1] / "results" / "faults.json"
LOCKING = ("train", "train --mtl --incremental", "experiment", "embed --overwrite", "sample --overwrite", "group")
OTHERS = ("damage", "forged", "soak")
SLOW = {"experiment": 40, "train --mtl --incremental": 3, "tune": 10}  # times the step: they take seconds


def by_command(kind: str, options: argparse.Namespace) -> Callable[[str, Path, Path], Outcomes]:
    """What one kind of fault does to one command."""
    if kind in KINDS:

        def each(name: str, made: Path, work: Path) -> Outcomes:
            step = options.step * SLOW.get(name, 1)
            _, total = operations.undisturbed(name, made, work)
            chosen = range(1 + options.seed % step, total + 1, step)
            return operations.each_operation(kind, name, made, work, chosen)

        return each
    return {
        "random": lambda name, made, work: chance.at_random(name, made, work, options.kills, options.seed),
        "tmpfs": lambda name, made, work: places.full_disk(name, made, work, options.sizes),
        "readonly": places.read_only,
        "clock": together.clock_back,
        "stopped": lambda name, made, work: Counter(
            together.stopped(name, made, work) for _ in range(options.rounds if name in LOCKING else 0)
        ),
        **{
            kind: lambda name, made, work, kind=kind: Counter(
                together.writers(name, other, made, work, kind == "containers")
                for other in list(COMMANDS)[list(COMMANDS).index(name) :]
                for _ in range(options.rounds)
            )
            for kind in ("writers", "containers")
        },
    }[kind]


KINDS_BY_COMMAND = (*KINDS, "random", "tmpfs", "readonly", "clock", "stopped", "writers", "containers")


def run(kind: str, options: argparse.Namespace, made: Path, work: Path) -> dict[str, dict[str, int]]:
    """Outcomes of one kind of fault, by command or as a whole."""
    if kind == "soak":
        outcomes, memory = chance.soak(made, work, options.seconds)
        print(f"soak: {len(memory)} rounds, memory after each tenth of them {memory[:: max(1, len(memory) // 10)]} MiB")
        size = {"after a tenth": int(memory[len(memory) // 10]), "at the end": int(memory[-1])}
        return {"soak": dict(outcomes), "memory_mib": size}
    if kind in OTHERS:
        outcomes = damage.damage(made, work, options.times, options.seed, kind == "forged")
        print(f"{kind}: {dict(outcomes)}", flush=True)
        return {kind: dict(outcomes)}
    disturb, found = by_command(kind, options), {}
    for name in options.only or COMMANDS:
        started = time.perf_counter()
        if outcomes := disturb(name, made, work):
            found[name] = dict(outcomes)
            print(f"{kind} {name}: {found[name]} in {time.perf_counter() - started:.0f} s", flush=True)
    return found


def keep(kind: str, found: dict[str, dict[str, int]], step: int) -> None:
    """Put the outcomes of a kind of fault into the record, in place of those of the same commands."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    before = record.get(kind, {}).get("outcomes", {})
    record[kind] = {"every": step, "outcomes": before | found}
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=[*KINDS_BY_COMMAND, *OTHERS])
    parser.add_argument("--only", action="append", choices=list(COMMANDS), metavar="COMMAND")
    parser.add_argument("--step", type=int, default=1, help="disturb every so-manieth operation")
    parser.add_argument("--kills", type=int, default=300, help="of each command, at random")
    parser.add_argument("--times", type=int, default=10_000, help="damages")
    parser.add_argument("--sizes", type=int, default=12, help="of small disks")
    parser.add_argument("--rounds", type=int, default=1, help="of each pair of commands")
    parser.add_argument("--seconds", type=float, default=2400, help="of the soak")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help=f"write the outcomes to {RECORD.name}")
    options = parser.parse_args()
    start_anew("benchmarks.faults", Path(tempfile.gettempdir()))
    memory = Path("/dev/shm")  # where fsync costs nothing
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        made = template(work / "made")
        warm_up(made, work)
        wrong = []
        for kind in options.kinds:
            found = run(kind, options, made, work)
            if options.keep:
                keep(kind, found, options.step)
            texts = itertools.chain.from_iterable(found.values())
            wrong += [f"{kind}: {text}" for text in texts if text.split()[0].isupper()]
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
