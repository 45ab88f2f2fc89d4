"""Results told to people and to machines: the same values, aligned, with words where nothing is defined."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from made_up_runs import make_evaluation, make_pairs, make_scores
from rich.console import Console

from twotower.cli.summaries import evaluation as tables
from twotower.core import serialisation, storage
from twotower.core.errors import InputError
from twotower.metrics.results import Evaluation
from twotower.report import csv_table, terminal
from twotower.report.table import Table

DAYS = (60, 61)


def evaluation(days=(60,)) -> Evaluation:
    pairs = make_pairs(days)
    return make_evaluation(pairs, make_scores(pairs))


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
    assert "2 of 4 territories, those with the most users" in text
    assert "Brazil" in text and "Poland" not in text
    assert "the first" not in printed(tables.territory_table(evaluation()))
    assert "3 of 6 titles, those with the most positives" in printed(tables.title_table(evaluation(), top=3))


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
    found = evaluation()
    many = replace(found, territories=replace(found.territories, pairs=found.territories.pairs + 12_000))
    assert f"{many.territories.pairs[1]:,}" in printed(tables.territory_table(many))


def test_the_title_table_shows_kinds_only_where_there_are_some():
    found = evaluation()
    assert line_with(printed(tables.title_table(found)), "title").split()[:2] == ["title", "kind"]
    found.titles.kind[:] = [""] * 6
    assert "kind" not in printed(tables.title_table(found))
    most = int(np.argmax(found.titles.positives))
    first = printed(tables.title_table(found)).splitlines()[2].split()
    assert first[0] == f"t{most}" and first[-1] == f"{found.titles.pr_auc[most]:.4f}"
    assert [int(count) for count in first[-4:-2]] == [found.titles.pairs[most], found.titles.positives[most]]


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
    record = found.record(most)
    assert record["min_positives"] == most and record["macro_supported_territories"] == 1
    assert record["macro_supported"] == found.macro(most) != record["macro"]
    assert record["overall"] == found.overall and record["macro"] == found.macro()
    assert record["macro_territories"] == 3
    rows = csv_table.records_of(tables.title_table(found))
    assert len(rows) == 6 and rows[0]["positives"] == found.titles.positives.max()


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
