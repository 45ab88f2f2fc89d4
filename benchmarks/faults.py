"""Faults on purpose: kills, full disks, failing disks, damaged files and two writers at once, on a tiny world.

Every command runs in a child of one warm process. ``kill`` ends it before each of its changes to files, ``random`` at
random instants, ``fail`` lets each change fail with ENOSPC and EIO in turn; then the same command is given again, and
files must be those of an undisturbed one, with nothing left behind. ``damage`` flips and cuts files of every kind and
opens them. ``writers`` runs pairs of commands at once.

Example:  python -m benchmarks.faults kill random fail damage writers
"""

import argparse
import errno
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.killing import FAILED, KILLED, at_change, code_of, in_child
from twotower.cli import cli
from twotower.core.errors import InputError
from twotower.core.locks import LOCK, PARTIAL
from twotower.core.manifest import MANIFEST, Files, describe
from twotower.core.storage import read_record, write_record
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.training.run import PLAN, RUN, RunReader
from twotower.training.warm_up import compile_kernels

WORLD = ["--users", "200", "--titles", "20", "--territories", "6", "--groups", "2", "--user-dim", "8",
         "--title-dim", "8", "--train-days", "6", "--test-days", "2", "--history-days", "6"]  # fmt: skip
SMALL = ["--hidden", "8", "--batch-size", "128", "--epochs", "2", "--threads", "1", "--checkpoint-every", "0s"]
LOG = "user,title,territory,time\n" + "".join(
    f"u{user},t{(user * 3 + day) % 7},{'DE' if user % 2 else 'FR'},2024-03-{day:02d}\n"
    for user in range(20)
    for day in range(1, 9)
)
#: Name → command, given in a folder that holds log.csv, the dataset ``w`` and the finished run ``r``.
COMMANDS = {
    "simulate": ["simulate", "new", *WORLD],
    "simulate --overwrite": ["simulate", "w", "--seed", "5", *WORLD, "--overwrite"],
    "import": ["import", "shop", "--events", "log.csv", "--time", "time", "--test-days", "2"],
    "embed": ["embed", "w", "--overwrite"],
    "group": ["group", "w", "--groups", "2"],
    "sample": ["sample", "w", "--name", "other"],
    "sample --overwrite": ["sample", "w", "--seed", "3", "--overwrite"],
    "train": ["train", "w", "--run", "t", *SMALL],
    "export": ["export", "r", "w", "--out", "out"],
    "export --overwrite": ["export", "r", "w", "--out", "old", "--overwrite"],
    "recommend": ["recommend", "r", "w", "--out", "best.csv"],
}
REPLACING = ("simulate --overwrite", "embed", "group", "sample --overwrite")


def call(arguments: list[str]) -> int:
    """A command in this process; its exit code."""
    try:
        cli(arguments, prog_name="twotower")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def give(arguments: list[str], place: Path, before: Callable[[], object] = lambda: None) -> int:
    """A command in a child, in a folder; its exit code."""

    def run() -> int:
        os.chdir(place)
        before()
        return call(arguments)

    return code_of(in_child(run, quiet=True))


def give_again(arguments: list[str], place: Path) -> int:
    """The same command, as someone would give it after a fault: a run that was begun is resumed."""
    if arguments[0] == "train" and (place / "t").exists():
        done = (place / "t" / RUN).exists()
        return 0 if done else give(["train", "--resume", "t", "--checkpoint-every", "0s"], place)
    return give(arguments, place)


def template(folder: Path) -> Path:
    """Everything that the commands need."""
    folder.mkdir()
    (folder / "log.csv").write_text(LOG)
    for arguments in (["simulate", "w", *WORLD], ["sample", "w"], ["train", "w", "--run", "r", *SMALL],
                      ["export", "r", "w", "--out", "old"]):  # fmt: skip
        assert give(arguments, folder) == 0, arguments
    return folder


