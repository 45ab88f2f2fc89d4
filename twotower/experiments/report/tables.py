"""Every table of an experiment, by its place in each renderer: the terminal, CSV files, the page."""

from collections.abc import Callable, Mapping
from functools import partial

from rich.console import Console

from twotower.experiments.report import fact_tables, method_tables, ranking_tables, territory_tables, title_tables
from twotower.experiments.report.wording import NO_TITLE_PAIRS, TWO_FIGURES, as_of, has_periods, main_gains
from twotower.experiments.schema import Compared, ComparisonRecord, ExperimentRecord, GainsRecord
from twotower.report.csv_table import csv_of
from twotower.report.table import Table
from twotower.report.terminal import print_lines, print_table

SHOWN_PAIRS = 20  # of titles on a terminal; CSV has all

Tables = Table | list[Table]
Maker = Callable[[ExperimentRecord], Tables]


def all_comparisons(record: Compared) -> Table:
    return territory_tables.comparison_table(record, record["gains"])


def further_gains(record: ExperimentRecord) -> list[GainsRecord]:
    """The comparisons that the experiment is not about."""
    return [gains for gains in record["gains"] if gains not in main_gains(record)]


def main_gain_tables(record: ExperimentRecord, majors_only: bool = False) -> list[Table]:
    found = enumerate(main_gains(record))
    return [territory_tables.gain_table(record, gains, f"gain-table-{i}", majors_only) for i, gains in found]


def further_gain_tables(record: ExperimentRecord) -> list[Table]:
    found = enumerate(further_gains(record))
    return [territory_tables.gain_table(record, gains, f"further-table-{i}", majors_only=True) for i, gains in found]


def all_gains(record: Compared) -> list[Table]:
    """A row per comparison and territory; without a comparison there is a header."""
    header = Table(territory_tables.gain_columns(record))
    return [header, *(territory_tables.gain_table(record, gains) for gains in record["gains"])]


CSV: Mapping[str, Maker] = {
    "table1": territory_tables.support_table,
    "table2": all_gains,
    "table2_summary": all_comparisons,
    "table3": title_tables.pair_table,
    "title_kinds": title_tables.kind_table,
    "pr_auc": territory_tables.score_table,
    "methods": method_tables.run_data,
    "parts": method_tables.part_table,
    "rankings": ranking_tables.ranking_territory_table,
    "rankings_summary": ranking_tables.ranking_table,
    "ranking_gains": ranking_tables.ranking_gain_data,
    "ranking_gains_summary": ranking_tables.ranking_gain_table,
    "titles": title_tables.title_table,
    "bias": method_tables.bias_table,
    "bias_changes": method_tables.change_table,
    "calibration": method_tables.reliability_data,
    "calibration_territories": method_tables.calibration_territory_table,
    "distances": title_tables.distance_table,
    "histograms": title_tables.histogram_data,
}
PAGE: Mapping[str, Maker] = {
    "gains": main_gain_tables,
    "further_gains": further_gain_tables,
    "comparisons": all_comparisons,
    "parts": method_tables.part_table,
    "rankings": ranking_tables.ranking_table,
    "ranking_gains": ranking_tables.ranking_gain_table,
    "ranking_territories": ranking_tables.ranking_territory_tables,
    "territories": territory_tables.support_table,
    "scores": territory_tables.scores_by_method,
    "methods": method_tables.method_table,
    "pairs": title_tables.pair_table,
    "kinds": title_tables.kind_table,
    "titles": partial(title_tables.title_table, shown=True),
    "bias": method_tables.overall_bias_table,
    "bias_changes": method_tables.change_table,
    "bias_territories": method_tables.bias_territory_tables,
    "calibration_territories": method_tables.calibration_territory_tables,
    "calibration": method_tables.calibration_table,
    "distances": title_tables.distance_table,
    "settings": fact_tables.settings_table,
    "samples": fact_tables.sample_table,
    "dataset": fact_tables.dataset_table,
    "provenance": fact_tables.provenance_table,
    "environment": fact_tables.environment_table,
}
TERMINAL: tuple[Maker, ...] = (
    method_tables.method_table,
    partial(main_gain_tables, majors_only=True),
    lambda record: territory_tables.comparison_table(record, further_gains(record)),
    method_tables.part_table,
    ranking_tables.ranking_table,
    ranking_tables.ranking_gain_table,
    lambda record: title_tables.pair_table(record, SHOWN_PAIRS),
    title_tables.kind_table,
    lambda record: method_tables.overall_bias_table(record, method_tables.SHOWN_MEASURES),
    method_tables.change_table,
    method_tables.calibration_table,
)


def as_list(tables: Tables) -> list[Table]:
    return tables if isinstance(tables, list) else [tables]


def experiment_tables(record: ExperimentRecord) -> dict[str, str]:
    """Name → CSV text of every table; one without rows, such as gains of a single method, has its header."""
    return {name: csv_of(*as_list(make(record))) for name, make in CSV.items()}


def page_tables(record: ExperimentRecord) -> dict[str, Tables | None]:
    """Every table of the page by its place in the template; None, or an empty list, where it has no rows."""
    made = {name: make(record) for name, make in PAGE.items()}
    return {
        name: [each for each in tables if each.rows] if isinstance(tables, list) else tables if tables.rows else None
        for name, tables in made.items()
    }


def print_experiment(record: ExperimentRecord, console: Console) -> None:
    """Print the tables that have rows, then the summary in sentences."""
    print_tables([table for make in TERMINAL for table in as_list(make(record))], console)
    notes = [TWO_FIGURES if has_periods(record) else "", "" if record["title_pairs"] else NO_TITLE_PAIRS, as_of(record)]
    print_lines(console, [note for note in notes if note])
    print_lines(console, ["", *(f"• {sentence}" for sentence in record["summary"])])


def print_comparison(record: ComparisonRecord, console: Console) -> None:
    """The tables of compared runs, and what is missing or not to be trusted."""
    gains = [territory_tables.gain_table(record, gains, majors_only=True) for gains in record["gains"]]
    ranking = [ranking_tables.ranking_table(record), ranking_tables.ranking_gain_table(record)]
    print_tables([method_tables.method_table(record), *gains, all_comparisons(record), *ranking], console)
    print_lines(console, record["notes"])


def print_tables(tables: list[Table], console: Console) -> None:
    for table in tables:
        if table.rows:
            print_table(table, console)
            console.print()
