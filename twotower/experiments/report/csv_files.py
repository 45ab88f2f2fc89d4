"""The record of an experiment as flat CSV tables, a name each."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from twotower.core.serialisation import csv_text

Record = Mapping[str, Any]
Rows = list[dict[str, Any]]


OF_GAINS = ("average", "spread", "low", "high", "p", "p_adjusted", "verdict")
OF_MEANS = ("mean", "low", "high", "won", "evaluated", "better", "worse", "sign_p")  # over territories
OF_KINDS = ("method", "baseline", "kind", "titles", "ahead", "lower_quartile", "median", "upper_quartile")
OF_CALIBRATION = (
    *("method", "territory", "major", "evaluated", "test_pairs", "test_positives"),
    *("ece", "ece_spread", "excess", "excess_spread"),
)
OF_DISTANCES = ("method", "baseline", "kind", "territory", "ks", "wasserstein", "shift")


def experiment_tables(record: Record) -> dict[str, str]:
    """Name → CSV text of every table. One without a row, such as gains of a single method, has its header."""
    tables: dict[str, tuple[Callable[[Record], Rows], list[str]]] = {
        "table1": (positives, []),
        "table2": (gains, ["method", "baseline", "territory", "major", *period_names(record), *OF_GAINS]),
        "table2_summary": (gain_means, ["method", "baseline", *mean_names()]),
        "table3": (title_pairs, title_pair_names(record)),
        "title_kinds": (lambda record: record["title_kinds"], list(OF_KINDS)),
        "pr_auc": (pr_auc, []),
        "methods": (methods, []),
        "titles": (titles, []),
        "bias": (bias, []),
        "calibration": (calibration, []),
        "calibration_territories": (calibration_by_territory, list(OF_CALIBRATION)),
        "distances": (lambda record: record["distances"], list(OF_DISTANCES)),
        "histograms": (histograms, ["territory", "title", "method", *bin_names(record)]),
    }
    return {name: rows_text(rows(record), header) for name, (rows, header) in tables.items()}


def rows_text(rows: Rows, header: list[str]) -> str:
    """Rows with the same keys as CSV; ``header`` are the keys where there is no row."""
    return csv_text({name: [row[name] for row in rows] for name in (rows[0] if rows else header)})


def period_names(record: Record) -> list[str]:
    return [period["name"] for period in record["periods"]]


def mean_names() -> list[str]:
    means = [f"{over}_{name}" for over in ("major", "all") for name in OF_MEANS]
    return [f"overall_{name}" for name in OF_MEANS[:3]] + means


def title_pair_names(record: Record) -> list[str]:
    names = ["territory", "local", "global", "local_positives", "global_positives"]
    return names + [f"{kind}_gain_over_{baseline}" for baseline in record["baselines"] for kind in ("local", "global")]


def bin_names(record: Record) -> list[str]:
    return [f"{low:.2f} to {high:.2f}" for low, high in pairwise(record["histograms"]["edges"])]


def positives(record: Record) -> Rows:
    """Table 1: support of every territory, by users."""
    return [
        {**{key: value for key, value in territory.items() if key != "train_positives"}}
        | {f"train_positives_{sample}": n for sample, n in territory["train_positives"].items()}
        for territory in record["territories"]
    ]


def gains(record: Record) -> Rows:
    """Table 2: a row a comparison and territory, a column a period."""
    return [
        {
            "method": told["method"],
            "baseline": told["baseline"],
            "territory": territory["code"],
            "major": territory["major"],
            **{name: told["by_period"][i][c] for i, name in enumerate(period_names(record))},
            **{name: told[name][c] for name in OF_GAINS},
        }
        for told in record["gains"]
        for c, territory in enumerate(record["territories"])
        if territory["test_pairs"]
    ]


def gain_means(record: Record) -> Rows:
    """What each comparison comes to: of all pairs in one ranking, and over territories."""
    found = []
    for told in record["gains"]:
        row = {"method": told["method"], "baseline": told["baseline"]}
        for over in ("overall", "major", "all"):
            row |= {f"{over}_{name}": value for name, value in told[over].items()}
        found.append(row)
    return found


def pr_auc(record: Record) -> Rows:
    """PR-AUC itself, mean over seeds: a row a method and territory with test pairs, a column a period."""
    return [
        {
            "method": method,
            "territory": territory["code"],
            "base_rate": territory["base_rate"],
            **{name: found["by_period"][i][c] for i, name in enumerate(period_names(record))},
            "average": found["average"][c],
        }
        for method, found in record["pr_auc"].items()
        for c, territory in enumerate(record["territories"])
        if territory["test_pairs"]
    ]


def methods(record: Record) -> Rows:
    """A row a run."""
    return [
        {"method": method["name"], "seed": seed, **{key: method[key][i] for key in ("overall", "macro", "seconds")}}
        for method in record["methods"]
        for i, seed in enumerate(method["seeds"])
    ]


def title_pairs(record: Record) -> Rows:
    """Table 3: comparable local and global titles, and what is gained on either."""
    found = []
    for pair in record["title_pairs"]:
        row = {key: value for key, value in pair.items() if key != "gains"}
        for baseline, gained in pair["gains"].items():
            row |= {f"{kind}_gain_over_{baseline}": gained[kind] for kind in ("local", "global")}
        found.append(row)
    return found


def titles(record: Record) -> Rows:
    """Every title with its kind and its PR-AUC under each method."""
    return [
        {key: value for key, value in title.items() if key != "pr_auc"}
        | {f"pr_auc_{method}": value for method, value in title["pr_auc"].items()}
        for title in record["titles"]
    ]


def bias(record: Record) -> Rows:
    """Popularity bias: a row a method and measure, overall and in each territory with users; undefined: empty."""
    codes = [territory["code"] for territory in record["territories"]]
    columns = [column for of_method in record["bias"].values() for column in of_method["territories"].values()]
    inhabited = [any(column[c] is not None for column in columns) for c in range(len(codes))]
    found = []
    for method, of_method in record["bias"].items():
        for measure, (mean, spread) in of_method["overall"].items():
            row = {"method": method, "measure": measure, "territory": "", "mean": mean, "spread": spread}
            found.append(row)
            spreads = of_method["territory_spreads"][measure]
            values = zip(codes, of_method["territories"][measure], spreads, inhabited, strict=True)
            found += [{**row, "territory": code, "mean": of_code, "spread": spread_of_code}
                      for code, of_code, spread_of_code, there in values if there]  # fmt: skip
    return found


def calibration(record: Record) -> Rows:
    """The reliability curve of each method: a row a bin, pairs of all seeds; its error stands in each row."""
    return [
        {
            "method": method,
            "low": curve["edges"][i],
            "high": curve["edges"][i + 1],
            **{key: curve[key][i] for key in ("pairs", "predicted", "observed")},
            "ece": curve["ece"],
        }
        for method, curve in record["calibration"].items()
        for i in range(len(curve["pairs"]))
    ]


def calibration_by_territory(record: Record) -> Rows:
    """Calibration in each territory with test pairs, mean and spread over seeds."""
    found = []
    for method, curve in record["calibration"].items():
        means, spreads = curve["territories"], curve["territory_spreads"]
        for c, territory in enumerate(record["territories"]):
            if territory["test_pairs"]:
                row = {"method": method, "territory": territory["code"]}
                row |= {key: territory[key] for key in ("major", "evaluated", "test_pairs", "test_positives")}
                for name in ("ece", "excess"):
                    row |= {name: means[name][c], f"{name}_spread": spreads[name][c]}
                found.append(row)
    return found


def histograms(record: Record) -> Rows:
    """Users of a territory by their probability of a title, under the models of Figure 2: a column a bin."""
    shown, names = record["histograms"], bin_names(record)
    return [
        {"territory": code, "title": title, "method": method, **dict(zip(names, counts, strict=True))}
        for code, by_title in shown["counts"].items()
        for title, of_title in by_title.items()
        for method, counts in zip(shown["methods"], of_title, strict=True)
    ]