def contents(place: Path) -> dict[str, Any]:
    """What a folder holds for whoever reads it: file → digest, by the names that manifests give them."""
    found: dict[str, Any] = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if PARTIAL in name or path.name == LOCK:
            found[f"LEFT: {name}"] = 1
        elif path.name == MANIFEST:
            named = read_record(path)["files"].items()
            found |= {f"{path.parent.name}/{file}": facts["sha256"] for file, facts in named}
        elif path.suffix in (".safetensors", ".toml") or path.name in ("scores.npy", "best.csv"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def undisturbed(arguments: list[str], made: Path, work: Path) -> tuple[dict[str, Any], int]:
    """The folder's contents after a command, and the changes that it made to files."""
    place = Path(shutil.copytree(made, work / "whole"))
    counted = work / "count"

    def count() -> None:
        left = at_change(1 << 40, lambda: None)
        end = os._exit

        def finish(code: int) -> None:
            number = (1 << 40) - left[0]
            counted.write_text(str(number))
            end(code)

        os._exit = finish  # type: ignore[assignment]

    assert give(arguments, place, count) == 0, arguments
    wanted = contents(place)
    shutil.rmtree(place)
    return wanted, int(counted.read_text())


def judge(arguments: list[str], place: Path, wanted: dict[str, Any], codes: tuple[int, ...], code: int) -> str:
    """What became of a disturbed command after it was given again."""
    if code not in codes:
        return f"exit code {code}"
    again = give_again(arguments, place)
    found = contents(place)
    if found == wanted:
        return "the same files"
    wrong = sorted(set(found.items()) ^ set(wanted.items()))[:2]
    return f"OTHER FILES ({again}): {wrong}"


def each_operation(made: Path, work: Path, names: list[str], disturb: str, step: int = 1) -> Counter[str]:
    """Kill each command before each change of files, or let the change fail."""
    outcomes: Counter[str] = Counter()
    for name in names:
        arguments = COMMANDS[name]
        wanted, operations = undisturbed(arguments, made, work)
        seen: Counter[str] = Counter()
        for operation in range(1, operations + 1, step):
            place = Path(shutil.copytree(made, work / "place"))
            if disturb == "kill":
                code = give(arguments, place, lambda: at_change(operation, lambda: os._exit(KILLED)))  # noqa: B023
                seen[judge(arguments, place, wanted, (KILLED, 0), code)] += 1
            else:
                number = errno.ENOSPC if operation % 2 else errno.EIO
                code = give(arguments, place, lambda: at_change(operation, lambda: fail(number)))  # noqa: B023
                seen[judge(arguments, place, wanted, (2, 0), code)] += 1
            shutil.rmtree(place)
        print(f"{disturb} {name}: {operations} operations: {dict(seen)}", flush=True)
        outcomes += seen
    return outcomes


def fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


def at_random(made: Path, work: Path, names: list[str], kills: int, seed: int = 0) -> Counter[str]:
    """Kill commands at random instants."""
    rng, outcomes = random.Random(seed), Counter[str]()
    for name in names:
        arguments = COMMANDS[name]
        wanted, _ = undisturbed(arguments, made, work)
        place = Path(shutil.copytree(made, work / "place"))
        started = time.perf_counter()
        give(arguments, place)
        seconds = time.perf_counter() - started
        shutil.rmtree(place)
        seen: Counter[str] = Counter()
        for _ in range(kills):
            place = Path(shutil.copytree(made, work / "place"))

            def run(place: Path = place, arguments: list[str] = arguments) -> int:
                os.chdir(place)
                return call(arguments)

            child = in_child(run, quiet=True)
            time.sleep(rng.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
            seen[judge(arguments, place, wanted, (-signal.SIGKILL, 0), code_of(child))] += 1
            shutil.rmtree(place)
        print(f"random {name}: {dict(seen)}", flush=True)
        outcomes += seen
    return outcomes


def read_all(place: Path) -> list[Any]:
    """Everything that a dataset, its sample, a run and an unfinished run say."""
    dataset = Dataset.open(place / "w")
    sample, run = Sample(dataset), RunReader(place / "r")
    said: list[Any] = [dataset.manifest["counts"], dataset.titles, dataset.user_columns, vars(dataset.territories)]
    said += [dataset.availability, dataset.launch_day, dataset.user_territory, dataset.user_vectors]
    said += [dataset.title_vectors, *dataset.all_events(), sample.train_users, sample.active, sample.test_users]
    said += [vars(sample.train_pairs()), vars(sample.test_pairs()), sample.config, run.config, run.scores, run.overall]
    said += [run.seed, run.label, run.log, run.environment, vars(run.evaluation.territories)]
    said += [run.weights_path.read_bytes(), run.evaluation.days.keys()]
    plan = read_record(place / "u" / PLAN)
    return [*said, plan, Files(place / "u", plan, PLAN).path("config.toml").read_bytes()]


def same(a: Any, b: Any) -> bool:
    texts = (json.dumps(x, default=lambda v: repr(np.asarray(v).tolist()) if hasattr(v, "tolist") else repr(v))
             for x in (a, b))  # fmt: skip
    return next(texts) == next(texts)


def damage(made: Path, work: Path, times: int, seed: int = 0, forged: bool = False) -> Counter[str]:
    """Flip a bit of a file, or cut it, and read everything: it is refused, or says the same.

    ``forged``: the manifest is written anew to fit, so that checks of contents alone are left; then it may say other
    things, but must not crash or raise anything but InputError.
    """
    place = Path(shutil.copytree(made, work / "damaged"))
    interrupted = place / "u"
    shutil.copytree(place / "r", interrupted)
    (interrupted / RUN).unlink()
    rng, wanted, outcomes = random.Random(seed), read_all(place), Counter[str]()
    files = [p for p in sorted(place.rglob("*")) if p.is_file() and p.relative_to(place).parts[0] in "wru"]
    kinds: dict[str, list[Path]] = {}
    for path in files:
        beginning = path.name in (PLAN, "config.toml")
        if "truth" not in path.parts and (beginning or not path.is_relative_to(interrupted)):
            kinds.setdefault(f"{path.relative_to(place).parts[0]} {path.name}", []).append(path)
    for kind, number in zip(itertools.cycle(kinds), range(times), strict=False):
        path = rng.choice(kinds[kind])
        content = path.read_bytes()
        if not content:
            continue
        if number % 4 == 3:
            path.write_bytes(content[: rng.randrange(len(content))])
        else:
            at = rng.randrange(min(len(content), 200) if rng.random() < 0.3 else len(content))
            path.write_bytes(content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :])
        sealed = forged and reseal(place, path)
        try:
            outcome = "the same" if same(read_all(place), wanted) else "OTHER VALUES"
        except InputError:
            outcome = "refused"
        except Exception as error:
            outcome = f"TRACEBACK {type(error).__name__} {kind}"
        outcomes[outcome if not forged or outcome != "OTHER VALUES" else "other values, as forged"] += 1
        path.write_bytes(content)
        if sealed:
            for manifest, text in sealed.items():
                manifest.write_bytes(text)
    shutil.rmtree(place)
    print(f"damage{' forged' if forged else ''}: {len(kinds)} kinds of files: {dict(outcomes)}", flush=True)
    return outcomes


def reseal(place: Path, path: Path) -> dict[Path, bytes]:
    """Write the manifest over a damaged file anew; what it was before."""
    for folder in path.parents:
        for name in (MANIFEST, RUN, PLAN):
            manifest = folder / name
            if manifest.is_file() and manifest != path and folder != place:
                before = manifest.read_bytes()
                record = read_record(manifest)
                try:
                    found = describe(folder)
                except InputError:
                    return {}
                record["files"] = {file: found[file] for file in record["files"] if file in found}
                write_record(manifest, record)
                return {manifest: before}
    return {}


def writers(made: Path, work: Path, rounds: int) -> Counter[str]:
    """Two commands that change one dataset, at the same time: it can be read afterwards, and is checked in whole."""
    outcomes: Counter[str] = Counter()
    for _, pair in itertools.product(range(rounds), itertools.combinations_with_replacement((*REPLACING, "train"), 2)):
        place = Path(shutil.copytree(made, work / "place"))
        children = []
        for name in pair:

            def run(arguments: list[str] = COMMANDS[name], place: Path = place) -> int:
                os.chdir(place)
                return call(arguments)

            children.append(in_child(run, quiet=True))
        codes = sorted(code_of(child) for child in children)
        try:
            dataset = Dataset.open(place / "w")
            dataset.check()
            left = [name for name in contents(place) if name.startswith("LEFT")]
            fine = not left and FAILED not in codes
            outcome = f"whole, exit codes {codes}" if fine else f"LEFT {left} {codes} {pair}"
        except InputError as error:
            outcome = f"DAMAGED {pair}: {error}"
        outcomes[outcome] += 1
        shutil.rmtree(place)
    print(f"writers: {dict(outcomes)}", flush=True)
    return outcomes


def bad(outcomes: Counter[str]) -> list[str]:
    """The outcomes that must not be: in capitals, or an exit code that nobody expects."""
    return [text for text in outcomes if text.split()[0].isupper() or text.startswith("exit code")]


def experiments(names: list[str], made: Path, work: Path, times: int, step: int) -> Iterator[Counter[str]]:
    commands = list(COMMANDS)
    for name in names:
        if name in ("kill", "fail"):
            yield each_operation(made, work, commands, name, step)
        elif name == "random":
            yield at_random(made, work, commands, max(1, times // 400))
        elif name == "damage":
            yield damage(made, work, times)
            yield damage(made, work, times // 5, forged=True)
        else:
            yield writers(made, work, max(1, times // 5000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=["kill", "random", "fail", "damage", "writers"])
    parser.add_argument("--times", type=int, default=10_000, help="damages; other counts follow it")
    parser.add_argument("--step", type=int, default=1, help="disturb every so-manieth operation")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        compile_kernels()  # once, before children are made
        made = template(work / "made")
        tried = experiments(options.names, made, work, options.times, options.step)
        wrong = [text for outcomes in tried for text in bad(outcomes)]
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
