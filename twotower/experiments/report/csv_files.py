"""The record of an experiment as CSV files. One without rows, such as gains of a single method, has its header."""

from twotower.experiments.report import method_tables, territory_tables, title_tables
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
        "calibration": method_tables.reliability_data(record),
        "calibration_territories": method_tables.calibration_territory_table(record),
        "distances": title_tables.distance_table(record),
        "histograms": title_tables.histogram_data(record),
    }
    return {"table2": gains_csv(record)} | {name: csv_of(table) for name, table in tables.items()}


def gains_csv(record: Record) -> str:
    """All gains of a record as CSV: a row per comparison and territory."""
    header = Table(territory_tables.gain_columns(record))
    return csv_of(header, *(territory_tables.gain_table(record, gains) for gains in record["gains"]))
