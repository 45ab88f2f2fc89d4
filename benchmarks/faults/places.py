"""Disks that are full after so many bytes, or cannot be written at all: small file systems in memory (needs root)."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.commands import COMMANDS, contents, give, said
from benchmarks.faults.operations import Outcomes, again, bad, is_line, undisturbed


@contextmanager
def small_disk(work: Path, kib: int) -> Iterator[Path]:
    folder = work / "disk"
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def used_kib(folder: Path) -> int:
    return shutil.disk_usage(folder).used // 1024


def full_disk(name: str, made: Path, work: Path, sizes: int) -> Outcomes:
    """A command on disks with more and more room, then again with enough of it."""
    outcomes, (wanted, _) = Counter[str](), undisturbed(name, made, work)
    with small_disk(work, 1 << 20) as folder:
        place = Path(shutil.copytree(made, folder / "place"))
        before = used_kib(folder)
        assert give(COMMANDS[name], place) == 0, said(place)
        needed = max(64, 2 * (used_kib(folder) - before))
    for step in range(sizes):
        with small_disk(work, 1 << 20) as folder:
            place = Path(shutil.copytree(made, folder / "place"))
            Path(f"{place}.stderr").write_text("x" * 4096)
            remount(folder, f"size={used_kib(folder) + 4 + needed * step // sizes}k")
            code = give(COMMANDS[name], place)
            fine = code == 0 or is_line(place, code)
            if not fine:
                outcomes[bad(place, code, step)] += 1
                continue
            left = [file for file in contents(place) if file.startswith("LEFT")]
            remount(folder, "size=1g")
            outcome = f"LEFT BEHIND {left}" if left else again(name, place, wanted)
            outcomes["there was room" if code == 0 and not outcome[0].isupper() else outcome] += 1
    return outcomes


def read_only(name: str, made: Path, work: Path) -> Outcomes:
    """A command where nothing can be written."""
    with small_disk(work, 1 << 20) as folder:
        place = Path(shutil.copytree(made, folder / "place"))
        Path(f"{place}.stderr").touch()
        remount(folder, "ro")
        code = give_outside(COMMANDS[name], place, work)
        there = Path(f"{work}/said.stderr").read_text(errors="replace")
        fine = code == 2 and "Traceback" not in there and ("Read-only" in there or "cannot write" in there)
        return Counter(["said in a line" if fine else f"EXIT {code}: {there.splitlines()[-1:]}"])


def give_outside(arguments: list[str], place: Path, work: Path) -> int:
    """A command in a folder that cannot be written; what it says goes beside."""
    import os

    from benchmarks.faults.children import code_of, in_child
    from benchmarks.faults.commands import call

    def run() -> int:
        os.dup2(os.open(work / "said.stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.chdir(place)
        return call(arguments)

    return code_of(in_child(run, quiet=True))
