"""The tables of an experiment, for people and as CSV: every number of the record in its own column and row."""

import csv
import io

import pytest
from made_up_experiments import made_up_record
from rich.console import Console

from twotower.core.formatting import decimal, interval, signed
from twotower.experiments.report import fact_tables, method_tables, territory_tables, title_tables
from twotower.experiments.report.tables import experiment_tables, print_experiment
from twotower.experiments.report.wording import as_of
from twotower.experiments.summary import gain_sentences
from twotower.report.table import is_undefined, text_of


@pytest.fixture
def record():
    return made_up_record()


def shown(table, renderer="page") -> tuple[list[str], list[list[str]], list[list[str]]]:
    """Headings, rows and totals as a renderer shows them; what is undefined is a dash."""
    columns = table.shown_on(renderer)

    def texts(rows):
        return [[text_of(row.cells[i], table.columns[i]) or ("–" if is_undefined(row.cells[i].value) else "")
                 for i in columns] for row in rows]  # fmt: skip

    return [table.columns[i].name for i in columns], texts(table.rows), texts(table.totals)


def cells_of(table, name: str):
    place = [column.name for column in table.columns].index(name)
    return [row.cells[place] for row in (*table.rows, *table.totals)]


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def printed(record) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_experiment(record, console)
    return console.file.getvalue()


# ---------------------------------------------------------------- territories


def test_every_territory_has_its_support(record):
    head, rows, _ = shown(territory_tables.support_table(record))
    territory = record["territories"][1]
    assert head[3:] == [
        "Train positives, random", "Train positives, upsampled", "Test users", "Test pairs", "Test positives",
        "Base rate",
    ]  # fmt: skip
    counts = [territory["users"], *territory["train_positives"].values()]
    counts += [territory[name] for name in ("test_users", "test_pairs", "test_positives")]
    rate = f"{100 * territory['base_rate']:.1f} %"
    assert rows[1] == ["GB United Kingdom", "Europe", *(f"{n:,}" for n in counts), rate]


@pytest.mark.parametrize("renderer", ["page", "terminal"])
def test_gains_stand_in_the_row_of_their_territory_period_by_period(record, renderer):
    gains = record["gains"][1]
    gains["all"] |= {"mean": 9.5, "low": 9.25, "high": 9.75, "won": 10, "sign_p": 0.25}
    table = territory_tables.gain_table(record, gains)
    head, rows, totals = shown(table, renderer)
    p = ["Adjusted p"] if renderer == "page" else []
    days = ["day 58", "day 59", "day 60"]
    assert head == ["Territory", *days, "Average", "95 % interval", *p, "Verdict", "Test positives"]
    for c, row in enumerate(rows[:-1]):
        assert row[1:5] == [signed(value) for value in (*(day[c] for day in gains["by_period"]), gains["average"][c])]
        adjusted = [decimal(gains["p_adjusted"][c], 3)] if p else []
        support = f"{record['territories'][c]['test_positives']:,}"
        assert row[5:] == [interval(gains["low"][c], gains["high"][c]), *adjusted, gains["verdict"][c], support]
    assert [[row[0], *row[4:6], row[-2]] for row in totals] == [
        ["Mean of the major territories", "+0.80", "−0.70 to +2.30", "won 7 of 8"],
        ["Mean of all evaluated territories", "+9.50", "+9.25 to +9.75", "won 10 of 11"],
        ["All pairs, one ranking per period", "+0.80", "−0.20 to +1.80", ""],
    ]
    assert [cell.hint for cell in cells_of(table, "Territory")[-3:-1]] == [
        f"sign test p = {value}, if territories were independent" for value in ("0.070", "0.250")
    ]


def test_the_terminal_shows_major_territories_alone(record):
    _, rows, _ = shown(territory_tables.gain_table(record, record["gains"][0], majors_only=True), "terminal")
    assert len(rows) == 8 == sum(territory["major"] for territory in record["territories"])


def test_a_single_period_has_no_column_of_its_own(record):
    record["periods"] = record["periods"][:1]
    for gains in record["gains"]:
        gains["by_period"] = gains["by_period"][:1]
    for renderer, there in (("terminal", False), ("page", False), ("csv", True)):
        assert ("day 58" in shown(territory_tables.gain_table(record, record["gains"][0]), renderer)[0]) == there


