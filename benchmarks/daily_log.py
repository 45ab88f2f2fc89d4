"""Logs for benchmarks/daily.py: a world whose tastes drift, with a shock, and a part of Online Retail II by days."""

import csv
import gzip
import hashlib
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

FIRST = date(2024, 1, 1)
CODES = ("US", "IN", "BR", "DE", "JP", "PL", "MA", "NZ")
SHARES = np.array([0.36, 0.22, 0.14, 0.1, 0.08, 0.05, 0.03, 0.02])
OPENED = "KE"  # a territory that opens with the shock
HIT = "hit"  # a title that is launched everywhere with the shock


@dataclass(frozen=True)
class Log:
    """Events (N,) in order of days."""

    name: str
    user: np.ndarray  # text
    title: np.ndarray
    territory: np.ndarray
    day: np.ndarray  # (N,) ordinals

    def dates(self) -> list[int]:
        return np.unique(self.day).tolist()

    def write(self, path: Path, keep: np.ndarray) -> Path:
        """The events where ``keep`` (N,) is true, as a Parquet file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        when = [date.fromordinal(day).isoformat() for day in self.day[keep].tolist()]
        columns = {"user": self.user[keep], "title": self.title[keep], "territory": self.territory[keep]}
        pq.write_table(pa.table({**{k: v.tolist() for k, v in columns.items()}, "time": when}), path)
        return path


def drifting(days: int, shock: int, users: int = 3000, titles: int = 160, seed: int = 0) -> Log:
    """A world in which tastes turn and popularity walks from day to day.

    On day ``shock`` a title is launched that everybody likes, and a territory opens with users of its own.
    """
    rng = np.random.default_rng(seed)
    width = 6
    taste, kind = rng.normal(size=(users, width)), rng.normal(size=(titles + 1, width))
    home = rng.choice(len(CODES), users, p=SHARES)
    home[-users // 20 :] = len(CODES)
    local = rng.normal(size=(len(CODES) + 1, width))
    popularity, turn = rng.normal(size=titles + 1), rng.normal(size=(titles + 1, width))
    rate = rng.gamma(2.0, 0.15, users)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("user", "title", "day")}
    for day in range(days):
        popularity[:titles] = 0.97 * popularity[:titles] + 0.24 * rng.normal(size=titles)
        angle = 2 * np.pi * day / 120
        place = np.cos(angle) * kind + np.sin(angle) * turn
        popularity[titles] = 3.0 if day >= shock else -np.inf
        here = np.flatnonzero((rng.random(users) < 1 - np.exp(-rate)) & ((home < len(CODES)) | (day >= shock)))
        logits = popularity + 0.8 * (taste[here] + local[home[here]]) @ place.T
        for _ in range(2):
            gumbel = rng.gumbel(size=logits.shape)
            columns["user"].append(here)
            columns["title"].append((logits + gumbel).argmax(axis=1))
            columns["day"].append(np.full(len(here), FIRST.toordinal() + day))
    user, title, on = (np.concatenate(parts) for parts in columns.values())
    names = np.array([*(f"title {i}" for i in range(titles)), HIT])
    codes = np.array([*CODES, OPENED])
    return Log("drift", np.array([f"u{i}" for i in range(users)])[user], names[title], codes[home[user]], on)


def retail(folder: Path, days: int, share: float = 0.4, titles: int = 400) -> Log:
    """The last trading days of Online Retail II: items with a number, of these the most bought ones, and a share of the
    customers by the hash of their id."""
    rows = []
    with gzip.open(folder / "events.csv.gz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if re.match(r"\d{5}", row["item"]) and chosen(row["user"], share):
                rows.append((row["user"], row["item"], row["country"], date.fromisoformat(row["date"]).toordinal()))
    columns = list(zip(*rows, strict=True))
    day = np.array(columns[3])
    keep = np.isin(day, np.unique(day)[-days:])
    bought, times = np.unique(np.array(columns[1])[keep], return_counts=True)
    keep &= np.isin(columns[1], bought[np.argsort(-times, kind="stable")[:titles]])
    user, title, territory = (np.array(column)[keep] for column in columns[:3])
    order = np.argsort(day[keep], kind="stable")
    return Log("retail", user[order], title[order], territory[order], day[keep][order])


def chosen(user: str, share: float) -> bool:
    """Another hash than that of held-out users."""
    return int(hashlib.sha256(user.encode()).hexdigest()[:8], 16) < share * 16**8


def day_name(ordinal: int) -> str:
    return date.fromordinal(ordinal).isoformat()


