"""Events of a small log as columns, and settings of a small recommender."""

import numpy as np

SMALL = {"settings": {"model": {"hidden": 16}, "train": {"epochs": 2, "batch_size": 512}}, "groups": 2}
COUNTRIES = ("Poland", "France", "Japan", "Brazil")


def watch_log(n_users: int = 240, n_titles: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
    """Events of users who like either the first or the second half of the titles."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(n_users), 12)
    half = rng.integers(2, size=n_users)[user]
    title = np.where(rng.random(len(user)) < 0.85, half, 1 - half) * (n_titles // 2)
    title = title + np.minimum(rng.geometric(0.12, len(user)), n_titles // 2) - 1
    country = np.array(COUNTRIES)[user % 4]
    return {"user": user + 1000, "title": np.array([f"film {t}" for t in title], object), "territory": country}
