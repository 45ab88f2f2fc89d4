"""The tables of an experiment's page, cell by cell: every number of the record in its own column and row."""

import pytest
from made_up_experiments import made_up_record

from twotower.experiments.report.html import bias, tables
from twotower.experiments.report.html.cells import mean_and_spread, plain_number, signed


@pytest.fixture
def record():
    return made_up_record()


def shown(table) -> tuple[list[str], list[list[str]]]:
    """Headings, and rows as text."""
    return [column.name for column in table.columns], [[cell.text for cell in row] for row in table.rows]


def interval(told) -> str:
    return f"{signed(told['low'])} to {signed(told['high'])}"


def test_every_territory_has_its_support(record):
    head, rows = shown(tables.territory_table(record))
    told = record["territories"][1]
    assert head[3:] == [
        "Train positives, random", "Train positives, upsampled", "Test users", "Test pairs", "Test positives",
        "Base rate",
    ]  # fmt: skip
    counts = [told["users"], *told["train_positives"].values()]
    counts += [told[name] for name in ("test_users", "test_pairs", "test_positives")]
    rate = f"{100 * told['base_rate']:.1f} %"
    assert rows[1] == ["GB United Kingdom", "Europe", *(f"{n:,}" for n in counts), rate]


def test_gains_have_interval_verdict_and_the_corrected_p(record):
    told = record["gains"][1]
    told["all"] |= {"mean": 9.5, "low": 9.25, "high": 9.75, "won": 10, "sign_p": 0.25}
    table = tables.gain_table(record, told, "gains")
    head, rows = shown(table)
    assert head[4:] == ["Average", "95 % interval", "Verdict", "Adjusted p", "Test positives"]
    for c, row in enumerate(rows[:-1]):
        assert row[1:5] == [signed(value) for value in (*(day[c] for day in told["by_period"]), told["average"][c])]
        ends = interval({end: told[end][c] for end in ("low", "high")})
        assert row[5:8] == [ends, told["verdict"][c], plain_number(told["p_adjusted"][c])]
        assert row[8] == f"{record['territories'][c]['test_positives']:,}"
    foot = [[cell.text for cell in row] for row in table.foot]
    assert [row[1:4] + row[7:] for row in foot] == [[""] * 5] * 3  # no mean of a period, no p-value, no support
    assert [row[:1] + row[4:7] for row in foot[:2]] == [
        ["Mean of the major territories", "+0.80", "−0.70 to +2.30", "won 7 of 8"],
        ["Mean of all evaluated territories", "+9.50", "+9.25 to +9.75", "won 10 of 11"],
    ]
    assert foot[2][0].startswith("All pairs") and foot[2][4:7] == ["+0.80", "−0.20 to +1.80", ""]
    assert [row[0].hint for row in table.foot[:2]] == [
        f"sign test p = {p}, as if territories were independent" for p in ("0.070", "0.250")
    ]


def test_a_comparison_has_its_means_in_a_row(record):
    told = record["gains"][2]
    told["major"] |= {"mean": 3.5, "low": 3.25, "high": 3.75, "won": 6, "better": 4, "worse": 1}
    head, rows = shown(tables.comparison_table(record))
    assert head[3:] == ["Won", "Better", "Worse", "Sign test p", "Gain over all pairs", "95 % interval"]
    assert rows[2] == [
        "mtl over more-random", "+3.50", "+3.25 to +3.75", "6 of 8", "4", "1", "0.070", "+2.00", "+1.00 to +3.00",
    ]  # fmt: skip


def test_scores_are_those_of_territory_and_method(record):
    head, rows = shown(tables.score_table(record))
    assert head[2:] == ["baseline", "upsampled", "mtl", "more-random"]
    for c, row in enumerate(rows[:-1]):
        assert row[2:] == [f"{record['pr_auc'][method]['average'][c]:.4f}" for method in head[2:]]


def test_a_method_has_overall_before_macro(record):
    told = record["methods"][2]
    head, rows = shown(tables.method_table(record))
    assert head[4:] == ["Seeds", "Overall PR-AUC", "Mean PR-AUC of territories", "Seconds"]
    scores = [mean_and_spread(told[name]).text for name in ("overall", "macro")]
    assert rows[2] == ["mtl", "The model called mtl.", "upsampled", "geography", "2", *scores, "32.5 ± 0.7"]
    assert mean_and_spread([0.1, 0.2, 0.6]).text == "0.3000 ± 0.2646"


def test_of_a_pair_each_title_has_its_own_gains(record):
    head, rows = shown(tables.pair_table(record))
    assert head == [
        "Title", "Kind", "Territory", "Positives there", "Gain over baseline, percent", "Gain over upsampled, percent",
    ]  # fmt: skip
    pair = record["title_pairs"][0]
    for row, kind, name in zip(rows, ("local", "global"), ("Home story 0 $x$", "World story 1 $x$"), strict=False):
        gains = [signed(pair["gains"][baseline][kind]) for baseline in ("baseline", "upsampled")]
        assert row == [name, kind, "US", str(pair[f"{kind}_positives"]), *gains]


def test_a_title_has_its_rules_numbers(record):
    told = min(record["titles"], key=lambda title: title["train_positives"])  # the last, since the largest come first
    head, rows = shown(tables.title_table(record))
    assert head[3:7] == ["Share at home", "Lift at home", "Train positives", "Test positives"]
    counts = [str(told[name]) for name in ("train_positives", "test_positives")]
    assert rows[-1][3:7] == [f"{100 * told['share']:.1f} %", f"{told['lift']:.1f}", *counts]
    assert rows[-1][7:] == [f"{told['pr_auc'][name[8:]]:.4f}" for name in head[7:]]


def test_popularity_bias_of_a_territory_is_its_own(record):
    found = bias.bias_territory_tables(record)
    head, rows = shown(found[0])
    assert found[0].caption.startswith("Gini of exposure, per territory, mean ± standard deviation")
    for c, row in enumerate(rows[:-1]):
        told = [record["bias"][method] for method in head[1:]]
        means, spreads = ([bias[key]["gini"][c] for bias in told] for key in ("territories", "territory_spreads"))
        assert row[1:] == [f"{mean:.4f} ± {spread:.4f}" for mean, spread in zip(means, spreads, strict=True)]


def test_distances_and_overall_bias_have_a_column_a_figure(record):
    told = record["distances"][3]
    head, rows = shown(bias.distance_table(record))
    assert head[3:] == ["Kolmogorov–Smirnov", "Wasserstein", "Shift of the mean"]
    numbers = [plain_number(told["ks"], 4), plain_number(told["wasserstein"], 4), signed(told["shift"], 4)]
    assert rows[3] == ["mtl and baseline", "global", "US", *numbers]
    head, rows = shown(bias.bias_table(record))
    gini = [f"{record['bias'][method]['overall']['gini'][0]:.4f} ± 0.0100" for method in head[2:]]
    assert rows[0] == ["Gini of exposure", "lower", *gini]
