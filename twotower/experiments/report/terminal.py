"""The record of an experiment on a terminal: its tables in the order of the questions, then plain words."""

from rich.console import Console

from twotower.experiments.report import method_tables, territory_tables, title_tables
from twotower.experiments.report.wording import NO_TITLE_PAIRS, TWO_FIGURES, Record, as_of, has_periods, main_gains
from twotower.report.evaluation import TOP
from twotower.report.table import Table
from twotower.report.terminal import print_lines, print_table


def print_experiment(record: Record, console: Console) -> None:
    """Methods, gains over each baseline, titles, bias, and what it all comes to."""
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
    found: list[Table | str] = [method_tables.method_table(record)]
    found += [TWO_FIGURES] if has_periods(record) else []
    found += [territory_tables.gain_table(record, gains, majors_only=True) for gains in main]
    further = [gains for gains in record["gains"] if gains not in main]
    found += [territory_tables.comparison_table(record, further)] if further else []
    found += [title_tables.pair_table(record, TOP) if record["title_pairs"] else NO_TITLE_PAIRS]
    found += [title_tables.kind_table(record)] if record["title_kinds"] else []
    found += [method_tables.bias_table(record, method_tables.SHOWN_MEASURES), method_tables.calibration_table(record)]
    return found + ([as_of(record)] if as_of(record) else [])
