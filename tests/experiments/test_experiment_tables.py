"""An experiment's record as terminal tables and CSV: every number in its own column, in the row that it belongs to."""

import csv
import io
import math

import pytest
from made_up_experiments import made_up_record
from rich.console import Console

from twotower.experiments.report import tables
from twotower.experiments.report.csv_files import experiment_tables
from twotower.experiments.report.wording import as_of
from twotower.experiments.summary import gain_sentences


@pytest.fixture
def record():
    return made_up_record()


def cells(table) -> list[list[str]]:
    """Head and rows of a table as text."""
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def signed(*values: float) -> list[str]:
    return [f"{value:+.2f}" for value in values]


def interval(told) -> str:
    return " to ".join(signed(told["low"], told["high"]))


def with_spread(one: float, two: float) -> str:
    return f"{(one + two) / 2:.4f} ± {abs(one - two) / math.sqrt(2):.4f}"


# ---------------------------------------------------------------- in the terminal


def test_methods_have_the_mean_of_their_seeds(record):
    head, *rows = cells(tables.method_table(record))
    assert head == ["method", "what it is", "overall PR-AUC", "macro PR-AUC", "seconds"]
    told = record["methods"][2]
    scores = [with_spread(*told[name]) for name in ("overall", "macro")]
    assert rows[2] == ["mtl", "The model called mtl.", *scores, "32.5"]


def test_of_scores_the_defined_ones_have_a_mean_and_several_a_spread():
    assert str(tables.with_spread([None, 0.25])) == "0.2500"
    assert str(tables.with_spread([0.1, 0.2, 0.6])) == "0.3000 ± 0.2646"
    assert str(tables.with_spread([None])) == "undefined"


def test_gains_stand_beside_their_territory_period_by_period(record):
    told = record["gains"][1]
    told["all"] |= {"mean": 9.5, "low": 9.25, "high": 9.75, "won": 10}
    head, *rows = cells(tables.gain_table(record, told))
    days = ["day 58", "day 59", "day 60"]
    assert head == ["code", "territory", "positives", *days, "gain, %", "95 % interval", "verdict"]
    assert len(rows) == 8 + 3  # the major ones, and three means
    for c, row in enumerate(rows[:8]):
        territory = record["territories"][c]
        assert row[:3] == [territory["code"], territory["name"], f"{territory['test_positives']:,}"]
        assert row[3:7] == signed(*(period[c] for period in told["by_period"]), told["average"][c])
        assert row[7:] == [interval({end: told[end][c] for end in ("low", "high")}), told["verdict"][c]]
    means = [[row[1], *row[6:]] for row in rows[8:]]
    assert means == [
        ["mean of the major ones", "+0.80", "-0.70 to +2.30", "7 of 8 won"],
        ["mean of all evaluated", "+9.50", "+9.25 to +9.75", "10 of 11 won"],
        ["all pairs, a ranking a period", "+0.80", "-0.20 to +1.80", ""],
    ]


def test_a_single_period_has_no_column_of_its_own(record):
    record["periods"] = record["periods"][:1]
    head, first, *_ = cells(tables.gain_table(record, record["gains"][0]))
    assert "day 58" not in head and first[3] == signed(record["gains"][0]["average"][0])[0]


def test_a_gain_has_a_colour_where_it_is_sure(record):
    told = record["gains"][0]
    told["verdict"][:3] = ["better", "worse", "undecided"]
    told["all"] |= {"mean": -2.0, "low": -3.0, "high": -1.0}
    told["major"] |= {"mean": 2.0, "low": -1.0, "high": 5.0}
    told["overall"] |= {"mean": 2.0, "low": 1.0, "high": 3.0}
    columns = {
        str(column.header): [cell for cell in column.cells] for column in tables.gain_table(record, told).columns
    }
    styles = [str(cell.style) for cell in columns["gain, %"]]
    assert styles[:3] == ["green", "red", ""] and styles[-3:] == ["", "red", "green"]
    assert {str(cell.style) for cell in columns["day 58"][:8]} == {""}, "periods have no interval"
    assert {str(cell.style) for column in tables.title_table(record).columns[4:] for cell in column.cells} == {""}


