"""From a table of watch events to recommendations, neighbours, PR-AUC and daily updates, on a simulated service.

    python examples/from_python.py
"""

import tempfile
from pathlib import Path

import numpy as np

from twotower import Dataset, TwoTowerRecommender
from twotower.data.synthetic.simulate import simulate
from twotower.data.synthetic.world import WorldConfig


def watch_events(directory: Path) -> dict[str, np.ndarray]:
    """Events of a simulated service as a table: any data frame with these columns will do."""
    simulate(directory, WorldConfig(users=3000, titles=120))
    dataset = Dataset.open(directory)
    user, title, day = dataset.all_events()
    territory = np.array(dataset.territories.code)[np.asarray(dataset.user_territory)[user]]
    time = np.datetime64("2024-01-01") + day.astype("timedelta64[D]")
    return {"user": user, "title": np.array(dataset.title_ids)[title], "territory": territory, "time": time}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        events = watch_events(Path(folder) / "world")
        last = events["time"] > events["time"].max() - np.timedelta64(7, "D")
        earlier, later = ({name: column[rows] for name, column in events.items()} for rows in (~last, last))

        settings = {"model": {"hidden": 64}, "train": {"epochs": 2, "batch_size": 1024}}
        model = TwoTowerRecommender(groups=4, settings=settings).fit(earlier)
        print(f"PR-AUC of users held out: {model.evaluation_.overall:.3f}")

        users = events["user"][:2].tolist()
        show("The best titles of two users", model.recommend(users, k=3))
        show("The same as if they lived in Poland", model.recommend(users, k=3, territory="PL"))
        watched = {name: column[earlier["user"] == users[0]] for name, column in earlier.items()}
        show("Somebody new with the same history", model.recommend_new(watched, k=3))
        show("Titles like the first one", model.similar_titles(events["title"][0], k=3))
        show("PR-AUC in the last week", model.evaluate(later))

        day = later["time"] == later["time"].min()
        (learned,) = model.update({name: column[day] for name, column in later.items()})
        print(f"\nThe first day of that week\n  {learned.summary()}")

        model.save(Path(folder) / "model")
        loaded = TwoTowerRecommender.load(Path(folder) / "model")
        assert loaded.recommend(users, k=3)["title"].tolist() == model.recommend(users, k=3)["title"].tolist()


def show(title: str, table: dict[str, np.ndarray]) -> None:
    rows = list(zip(*(column.tolist() for column in table.values()), strict=True))
    print(f"\n{title}")
    for row in [tuple(table), *(rows if len(rows) < 8 else [*rows[:6], rows[-1]])]:
        print("  " + "  ".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row))


if __name__ == "__main__":
    main()
