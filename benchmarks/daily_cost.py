"""What a day costs as days pile up: processor time, bytes written and memory of 60 daily updates of a small world.

    python -m benchmarks.daily_cost               # about three minutes
    python -m benchmarks.daily_cost --days 10

Each update opens everything anew, as the command does. Days have the same number of events. Printed are medians of ten
days each, and their growth from the first ten to the last ten.
"""

import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from benchmarks.daily import OPTIONS, take_in, train_until
from benchmarks.daily_log import Log, drifting
from twotower.core.presets import build_config

BLOCK = 10  # days whose median is printed
TRAINED = 40


def equal_days(log: Log, events: int) -> Log:
    """So many events of each day."""
    rows = np.concatenate([np.flatnonzero(log.day == day)[:events] for day in log.dates()])
    return Log(log.name, *(column[rows] for column in (log.user, log.title, log.territory, log.day)))


@click.command()
@click.option("--days", default=60)
@click.option("--events", default=800, help="Per day.")
def main(days: int, events: int) -> None:
    log = equal_days(drifting(TRAINED + days, TRAINED + days), events)
    config = build_config(settings={"model": {"hidden": 32}, "train": {"batch_size": 512, "epochs": 1}})
    with tempfile.TemporaryDirectory() as name:
        dates = log.dates()[-days:]
        run = train_until(Path(name) / "first", log, dates[0], config, TRAINED // 2)
        rows = []
        for day in dates:
            started = time.process_time()
            record = take_in(run, log, day).record
            rows.append((time.process_time() - started, record["bytes"] / 2**10, record["peak_mib"]))
    assert OPTIONS.allow_gap
    rows = rows[1:]  # the first update also makes the start
    click.echo("days        processor s   KiB written   peak MiB")
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    for number, block in enumerate(blocks):
        medians = [statistics.median(column) for column in zip(*block, strict=True)]
        first = 2 + number * BLOCK
        click.echo(f"{first:3} to {first + len(block) - 1:3}  " + "".join(f"{value:12.2f}" for value in medians))
    means = [[statistics.median(column) for column in zip(*block, strict=True)] for block in (blocks[0], blocks[-1])]
    growth = [f"{100 * (last / first - 1):+.0f} %" for first, last in zip(*means, strict=True)]
    click.echo("last over first block: " + ", ".join(growth))


if __name__ == "__main__":
    main()
