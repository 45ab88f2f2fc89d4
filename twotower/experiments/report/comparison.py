"""Runs compared, on a terminal: their methods, gains of PR-AUC per territory, and all comparisons."""

from rich.console import Console

from twotower.experiments.report.method_tables import over_seeds
from twotower.experiments.report.territory_tables import comparison_table, gain_table
from twotower.experiments.report.wording import Record
from twotower.report.table import SCORE, TEXT, Column, Table, with_spread
from twotower.report.terminal import print_lines, print_table


def print_comparison(record: Record, console: Console) -> None:
    """The tables, and why there are no intervals where there are none."""
    tables = [method_table(record), *(gain_table(record, gains, majors_only=True) for gains in record["gains"])]
    for table in [*tables, comparison_table(record, record["gains"])]:
        print_table(table, console)
        console.print()
    if record["note"]:
        print_lines(console, [record["note"]])


def method_table(record: Record) -> Table:
    """Overall and macro PR-AUC of each method: mean ± standard deviation over its runs."""
    columns = [Column("Method", TEXT), Column("Seeds", TEXT)]
    table = Table([*columns, *(Column(f"{over} PR-AUC", with_spread(SCORE)) for over in ("Overall", "Macro"))])
    for method in record["methods"]:
        figures = (over_seeds(method[name]) for name in ("overall", "macro"))
        table.add(method["name"], ", ".join(map(str, method["seeds"])), *figures)
    return table
