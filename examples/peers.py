"""Libraries that one would use instead, on the same events and test users, by the same metrics: one table.

    python examples/peers.py DIR
    python examples/peers.py lastfm --hidden 128 --batch-size 2048 --epochs 4

DIR is a dataset with vectors. Every model learns from the history of all users and the positive training pairs. Models
of implicit, LightFM and RecTools have their libraries' settings, but for 64 factors, and LightFM the WARP loss and 20
epochs; they are left out, with a word, where the library is not installed. Popularity, item-kNN, EASE and counts are
rivals of ``twotower experiment``.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from twotower import METHODS, Dataset, Sample, TrainingJob, average_precision, average_precision_by
from twotower.data.memory.knowledge import Knowledge, read_history
from twotower.experiments.panel import score_all
from twotower.experiments.ranked_runs import choose_test_users
from twotower.experiments.rivals.registry import RIVALS
from twotower.metrics.recommended import NOBODY, RANKING_METRICS, ranking_metrics, top_titles
from twotower.report.progress import show_progress
from twotower.serving.recommend import watched
from twotower.training.job import choose_groups

K = 10
FACTORS = 64
SHOWN = 5  # territories with most test positives
Scores = Callable[[np.ndarray], np.ndarray]  # users (n,) → (n, T)


def implicit_model(name: str, known: Knowledge, seed: int) -> Scores:
    """AlternatingLeastSquares, BayesianPersonalizedRanking or LogisticMatrixFactorization of implicit."""
    import scipy.sparse as sp
    from implicit import als, bpr, lmf

    classes = {"ALS": als.AlternatingLeastSquares, "BPR": bpr.BayesianPersonalizedRanking,
               "logistic MF": lmf.LogisticMatrixFactorization}  # fmt: skip
    model = classes[name](factors=FACTORS, random_state=seed)
    with threadpool_limits(1, "blas"):
        model.fit(sp.csr_matrix(known.watched), show_progress=False)
    return lambda users: model.user_factors[users] @ model.item_factors.T


def lightfm_model(known: Knowledge, seed: int) -> Scores:
    """LightFM with the WARP loss, on who watched what."""
    import scipy.sparse as sp
    from lightfm import LightFM

    place = tuple(rows.astype(np.int32) for rows in known.watched.nonzero())
    model = LightFM(no_components=FACTORS, loss="warp", random_state=seed)
    model.fit(sp.coo_matrix((np.ones(len(place[0]), np.float32), place), known.watched.shape), epochs=20)

    def scores(users: np.ndarray) -> np.ndarray:
        titles = np.arange(known.watched.shape[1])
        return np.stack([model.predict(int(user), titles) for user in users])

    return scores


def rectools_model(known: Knowledge, seed: int) -> Scores:
    """PureSVDModel of RecTools, asked for the scores of all titles."""
    import pandas as pd
    from rectools import Columns
    from rectools.dataset import Dataset as Interactions
    from rectools.models import PureSVDModel

    user, title = known.watched.nonzero()
    table = {Columns.User: user, Columns.Item: title, Columns.Weight: 1.0, Columns.Datetime: pd.Timestamp("2020-01-01")}
    data = Interactions.construct(pd.DataFrame(table))
    model = PureSVDModel(factors=min(FACTORS, data.item_id_map.size // 2)).fit(data)

    def scores(users: np.ndarray) -> np.ndarray:
        found = np.full((len(users), known.watched.shape[1]), -np.inf, np.float32)
        warm = users[np.isin(users, user)]  # others have no factors
        best = model.recommend(warm, data, k=found.shape[1], filter_viewed=False)
        row = np.searchsorted(users, best[Columns.User])
        found[row, best[Columns.Item]] = best[Columns.Score]
        return np.where(np.isfinite(found), found, found[np.isfinite(found)].min())

    return scores


def models(known: Knowledge, seed: int) -> Iterator[tuple[str, Callable[[], Scores]]]:
    """Names, and what fits each model."""
    for name in ("popular", "popular-world", "item-knn", "ease", "counts"):
        yield f"twotower: {name}", lambda name=name: RIVALS[name](known).scores
    if find_spec("implicit"):
        for name in ("ALS", "BPR", "logistic MF"):
            yield f"implicit: {name}", lambda name=name: implicit_model(name, known, seed)
    else:
        print("implicit is not installed: pip install implicit")
    if find_spec("lightfm"):
        yield "LightFM: WARP", lambda: lightfm_model(known, seed)
    else:
        print("LightFM is not installed: pip install rectools-lightfm")
    if find_spec("rectools"):
        yield "RecTools: PureSVD", lambda: rectools_model(known, seed)
    else:
        print("RecTools is not installed: pip install rectools")


class Judge:
    """The test users of a sample, and the metrics of scores for them."""

    def __init__(self, dataset: Dataset, sampled: Sample):
        self.pairs = pairs = sampled.test_pairs()
        self.territory = np.asarray(dataset.user_territory)
        self.rows = np.unique(pairs.user).astype(np.int64)
        self.row = np.searchsorted(self.rows, pairs.user)
        days = np.unique(pairs.day).tolist()
        self.test = test = choose_test_users(dataset, pairs, days)  # those with something to find
        start, seen = watched(dataset, test.rows, test.day)
        there = np.asarray(dataset.availability) & (np.asarray(dataset.launch_day) <= test.day)[:, None]
        self.allowed = there.T[test.territory]
        self.allowed[np.repeat(np.arange(len(test.rows)), np.diff(start)), seen] = False
        positives = np.bincount(self.territory[pairs.user], pairs.label, dataset.n_territories)
        self.shown = np.argsort(-positives, kind="stable")[:SHOWN]
        self.codes = [dataset.territories.code[c] for c in self.shown]
        self.n_territories = dataset.n_territories

    def columns(self) -> list[str]:
        return ["PR-AUC", "mean of territories", *self.codes, f"recall@{K}", f"nDCG@{K}", "coverage"]

    def figures(self, scores: Scores) -> list[float]:
        """PR-AUC of all test pairs, its mean over territories, of some; recall, nDCG; share of titles in any list."""
        of_all = np.asarray(scores(self.rows), np.float32)
        of_pairs, label = of_all[self.row, self.pairs.title], self.pairs.label
        by = average_precision_by(label, of_pairs, self.territory[self.pairs.user], self.n_territories)
        top = top_titles(of_all[np.searchsorted(self.rows, self.test.rows)], self.allowed, K)
        found = dict(zip(RANKING_METRICS, ranking_metrics(top, self.test.user, self.test.title), strict=True))
        coverage = len(np.unique(top[top != NOBODY])) / of_all.shape[1]
        means = average_precision(label, of_pairs), np.nanmean(by)
        return [*means, *by[self.shown], found["recall"].mean(), found["ndcg"].mean(), coverage]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    for option in ("--hidden", "--batch-size", "--epochs"):
        parser.add_argument(option, type=int, help="of the two-tower network")
    options = parser.parse_args()
    train = {"batch_size": options.batch_size, "epochs": options.epochs}
    settings = {"model": {"hidden": options.hidden}, "train": train}
    settings = {part: {k: v for k, v in values.items() if v} for part, values in settings.items()}

    rows: list[tuple[str, list[float]]] = []
    with tempfile.TemporaryDirectory() as folder, show_progress() as progress:
        dataset = Dataset.open(options.directory)
        groups = min(4, dataset.n_territories)
        for label, method in (("one head", "baseline"), ("a head per group", "mtl")):
            config = METHODS[method].config("default", settings, groups, options.seed)
            run, _ = TrainingJob(options.directory, config, run_path=Path(folder) / method).run(progress)
            sampled = Sample(dataset)
            judge = Judge(dataset, sampled)
            rows.append((f"**twotower: {label}**", judge.figures(partial(score_all, run, dataset, progress=progress))))
        known = Knowledge(
            history=read_history(dataset), pairs=sampled.train_pairs(),
            territory=np.asarray(dataset.user_territory).astype(np.int64),
            group=choose_groups(dataset.territories, groups).astype(np.int64),
            availability=np.asarray(dataset.availability), launch_day=np.asarray(dataset.launch_day),
        )  # fmt: skip
        for name, fit in models(known, options.seed):
            progress(f"fitting {name}", 0, 1)
            rows.append((name, judge.figures(fit())))
            progress(f"fitting {name}", 1, 1)

    print("| model | " + " | ".join(judge.columns()) + " |")
    print("|---|" + "---:|" * len(judge.columns()))
    for name, figures in sorted(rows, key=lambda row: -row[1][0]):
        print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in figures) + " |")
    print(f"\n{len(judge.rows):,} test users, {int(judge.pairs.label.sum()):,} positives of {len(judge.pairs):,} pairs")


if __name__ == "__main__":
    main()
