"""Runs compared, on a terminal: their methods, gains of PR-AUC per territory, and all comparisons."""

from rich.console import Console

from twotower.experiments.report.method_tables import method_table
from twotower.experiments.report.ranking_tables import ranking_gain_table, ranking_table
from twotower.experiments.report.territory_tables import comparison_table, gain_table
from twotower.experiments.report.wording import Record
from twotower.report.terminal import print_lines, print_table


def print_comparison(record: Record, console: Console) -> None:
    """The tables, and why there are no intervals where there are none."""
    tables = [method_table(record), *(gain_table(record, gains, majors_only=True) for gains in record["gains"])]
    tables.append(comparison_table(record, record["gains"]))
    if record["rankings"]:
        tables += [ranking_table(record), ranking_gain_table(record)]
    for table in tables:
        print_table(table, console)
        console.print()
    print_lines(console, record["notes"])
