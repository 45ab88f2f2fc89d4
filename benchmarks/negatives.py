"""Negatives: α unwatched, available titles for each positive; twotower's sampler, DuckDB's and Polars' anti-join.

    python -m benchmarks.negatives
    python -m benchmarks.negatives --positives 100000 --watched 2000000 --rounds 1

The task, on one day: to each user with n positives αn different titles, drawn uniformly from those that are available
in the user's territory, launched by that day, and never watched by the user. Everyone begins with what was watched in
memory, in its own format, and ends with two columns, user and title. The peers do what their expert would: draw half
as many again as needed and some more from the territory's list, so that availability is settled before the join;
anti-join what was watched; make the rest distinct; keep αn of them at random, for in the order in which either leaves
them popular titles come too often. twotower uses one thread, the others two.

Before anyone is timed, the properties of what it drew are checked: how many a user, none twice, none watched, all
available and launched, and that popular titles are drawn as often as others.
"""

import importlib.util
import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from benchmarks import machine
from twotower.data.first_streams import FirstStreams
from twotower.data.sampling.negatives import Candidates, sample_negatives

RESULTS = Path(__file__).parent / "results" / "negatives.json"
THREADS = 2
TITLES, TERRITORIES, DAYS, TODAY = 20_000, 200, 90, 80
AVAILABLE = 0.8  # share of the titles that a territory has
SKEW = 1.5  # of users: 1 is none; the busiest of a million watches 2,000 of 20 million events
EVENLY = 6  # standard deviations that the share of popular titles may be off

Drawn = tuple[np.ndarray, np.ndarray]  # user (n,), title (n,)


class Task(NamedTuple):
    """Who watched what, what is there, and whose negatives are wanted."""

    watched_user: np.ndarray  # (N,) int32, ascending
    watched_title: np.ndarray  # (N,) int32
    territory: np.ndarray  # (U,) int16
    availability: np.ndarray  # (T, C) bool
    launch_day: np.ndarray  # (T,)
    user: np.ndarray  # (n,) int64 users with positives, each once
    wanted: np.ndarray  # (n,) int64 negatives of each
    keys: np.ndarray  # (distinct,) int64 user and title of what was watched as one number, ascending


