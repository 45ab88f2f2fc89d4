"""The record of an experiment as terminal tables: Table 2 with verdicts, Table 3, popularity bias, and plain words."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twotower.experiments.report.wording import NO_TITLE_PAIRS, TWO_FIGURES, all_pairs, as_of, has_periods
from twotower.report.evaluation import TOP
from twotower.report.tables import count_text, new_table, undefined

Record = Mapping[str, Any]
VERDICT_STYLES = {"better": "green", "worse": "red", "undecided": "", "too small": "dim"}
SHOWN_MEASURES = ("local_score", "global_score", "local_share", "global_share", "average_popularity", "coverage")


def print_experiment(record: Record, console: Console) -> None:
    """Methods, gains over each baseline, titles, bias, and what it all comes to."""
    console.print(method_table(record), "")
    if has_periods(record):
        console.print(Text(TWO_FIGURES), "")
    for told in record["gains"]:
        if told["method"] == record["main_method"] and told["baseline"] in record["baselines"]:
            console.print(gain_table(record, told), "")
    if further := [told for told in record["gains"] if told["baseline"] not in record["baselines"]
                   or told["method"] != record["main_method"]]:  # fmt: skip
        console.print(mean_table(further), "")
    if record["title_pairs"]:
        console.print(title_table(record), "")
    else:
        console.print(Text(NO_TITLE_PAIRS), "")
    if record.get("title_kinds"):
        console.print(kind_table(record), "")
    console.print(bias_table(record), "")
    if day := as_of(record):
        console.print(Text(day), "")
    for sentence in record["summary"]:
        console.print(Text(f"• {sentence}"))


def method_table(record: Record) -> Table:
    """Overall and macro PR-AUC of each method, mean over seeds."""
    table = new_table(("method", "what it is"), ("overall PR-AUC", "macro PR-AUC", "seconds"))
    for method in record["methods"]:
        scores = [with_spread(method[key]) for key in ("overall", "macro")]
        seconds = sum(method["seconds"]) / len(method["seconds"])
        table.add_row(method["name"], method["about"], *scores, f"{seconds:.1f}")
    return table


def gain_table(record: Record, told: Mapping[str, Any]) -> Table:
    """Table 2: the gain in each of the major territories, by period and on average, with its interval and verdict."""
    periods = [period["name"] for period in record["periods"]]
    by_period = periods if len(periods) > 1 else []
    table = new_table(
        ("code", "territory"),
        ("positives", *by_period, "gain, %", "95 % interval", "verdict"),
        title=f"PR-AUC gain of {told['method']} over {told['baseline']}",
    )
    rows = [c for c, t in enumerate(record["territories"]) if t["major"] and t["test_pairs"]]
    for c in rows:
        territory = record["territories"][c]
        days = [gain_text(told["by_period"][i][c]) for i in range(len(by_period))]
        table.add_row(
            territory["code"],
            territory["name"],
            count_text(territory["test_positives"]),
            *days,
            gain_text(told["average"][c], VERDICT_STYLES[told["verdict"][c]]),
            interval_text(told["low"][c], told["high"][c]),
            Text(told["verdict"][c], style=VERDICT_STYLES[told["verdict"][c]]),
        )
    table.add_section()
    blanks = [""] * len(by_period)
    for name, what in (("major", "mean of the major ones"), ("all", "mean of all evaluated")):
        mean = told[name]
        won = f"{mean['won']} of {mean['evaluated']} won"
        ends = interval_text(mean["low"], mean["high"])
        table.add_row("", what, "", *blanks, mean_text(mean), ends, won, style="bold")
    overall = told["overall"]
    ends = interval_text(overall["low"], overall["high"])
    table.add_row("", all_pairs(record), "", *blanks, mean_text(overall), ends, "", style="bold")
    return table


def mean_table(gains: Sequence[Mapping[str, Any]]) -> Table:
    """The other comparisons, a row each."""
    columns = ("all pairs, %", "95 % interval", "major, %", "95 % interval", "won", "better", "worse")
    table = new_table(("method", "baseline"), columns, title="Further comparisons")
    for told in gains:
        overall, major = told["overall"], told["major"]
        table.add_row(
            told["method"],
            told["baseline"],
            mean_text(overall),
            interval_text(overall["low"], overall["high"]),
            mean_text(major),
            interval_text(major["low"], major["high"]),
            f"{major['won']} of {major['evaluated']}",
            str(major["better"]),
            str(major["worse"]),
        )
    return table


def title_table(record: Record) -> Table:
    """Table 3: comparable titles of a territory, the local one first, and the gain over each baseline."""
    names = {title["id"]: title["name"] for title in record["titles"]}
    baselines = record["baselines"]
    table = new_table(
        ("code", "kind", "title"),
        ("positives there", *(f"over {name}, %" for name in baselines)),
        title=f"PR-AUC gain of {record['main_method']} per title",
    )
    for pair in record["title_pairs"][:TOP]:
        for kind in ("local", "global"):
            table.add_row(
                pair["territory"] if kind == "local" else "",
                kind,
                names[pair[kind]],
                count_text(pair[f"{kind}_positives"]),
                *(gain_text(pair["gains"][name][kind]) for name in baselines),
            )
        table.add_section()
    return table


def kind_table(record: Record) -> Table:
    """The gains of all titles of a kind, since single pairs are anecdotes."""
    columns = ("titles", "ahead", "median gain, %", "middle half")
    table = new_table(("kind", "over"), columns, title=f"PR-AUC gain of {record['main_method']} on all titles")
    for told in record["title_kinds"]:
        middle = gain_text(told["median"]), interval_text(told["lower_quartile"], told["upper_quartile"])
        table.add_row(told["kind"], told["baseline"], count_text(told["titles"]), count_text(told["ahead"]), *middle)
    return table


def bias_table(record: Record) -> Table:
    """Popularity bias of each method: the measures of most interest; the CSV has all."""
    shown = [name for name in SHOWN_MEASURES if name in record["measures"]]
    methods = list(record["bias"])
    table = new_table(("measure", "less bias is"), methods, title="Popularity bias (mean over seeds)")
    for name in shown:
        measure = record["measures"][name]
        values = [record["bias"][method]["overall"][name][0] for method in methods]
        cells = [undefined() if value is None else Text(f"{value:.4g}") for value in values]
        table.add_row(measure["title"], measure["better"], *cells)
    table.add_row("Expected calibration error", "lower", *(
        undefined() if record["calibration"][m]["ece"] is None else Text(f"{record['calibration'][m]['ece']:.4f}")
        for m in methods
    ))  # fmt: skip
    return table


def gain_text(gain: float | None, style: str = "") -> Text:
    """A gain in percent; a style says that it is surely one, so most have none."""
    return undefined() if gain is None else Text(f"{gain:+.2f}", style=style)


def mean_text(told: Mapping[str, Any]) -> Text:
    """A mean gain: green or red where its interval leaves out 0."""
    if told["low"] is None:
        return gain_text(told["mean"])
    return gain_text(told["mean"], "green" if told["low"] > 0 else "red" if told["high"] < 0 else "")


def interval_text(low: float | None, high: float | None) -> Text:
    return undefined() if low is None or high is None else Text(f"{low:+.2f} to {high:+.2f}")


def with_spread(values: Sequence[float | None]) -> Text:
    """The mean of some PR-AUC, with their standard deviation (n − 1) where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return undefined()
    mean = sum(known) / len(known)
    if len(known) == 1:
        return Text(f"{mean:.4f}")
    spread = (sum((value - mean) ** 2 for value in known) / (len(known) - 1)) ** 0.5
    return Text(f"{mean:.4f} ± {spread:.4f}")
