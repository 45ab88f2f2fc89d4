"""Quotas: how many active users each territory sends. C territories, M active users."""

import numpy as np

QUOTAS = ("proportional", "equal", "adaptive")


def active_quota(quota: str, total: int, available: np.ndarray, base: np.ndarray, per_user: np.ndarray) -> np.ndarray:
    """Active users per territory: (C,) int64 with sum ``total``, at most ``available`` each.

    "proportional": in proportion to ``available``, which is what drawing from one urn gives on average.
    "equal": the same number from each territory, or all it has.
    "adaptive": the territories with the fewest positives are filled up first, to a level that is as high as
        ``total`` users can raise it. ``base`` (C,) positives are there, an active user brings ``per_user``.

    Raises ValueError when fewer than ``total`` are available in all.
    """
    if total > available.sum():
        raise ValueError(f"{total} users asked for, {available.sum()} available")
    if quota == "proportional":
        return round_within(total * available / max(1, available.sum()), total, available)
    if quota == "equal":
        base, per_user = np.zeros(len(available)), np.ones(len(available))
    return round_within(fill_up(base, per_user, available, total), total, available)


def fill_up(base: np.ndarray, rate: np.ndarray, capacity: np.ndarray, total: float) -> np.ndarray:
    """Water-filling: x (C,), 0 <= x <= capacity, sum ``total``: raise the lowest base + rate * x the most.

    Territories are connected vessels with the ground at ``base`` and a lid at base + rate * capacity, and
    water of volume ``total`` finds one level in them. The volume is piecewise linear in the level, with a
    corner at each ground and lid, so interpolation finds the level exactly. Needs rate > 0 wherever
    capacity > 0.
    """
    rate = np.where(capacity > 0, rate, 1.0)
    corners = np.unique(np.concatenate([base, base + rate * capacity]))

    def volume(level: np.ndarray) -> np.ndarray:
        return np.clip((level[..., None] - base) / rate, 0, capacity)

    level = np.interp(total, volume(corners).sum(axis=1), corners)
    return volume(np.asarray(level))


def round_within(x: np.ndarray, total: int, capacity: np.ndarray) -> np.ndarray:
    """Whole numbers near x (C,) with sum ``total`` and at most ``capacity``, by largest remainders."""
    whole = np.minimum(np.floor(x + 1e-9).astype(np.int64), capacity)
    while (missing := total - int(whole.sum())) > 0:
        open_ = np.flatnonzero(whole < capacity)
        by_remainder = open_[np.argsort(whole[open_] - x[open_], kind="stable")]
        whole[by_remainder[:missing]] += 1
    return whole
