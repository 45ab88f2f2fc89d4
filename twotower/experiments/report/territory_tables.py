"""Tables of an experiment with territories as rows: support (Table 1), gains (Table 2), PR-AUC; and their means."""

from collections.abc import Sequence
from typing import Any

from twotower.experiments.report.cells import (
    count_cells,
    count_columns,
    gain_cell,
    interval_cell,
    mean_cells,
    mean_columns,
    sign_test_hint,
    territory_cell,
    verdict_cell,
)
from twotower.experiments.report.wording import all_pairs, values
from twotower.experiments.schema import Compared, ExperimentRecord, GainsRecord, TerritoryRecord, Value
from twotower.report.pivot import pivoted
from twotower.report.table import (
    COUNT,
    EVERYWHERE,
    GAIN,
    INTERVAL,
    PERCENT,
    SCORE,
    TEXT,
    Cell,
    Column,
    Renderer,
    Table,
    data,
    decimal,
)


def tested(record: Compared) -> list[tuple[int, TerritoryRecord]]:
    """The territories with test pairs, with their positions."""
    return [(c, territory) for c, territory in enumerate(record["territories"]) if territory["test_pairs"]]


def support_table(record: ExperimentRecord) -> Table:
    """Table 1: users and positives of every territory, in every sample."""
    samples = list(record["samples"])
    columns = [
        data("code"),
        data("name"),
        Column("Territory", TEXT),
        Column("Group", TEXT, ("group",)),
        Column("Users", COUNT, ("users",)),
        *(Column(f"Train positives, {name}", COUNT, (f"train_positives_{name}",)) for name in samples),
        Column("Test users", COUNT, ("test_users",)),
        Column("Test pairs", COUNT, ("test_pairs",)),
        Column("Test positives", COUNT, ("test_positives",)),
        Column("Base rate", PERCENT, ("base_rate",)),
        data("major"),
        data("evaluated"),
    ]
    table = Table(columns, "Users and positives per territory, most users first", id="territory-table")
    for t in record["territories"]:
        table.add(
            t["code"],
            t["name"],
            territory_cell(t),
            t["group"],
            t["users"],
            *(t["train_positives"][name] for name in samples),
            *values(t, "test_users", "test_pairs", "test_positives", "base_rate", "major", "evaluated"),
            minor=not t["major"],
        )
    return table


def gain_columns(record: Compared) -> list[Column]:
    """The columns of Table 2."""
    periods = [period["name"] for period in record["periods"]]
    shown: tuple[Renderer, ...] = ("terminal", "page", "csv") if len(periods) > 1 else ("csv",)  # one is the average
    return [
        data("method"),
        data("baseline"),
        Column("Territory", TEXT, ("territory",)),
        data("major"),
        *(Column(name, GAIN, (name,), on=shown) for name in periods),
        Column("Average", GAIN, ("average",)),
        data("spread"),
        Column("95 % interval", INTERVAL, ("low", "high")),
        data("p"),
        Column("Adjusted p", decimal(3), ("p_adjusted",), on=("csv", "page")),
        Column("Verdict", TEXT, ("verdict",)),
        Column("Test positives", COUNT, on=("terminal", "page")),
    ]


def gain_table(record: Compared, gains: GainsRecord, id: str = "", majors_only: bool = False) -> Table:
    """Table 2, one method over another: gain per territory and period, average, interval, verdict."""
    title = f"Relative gain of PR-AUC of {gains['method']} over {gains['baseline']}, percent"
    table = Table(gain_columns(record), title, id=id)
    for c, territory in tested(record):
        if majors_only and not territory["major"]:
            continue
        table.add(
            gains["method"],
            gains["baseline"],
            territory_cell(territory),
            territory["major"],
            *(gain_cell(of_period[c], territory) for of_period in gains["by_period"]),
            gain_cell(gains["average"][c], territory, gains["verdict"][c]),
            gains["spread"][c],
            interval_cell(gains["low"][c], gains["high"][c]),
            gains["p"][c],
            Cell(gains["p_adjusted"][c], hint="" if gains["p_adjusted"][c] is not None else "not tested"),
            verdict_cell(gains["verdict"][c]),
            territory["test_positives"],
            minor=not territory["major"],
        )
    blanks = [""] * len(record["periods"])
    major, every, overall = gains["major"], gains["all"], gains["overall"]
    for mean, label, won in (
        (major, "Mean of the major territories", f"won {major['won']} of {major['evaluated']}"),
        (every, "Mean of all evaluated territories", f"won {every['won']} of {every['evaluated']}"),
        (overall, all_pairs(record).capitalize(), ""),
    ):
        if mean["mean"] is not None:
            average, ends = mean_cells(mean)
            heading = Cell(label, hint=sign_test_hint(mean))
            table.total("", "", heading, "", *blanks, average, "", ends, "", "", won, "")
    return table


def comparison_table(record: Compared, gains: Sequence[GainsRecord]) -> Table:
    """Comparisons, a row each: over all pairs, and over the major territories, or all where none can be evaluated."""
    over = "major" if any(each["major"]["evaluated"] for each in gains) else "all"
    columns = [data("method"), data("baseline"), Column("Models", TEXT, on=("terminal", "page"))]
    columns += mean_columns("Gain over all pairs", "overall")
    for key in ("major", "all"):
        on: tuple[Renderer, ...] = EVERYWHERE if key == over else ("csv",)
        columns += [*mean_columns("Mean gain", key, on), *count_columns(key, on)]
        columns.append(Column("Sign test p", decimal(3), (f"{key}_sign_p",), on))
    which = "major territories" if over == "major" else "territories"
    title = f"Gains in percent: over {all_pairs(record)}, and the mean over the {which} that can be evaluated"
    table = Table(columns, title, id="comparison-table")
    for each in gains:
        cells: list[Any] = mean_cells(each["overall"])
        for mean in (each["major"], each["all"]):
            cells += [*mean_cells(mean), *count_cells(mean), mean["sign_p"]]
        table.add(each["method"], each["baseline"], f"{each['method']} over {each['baseline']}", *cells)
    return table


def score_table(record: Compared) -> Table:
    """PR-AUC: a row per method and territory; its average over periods and seeds, in CSV also each period."""
    periods = [period["name"] for period in record["periods"]]
    columns = [data("method"), Column("Territory", TEXT, ("territory",)), Column("Base rate", PERCENT, ("base_rate",))]
    table = Table([*columns, *map(data, periods), Column("PR-AUC", SCORE, ("average",))])
    for method, of in record["pr_auc"].items():
        for c, territory in tested(record):
            by_period = (scores[c] for scores in of["by_period"])
            average = Cell(of["average"][c], hint=no_positives(of["average"][c]))
            row = (method, territory_cell(territory), territory["base_rate"], *by_period, average)
            table.add(*row, minor=not territory["major"])
    return table


def scores_by_method(record: Compared) -> Table:
    """PR-AUC per territory: a column per method."""
    title = "PR-AUC per territory and method, averaged over periods and seeds; chance gives the base rate"
    return pivoted(score_table(record), "method", "average", ("Territory", "Base rate"), title, "score-table")


def no_positives(score: Value) -> str:
    """Why a PR-AUC is undefined."""
    return "undefined: no positives" if score is None else ""
