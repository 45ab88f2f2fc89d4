"""Kill an update of a small shop at random instants, and let its changes to files fail: the day before must be served.

    python -m benchmarks.daily_faults                     # 100 kills and a full disk at every change, about 5 minutes
    python -m benchmarks.daily_faults --kills 20 --step 9

Each update runs in a child of one warm process. After each fault CURRENT must name the day before, or the new one with
all its files; then the same command is given again, and every array must be that of an undisturbed update.
"""

import errno
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from benchmarks.faults.children import KILLED, at_change, code_of, in_child
from twotower.cli import cli
from twotower.training.days import current_day, dataset_of_day, day_path
from twotower.training.run import RunReader
from twotower.training.warm_up import compile_kernels

MANY = 1 << 30
TIMED = {"run.json", "metrics.jsonl", "environment.json"}


def contents(day: Path) -> dict[str, bytes]:
    """What a day keeps, but for times."""
    found = {}
    for path in day.rglob("*"):
        if path.suffix == ".npz":
            with np.load(path) as kept:
                found |= {f"{path.name} {name}": kept[name].tobytes() for name in kept.files}
        elif path.is_file() and path.name not in TIMED:
            found[path.relative_to(day).as_posix()] = path.read_bytes()
    return found


def update(run: Path, log: Path) -> int:
    """The command in this process; its exit code."""
    try:
        cli(["update", str(run), "--events", str(log)], prog_name="twotower")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


class Trial:
    """Updates of copies of a run with one day more, disturbed."""

    def __init__(self, run: Path, log: Path, day: str, folder: Path):
        self.run, self.log, self.day, self.folder = run, log, day, folder
        self.before = current_day(run)
        good = self.copied()
        count = folder / "changes"

        def counted() -> int:
            left = at_change(MANY, lambda: None)
            code = update(good, log)
            count.write_text(str(MANY - left[0]))
            return code

        started = time.perf_counter()
        assert code_of(in_child(counted, quiet=True)) == 0
        self.seconds = time.perf_counter() - started
        self.changes = int(count.read_text()) - 1  # of files, in an update; the last is that of the count
        self.expected = contents(day_path(good, day))

    def copied(self) -> Path:
        target = self.folder / "disturbed"
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(self.run, target))

    def outcome(self, disturbed: Callable[[Path], int]) -> str:
        """What an update that is disturbed leaves, and what the same command makes of it."""
        run = self.copied()
        code = disturbed(run)
        served = current_day(run)
        if served not in (self.before, self.day):
            return f"SERVED {served}"
        if served is not None:
            RunReader(day_path(run, served)).files.verify()
            _ = dataset_of_day(run, served).user_vectors
        if code_of(in_child(lambda: update(run, self.log), quiet=True)) != 0 or current_day(run) != self.day:
            return "NOT FINISHED BY THE SAME COMMAND"
        if contents(day_path(run, self.day)) != self.expected:
            return "OTHER BITS"
        strange = [path.name for path in (run / "days").iterdir() if path.name.startswith(".")]
        if strange:
            return f"LEFT BEHIND {strange[0].partition('-')[0]}"
        how = "undisturbed" if code == 0 else "killed" if code in (KILLED, -signal.SIGKILL) else "failed"
        return f"{how}, {'the day before' if served == self.before else 'the new day'} served, then the same bits"

    def killed_after(self, seconds: float) -> str:
        """SIGKILL after so many seconds."""

        def disturb(run: Path) -> int:
            child = in_child(lambda: update(run, self.log), quiet=True)
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
            return code_of(child)

        return self.outcome(disturb)

    def at(self, change: int, fail: bool) -> str:
        """Killed before a change of the file system, or the change fails because the disk is full."""

        def full() -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def action(run: Path) -> int:
            at_change(change, full if fail else lambda: os._exit(KILLED))
            return update(run, self.log)

        return self.outcome(lambda run: code_of(in_child(lambda: action(run), quiet=True)))


def make_trial(folder: Path) -> Trial:
    """A shop with a run of one day, to be updated with the next."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from daily_logs import TRAINED_DAYS, make_shop, name_of, write_days

    run = make_shop(folder)
    first, second = (write_days(folder / f"{day}.csv", day) for day in (TRAINED_DAYS, TRAINED_DAYS + 1))
    assert code_of(in_child(lambda: update(run, first), quiet=True)) == 0
    return Trial(run, second, name_of(TRAINED_DAYS + 1), folder)


@click.command()
@click.option("--kills", default=100)
@click.option("--step", default=1, help="Only every so-manieth change fails.")
def main(kills: int, step: int) -> None:
    compile_kernels()
    with tempfile.TemporaryDirectory() as name:
        trial = make_trial(Path(name))
        rng = random.Random(0)
        outcomes: Counter[str] = Counter()
        for number in range(kills):
            outcomes[trial.killed_after(rng.uniform(0, trial.seconds))] += 1
            click.echo(f"kill {number + 1} of {kills}: {dict(outcomes)}")
        for outcome, times in outcomes.most_common():
            click.echo(f"{times:5} random kills: {outcome}")
        failures: Counter[str] = Counter()
        for change in range(1, trial.changes + 1, step):
            failures[trial.at(change, fail=True)] += 1
        for outcome, times in failures.most_common():
            click.echo(f"{times:5} full disks: {outcome}")


if __name__ == "__main__":
    main()
