"""One table, three renderers: terminal, CSV, HTML."""

import csv
import io
import re

import numpy as np
import pytest
from rich.console import Console

from twotower.report import csv_table, html, terminal
from twotower.report.pivot import pivoted
from twotower.report.table import COUNT, GAIN, INTERVAL, PERCENT, SCORE, TEXT, Cell, Column, Table, with_spread

HOSTILE = [
    "Face [/Off]",
    "[unknown]",
    "[bold]x[/bold]",
    "a\x1b[31mred\x07",
    "two\nlines",
    "\u202egnp.exe",
    "lone \ud800",
]


def table() -> Table:
    found = Table(
        [
            Column("territory", TEXT, ("code",)),
            Column("pairs", COUNT, ("pairs",)),
            Column("PR-AUC", with_spread(SCORE), ("pr_auc", "spread")),
            Column("interval", INTERVAL, ("low", "high")),
            Column("share", PERCENT, on=("terminal", "page")),
            Column("", TEXT, ("sample",), on=("csv",)),
        ],
        title="Results",
        caption="the first 2 of 3",
        id="results",
    )
    found.add("DE", 12345, (0.25, 0.01), (-0.5, 1.25), 0.125, "full")
    found.add("FR", 0, (np.nan, np.nan), None, None, "full", minor=True)
    found.total("all", 12345, Cell((0.25, None), "good"), None, "", "")
    return found


def printed(table: Table, width: int = 100, color: bool = False) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=color, color_system="standard" if color else None)
    terminal.print_table(table, console)
    return console.file.getvalue()


def test_a_terminal_shows_what_people_read():
    lines = [line.split() for line in printed(table()).splitlines() if line.strip() and "─" not in line]
    assert lines == [
        ["Results"],
        ["territory", "pairs", "PR-AUC", "interval", "share"],
        ["DE", "12,345", "0.2500", "±", "0.0100", "−0.50", "to", "+1.25", "12.5", "%"],
        ["FR", "0", "undefined", "undefined", "undefined"],
        ["all", "12,345", "0.2500", "undefined"],
        ["the", "first", "2", "of", "3"],
    ]


def test_csv_has_the_values_and_no_totals():
    rows = list(csv.DictReader(io.StringIO(csv_table.csv_of(table()))))
    assert rows == [
        {"code": "DE", "pairs": "12345", "pr_auc": "0.25", "spread": "0.01", "low": "-0.5", "high": "1.25",
         "sample": "full"},
        {"code": "FR", "pairs": "0", "pr_auc": "", "spread": "", "low": "", "high": "", "sample": "full"},
    ]  # fmt: skip
    assert csv_table.csv_of(table(), table()).count("DE,12345") == 2
    assert csv_table.csv_of(Table(table().columns)) == "code,pairs,pr_auc,spread,low,high,sample\n"


def test_a_page_sorts_by_values_and_names_what_is_undefined():
    text = html.table_of(table())
    assert '<td data-value="12345.0">12,345</td><td data-value="0.25">0.2500 ± 0.0100</td>' in text
    assert '<td title="undefined"><span aria-hidden="true">–</span>' in text
    assert re.findall(r"<th scope=\"col\" data-sort=\"(\w+)\"", text) == [
        "text",
        "number",
        "number",
        "number",
        "number",
    ]
    assert text.count('class="minor"') == 1 and '<td data-value="0.25" class="good">' in text
    assert text.index("<tfoot>") > text.index("FR") and "sample" not in text


@pytest.mark.parametrize("name", HOSTILE)
def test_text_from_outside_is_neither_markup_nor_control(name):
    found = Table([Column("title", TEXT), Column("n", COUNT)], title=name, caption=name)
    found.add(name, 1)
    shown = printed(found, color=True)
    visible = name.encode("unicode_escape").decode() if not name.isprintable() else name
    assert shown.count(visible) == 3
    assert not set(re.sub(r"\x1b\[[0-9;]*m", "", shown)) & set("\x1b\x07\u202e\ud800")
    assert name.isprintable() or name not in html.table_of(found)
    assert html.table_of(found).count(visible.replace("<", "&lt;")) == 3
    shown.encode("utf-8")


def test_columns_that_do_not_fit_continue_below():
    found = Table([Column("method", TEXT), *(Column(f"T{c}", GAIN, across=True) for c in range(16))])
    found.add("mtl", *range(16), tone="strong")
    for width, n_blocks in ((250, 1), (60, 3)):
        lines = printed(found, width).splitlines()
        headings = [line.split()[1:] for line in lines if line.startswith("method")]
        assert [code for heading in headings for code in heading] == [f"T{c}" for c in range(16)]
        assert len(headings) == n_blocks and max(map(len, map(str.rstrip, lines))) <= width


def test_tones_are_colours_on_a_terminal():
    found = Table([Column("a", TEXT)])
    found.add(Cell("won", "good"))
    found.add("quiet", tone="quiet")
    found.section()
    found.add("last")
    assert "\x1b[32mwon" in printed(found, color=True) and "\x1b[2mquiet" in printed(found, color=True)
    assert [line.strip() for line in printed(found).splitlines()][2:] == ["won", "quiet", "", "last"]


def test_a_row_has_a_cell_for_each_column():
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Table([Column("a", TEXT), Column("b", TEXT)]).add("only one")


def test_a_pipe_is_wide_enough_and_obeys_columns(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert terminal.stdout_console().width == terminal.PIPE_WIDTH
    monkeypatch.setenv("COLUMNS", "66")
    assert terminal.stdout_console().width == 66


def test_in_a_narrow_terminal_texts_wrap_between_words():
    found = Table([Column("models", TEXT), *(Column("a long heading", COUNT) for _ in range(3))])
    found.add("mtl-4-upsampled over baseline-upsampled", 1, 2, 3)
    lines = printed(found, 64).splitlines()
    assert [line[:18].strip() for line in lines[2:]] == ["mtl-4-upsampled", "over", "baseline-upsampled"]


def test_a_long_table_becomes_wide():
    names = ("method", "territory", "positives", "score")
    kinds = (TEXT, TEXT, COUNT, SCORE)
    long = Table([Column(name.title(), kind, (name,)) for name, kind in zip(names, kinds, strict=True)])
    for method, shift in (("a", 0), ("b", 0.5)):
        for territory, positives in (("DE", 1000), ("FR", 7)):
            long.add(method, territory, positives, Cell(0.25 + shift, hint=f"{method} {territory}"))
    wide = pivoted(long, "method", "score", ["Territory", "Positives"], "")
    lines = [line.split() for line in printed(wide).splitlines()]
    assert lines[0] == ["Territory", "Positives", "a", "b"]
    assert lines[2:] == [["DE", "1,000", "0.2500", "0.7500"], ["FR", "7", "0.2500", "0.7500"]]
    assert wide.rows[1].cells[3].hint == "b FR"
