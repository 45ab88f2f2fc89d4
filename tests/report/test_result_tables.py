"""Results told to people and to machines: the same values, aligned, with words where nothing is defined."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from made_up_runs import make_evaluation, make_pairs, make_scores
from rich.console import Console

from twotower.core import serialisation, storage
from twotower.core.errors import InputError
from twotower.core.formatting import signed
from twotower.metrics import records
from twotower.metrics.gains import Comparison, Method, gains_over
from twotower.metrics.results import Evaluation, TerritoryResults
from twotower.report import comparison as gains_tables
from twotower.report import csv_table, terminal
from twotower.report import evaluation as tables
from twotower.report.table import Table

DAYS = (60, 61)


def evaluation(days=(60,)) -> Evaluation:
    pairs = make_pairs(days)
    return make_evaluation(pairs, make_scores(pairs))


def method_with(name, factor, n_seeds=1, days=DAYS, n_territories=4) -> Method:
    """A method whose PR-AUC is ``factor``/10 everywhere but in the third territory, which has no positive."""
    by_day = np.full((n_seeds, len(days), n_territories), factor / 10)
    by_day += np.arange(n_seeds)[:, None, None] / 100
    by_day[:, :, 2] = np.nan
    pooled = by_day.mean(axis=1)
    overall = np.nanmean(pooled, axis=1)
    return Method(name, list(range(n_seeds)), by_day, pooled, overall, overall, [f"runs/{name}"] * n_seeds)


def comparison(n_seeds=1, days=DAYS, n_territories=4, names=("mtl-4", "baseline", "upsampled")) -> Comparison:
    method, baseline, others = (
        method_with(name, factor, n_seeds, days, n_territories) for name, factor in zip(names, (3, 2, 4), strict=True)
    )
    n = n_territories
    territories = TerritoryResults(
        code=[f"T{c + 1}" for c in range(n)],
        name=[f"Territory {c + 1}" for c in range(n)],
        group=np.arange(n) % 3 - 1,
        users=np.arange(n, 0, -1) * 1000,
        test_users=np.full(n, 100),
        pairs=np.full(n, 12345),
        positives=np.where(np.arange(n) == 2, 0, 1234),
        pr_auc=method.mean_pooled,
    )
    gains = [gains_over(method, baseline), gains_over(method, others)]
    return Comparison([method, baseline, others], gains, list(days), territories, np.arange(n), "d" * 64)


def printed(table: Table, width=100, color=None) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=color is not None, color_system=color)
    terminal.print_table(table, console)
    return console.file.getvalue()


def line_with(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line)


# ---------------------------------------------------------------- tables of results


def test_the_territory_table_has_a_line_a_territory_then_macro_and_overall():
    found = evaluation()
    lines = [line.split() for line in printed(tables.territory_table(found)).splitlines() if line.strip()]
    assert lines[0] == ["code", "territory", "group", "users", "pairs", "positives", "base", "rate", "PR-AUC"]
    assert [line[0] for line in lines[2:]] == ["US", "BR", "JP", "PL", "macro", "macro", "overall"]
    results = found.territories
    assert lines[2][-5:] == [
        str(results.test_users[1]),
        str(results.pairs[1]),
        str(results.positives[1]),
        f"{results.base_rate[1]:.4f}",
        f"{results.pr_auc[1]:.4f}",
    ]
    assert lines[6] == ["macro", "3", "territories", "1+", f"{found.macro():.4f}"]
    assert lines[7] == ["macro", "1", "territory", "50+", f"{found.macro(50):.4f}"]
    assert lines[8][-1] == f"{found.overall:.4f}" and lines[8][3:6] == ["60", "600", str(found.positives)]


def test_a_territory_without_a_positive_is_undefined_in_words():
    assert line_with(printed(tables.territory_table(evaluation())), "Japan").split()[-1] == "undefined"
    assert "nan" not in printed(tables.territory_table(evaluation())).lower()


def test_a_table_says_what_it_leaves_out():
    text = printed(tables.territory_table(evaluation(), top=2))
    assert "the first 2 of 4 territories by users" in text
    assert "Brazil" in text and "Poland" not in text
    assert "the first" not in printed(tables.territory_table(evaluation()))
    assert "the first 3 of 6 titles by positives" in printed(tables.title_table(evaluation(), top=3))


def test_the_macro_line_says_which_territories_it_counts():
    found = evaluation()
    least = int(sorted(found.territories.positives)[-1])
    line = line_with(printed(tables.territory_table(found, min_positives=least)), f"{least}+")
    assert line.split() == ["macro", "1", "territory", f"{least}+", f"{found.macro(least):.4f}"]
    assert printed(tables.territory_table(found, min_positives=1)).count("macro") == 1
    assert "undefined" in line_with(printed(tables.territory_table(found, min_positives=9999)), "9999+")


def test_a_territory_in_no_group_has_a_dash():
    found = evaluation()
    found.territories.group[1] = -1
    assert line_with(printed(tables.territory_table(found)), "United States").split()[3] == "–"


def test_numbers_end_in_one_column():
    text = printed(tables.territory_table(evaluation()))
    lines = [line.rstrip() for line in text.splitlines()[2:] if line.strip()]
    assert len({len(line) for line in lines}) == 1, "the PR-AUC column is the last, and right-aligned"


def test_large_counts_have_separators():
    assert "12,345" in printed(tables.territory_table(Evaluation(0.5, comparison().territories, None, {})))


def test_the_title_table_shows_kinds_only_where_there_are_some():
    found = evaluation()
    assert line_with(printed(tables.title_table(found)), "title").split()[:2] == ["title", "kind"]
    found.titles.kind[:] = [""] * 6
    assert "kind" not in printed(tables.title_table(found))
    most = int(np.argmax(found.titles.positives))
    first = printed(tables.title_table(found)).splitlines()[2].split()
    assert first[0] == f"t{most}" and first[-1] == f"{found.titles.pr_auc[most]:.4f}"
    assert [int(count) for count in first[-4:-2]] == [found.titles.pairs[most], found.titles.positives[most]]


# ---------------------------------------------------------------- gains, as in the paper's Table 2


def test_gains_have_a_column_a_territory_and_a_row_a_day_and_the_average():
    text = printed(gains_tables.gains_table(comparison()))
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines[0] == ["gain,", "%", "T1", "T2", "T3", "T4"]
    assert lines[2] == ["mtl-4", "over", "day", "60", "+50.00", "+50.00", "undefined", "+50.00"]
    assert lines[3] == ["baseline", "day", "61", "+50.00", "+50.00", "undefined", "+50.00"]
    assert lines[4] == ["average", "+50.00", "+50.00", "undefined", "+50.00"]
    assert lines[5] == ["mtl-4", "over", "day", "60", "−25.00", "−25.00", "undefined", "−25.00"]
    assert lines[7][0] == "average" and len(lines) == 8


def test_gains_are_those_of_the_territories_chosen():
    found = comparison()
    found.gains[0].matches[:, :, 3] = 7.25
    lines = [
        line.split() for line in printed(gains_tables.gains_table(replace(found, rows=np.array([3, 0])))).splitlines()
    ]
    assert lines[0][2:] == ["T4", "T1"] and lines[4] == ["average", "+7.25", "+50.00"]


def test_a_single_test_day_needs_no_average():
    lines = [line.split() for line in printed(gains_tables.gains_table(comparison(days=(0,)))).splitlines()]
    assert lines[2] == ["mtl-4", "over", "baseline", "gain", "+50.00", "+50.00", "undefined", "+50.00"]


def test_several_seeds_have_a_spread():
    text = printed(gains_tables.gains_table(comparison(n_seeds=3)))
    spread = comparison(n_seeds=3).gains[0].spread[0]
    assert line_with(text, "± spread").split() == [
        "±",
        "spread",
        *[f"{spread:.2f}"] * 2,
        "undefined",
        f"{spread:.2f}",
    ]
    assert "±" not in printed(gains_tables.gains_table(comparison(n_seeds=1)))


@pytest.mark.parametrize("width", [60, 80, 100, 250])
def test_territories_that_do_not_fit_go_on_below(width):
    text = printed(gains_tables.gains_table(comparison(n_territories=16)), width)
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    headings = [line.split()[2:] for line in text.splitlines() if line.startswith("gain, %")]
    assert [code for heading in headings for code in heading] == [f"T{c}" for c in range(1, 17)]
    assert (len(headings) == 1) == (width == 250)
    sizes = [len(heading) for heading in headings]
    assert max(sizes) - min(sizes) <= len(sizes), "blocks are of about one size"


def test_gains_are_green_and_losses_red_where_seeds_differ_less():
    text = printed(gains_tables.gains_table(comparison(n_seeds=3)), color="standard")
    gains, losses = (found.average[0] for found in comparison(n_seeds=3).gains)
    assert f"32m{gains:+.2f}" in text and f"31m{signed(losses)}" in text
    assert "\x1b[2mundefined" in text
    assert "\x1b" not in printed(gains_tables.gains_table(comparison(n_seeds=3)))
    spread = comparison(n_seeds=3).gains[0].spread[0]
    tones = []
    for gain in (1.01 * spread, -1.01 * spread, 0.99 * spread, -0.99 * spread):
        moved = comparison(n_seeds=3).gains[0]
        moved.matches[:, :, 0] += gain - moved.average[0]
        tones.append(gains_tables.gain_cell(moved, 0).tone)
    assert tones == ["good", "bad", "", ""]


def test_one_seed_shows_no_colour_for_it_proves_nothing():
    text = printed(gains_tables.gains_table(comparison()), color="standard")
    assert "+50.00" in text and "32m" not in text and "31m" not in text


def test_a_row_a_territory_has_the_pr_auc_of_both():
    found = comparison(n_seeds=2)
    text = printed(gains_tables.territory_gains_table(found.gains[0], found))
    assert "PR-AUC of mtl-4 and baseline" in text
    assert line_with(text, "T2 ").split() == [
        "T2", "Territory", "2", "0", "1,234", "0.3050", "0.2050",
        f"{found.gains[0].average[1]:+.2f}", f"{found.gains[0].spread[1]:.2f}",
    ]  # fmt: skip
    assert line_with(text, "T3 ").split()[-4:] == ["undefined"] * 4
    assert "spread" not in printed(gains_tables.territory_gains_table(comparison().gains[0], comparison()))


def test_a_summary_counts_what_was_won():
    found = comparison()
    assert str(gains_tables.summary(found.gains[0], found.rows)) == (
        "mtl-4 over baseline: better in 3 of 3 territories, mean gain +50.00 %"
    )
    assert "better in 0 of 3 territories, mean gain −25.00 %" in str(gains_tables.summary(found.gains[1], found.rows))
    seeds = comparison(n_seeds=3)
    mean, spread = seeds.gains[0].mean(seeds.rows)
    assert f"mean gain {mean:+.2f} ± {spread:.2f} % over 3 seeds" in str(
        gains_tables.summary(seeds.gains[0], seeds.rows)
    )
    crossed = gains_over(method_with("a", 3, 2), method_with("b", 2, 3))
    assert str(gains_tables.summary(crossed, seeds.rows)).endswith("over 6 pairs of runs")


def test_methods_have_the_mean_and_spread_of_their_seeds():
    text = printed(gains_tables.method_table(comparison(n_seeds=3).methods))
    assert line_with(text, "mtl-4").split()[1:] == ["0,", "1,", "2", *["0.3100", "±", "0.0100"] * 2]
    apart = replace(comparison().methods[0], overall=np.array([0.125]), macro=np.array([0.25]))
    assert line_with(printed(gains_tables.method_table([apart])), "mtl-4").split()[2:] == ["0.1250", "0.2500"]
    single = printed(gains_tables.method_table(comparison().methods))
    assert line_with(single, "mtl-4").split() == ["mtl-4", "0", "0.3000", "0.3000"]


# ---------------------------------------------------------------- CSV and JSON


def test_csv_reads_back_as_the_same_values():
    table = tables.territory_table(evaluation())
    read = list(csv.DictReader(io.StringIO(csv_table.csv_of(table))))
    assert [row["code"] for row in read] == ["US", "BR", "JP", "PL"]
    assert read[2]["pr_auc"] == "" and read[2]["positives"] == "0"
    assert [float(row["pr_auc"] or "nan") for row in read] == pytest.approx(
        [row["pr_auc"] for row in csv_table.records_of(table)], abs=0, nan_ok=True
    )
    assert list(read[0]) == list(evaluation().territories.columns())


def test_names_with_commas_quotes_and_lines_survive():
    names = ["Korea, Republic of", 'the "Bay"', "two\nlines", "Côte d'Ivoire"]
    assert [row["name"] for row in csv.DictReader(io.StringIO(serialisation.csv_text({"name": names})))] == names


def test_json_has_null_for_what_is_undefined():
    assert json.loads(serialisation.json_text({"a": np.nan, "b": [np.float32(1), np.inf], "c": np.int64(3)})) == {
        "a": None,
        "b": [1, None],
        "c": 3,
    }
    assert serialisation.json_text({"name": "Côte"}) == '{\n  "name": "Côte"\n}'


def test_the_records_hold_what_the_tables_show():
    found = evaluation()
    most = int(found.territories.positives.max())
    record = records.evaluation_record(found, most)
    assert record["min_positives"] == most and record["macro_supported_territories"] == 1
    assert record["macro_supported"] == found.macro(most) != record["macro"]
    assert record["overall"] == found.overall and record["macro"] == found.macro()
    assert record["macro_territories"] == 3
    rows = csv_table.records_of(tables.title_table(found))
    assert len(rows) == 6 and rows[0]["positives"] == found.titles.positives.max()


def test_a_comparison_as_a_record():
    found = comparison(n_seeds=2)
    record = json.loads(serialisation.json_text(records.comparison_record(found)))
    assert record["days"] == [60, 61] and record["test_digest"] == "d" * 64
    assert [m["name"] for m in record["methods"]] == ["mtl-4", "baseline", "upsampled"]
    assert record["methods"][0]["runs"] == ["runs/mtl-4"] * 2
    first = record["comparisons"][0]
    assert (first["method"], first["baseline"]) == ("mtl-4", "baseline")
    assert (first["territories_won"], first["territories_defined"], first["matches"]) == (3, 3, 2)
    assert first["matched_by_seed"] is True
    assert first["mean_gain"] == pytest.approx(found.gains[0].mean(found.rows)[0])
    assert first["territories"][0]["gain_by_day"].keys() == {"60", "61"}
    assert first["territories"][2]["gain"] is None


def gains_csv(found: Comparison) -> str:
    return csv_table.csv_of(*(gains_tables.territory_gains_table(gains, found) for gains in found.gains))


def test_gains_as_csv_have_a_row_a_comparison_and_territory():
    rows = list(csv.DictReader(io.StringIO(gains_csv(comparison()))))
    assert len(rows) == 2 * 4
    assert (rows[0]["method"], rows[0]["baseline"], rows[0]["code"]) == ("mtl-4", "baseline", "T1")
    assert float(rows[0]["gain_day_61"]) == pytest.approx(50)
    assert float(rows[0]["gain"]) == pytest.approx(50) and rows[0]["spread"] == ""
    assert rows[2]["gain"] == "" and rows[4]["baseline"] == "upsampled"


def test_files_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "gains.csv"
    storage.write_file(path, "a\nb\n")
    storage.write_file(path, "c\n")
    assert path.read_bytes() == b"c\n"
    assert [p.name for p in tmp_path.iterdir()] == ["gains.csv"]
    with pytest.raises(InputError, match=r"absent/x.csv: cannot write \(No such file or directory\)"):
        storage.write_file(tmp_path / "absent" / "x.csv", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        storage.write_file(tmp_path / "folder", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "gains.csv"]
