"""The record of an experiment on a terminal: methods, gains over each baseline, titles, bias; then a summary."""

from rich.console import Console

from twotower.experiments.report import method_tables, ranking_tables, territory_tables, title_tables
from twotower.experiments.report.wording import NO_TITLE_PAIRS, TWO_FIGURES, Record, as_of, has_periods, main_gains
from twotower.report.table import Table
from twotower.report.terminal import print_lines, print_table

SHOWN_PAIRS = 20  # of titles; CSV has all


def print_experiment(record: Record, console: Console) -> None:
    """Print the tables, then the summary in sentences."""
    for part in parts(record):
        if isinstance(part, Table):
            print_table(part, console)
        else:
            print_lines(console, [part])
        console.print()
    print_lines(console, [f"• {sentence}" for sentence in record["summary"]])


def parts(record: Record) -> list[Table | str]:
    """The tables, and sentences between them."""
    main = main_gains(record)
    result: list[Table | str] = [method_tables.method_table(record)]
    result += [TWO_FIGURES] if has_periods(record) else []
    result += [territory_tables.gain_table(record, gains, majors_only=True) for gains in main]
    further = [gains for gains in record["gains"] if gains not in main]
    result += [territory_tables.comparison_table(record, further)] if further else []
    result += [method_tables.part_table(record)] if record["parts"] else []
    if record["rankings"]:
        result += [ranking_tables.ranking_table(record), ranking_tables.ranking_gain_table(record)]
    result += [title_tables.pair_table(record, SHOWN_PAIRS) if record["title_pairs"] else NO_TITLE_PAIRS]
    result += [title_tables.kind_table(record)] if record["title_kinds"] else []
    result.append(method_tables.overall_bias_table(record, method_tables.SHOWN_MEASURES))
    result += [method_tables.change_table(record)] if record["bias_changes"] else []
    result.append(method_tables.calibration_table(record))
    return result + ([as_of(record)] if as_of(record) else [])