@pytest.mark.parametrize(
    ("low", "high", "verdict", "tone"),
    [(0.5, 2, "better", "good"), (-2, -0.5, "worse", "bad"), (-1, 3, "undecided", ""), (0.1, 3, "undecided", "")],
)
def test_a_gain_has_a_colour_where_it_is_sure(record, low, high, verdict, tone):
    """A territory by its verdict, which is corrected for many territories; a mean by its interval."""
    gains = record["gains"][0]
    mean = {"mean": (low + high) / 2, "low": low, "high": high}
    for name in ("major", "all", "overall"):
        gains[name] |= mean
    gains["average"][1], gains["low"][1], gains["high"][1], gains["verdict"][1] = mean["mean"], low, high, verdict
    table = territory_tables.gain_table(record, gains)
    by_interval = {"better": "good", "worse": "bad"}.get(verdict, "good" if low > 0 else "")
    tones = [cell.tone for cell in cells_of(table, "Average")]
    assert tones[1] == tone and tones[-3:] == [by_interval] * 3
    assert {cell.tone for cell in cells_of(table, "day 58")[:-4]} == {""}, "periods have no interval"
    first = territory_tables.comparison_table(record, [gains]).rows[0].cells
    assert {first[3].tone, first[5].tone} == {by_interval}


def test_a_gain_that_cannot_be_judged_has_no_colour(record):
    record["territories"][0]["evaluated"] = False
    record["gains"][0]["verdict"][0] = "better"
    table = territory_tables.gain_table(record, record["gains"][0])
    assert [cells_of(table, name)[0].tone for name in ("day 58", "Average")] == ["quiet", "quiet"]


def test_gains_without_an_interval_have_no_colour(record):
    for table in (title_tables.pair_table(record), title_tables.kind_table(record)):
        assert {cell.tone for row in table.rows for cell in row.cells} == {""}


def test_what_is_undefined_has_a_reason(record):
    gains = record["gains"][0]
    gains["average"][1] = gains["low"][1] = gains["p_adjusted"][1] = None
    row = territory_tables.gain_table(record, gains).rows[1]
    hints = {cell.hint for cell in row.cells if cell.value is None}
    assert {hint.split(":")[0] for hint in hints} == {"undefined", "no interval", "not tested"}
    assert printed(record).count("undefined") >= 2


def test_a_comparison_has_its_means_in_a_row(record):
    gains = record["gains"][2]
    gains["major"] |= {"mean": 3.5, "low": 3.25, "high": 3.75, "won": 6, "better": 4, "worse": 1}
    head, (row,), _ = shown(territory_tables.comparison_table(record, [gains]))
    interval_name = "95 % interval"
    assert head == [
        "Models", "Gain over all pairs", interval_name, "Mean gain", interval_name, "Won", "Better", "Worse",
        "Sign test p",
    ]  # fmt: skip
    assert row == [
        "mtl over more-random", "+2.00", "+1.00 to +3.00", "+3.50", "+3.25 to +3.75", "6 of 8", "4", "1", "0.070",
    ]  # fmt: skip
    gains["major"] = {**gains["major"], "evaluated": 0, "mean": None}
    table = territory_tables.comparison_table(record, [gains])
    assert shown(table)[1][0][3] == "+2.00" and "over the territories" in table.title.replace("mean ", "")


def test_scores_are_those_of_territory_and_method(record):
    head, rows, _ = shown(territory_tables.scores_by_method(record))
    assert head[2:] == ["baseline", "upsampled", "mtl", "more-random"]
    for c, row in enumerate(rows[:-1]):
        assert row[2:] == [f"{record['pr_auc'][method]['average'][c]:.4f}" for method in head[2:]]
    assert rows[-1][2:] == ["–"] * 4


def test_the_gain_over_all_pairs_and_the_overall_figure_have_names_of_their_own(record):
    """One is a mean over periods, the other ranks all periods together: with one period that is the same."""
    text = printed(record)
    assert "ranks the test pairs of all periods together" in text and "All pairs, one ranking per period" in text
    assert "All pairs, one ranking per period: +6.00 %" in gain_sentences(record, "baseline")[0]
    record["periods"] = record["periods"][:1]
    for gains in record["gains"]:
        gains["by_period"] = gains["by_period"][:1]
    text = printed(record)
    assert "all periods together" not in text and "All pairs in one ranking" in text
    assert "All pairs in one ranking: +6.00 %" in gain_sentences(record, "baseline")[0]


# ---------------------------------------------------------------- titles


def test_of_a_pair_each_title_has_its_own_gains(record):
    head, rows, _ = shown(title_tables.pair_table(record))
    assert head == ["Territory", "Kind", "Title", "Positives there", "Gain over baseline, %", "Gain over upsampled, %"]
    pair = record["title_pairs"][0]
    for row, kind, name in zip(rows, ("local", "global"), ("Home story 0 $x$", "World story 1 $x$"), strict=False):
        gains = [signed(pair["gains"][baseline][kind]) for baseline in ("baseline", "upsampled")]
        assert row == ["US", kind, name, str(pair[f"{kind}_positives"]), *gains]


