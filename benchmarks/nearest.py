"""From how many titles an index pays: users served per second by ``export --ann`` and by exact ranking.

    python -m benchmarks.nearest
    python -m benchmarks.nearest --titles 1000 --titles 10000 --no-memory

For each number of titles a synthetic log is imported (people with a few of many tastes, so that embeddings have
structure), a network is trained on it, and ``twotower export --ann`` measures itself: recall@10 and users per second of
both on held-out users, from their features to the ten best titles. Both use all cores.
"""

import json
import os
import tempfile
from pathlib import Path

import click
import numpy as np
from click.testing import CliRunner

from benchmarks import machine
from twotower.cli import cli

RESULTS = Path(__file__).parent / "results" / "nearest.json"
USERS, WATCHED, TASTES, TERRITORIES = 10_000, 24, 40, 12
SMALL = ["--hidden", "128", "--batch-size", "2048", "--epochs", "2", "--mtl", "--groups", "4"]


def write_log(path: Path, titles: int, rng: np.random.Generator) -> None:
    """A log of USERS people who watch titles of three tastes; within a taste popularity falls as in Zipf's law."""
    taste = rng.integers(TASTES, size=titles)
    members = [np.flatnonzero(taste == k) for k in range(TASTES)]
    weights = [1 / np.arange(1, len(own) + 1) ** 0.8 for own in members]
    with path.open("w", encoding="utf-8") as file:
        file.write("user,title,territory\n")
        for user in range(USERS):
            own = np.concatenate([
                rng.choice(members[k], WATCHED // 3, p=weights[k] / weights[k].sum())
                for k in rng.choice(TASTES, 3, replace=False)
            ])  # fmt: skip
            file.writelines(f"u{user},t{title},{'ABCDEFGHIJKL'[user % TERRITORIES] * 2}\n" for title in np.unique(own))


def twotower(*words: object) -> str:
    """Run a command, or say what it printed."""
    result = CliRunner().invoke(cli, [str(word) for word in words])
    if result.exit_code:
        raise click.ClickException(f"twotower {' '.join(map(str, words))}\n{result.output}")
    return result.stdout


def measure(titles: int, memory: bool, folder: Path) -> dict[str, float]:
    """The record of an index for so many titles."""
    log, data, run, out = (folder / name for name in ("log.csv", "log", "run", "out"))
    write_log(log, titles, np.random.default_rng(titles))
    twotower("import", data, "--events", log)
    twotower("embed", data, "--user-dims", 64, "--title-side")
    twotower("group", data, "--groups", 4)
    twotower("train", data, "--run", run, "--memory" if memory else "--no-memory", *SMALL)
    print(twotower("export", run, "--ann", "--out", out).split("\n", 1)[1])
    record: dict[str, float] = json.loads((out / "manifest.json").read_text("utf-8"))["index"]
    return record


@click.command(context_settings={"show_default": True})
@click.option("--titles", type=int, multiple=True, default=(1_000, 10_000, 100_000))
@click.option("--memory/--no-memory", "memories", default=None, help="Only with or only without memory.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where the figures go.")
def main(titles: tuple[int, ...], memories: bool | None, target: Path) -> None:
    """Measure an index for each number of titles."""
    facts, found = machine.facts(os.cpu_count() or 1), []
    print(machine.describe(facts))
    for memory in [False, True] if memories is None else [memories]:
        for count in titles:
            print(f"\n{count:,} titles, {'with' if memory else 'no'} memory", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                found.append({"memory": memory, **measure(count, memory, Path(folder))})
    target.write_text(json.dumps({"machine": facts, "indexes": found}, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
