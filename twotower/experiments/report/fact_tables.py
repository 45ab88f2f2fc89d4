"""Configuration, data and environment of an experiment as tables: whatever the record holds, in its own order."""

from collections.abc import Mapping
from typing import Any

from twotower.core.formatting import count, is_number
from twotower.core.serialisation import flat
from twotower.experiments.schema import ExperimentRecord
from twotower.report.table import TEXT, Cell, Column, Table

NOT_STATED = Cell(None, hint="not stated")


def in_words(value: Any) -> str:
    """A setting as a reader writes it: yes and no, numbers, lists with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(in_words(item) for item in value)
    if is_number(value):
        return count(value) if isinstance(value, int) or abs(value) >= 1e6 else f"{value:g}"
    return "" if value is None else str(value)


def side_by_side(id: str, title: str, first: str, settings: Mapping[str, object]) -> Table:
    """Settings of several things: a row per setting, a column per thing; rows that differ first."""
    by_thing = [flat(value) for value in settings.values()]
    names = dict.fromkeys(name for values in by_thing for name in values)
    rows = [(name, *(in_words(values.get(name)) for values in by_thing)) for name in names]
    table = Table([Column(first, TEXT), *(Column(name, TEXT) for name in settings)], title, id=id)
    for name, *values in sorted(rows, key=lambda row: len(set(row[1:])) == 1):
        table.add(name, *(value or NOT_STATED for value in values))
    return table


def settings_table(record: ExperimentRecord) -> Table:
    settings = {method["name"]: method["settings"] for method in record["methods"]}
    return side_by_side("settings-table", "Settings per method, those that differ first", "Setting", settings)


def sample_table(record: ExperimentRecord) -> Table:
    return side_by_side("sample-table", "Samples, what differs first", "Fact", record["samples"])


def fact_table(facts: Mapping[str, object], id: str, title: str) -> Table:
    """One mapping of the record: a row per fact that it states."""
    table = Table([Column("Fact", TEXT), Column("Value", TEXT)], title, id=id)
    for name, value in flat(facts).items():
        if name and (words := in_words(value)):
            table.add(name, words)
    return table


def dataset_table(record: ExperimentRecord) -> Table:
    facts = {name: value for name, value in record["dataset"].items() if name != "about"}
    return fact_table(facts, "dataset-table", "The data")


def provenance_table(record: ExperimentRecord) -> Table:
    title = "Where the data come from and how they were read"
    return fact_table(record["dataset"]["about"], "provenance-table", title)


def environment_table(record: ExperimentRecord) -> Table:
    return fact_table(record["environment"], "environment-table", "The machine and its software")
