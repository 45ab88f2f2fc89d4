"""The commands that write, on a world so small that each takes a moment, and what they leave behind."""

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.children import code_of, in_child
from twotower.cli import cli
from twotower.core.locks import LOCK, PARTIAL
from twotower.core.manifest import MANIFEST
from twotower.core.storage import read_record
from twotower.training.run import RUN

WORLD = ["--users", "300", "--titles", "20", "--territories", "6", "--groups", "2", "--user-dim", "8",
         "--title-dim", "8", "--train-days", "5", "--test-days", "2", "--history-days", "4",
         "--streams", "2"]  # fmt: skip
NETWORK = ["--hidden", "8", "--batch-size", "256", "--epochs", "2", "--threads", "1"]
SMALL = [*NETWORK, "--checkpoint-every", "0s"]
LOG = "user,title,territory,time\n" + "".join(
    f"u{user},t{(user * 3 + day) % 7},{'DE' if user % 2 else 'FR'},2024-03-{day:02d}\n"
    for user in range(20)
    for day in range(1, 9)
)
#: Name → command, given in a folder with log.csv, the dataset ``w``, the finished run ``r`` and the export ``old``.
COMMANDS = {
    "simulate": ["simulate", "new", *WORLD],
    "simulate --overwrite": ["simulate", "w", "--seed", "5", *WORLD, "--overwrite"],
    "import": ["import", "shop", "--events", "log.csv", "--time", "time", "--test-days", "2"],
    "embed --overwrite": ["embed", "w", "--overwrite"],
    "group": ["group", "w", "--groups", "2"],
    "sample": ["sample", "w", "--name", "other"],
    "sample --overwrite": ["sample", "w", "--seed", "3", "--overwrite"],
    "train": ["train", "w", "--run", "t", "--no-memory", *SMALL],
    "train --mtl --incremental": ["train", "w", "--run", "t", "--mtl", "--groups", "2", "--incremental", *SMALL],
    "export": ["export", "r", "w", "--out", "out"],
    "export --overwrite": ["export", "r", "w", "--out", "old", "--overwrite"],
    "export --onnx": ["export", "r", "w", "--onnx", "--out", "out"],
    "recommend": ["recommend", "r", "w", "--out", "best.csv"],
    "evaluate --csv": ["evaluate", "r", "--csv", "best.csv"],
    "experiment": ["experiment", "w", "--out", "e", "--methods", "upsampled,mtl,finetune,popular", "--seeds", "1",
                   "--groups", "2", "--periods", "1", "--replicates", "5", "--no-html", *NETWORK],
    "tune": ["tune", "w", "--trials", "2", "--groups", "2", "--config", "small.toml"],
}  # fmt: skip
SETTINGS = "[model]\nhidden = 8\n[train]\nbatch_size = 256\nepochs = 1\n"
TUNED = "tuning/"  # a trial that was killed has been tried: others follow it than would have
TABLES = (".csv", ".toml", ".html", ".svg")
NOT_COMPARED = ("metrics.jsonl", "environment.json", "methods.csv")  # hold speeds, versions and seconds


def call(arguments: list[str]) -> int:
    """A command in this process; its exit code."""
    try:
        cli(arguments, prog_name="twotower")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def begin(arguments: list[str], place: Path, before: Callable[[], object] = lambda: None) -> int:
    """A command in a child, in a folder; its process id. What it says on stderr goes to ``place.stderr``."""

    def run() -> int:
        os.chdir(place)
        said = os.open(f"{place}.stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(said, 2)
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115 (ends with the process)
        before()
        return call(arguments)

    return in_child(run, quiet=True)


def give(arguments: list[str], place: Path, before: Callable[[], object] = lambda: None) -> int:
    """A command in a child, in a folder; its exit code."""
    return code_of(begin(arguments, place, before))


def said(place: Path) -> str:
    """The last line on stderr of the last command in a folder."""
    path = Path(f"{place}.stderr")
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return lines[-1].replace(str(place), "…") if lines else ""


def give_again(arguments: list[str], place: Path) -> int:
    """The same command, as someone would give it after a fault: a run that was begun is resumed."""
    if arguments[0] == "train" and (place / "t").exists():
        done = (place / "t" / RUN).exists()
        return give(["verify", "t"] if done else ["train", "--resume", "t", "--checkpoint-every", "0s"], place)
    code = give(arguments, place)
    there = code == 2 and "exists already" in said(place)  # it was finished when the fault came
    return 0 if there else code


def template(folder: Path) -> Path:
    """Everything that the commands need."""
    folder.mkdir(parents=True)
    (folder / "log.csv").write_text(LOG)
    (folder / "small.toml").write_text(SETTINGS)
    for arguments in (["simulate", "w", *WORLD], ["sample", "w"], ["train", "w", "--run", "r", *SMALL],
                      ["export", "r", "w", "--out", "old"]):  # fmt: skip
        assert give(arguments, folder) == 0, (arguments, said(folder))
    return folder


def warm_up(made: Path, work: Path) -> None:
    """Give every command once in this process, so that its children have all modules and kernels."""
    place, home = copied(made, work), Path.cwd()
    kept, silence = (os.dup(1), os.dup(2)), os.open(os.devnull, os.O_WRONLY)
    os.chdir(place)
    for number in (1, 2):
        os.dup2(silence, number)
    try:
        for arguments in COMMANDS.values():
            call(arguments)
    finally:
        os.chdir(home)
        for number, handle in zip((1, 2), kept, strict=True):
            os.dup2(handle, number)
            os.close(handle)
        os.close(silence)
        removed(place)


def copied(made: Path, work: Path) -> Path:
    """A fresh copy of the template, under a name that no other case has had."""
    place = Path(tempfile.mkdtemp(prefix="case-", dir=work))
    shutil.copytree(made, place, dirs_exist_ok=True)
    return place


def removed(place: Path) -> None:
    shutil.rmtree(place)
    Path(f"{place}.stderr").unlink(missing_ok=True)


def contents(place: Path) -> dict[str, Any]:
    """What a folder holds for whoever reads it: file → digest, by the names that manifests give them."""
    found: dict[str, Any] = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if PARTIAL in name or path.name == LOCK:
            found[f"LEFT: {name}"] = 1
        elif name.startswith(TUNED):
            found[TUNED] = (place / TUNED / "w-mtl" / "best.toml").is_file()
        elif path.name == MANIFEST:
            named = read_record(path)["files"].items()
            found |= {f"{path.parent.name}/{file}": facts["sha256"] for file, facts in named}
            where = {facts.get("path", file) for file, facts in named}
            others = {p.relative_to(path.parent).as_posix() for p in path.parent.rglob("*") if p.is_file()}
            found |= {f"LEFT: {path.parent.name}/{p}": 1 for p in others - where if re.match("generation", p)}
        elif (path.suffix in TABLES or path.name in ("scores.npy", "weights.safetensors", "training.safetensors")) and (
            path.name not in NOT_COMPARED and "generation" not in name
        ):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