def test_without_comparable_titles_it_says_so(record):
    for pairs, there in ((record["title_pairs"], False), ([], True)):
        text = printed(record | {"title_pairs": pairs})
        assert ("No major territory has a local and a global title" in text) == there
        assert ("local and global titles with comparable positives" in text) != there


def test_a_title_has_its_rules_numbers(record):
    title = min(record["titles"], key=lambda title: title["train_positives"])  # the last, since the largest come first
    head, rows, _ = shown(title_tables.title_table(record, shown=True))
    assert head[3:7] == ["Share at home", "Lift at home", "Train positives", "Test positives"]
    counts = [str(title[name]) for name in ("train_positives", "test_positives")]
    assert rows[-1][3:7] == [f"{100 * title['share']:.1f} %", f"{title['lift']:.1f}", *counts]
    assert rows[-1][7:] == [f"{title['pr_auc'][name[8:]]:.4f}" for name in head[7:]]
    record["titles"][0]["kind"] = ""
    assert [len(title_tables.title_table(record, shown=only).rows) for only in (True, False)] == [7, 8]


def test_distances_have_a_column_a_figure(record):
    d = record["distances"][3]
    head, rows, _ = shown(title_tables.distance_table(record))
    assert head[3:] == ["Kolmogorov–Smirnov", "Wasserstein", "Shift of the mean"]
    numbers = [decimal(d["ks"]), decimal(d["wasserstein"]), signed(d["shift"], 4)]
    assert rows[3] == ["mtl and baseline", "global", "US", *numbers] and rows[0][2] == "all"


# ---------------------------------------------------------------- methods


def test_a_method_has_the_mean_and_spread_of_its_seeds(record):
    record["methods"][2] |= {"overall": [0.1, 0.2, 0.6], "macro": [None, 0.25], "macro_evaluated": [0.5, 0.5]}
    record["methods"][2] |= {"worst": [0.5, 0.5], "gap": [0.5, 0.5]}
    head, rows, _ = shown(method_tables.method_table(record))
    figures = ["Macro evaluated", "Worst territory", "Gap"]
    assert head[4:] == ["Seeds", "Overall PR-AUC", "Macro PR-AUC", *figures, "Seconds"]
    same = ["0.5000 ± 0.0000"] * 3
    words = ["mtl", "The model called mtl.", "upsampled", "geography"]
    assert rows[2] == [*words, "0, 1", "0.3000 ± 0.2646", "0.2500", *same, "32.5 ± 0.7"]
    record["methods"][2]["overall"] = [None, None]
    told = shown(method_tables.method_table(record), "terminal")[1][2][2:]
    assert told == ["0, 1", "–", "0.2500", *same, "32.5 ± 0.7"]


def test_popularity_bias_has_a_column_a_method(record):
    record["bias"]["mtl"]["overall"]["gini"] = [123.45, 5.55e-17]
    head, rows, _ = shown(method_tables.overall_bias_table(record))
    assert head == ["Measure", "Less bias is", "baseline", "upsampled", "mtl", "more-random"]
    means = [record["bias"][method]["overall"]["gini"][0] for method in head[2:]]
    expected = [f"{mean:.4f} ± 0.0100" for mean in means]
    expected[2] = "123.5 ± 0.0"  # the spread is rounding, of seeds that agree
    assert rows[0] == ["Gini of exposure", "lower", *expected]
    assert [row[0] for row in shown(method_tables.overall_bias_table(record, ["coverage"]))[1]] == ["Coverage"]


def test_popularity_bias_of_a_territory_is_its_own(record):
    table = method_tables.bias_territory_tables(record)[0]
    head, rows, _ = shown(table)
    assert table.title == "Gini of exposure, per territory, mean ± standard deviation over seeds"
    for c, row in enumerate(rows):
        bias = [record["bias"][method] for method in head[1:]]
        means, spreads = ([of[key]["gini"][c] for of in bias] for key in ("territories", "territory_spreads"))
        assert row[1:] == [f"{mean:.4f} ± {spread:.4f}" for mean, spread in zip(means, spreads, strict=True)]
    assert len(rows) == 11, "the last territory has no measure"


def test_settings_that_differ_come_first(record):
    head, rows, _ = shown(fact_tables.settings_table(record))
    assert head == ["Setting", "baseline", "upsampled", "mtl", "more-random"]
    assert rows[0] == ["model.head", "none", "none", "residual", "none"]
    assert ["model.hidden", *["128"] * 4] in rows and ["train.learning_rate", *["0.001"] * 4] in rows


def test_the_day_of_the_recommendations_is_stated(record):
    assert "as of day 60, the first day of the last test period" in as_of(record)
    assert as_of(record | {"periods": record["periods"][:1]}) == ""


# ---------------------------------------------------------------- as CSV


