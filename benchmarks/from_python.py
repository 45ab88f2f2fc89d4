"""``TwoTowerRecommender`` from 100,000 events in a data frame to ten titles for every user, with compiled kernels.

    python -m benchmarks.from_python

10,000 users of eight territories, 1,000 titles, 60 days, default settings. Nothing is compared; the load of the machine
is printed beside the seconds.
"""

import os
import time

import numpy as np
import pandas as pd

from twotower import TwoTowerRecommender

EVENTS, USERS, TITLES, DAYS = 100_000, 10_000, 1_000, 60
COUNTRIES = np.array(["US", "DE", "FR", "PL", "JP", "BR", "IN", "GB"])


def watch_events() -> pd.DataFrame:
    """Users like a tenth of the titles, and what is popular."""
    rng = np.random.default_rng(0)
    user, day = rng.integers(USERS, size=EVENTS), rng.integers(DAYS, size=EVENTS)
    some = TITLES // 10
    own = rng.integers(10, size=USERS)[user] * some + np.minimum(rng.geometric(0.05, EVENTS), some) - 1
    title = np.where(rng.random(EVENTS) < 0.6, own, np.minimum(rng.geometric(0.01, EVENTS), TITLES) - 1)
    time_of = np.datetime64("2024-01-01") + day.astype("timedelta64[D]")
    places = COUNTRIES[np.minimum(user % 13, len(COUNTRIES) - 1)]
    return pd.DataFrame({"user": user, "title": title, "territory": places, "time": time_of})


def main() -> None:
    events = watch_events()
    for run in ("first", "second"):  # kernels that were not in the cache are compiled in the first
        started, cpu = time.perf_counter(), time.process_time()
        model = TwoTowerRecommender().fit(events)
        fitted = time.perf_counter()
        n = len(model.recommend(k=10))
        done = time.perf_counter()
        seconds = f"fit {fitted - started:.1f} s, recommend {done - fitted:.1f} s, both {done - started:.1f} s"
        cores = f"{time.process_time() - cpu:.1f} s of CPU on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        print(f"{run} in this process: {seconds}; {cores}; {n:,} recommendations")


if __name__ == "__main__":
    main()
