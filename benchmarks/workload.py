"""The training step that every contender is timed on: batches as index arrays, and the tables they index.

B = 8192 pairs a batch · F_u = 512 user features · F_t = 896 title features (768 of text, 128 categorical)
D = 512 hidden units · K = 4 territory groups of unequal size · 700 titles in Zipf order
1, 4 or 8 pairs a user: 1 is a batch of strangers, 8 keeps a positive and its negatives together
"""

from dataclasses import dataclass

import numpy as np

from twotower.core.config import ModelConfig
from twotower.core.presets import PRESETS

PAIRS = 8192
USER_WIDTH, TITLE_WIDTH = 512, 896
TITLES = 700
GROUP_SHARES = (0.4, 0.3, 0.2, 0.1)  # of the users
USERS = 50_000  # rows of the user table
BASE_RATE = 1 / 9  # share of positives: eight negatives for each
K = len(GROUP_SHARES)
MODELS = {  # shapes of the network, by name
    "paper": ModelConfig(groups=K, **PRESETS["paper"].model, **PRESETS["paper"].mtl_model),
    "default": ModelConfig(groups=K, **PRESETS["default"].mtl_model),  # memory is a contender of its own
    "residual": ModelConfig(groups=K, head="residual"),
    "baseline": ModelConfig(),
}


@dataclass(frozen=True)
class IndexBatch:
    """Pairs as rows of the tables, in random order."""

    user: np.ndarray  # (B,) int64
    title: np.ndarray  # (B,) int64
    labels: np.ndarray  # (B,) float32  0 or 1


@dataclass(frozen=True)
class Workload:
    """Tables, and batches over them."""

    user_table: np.ndarray  # (users, F_u) float32
    title_table: np.ndarray  # (T, F_t) float32
    user_group: np.ndarray  # (users,) int64
    groups: int  # K
    batches: list[IndexBatch]


def make_workload(
    pairs_per_user: int,
    rng: np.random.Generator,
    groups: int = len(GROUP_SHARES),
    batches: int = 4,
    pairs: int = PAIRS,
    users: int = USERS,
) -> Workload:
    """Batches of ``pairs`` pairs; each user has ``pairs_per_user`` of them, on different titles.

    ``groups`` may be 1, for models without heads.
    """
    shares = np.array(GROUP_SHARES[:groups]) / sum(GROUP_SHARES[:groups])
    if pairs % pairs_per_user:
        raise ValueError(f"{pairs} pairs cannot be {pairs_per_user} a user")
    return Workload(
        user_table=rng.standard_normal((users, USER_WIDTH), np.float32),
        title_table=rng.standard_normal((TITLES, TITLE_WIDTH), np.float32),
        user_group=rng.choice(groups, users, p=shares),
        groups=groups,
        batches=[draw_batch(pairs, pairs_per_user, users, rng) for _ in range(batches)],
    )


def draw_batch(pairs: int, pairs_per_user: int, users: int, rng: np.random.Generator) -> IndexBatch:
    """One batch: users without replacement, each with titles without replacement by Zipf's law."""
    user = np.repeat(rng.choice(users, pairs // pairs_per_user, replace=False), pairs_per_user)
    # the largest of log p + Gumbel noise are a draw without replacement from p
    log_share = -np.log(np.arange(1, TITLES + 1))
    keys = log_share + rng.gumbel(size=(pairs // pairs_per_user, TITLES))
    title = np.argpartition(-keys, pairs_per_user - 1, axis=1)[:, :pairs_per_user].ravel()
    labels = (rng.random(pairs) < BASE_RATE).astype(np.float32)
    order = rng.permutation(pairs)
    return IndexBatch(user[order], title[order], labels[order])