def test_gains_as_csv_are_those_of_their_territory(record):
    rows = read(experiment_tables(record)["table2"])
    assert len(rows) == 3 * len(record["territories"])
    row, gains = rows[len(record["territories"]) + 4], record["gains"][1]
    assert (row["method"], row["baseline"], row["territory"], row["major"]) == ("mtl", "upsampled", "PL", "True")
    for name in ("average", "spread", "low", "high", "p", "p_adjusted"):
        assert float(row[name]) == gains[name][4]
    assert [float(row[f"day {day}"]) for day in (58, 59, 60)] == [period[4] for period in gains["by_period"]]
    assert rows[-1]["verdict"] == "too small" and rows[-1]["average"] == "" == rows[-1]["low"]


def test_support_and_means_as_csv(record):
    first, *_ = read(experiment_tables(record)["table1"])
    territory = record["territories"][0]
    assert (first["code"], first["name"], first["major"]) == ("US", "United States", "True")
    assert int(first["test_positives"]) == territory["test_positives"]
    assert float(first["base_rate"]) == territory["base_rate"]
    by_sample = {name: int(first[f"train_positives_{name}"]) for name in ("random", "upsampled")}
    assert by_sample == territory["train_positives"]
    means = read(experiment_tables(record)["table2_summary"])[1]
    assert {name: float(means[name]) for name in ("overall_mean", "major_low", "all_evaluated", "all_sign_p")} == {
        "overall_mean": 0.8, "major_low": pytest.approx(-0.7), "all_evaluated": 11, "all_sign_p": 0.0703,
    }  # fmt: skip


def test_title_pairs_as_csv_have_a_row_a_title(record):
    rows, pair = read(experiment_tables(record)["table3"])[2:4], record["title_pairs"][1]
    for row, kind in zip(rows, ("local", "global"), strict=True):
        assert (row["territory"], row["kind"], row["id"]) == ("GB", kind, pair[kind])
        assert int(row["positives"]) == pair[f"{kind}_positives"]
        for baseline in ("baseline", "upsampled"):
            assert float(row[f"gain_over_{baseline}"]) == pair["gains"][baseline][kind]


def test_runs_and_titles_as_csv(record):
    run, method = read(experiment_tables(record)["methods"])[3], record["methods"][1]
    assert (run["method"], run["seed"]) == ("upsampled", "1")
    assert [float(run[name]) for name in ("overall", "macro", "seconds")] == [
        method["overall"][1], method["macro"][1], 32.0,
    ]  # fmt: skip
    title = read(experiment_tables(record)["titles"])[2]
    assert float(title["pr_auc_mtl"]) == record["titles"][2]["pr_auc"]["mtl"] and title["id"] == "tt0002"


def test_popularity_bias_as_csv_has_the_value_of_each_territory(record):
    record["bias"]["mtl"]["overall"]["gini"] = [0.75, 0.01]
    rows = read(experiment_tables(record)["bias"])
    overall, *by_territory = [row for row in rows if (row["method"], row["measure"]) == ("mtl", "gini")]
    assert (overall["measure"], overall["territory"]) == ("gini", "")
    assert (float(overall["mean"]), float(overall["spread"])) == (0.75, 0.01)
    known = record["bias"]["mtl"]["territories"]["gini"][:-1]  # the last is undefined
    assert [float(row["mean"]) for row in by_territory] == known and by_territory[1]["territory"] == "GB"
    spreads = record["bias"]["mtl"]["territory_spreads"]["gini"][:-1]
    assert [float(row["spread"]) for row in by_territory] == spreads


def test_calibration_per_territory_as_csv_has_its_support(record):
    rows = read(experiment_tables(record)["calibration_territories"])
    assert len(rows) == 4 * len(record["territories"])
    row, curve, territory = rows[2 * 12 + 1], record["calibration"]["mtl"], record["territories"][1]
    assert (row["method"], row["territory"], row["evaluated"], row["major"]) == ("mtl", "GB", "True", "True")
    assert [int(row[key]) for key in ("test_pairs", "test_positives")] == [
        territory["test_pairs"], territory["test_positives"],
    ]  # fmt: skip
    for name in ("ece", "excess"):
        assert float(row[name]) == curve["territories"][name][1]
        assert float(row[f"{name}_spread"]) == curve["territory_spreads"][name][1]
    assert rows[-1]["evaluated"] == "False"


def test_calibration_as_csv_has_the_ends_of_each_bin(record):
    row, curve = read(experiment_tables(record)["calibration"])[13], record["calibration"]["upsampled"]
    assert row["method"] == "upsampled" and int(row["pairs"]) == curve["pairs"][3]
    found = [float(row[name]) for name in ("low", "high", "predicted", "observed")]
    assert found == [curve["edges"][3], curve["edges"][4], curve["predicted"][3], curve["observed"][3]]
