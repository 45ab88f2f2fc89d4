"""A small shop for the tests of daily updates: its log in days, and a run trained on the first of them."""

import csv
import hashlib
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from twotower.cli import cli
from twotower.core.storage import read_record

FIRST = date(2024, 3, 1)
CODES = ("DE", "FR", "PL", "US")
TRAINED_DAYS = 12
VARYING = {"run.json", "metrics.jsonl", "environment.json", "memory.npz", "config.toml"}
COLUMNS = ("user", "title", "territory", "time")
VARYING = {"run.json", "metrics.jsonl", "environment.json", "memory.npz", "config.toml"}


def day_rows(day: int, users: int = 120, titles: int = 60, seed: int = 0) -> list[tuple[str, str, str, str]]:
    """The events of a day: users like titles of their own kind, and a new user and a new title come now and then."""
    rng = np.random.default_rng([seed, day])
    rows = []
    users, titles = users + 2 * max(0, day - TRAINED_DAYS), titles + max(0, day - TRAINED_DAYS) // 2
    for user in rng.choice(users, users // 2, replace=False).tolist():
        liked = np.arange(titles)[np.arange(titles) % 3 == user % 3]
        for title in rng.choice(liked, 2, replace=False).tolist():
            when = f"{FIRST + timedelta(day)} 1{day % 10}:00:00"
            rows.append((f"u{user}", f"t{title}", CODES[user % 7 % len(CODES)], when))
    return rows


def write_log(path: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


def write_days(path: Path, *days: int, seed: int = 0) -> Path:
    return write_log(path, [row for day in days for row in day_rows(day, seed=seed)])


def name_of(day: int) -> str:
    return (FIRST + timedelta(day)).isoformat()


def run_command(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> str:
    result = run_command(*arguments)
    assert result.exit_code == 0, result.output + result.stderr
    return result.output


def make_shop(folder: Path, *options: str) -> Path:
    """Import, embed and train: the run."""
    log = write_days(folder / "log.csv", *range(TRAINED_DAYS))
    shop = folder / "shop"
    succeed("import", shop, "--events", log, "--time", "time", "--train-days", 6, "--test-days", 2)
    succeed("embed", shop, "--user-dims", 6)
    small = "--hidden", 8, "--batch-size", 128, "--epochs", 2, "--threads", 2, "--memory-units", 4
    succeed("train", shop, *small, "--mtl", "--groups", 2, "--run", folder / "run", *options)
    return folder / "run"


def bits(day: Path) -> dict[str, str]:
    """Digests of all that a day keeps, but for times and speeds; of memory the arrays, since zip files hold times."""
    found = {
        path.relative_to(day).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in day.rglob("*")
        if path.is_file() and path.name not in VARYING
    }
    with np.load(day / "memory.npz") as kept:
        found |= {f"memory {name}": hashlib.sha256(kept[name].tobytes()).hexdigest() for name in kept.files}
    timeless = {key: value for key, value in read_record(day / "run.json")["day"].items()
                if key not in ("seconds", "bytes", "peak_mib")}  # fmt: skip
    return found | {"day": str(timeless)}
