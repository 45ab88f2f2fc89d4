"""What a log says of titles: those still open to users, and those with most viewers."""

from copy import copy

import numpy as np

from twotower.core.checks import check_rows, check_shape
from twotower.data.dataset import Dataset
from twotower.data.first_streams import FirstStreams
from twotower.data.sample import Pairs
from twotower.serving.recommend import watched


def restricted(dataset: Dataset, territory: int | None, titles: np.ndarray | None) -> Dataset:
    """The dataset with all users living in a territory, and only some titles (m,) available; None: as it is.

    Raises IndexError for rows that there are not.
    """
    dataset = copy(dataset)
    if territory is not None:
        check_rows("territory", np.array([territory]), dataset.n_territories)
        dataset.user_territory = dataset.head_territory = np.full(dataset.n_users, territory, np.int16)
    if titles is not None:
        check_rows("titles", titles, dataset.n_titles)
        among = np.isin(np.arange(dataset.n_titles), titles)[:, None]
        dataset.availability = np.asarray(dataset.availability) & among
    return dataset


def open_pairs(dataset: Dataset, user: np.ndarray, title: np.ndarray) -> Pairs:
    """All pairs of the users of events (m,) and the titles that are available to them and that they have not watched
    in the dataset's log; positive where the events have them.

    Raises ValueError and IndexError for arrays that do not fit.
    """
    check_shape("title", title, (len(user),))
    check_rows("user", user, dataset.n_users)
    check_rows("title", title, dataset.n_titles)
    users = np.unique(user)
    is_open = np.asarray(dataset.availability).T[np.asarray(dataset.user_territory)[users]].copy()  # (n, T)
    day = dataset.train_days + dataset.test_days
    start, seen = watched(dataset, users, day)
    is_open[np.repeat(np.arange(len(users)), np.diff(start)), seen] = False
    label = np.zeros(is_open.shape, np.float32)
    label[np.searchsorted(users, user), title] = 1
    row, column = np.nonzero(is_open)
    return Pairs(users[row], column.astype(np.int32), label[row, column], np.full(len(row), day, np.int32))


def most_watched(dataset: Dataset, k: int, territory: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` titles with most viewers in a territory, or everywhere: rows (k,) int32, and the log of their share of
    all viewers, float32. Titles that nobody has watched, or that are not available there, are left out."""
    user, title, day = dataset.all_events()
    shape = dataset.n_titles, dataset.n_territories
    first = FirstStreams.of(user, title, day.astype(np.int16), dataset.n_users, dataset.n_titles)
    viewers = np.where(dataset.availability, first.viewers(dataset.user_territory, shape), 0)  # (T, C)
    count = viewers.sum(axis=1) if territory is None else viewers[:, territory]
    best = np.argsort(-count, kind="stable")[:k]
    best = best[count[best] > 0]
    return best.astype(np.int32), np.log(count[best] / max(1, count.sum())).astype(np.float32)
