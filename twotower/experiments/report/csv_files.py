"""The record of an experiment as CSV files. One without rows, such as gains of a single method, has its header."""

from twotower.experiments.report import method_tables, ranking_tables, territory_tables, title_tables
from twotower.experiments.report.wording import Record
from twotower.report.csv_table import csv_of
from twotower.report.table import Table


def experiment_tables(record: Record) -> dict[str, str]:
    """Name → CSV text of every table."""
    tables: dict[str, Table] = {
        "table1": territory_tables.support_table(record),
        "table2_summary": territory_tables.comparison_table(record, record["gains"]),
        "table3": title_tables.pair_table(record),
        "title_kinds": title_tables.kind_table(record),
        "pr_auc": territory_tables.score_table(record),
        "methods": method_tables.run_data(record),
        "titles": title_tables.title_table(record),
        "bias": method_tables.bias_table(record),
        "bias_changes": method_tables.change_table(record),
        "rankings": ranking_tables.ranking_territory_table(record),
        "rankings_summary": ranking_tables.ranking_table(record),
        "ranking_gains": ranking_tables.ranking_gain_data(record),
        "ranking_gains_summary": ranking_tables.ranking_gain_table(record),
        "parts": method_tables.part_table(record),
        "calibration": method_tables.reliability_data(record),
        "calibration_territories": method_tables.calibration_territory_table(record),
        "distances": title_tables.distance_table(record),
        "histograms": title_tables.histogram_data(record),
    }
    return {"table2": gains_csv(record)} | {name: csv_of(table) for name, table in tables.items()}


def ranking_gains_csv(record: Record) -> str:
    """Gains of ranking metrics as CSV: a row per comparison, metric and territory."""
    return csv_of(ranking_tables.ranking_gain_data(record))


def gains_csv(record: Record) -> str:
    """Gains of PR-AUC as CSV: a row per comparison and territory."""
    header = Table(territory_tables.gain_columns(record))
    return csv_of(header, *(territory_tables.gain_table(record, gains) for gains in record["gains"]))
