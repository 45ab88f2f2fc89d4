"""Tables of an experiment with titles: comparable pairs (Table 3), kinds, all titles, distances, histograms."""

from itertools import pairwise

from twotower.experiments.report.cells import interval_cell
from twotower.experiments.report.territory_tables import no_positives
from twotower.experiments.report.wording import values
from twotower.experiments.schema import ExperimentRecord
from twotower.report.table import (
    COUNT,
    GAIN,
    INTERVAL,
    PERCENT,
    SCORE,
    TEXT,
    Cell,
    Column,
    Table,
    data,
    decimal,
    signed,
)

SHOWN_TITLES = 200  # at most, on the page; CSV has all
FEW_POSITIVES = "undefined: too few positives in the test"


def title_names(record: ExperimentRecord) -> dict[str, str]:
    return {title["id"]: title["name"] for title in record["titles"]}


def pair_table(record: ExperimentRecord, top: int | None = None) -> Table:
    """Table 3: a local and a global title with comparable positives per territory, and the gain on each."""
    names, baselines = title_names(record), record["baselines"]
    columns = [
        Column("Territory", TEXT, ("territory",)),
        Column("Kind", TEXT, ("kind",)),
        data("id"),
        Column("Title", TEXT, ("title",)),
        Column("Positives there", COUNT, ("positives",)),
        *(Column(f"Gain over {name}, %", GAIN, (f"gain_over_{name}",)) for name in baselines),
    ]
    title = f"Relative gain of the PR-AUC of {record['main_method']}, local and global titles with comparable positives"
    table = Table(columns, title, id="pair-table")
    for pair in record["title_pairs"][:top]:
        for kind in ("local", "global"):
            id, positives = values(pair, kind, f"{kind}_positives")
            gains = [gain for name in baselines for gain in values(pair["gains"][name], kind)]
            cells = (Cell(gain, hint="" if gain is not None else FEW_POSITIVES) for gain in gains)
            table.add(pair["territory"], kind, id, names[id], positives, *cells)
        table.section()
    return table


def kind_table(record: ExperimentRecord) -> Table:
    """The gains on all titles of a kind, because single pairs are anecdotes."""
    columns = [
        data("method"),
        Column("Kind", TEXT, ("kind",)),
        Column("Over", TEXT, ("baseline",)),
        Column("Titles", COUNT, ("titles",)),
        Column("Ahead", COUNT, ("ahead",)),
        Column("Median gain, %", GAIN, ("median",)),
        Column("Middle half", INTERVAL, ("lower_quartile", "upper_quartile")),
    ]
    title = f"Gain of the PR-AUC of {record['main_method']} on all titles of a kind with enough positives in the test"
    table = Table(columns, title, id="kind-table")
    for k in record["title_kinds"]:
        median = Cell(k["median"], hint="" if k["median"] is not None else FEW_POSITIVES)
        middle = interval_cell(k["lower_quartile"], k["upper_quartile"])
        table.add(k["method"], k["kind"], k["baseline"], k["titles"], k["ahead"], median, middle)
    return table


def title_table(record: ExperimentRecord, shown: bool = False) -> Table:
    """All titles with the figures behind their kind, and PR-AUC per method; ``shown``: local and global ones alone."""
    titles, methods = record["titles"], list(record["pr_auc"])
    if shown:
        titles = [title for title in titles if title["kind"]]
        titles = sorted(titles, key=lambda title: -title["train_positives"])[:SHOWN_TITLES]
    columns = [
        data("id"),
        Column("Title", TEXT, ("name",)),
        Column("Kind", TEXT, ("kind",)),
        Column("Home", TEXT, ("home_territory",)),
        Column("Share at home", PERCENT, ("share",)),
        Column("Lift at home", decimal(1), ("lift",)),
        Column("Train positives", COUNT, ("train_positives",)),
        Column("Test positives", COUNT, ("test_positives",)),
        *(Column(f"PR-AUC, {name}", SCORE, (f"pr_auc_{name}",)) for name in methods),
    ]
    table = Table(columns, "Local and global titles, by training data alone", id="title-table")
    for title in titles:
        home = Cell(title["home_territory"], hint="" if title["home_territory"] else "no home")
        rule = values(title, "share", "lift", "train_positives", "test_positives")
        scores = (Cell(title["pr_auc"][name], hint=no_positives(title["pr_auc"][name])) for name in methods)
        table.add(title["id"], title["name"], title["kind"], home, *rule, *scores)
    return table


def distance_table(record: ExperimentRecord) -> Table:
    """How differently two models score the same titles for the same users."""
    columns = [
        data("method"),
        data("baseline"),
        Column("Models", TEXT, on=("page",)),
        Column("Titles", TEXT, ("kind",)),
        Column("Territory", TEXT, ("territory",)),
        Column("Kolmogorov–Smirnov", decimal(4), ("ks",)),
        Column("Wasserstein", decimal(4), ("wasserstein",)),
        Column("Shift of the mean", signed(4), ("shift",)),
    ]
    title = "Distance between the scores (probabilities) of two models; shift above 0: the first scores higher"
    table = Table(columns, title, id="distance-table")
    for d in record["distances"]:
        territory = Cell(d["territory"], text=d["territory"] or "all")
        models = f"{d['method']} and {d['baseline']}"
        table.add(d["method"], d["baseline"], models, d["kind"], territory, d["ks"], d["wasserstein"], d["shift"])
    return table


def histogram_data(record: ExperimentRecord) -> Table:
    """Users of a territory by their probability of a title, under the models of Figure 2: a column per bin."""
    shown = record["histograms"]
    bins = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(shown["edges"])]
    table = Table([*map(data, ("territory", "title", "method", *bins))])
    for code, by_title in shown["counts"].items():
        for title, of_title in by_title.items():
            for method, counts in zip(shown["methods"], of_title, strict=True):
                table.add(code, title, method, *counts)
    return table
