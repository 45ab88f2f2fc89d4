"""Disturb what changes the days of a small shop's run: update, rollback, accept, compact, forget.

    python -m benchmarks.daily_faults                     # 100 random kills of an update, about 5 minutes
    python -m benchmarks.daily_faults --each              # a kill and a full disk at every change of every command
    python -m benchmarks.daily_faults --each --step 9 --only compact

Each command runs in a child of one warm process. After each fault CURRENT must name the day before, or the new one with
all its files; then the same command is given again, and every array must be that of an undisturbed one.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks.faults.children import KILLED, at_change, code_of, in_child
from twotower.cli import cli
from twotower.training.days import DAYS, current_day, dataset_of_day, day_path
from twotower.training.run import RunReader
from twotower.training.warm_up import compile_kernels

MANY = 1 << 30
LOGS = 33  # days: compact keeps 30
HELD_BACK = 3  # exit code of an update whose day is not served
TIMED = {"run.json", "metrics.jsonl", "environment.json"}


def contents(run: Path) -> dict[str, bytes]:
    """What the days of a run keep, but for times."""
    found, days = {}, run / DAYS
    for path in days.rglob("*"):
        name = path.relative_to(days).as_posix()
        if path.suffix == ".npz":
            with np.load(path) as kept:
                found |= {f"{name} {array}": kept[array].tobytes() for array in kept.files}
        elif path.is_file() and path.name not in TIMED and not name.startswith("."):
            found[name] = path.read_bytes()
    return found


def give(command: Sequence[str], run: Path) -> int:
    """A command on a run, in this process; its exit code."""
    try:
        cli([command[0], str(run), *command[1:]], prog_name="twotower")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


class Trial:
    """A command on copies of a run, disturbed."""

    def __init__(self, run: Path, command: Sequence[str], folder: Path):
        self.run, self.command, self.folder = run, command, folder
        good = self.copied()
        count = folder / "changes"

        def counted() -> int:
            left = at_change(MANY, lambda: None)
            code = give(command, good)
            count.write_text(str(MANY - left[0]))
            return code

        started = time.perf_counter()
        assert code_of(in_child(counted, quiet=True)) == 0, command
        self.seconds = time.perf_counter() - started
        self.changes = int(count.read_text()) - 1  # of files; the last is that of the count
        self.before, self.after, self.expected = current_day(run), current_day(good), contents(good)

    def copied(self) -> Path:
        target = self.folder / "disturbed"
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(self.run, target))

    def outcome(self, disturbed: Callable[[Path], int]) -> str:
        """What an update that is disturbed leaves, and what the same command makes of it."""
        run = self.copied()
        code = disturbed(run)
        served = current_day(run)
        if served not in (self.before, self.after):
            return f"SERVED {served}"
        if served is not None:
            RunReader(day_path(run, served)).files.verify()
            _ = dataset_of_day(run, served).user_vectors
        if code_of(in_child(lambda: give(self.command, run), quiet=True)) != 0 or current_day(run) != self.after:
            return "NOT FINISHED BY THE SAME COMMAND"
        if contents(run) != self.expected:
            return "OTHER BITS"
        strange = [path.name for path in (run / DAYS).iterdir() if path.name.startswith(".")]
        if strange:
            return f"LEFT BEHIND {strange[0].partition('-')[0]}"
        how = "undisturbed" if code == 0 else "killed" if code in (KILLED, -signal.SIGKILL) else "failed"
        return f"{how}, {'the day before' if served == self.before else 'the new day'} served, then the same bits"

    def killed_after(self, seconds: float) -> str:
        """SIGKILL after so many seconds."""

        def disturb(run: Path) -> int:
            child = in_child(lambda: give(self.command, run), quiet=True)
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
            return give(self.command, run)

        return self.outcome(lambda run: code_of(in_child(lambda: action(run), quiet=True)))


def shop(folder: Path) -> tuple[Path, list[Path], list[str]]:
    """A shop's run with the first of some days; their logs, and their names."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from daily_logs import TRAINED_DAYS, make_shop, name_of, write_days

    run, days = make_shop(folder), range(TRAINED_DAYS, TRAINED_DAYS + LOGS)
    logs = [write_days(folder / f"{day}.csv", day) for day in days]
    succeed(["update", "--events", str(logs[0])], run)
    return run, logs, [name_of(day) for day in days]


def succeed(command: Sequence[str], run: Path, code: int = 0) -> Path:
    assert code_of(in_child(lambda: give(command, run), quiet=True)) == code, command
    return run


def make_trial(folder: Path) -> Trial:
    """An update of a shop's run with its second day."""
    run, logs, _ = shop(folder)
    return Trial(run, ["update", "--events", str(logs[1])], folder)


def make_trials(folder: Path) -> Iterator[tuple[str, Trial]]:
    """Each command that changes days, by name."""
    run, logs, names = shop(folder)
    yield "update", Trial(run, ["update", "--events", str(logs[1])], folder)
    held_back, again = Path(shutil.copytree(run, folder / "held back")), folder / "again.csv"
    again.write_text(logs[0].read_text().replace(names[0], names[1]))  # the same events under another date
    succeed(["update", "--events", str(again)], held_back, HELD_BACK)
    yield "accept", Trial(held_back, ["accept", names[1]], folder)
    succeed(["update", "--events", str(logs[1])], run)
    yield "rollback", Trial(run, ["rollback", "--to", names[0]], folder)
    users = folder / "erased.txt"
    users.write_text("u0\nu5\nu9\n")
    yield "forget", Trial(run, ["forget", "--users", str(users)], folder)
    for log in logs[2:]:
        succeed(["update", "--events", str(log), "--max-drop", "1"], run)
    yield "compact", Trial(run, ["compact", "--keep", "30"], folder)


def at_each(trial: Trial, step: int) -> Counter[str]:
    """What became of a kill and of a full disk at each change, or at every so-manieth."""
    found: Counter[str] = Counter()
    for change in range(1, trial.changes + 1, step):
        for fail in (False, True):
            outcome = trial.at(change, fail)
            where = f" at {change}, {'full' if fail else 'killed'}" if outcome[0].isupper() else ""
            found[outcome + where] += 1
    return found


@click.command()
@click.option("--kills", default=100, help="Of an update, at random instants.")
@click.option("--each", is_flag=True, help="Kills and full disks at each change of every command instead.")
@click.option("--step", default=1, help="Only at every so-manieth change.")
@click.option("--only", multiple=True, help="Some of the commands.")
def main(kills: int, each: bool, step: int, only: tuple[str, ...]) -> None:
    """Disturb the commands that change days."""
    compile_kernels()
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        if each:
            for command, trial in make_trials(Path(name)):
                if not only or command in only:
                    outcomes = at_each(trial, step)
                    click.echo(f"{command}, {trial.changes} changes: {dict(outcomes)}")
                    wrong += [f"{command}: {outcome}" for outcome in outcomes if outcome[0].isupper()]
        else:
            trial, rng = make_trial(Path(name)), random.Random(0)
            outcomes = Counter(trial.killed_after(rng.uniform(0, trial.seconds)) for _ in range(kills))
            click.echo(f"update, {kills} random kills: {dict(outcomes)}")
            wrong += [outcome for outcome in outcomes if outcome[0].isupper()]
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
