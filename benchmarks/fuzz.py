"""Coverage-guided fuzzing of everything that reads files: it reads, or refuses in one line, whatever the bytes.

    pip install atheris
    python -m benchmarks.fuzz                       every reader for ten seconds
    python -m benchmarks.fuzz csv --seconds 600     one of them; --keep adds what it found to tests/corpus

Kernels are interpreted, so that an index beyond an array is an error. A log is read carefully and quickly, and both
must say the same. A reader that fails leaves the bytes as crash-… in the working directory.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
LONGEST = 4096  # bytes of an input
INSTRUMENTED = ["twotower.core", "twotower.data.ingest", "twotower.data.territories", "twotower.training.checkpoint"]
Reader = Callable[[bytes, Path], object]


def log(content: bytes, folder: Path, name: str) -> None:
    """A log, of which both ways of reading must say the same."""
    from twotower.core.errors import InputError
    from twotower.data.ingest import blocks, events

    path = written(folder / name, content)
    columns = events.LogColumns("user", "title", None, "time", info=("place", "title"))
    ways: list[Any] = []
    for fast_from, rows in ((1 << 60, 1 << 20), (0, 3)):
        sizes = {"FAST_FROM_BYTES": fast_from}, {"BLOCK_ROWS": 1, "FAST_ROWS": rows, "BATCH_ROWS": rows}
        with mock.patch.multiple(events, **sizes[0]), mock.patch.multiple(blocks, **sizes[1]):
            try:
                found = events.read_log([events.LogFile(path)], columns)
                texts = [found.user, found.title, *found.info.values()]
                said: list[Any] = [(text.codes.tolist(), text.names) for text in texts if text is not None]
                ways.append([said, None if found.day is None else found.day.tolist(), found.skipped])
            except InputError as error:
                ways.append(str(error))
    assert ways[0] == ways[1], f"carefully {ways[0]}\nquickly   {ways[1]}"
    if isinstance(ways[0], str):
        raise InputError(ways[0])


def table(content: bytes, folder: Path) -> None:
    """A table of titles, with weights where it has any."""
    from twotower.data.ingest.side_tables import read_side_table

    weight = "weight" if b"weight" in content else None
    read_side_table(written(folder / "titles.csv", content), "title", join=True, weight=weight)


def names(content: bytes, folder: Path) -> None:
    """Spellings or places of territories."""
    from twotower.data.ingest.territory_names import read_territory_names

    path = written(folder / "names.csv", content)
    spellings, places = (None, path) if b"latitude" in content else (path, None)
    read_territory_names(None, spellings, places)


def array(content: bytes, folder: Path) -> None:
    from twotower.core.storage import load_array

    load_array(written(folder / "a.npy", content)).sum()


def record(content: bytes, folder: Path) -> None:
    """A manifest, sealed so that its contents count."""
    from twotower.core import manifest, storage

    written(folder / manifest.MANIFEST, content)
    with mock.patch.object(storage, "_checksum", lambda record: None):
        manifest.Files(folder, manifest.read_manifest(folder, "dataset")).verify()


def settings(content: bytes, folder: Path) -> None:
    from twotower.core.config import Config, load_toml

    Config.from_dict(load_toml(written(folder / "config.toml", content)))


def weights(content: bytes, folder: Path) -> None:
    """Weights of any shape, sealed."""
    from twotower.training import checkpoint

    with mock.patch.object(checkpoint, "_digest", lambda arrays, text: mock.ANY):
        checkpoint.load_model(written(folder / "weights.safetensors", content))


def memory(content: bytes, folder: Path) -> None:
    from twotower.data.memory.files import read_memory

    read_memory(written(folder / "memory.npz", content), 2, 3)


READERS: dict[str, Reader] = {
    "csv": partial(log, name="log.csv"),
    "jsonl": partial(log, name="log.jsonl"),
    "parquet": partial(log, name="log.parquet"),
    "table": table,
    "names": names,
    "array": array,
    "record": record,
    "settings": settings,
    "weights": weights,
    "memory": memory,
}


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@cache
def place() -> Path:
    """Where inputs are written: in memory, if there is such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="twotower-fuzz-", dir=memory if memory.is_dir() else None))


def read(name: str, content: bytes) -> bool:
    """Whether the bytes were read, and not refused. Errors: what a reader must not raise."""
    from twotower.core.errors import InputError

    try:
        READERS[name](content, place())
        return True
    except InputError:
        return False


def fuzz(name: str, seconds: int, seed: int, found: Path) -> None:
    """One reader in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        import twotower.data.ingest.import_log
        import twotower.training.checkpoint  # noqa: F401

    seeds = CORPUS / name
    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=60", "-rss_limit_mb=4096", f"-seed={seed}"]
    atheris.Setup([sys.argv[0], *limits, "-print_final_stats=1", str(found), str(seeds)], lambda data: read(name, data))
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", choices=[*READERS, []], default=[], metavar="READER",
                        help=", ".join(READERS))  # fmt: skip
    parser.add_argument("--seconds", type=int, default=10, help="of each reader")
    parser.add_argument("--seed", type=int, default=1, help="of the inputs")
    parser.add_argument("--keep", action="store_true", help="add the smallest set of inputs that covers as much")
    parser.add_argument("--found", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.found:
        fuzz(*options.readers, options.seconds, options.seed, options.found)
    failed = []
    for name in options.readers or READERS:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.fuzz", name, "--seconds", str(options.seconds)]
            command += ["--seed", str(options.seed)]
            done = subprocess.run([*command, "--found", folder], env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
                                  stderr=subprocess.PIPE, text=True, errors="replace")  # fmt: skip
            stats = dict(re.findall(r"^stat::(\w+):\s*(\d+)", done.stderr, re.MULTILINE))
            runs = stats.get("number_of_executed_units", "?")
            print(f"{name}: {runs} inputs, {len(list(Path(folder).iterdir()))} new paths, exit {done.returncode}")
            if done.returncode:
                failed.append(name)
                print(done.stderr[-4000:])
            if options.keep:
                shortest = sorted(Path(folder).iterdir(), key=lambda path: path.stat().st_size)
                for path in shortest[:20]:
                    written(CORPUS / name / path.name[:12], path.read_bytes())
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
