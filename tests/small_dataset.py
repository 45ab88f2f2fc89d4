"""A small imported dataset: a history, two days of labels, side tables of users and titles, and no vectors."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from twotower.data.dataset import HISTORY
from twotower.data.dataset_writer import DatasetWriter
from twotower.data.territories import look_up

N_USERS, N_TITLES = 30, 12
TEXTS = ["sad song", "sad film", "loud song", "loud film", "quiet song", "quiet sad film"]


def make(path: Path, shuffle_labels: int | None = None, history: bool = True, text: bool = True) -> Path:
    """A dataset with two days of labels, which ``shuffle_labels`` permutes; user 0 and title 0 have no history."""
    rng = np.random.default_rng(7)
    user, title = rng.integers(1, N_USERS, 150), rng.integers(1, N_TITLES, 150)
    label_user, label_title = rng.integers(0, N_USERS, 90), rng.integers(0, N_TITLES, 90)
    if shuffle_labels is not None:
        order = np.random.default_rng(shuffle_labels)
        label_user, label_title = order.permutation(label_user), order.permutation(label_title)
    with DatasetWriter(path, "import", 0, {}) as writer:
        territories = look_up(["DE", "FR", "PL"])
        writer.write_territories(replace(territories, users=np.array([10, 10, 10])))
        columns = {"title": [f"t{i}" for i in range(N_TITLES)]}
        if text:
            columns |= {"words": TEXTS * 2, "genre": (["pop|rock", "rock", ""] * 4), "home": ["DE", "FR"] * 6}
        writer.write_titles(columns, np.ones((N_TITLES, 3), bool))
        users = {"age": ["old", "young", ""] * 10, "sex": ["f", "m"] * 15}
        writer.write_users(np.arange(N_USERS) % 3, [f"u{i}" for i in range(N_USERS)], users)
        if history:
            writer.append_events(HISTORY, user, title)
        writer.append_events(0, label_user[:50], label_title[:50])
        writer.append_events(1, label_user[50:], label_title[50:])
        writer.finish(1, 1, True)
    return path