def test_the_gain_over_all_pairs_and_the_overall_figure_have_names_of_their_own(record):
    """One is a mean over periods, the other ranks all periods together: with one period that is the same."""

    def told(record) -> tuple[str, list[str]]:
        console = Console(file=io.StringIO(), width=200)
        tables.print_experiment(record, console)
        gains = cells(tables.gain_table(record, record["gains"][0]))
        return console.file.getvalue(), gains[-1][1:2] + gain_sentences(record, "baseline")

    text, (row, sentence) = told(record)
    assert "ranks the test pairs of all periods together" in text and "overall, %" not in text
    assert row == "all pairs, a ranking a period" and "All pairs, a ranking a period: +6.00 %" in sentence
    text, (row, sentence) = told(record | {"periods": record["periods"][:1]})
    assert "all periods together" not in text
    assert row == "all pairs in one ranking" and "All pairs in one ranking: +6.00 %" in sentence


def test_what_is_undefined_says_so(record):
    record["gains"][0]["average"][1] = record["gains"][0]["low"][1] = None
    row = cells(tables.gain_table(record, record["gains"][0]))[2]
    assert row[6:8] == ["undefined", "undefined"]


def test_further_comparisons_have_a_row_each(record):
    told = record["gains"][2]
    told["major"] |= {"mean": 3.5, "low": 3.25, "high": 3.75, "won": 6, "better": 4, "worse": 1}
    head, row = cells(tables.mean_table([told]))
    assert head[2:] == ["all pairs, %", "95 % interval", "major, %", "95 % interval", "won", "better", "worse"]
    assert row == ["mtl", "more-random", "+2.00", "+1.00 to +3.00", "+3.50", "+3.25 to +3.75", "6 of 8", "4", "1"]


def test_of_comparable_titles_the_local_one_comes_first(record):
    pair = record["title_pairs"][0]
    head, local, world, *_ = cells(tables.title_table(record))
    assert head == ["code", "kind", "title", "positives there", "over baseline, %", "over upsampled, %"]
    for row, code, kind, title in ((local, "US", "local", 0), (world, "", "global", 1)):
        gains = signed(*(pair["gains"][baseline][kind] for baseline in ("baseline", "upsampled")))
        assert row == [code, kind, record["titles"][title]["name"], str(pair[f"{kind}_positives"]), *gains]


def test_without_comparable_titles_it_says_so(record):
    for pairs, there in ((record["title_pairs"], False), ([], True)):
        console = Console(file=io.StringIO(), width=200)
        tables.print_experiment(record | {"title_pairs": pairs}, console)
        text = console.file.getvalue()
        assert ("No major territory has a local and a global title" in text) == there
        assert ("PR-AUC gain of mtl per title" in text) != there


def test_popularity_bias_has_a_column_a_method(record):
    record["calibration"]["mtl"]["ece"] = None
    head, coverage, error = cells(tables.bias_table(record))
    assert head == ["measure", "less bias is", "baseline", "upsampled", "mtl", "more-random"]
    means = [f"{record['bias'][method]['overall']['coverage'][0]:.4g}" for method in head[2:]]
    assert coverage == ["Coverage", "higher", *means]
    assert error == ["Expected calibration error", "lower", "0.0123", "0.0123", "undefined", "0.0123"]


def test_the_day_of_the_recommendations_is_stated(record):
    assert "as of day 60, the first day of the last test period" in as_of(record)
    assert as_of(record | {"periods": record["periods"][:1]}) == ""


# ---------------------------------------------------------------- as CSV


def test_gains_as_csv_are_those_of_their_territory(record):
    rows = read(experiment_tables(record)["table2"])
    assert len(rows) == 3 * len(record["territories"])
    row, told = rows[len(record["territories"]) + 4], record["gains"][1]
    assert (row["method"], row["baseline"], row["territory"], row["major"]) == ("mtl", "upsampled", "PL", "True")
    for name in ("average", "spread", "low", "high", "p", "p_adjusted"):
        assert float(row[name]) == told[name][4]
    assert [float(row[f"day {day}"]) for day in (58, 59, 60)] == [period[4] for period in told["by_period"]]
    assert rows[-1]["verdict"] == "too small" and rows[-1]["average"] == ""


