"""The record of an experiment as flat CSV tables, a name each."""

from collections.abc import Callable, Mapping
from typing import Any

from twotower.report.files import csv_text

Record = Mapping[str, Any]
Rows = list[dict[str, Any]]


def experiment_tables(record: Record) -> dict[str, str]:
    """Name → CSV text of every table."""
    tables: dict[str, Callable[[Record], Rows]] = {
        "table1": positives,
        "table2": gains,
        "table2_summary": gain_means,
        "table3": title_pairs,
        "methods": methods,
        "titles": titles,
        "bias": bias,
        "calibration": calibration,
        "distances": lambda record: record["distances"],
    }
    return {name: rows_text(rows(record)) for name, rows in tables.items()}


def rows_text(rows: Rows) -> str:
    """Rows with the same keys as CSV."""
    return csv_text({name: [row[name] for row in rows] for name in rows[0]}) if rows else ""


def positives(record: Record) -> Rows:
    """Table 1: support of every territory, by audience."""
    return [
        {**{key: value for key, value in territory.items() if key != "train_positives"}}
        | {f"train_positives_{sample}": n for sample, n in territory["train_positives"].items()}
        for territory in record["territories"]
    ]


def gains(record: Record) -> Rows:
    """Table 2: a row a comparison and territory, a column a period."""
    columns = ("average", "spread", "low", "high", "p", "p_adjusted", "verdict")
    return [
        {
            "ours": told["ours"],
            "theirs": told["theirs"],
            "territory": territory["code"],
            "major": territory["major"],
            **{period["name"]: told["by_period"][i][c] for i, period in enumerate(record["periods"])},
            **{name: told[name][c] for name in columns},
        }
        for told in record["gains"]
        for c, territory in enumerate(record["territories"])
        if territory["test_pairs"]
    ]


def gain_means(record: Record) -> Rows:
    """What each comparison comes to: of all pairs in one ranking, and over territories."""
    found = []
    for told in record["gains"]:
        row = {"ours": told["ours"], "theirs": told["theirs"]}
        for over in ("overall", "major", "all"):
            row |= {f"{over}_{name}": value for name, value in told[over].items()}
        found.append(row)
    return found


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
        for theirs, gained in pair["gains"].items():
            row |= {f"{kind}_gain_over_{theirs}": gained[kind] for kind in ("local", "global")}
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
    """Popularity bias: a row a method and measure, overall and in each territory with users."""
    codes = [territory["code"] for territory in record["territories"]]
    found = []
    for method, of_method in record["bias"].items():
        for measure, (mean, spread) in of_method["overall"].items():
            row = {"method": method, "measure": measure, "territory": "", "mean": mean, "spread": spread}
            found.append(row)
            for code, value in zip(codes, of_method["territories"][measure], strict=True):
                if value is not None:
                    found.append({**row, "territory": code, "mean": value, "spread": None})
    return found


def calibration(record: Record) -> Rows:
    """The reliability curve of each method: a row a bin."""
    return [
        {
            "method": method,
            "low": curve["edges"][i],
            "high": curve["edges"][i + 1],
            **{key: curve[key][i] for key in ("pairs", "predicted", "observed")},
        }
        for method, curve in record["calibration"].items()
        for i in range(len(curve["pairs"]))
    ]