def make_task(positives: int, watched: int, alpha: int, rng: np.random.Generator) -> Task:
    """Titles in Zipf order, of which later ones are launched later; users with a few positives each."""
    n_users = max(10, watched // 20)
    popularity = np.cumsum(1 / np.arange(1, TITLES + 1) ** 0.9)
    title = np.searchsorted(popularity, popularity[-1] * rng.random(watched)).astype(np.int32)
    user = np.sort((n_users * rng.random(watched) ** SKEW).astype(np.int32))
    who, n = np.unique((n_users * rng.random(positives) ** SKEW).astype(np.int64), return_counts=True)
    keys = np.sort(user.astype(np.int64) * TITLES + title)
    return Task(
        watched_user=user,
        watched_title=title,
        territory=rng.integers(0, TERRITORIES, n_users).astype(np.int16),
        availability=rng.random((TITLES, TERRITORIES)) < AVAILABLE,
        launch_day=np.where(rng.random(TITLES) < 0.8, 0, rng.integers(0, DAYS, TITLES)),
        user=who,
        wanted=alpha * n,
        keys=keys[np.diff(keys, prepend=-1) > 0],
    )


def twotower(task: Task) -> Callable[[int], Drawn]:
    """What ``twotower sample`` calls for each day."""
    day = np.zeros(len(task.watched_user), np.int16)
    watched = FirstStreams.of(task.watched_user, task.watched_title, day, len(task.territory), TITLES)
    candidates = Candidates(task.availability, task.launch_day)

    def draw(seed: int) -> Drawn:
        drawn = sample_negatives(task.user, task.wanted, TODAY, task.territory, watched, candidates, seed)
        return drawn.user, drawn.title

    return draw


def lists(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The titles of each territory: territory, rank in its list, and title of each entry; and how many each has."""
    territory, title = np.nonzero((task.availability & (task.launch_day <= TODAY)[:, None]).T)
    n = np.bincount(territory, minlength=TERRITORIES)
    rank = np.arange(len(title)) - (np.cumsum(n) - n)[territory]
    return territory.astype(np.int32), rank.astype(np.int32), title.astype(np.int32), n.astype(np.int32)


def duckdb(task: Task) -> Callable[[int], Drawn]:
    """Tables in memory, and one SQL query."""
    import duckdb
    import pyarrow as pa

    connection = duckdb.connect(config={"threads": THREADS, "preserve_insertion_order": False})
    territory, rank, title, n = lists(task)
    user, home = task.user.astype(np.int32), task.territory[task.user].astype(np.int32)
    for name, columns in {
        "watched": {"user": task.watched_user, "title": task.watched_title},
        "candidate": {"territory": territory, "rank": rank, "title": title},
        "asked": {"user": user, "k": task.wanted, "territory": home, "n": n[home]},
    }.items():
        connection.register("arriving", pa.table(columns))
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM arriving")

    def draw(seed: int) -> Drawn:
        connection.execute(f"SELECT setseed({seed % 1000 / 1000})").fetchall()
        found = connection.sql(
            f"""
            WITH draw AS (
                SELECT user, k, territory, CAST(floor(random() * n) AS INTEGER) AS rank
                FROM (SELECT *, unnest(range(k + k // 2 + 16)) FROM asked)
            ), fresh AS (
                SELECT DISTINCT draw.user, draw.k, candidate.title
                FROM draw JOIN candidate USING (territory, rank)
                ANTI JOIN watched ON watched.user = draw.user AND watched.title = candidate.title
            )
            SELECT user, title FROM fresh
            QUALIFY row_number() OVER (PARTITION BY user ORDER BY hash(title, user, {seed})) <= k
            """
        ).fetchnumpy()
        return found["user"], found["title"]

    return draw


def polars(task: Task) -> Callable[[int], Drawn]:
    """Frames, and one lazy query on the streaming engine; NumPy draws the ranks."""
    import polars as pl

    territory, rank, title, n = lists(task)
    watched = pl.DataFrame({"user": task.watched_user, "title": task.watched_title}).lazy()
    candidate = pl.DataFrame({"territory": territory, "rank": rank, "title": title}).lazy()
    home = task.territory[task.user].astype(np.int32)
    draws = task.wanted + task.wanted // 2 + 16

    def draw(seed: int) -> Drawn:
        ranks = np.random.default_rng(seed).random(draws.sum(), np.float32) * np.repeat(n[home], draws)
        drawn = pl.DataFrame({
            "user": np.repeat(task.user.astype(np.int32), draws), "k": np.repeat(task.wanted.astype(np.int32), draws),
            "territory": np.repeat(home, draws), "rank": ranks.astype(np.int32),
        })  # fmt: skip
        found = (
            drawn.lazy()
            .join(candidate, on=["territory", "rank"])
            .join(watched, on=["user", "title"], how="anti")
            .select("user", "title", "k")
            .unique(["user", "title"])
            .filter(pl.int_range(pl.len()).shuffle(seed).over("user") < pl.col("k"))
            .select("user", "title")
            .collect(engine="streaming")
        )
        return found["user"].to_numpy(), found["title"].to_numpy()

    return draw


#: Name → who; the first is the one that the others are compared with.
SAMPLERS: dict[str, Callable[[Task], Callable[[int], Drawn]]] = {
    "twotower": twotower,
    "duckdb": duckdb,
    "polars": polars,
}


def complaint(task: Task, drawn: Drawn) -> str:
    """What is wrong with some negatives, if anything."""
    user, title = (column.astype(np.int64) for column in drawn)
    given = np.bincount(user, minlength=len(task.territory))
    if (given[task.user] != task.wanted).any() or given.sum() != task.wanted.sum():
        return f"{len(user):,} negatives, expected {task.wanted.sum():,}, or not those of each user"
    if not (task.availability[title, task.territory[user]] & (task.launch_day[title] <= TODAY)).all():
        return "a title that was not there"
    key, watched = np.sort(user * TITLES + title), task.keys
    if (key[1:] == key[:-1]).any():
        return "a title twice"
    place = np.minimum(np.searchsorted(watched, key), len(watched) - 1)
    if (watched[place] == key).any():
        return "a title that was watched"
    # The 100 most popular titles: of what each user could get of all titles, their share, and so of the negatives.
    there = task.availability & (task.launch_day <= TODAY)[:, None]
    could = [there[:top].sum(0)[task.territory[task.user]] - seen_of(task, there, top) for top in (100, TITLES)]
    share = could[0] / could[1]
    expected, spread = float((share * task.wanted).sum()), float(np.sqrt((share * (1 - share) * task.wanted).sum()))
    if abs((title < 100).sum() - expected) > EVENLY * spread:
        return f"{(title < 100).sum():,} popular titles, expected {expected:,.0f} ± {spread:,.0f}"
    return ""


def seen_of(task: Task, there: np.ndarray, top: int) -> np.ndarray:
    """How many of the first ``top`` titles that are there each user with positives has watched, (n,)."""
    user, title = np.divmod(task.keys, TITLES)
    counts = (title < top) & there[title, task.territory[user]]
    return np.bincount(user[counts], minlength=len(task.territory))[task.user]


@click.command(context_settings={"show_default": True})
@click.option("--positives", default=1_000_000, type=click.IntRange(min=1), help="First streams of the day.")
@click.option("--alpha", default=8, type=click.IntRange(min=1), help="Negatives each.")
@click.option("--watched", default=20_000_000, type=click.IntRange(min=1000), help="Events of the log.")
@click.option("--rounds", default=5, type=click.IntRange(min=1), help="Rounds in which each has its turn.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=RESULTS, help="Where results go.")
def main(positives: int, alpha: int, watched: int, rounds: int, target: Path) -> None:
    """Time the drawing of negatives."""
    os.environ["POLARS_MAX_THREADS"] = str(THREADS)
    if missing := [name for name in ("duckdb", "polars", "pyarrow") if not importlib.util.find_spec(name)]:
        raise click.ClickException(f"not installed: {', '.join(missing)}; pip install 'twotower[bench]'")
    facts = machine.facts(THREADS)
    print(machine.describe(facts))
    task = make_task(positives, watched, alpha, np.random.default_rng(0))
    what = f"{task.wanted.sum():,} negatives of {len(task.user):,} users, who watched {watched:,} events"
    samplers = {name: make(task) for name, make in SAMPLERS.items()}
    for name, draw in samplers.items():
        if wrong := complaint(task, draw(1)):
            raise click.ClickException(f"{name}: {wrong}; not timed")
    seconds: dict[str, list[float]] = {name: [] for name in samplers}
    readings: dict[str, list[float]] = {}
    names = list(samplers)
    for turn in range(rounds):
        for reading, rate in machine.readings(THREADS).items():
            readings.setdefault(reading, []).append(rate)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(machine.timed(samplers[name], turn + 2))
    rows = {
        name: {
            "median_s": round(statistics.median(times), 3),
            "best_s": round(min(times), 3),
            "times_the_first": round(
                statistics.median(t / ours for t, ours in zip(times, seconds["twotower"], strict=True)), 2
            ),
            "negatives_per_second": round(int(task.wanted.sum()) / statistics.median(times)),
            "seconds": [round(t, 4) for t in times],
        }
        for name, times in seconds.items()
    }
    print(f"\n{what}\n{'':10} {'median s':>9} {'best s':>8} {'ratio':>7} {'negatives/s':>13}")
    for name, row in rows.items():
        times = f"{row['median_s']:9.3f} {row['best_s']:8.3f} {row['times_the_first']:6.2f}×"
        print(f"{name:10} {times} {row['negatives_per_second']:13,}")
    print("machine, GFLOP/s: " + "; ".join(f"{n} {min(r):.0f}–{max(r):.0f}" for n, r in readings.items()))
    results = {"machine": facts, "readings_gflops": readings, "task": what, "samplers": rows}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