def test_support_and_means_as_csv(record):
    first, *_ = read(experiment_tables(record)["table1"])
    territory = record["territories"][0]
    assert first["code"] == "US" and int(first["test_positives"]) == territory["test_positives"]
    by_sample = {name: int(first[f"train_positives_{name}"]) for name in ("random", "upsampled")}
    assert by_sample == territory["train_positives"]
    means = read(experiment_tables(record)["table2_summary"])[1]
    assert {name: float(means[name]) for name in ("overall_mean", "major_low", "all_evaluated")} == {
        "overall_mean": 0.8, "major_low": pytest.approx(-0.7), "all_evaluated": 11,
    }  # fmt: skip


def test_title_pairs_as_csv_keep_local_and_global_apart(record):
    row, pair = read(experiment_tables(record)["table3"])[1], record["title_pairs"][1]
    for baseline in ("baseline", "upsampled"):
        for kind in ("local", "global"):
            assert float(row[f"{kind}_gain_over_{baseline}"]) == pair["gains"][baseline][kind]
    assert int(row["local_positives"]) == pair["local_positives"] and row["global"] == pair["global"]


def test_runs_and_titles_as_csv(record):
    run, told = read(experiment_tables(record)["methods"])[3], record["methods"][1]
    assert (run["method"], run["seed"]) == ("upsampled", "1")
    assert [float(run[name]) for name in ("overall", "macro", "seconds")] == [
        told["overall"][1], told["macro"][1], 32.0,
    ]  # fmt: skip
    title = read(experiment_tables(record)["titles"])[2]
    assert float(title["pr_auc_mtl"]) == record["titles"][2]["pr_auc"]["mtl"] and title["id"] == "tt0002"


def test_popularity_bias_as_csv_has_the_value_of_each_territory(record):
    record["bias"] = {"mtl": record["bias"]["mtl"] | {"overall": {"gini": [0.75, 0.01]}}}
    overall, *by_territory = read(experiment_tables(record)["bias"])
    assert (overall["measure"], overall["territory"]) == ("gini", "")
    assert (float(overall["mean"]), float(overall["spread"])) == (0.75, 0.01)
    known = record["bias"]["mtl"]["territories"]["gini"][:-1]  # the last is undefined
    assert [float(row["mean"]) for row in by_territory] == known and by_territory[1]["territory"] == "GB"
    spreads = record["bias"]["mtl"]["territory_spreads"]["gini"][:-1]
    assert [float(row["spread"]) for row in by_territory] == spreads


def test_calibration_per_territory_as_csv_has_its_support(record):
    rows = read(experiment_tables(record)["calibration_territories"])
    assert len(rows) == 4 * len(record["territories"])
    row, told, territory = rows[2 * 12 + 1], record["calibration"]["mtl"], record["territories"][1]
    assert (row["method"], row["territory"], row["evaluated"], row["major"]) == ("mtl", "GB", "True", "True")
    assert [int(row[key]) for key in ("test_pairs", "test_positives")] == [
        territory["test_pairs"], territory["test_positives"],
    ]  # fmt: skip
    for name in ("ece", "excess"):
        assert float(row[name]) == told["territories"][name][1]
        assert float(row[f"{name}_spread"]) == told["territory_spreads"][name][1]
    assert rows[-1]["evaluated"] == "False"


def test_calibration_as_csv_has_the_ends_of_each_bin(record):
    row, curve = read(experiment_tables(record)["calibration"])[13], record["calibration"]["upsampled"]
    assert row["method"] == "upsampled" and int(row["pairs"]) == curve["pairs"][3]
    found = [float(row[name]) for name in ("low", "high", "predicted", "observed")]
    assert found == [curve["edges"][3], curve["edges"][4], curve["predicted"][3], curve["observed"][3]]
