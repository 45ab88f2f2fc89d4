"""Configuration, data facts and environment as tables: whatever the record holds, in its own order."""

from collections.abc import Mapping
from typing import Any

from twotower.experiments.report.html.cells import Cell, Column, Table, is_number, plain_number, text, undefined

Record = Mapping[str, Any]


def shown(value: Any) -> str:
    """A setting as a reader writes it: yes and no, numbers, lists with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if is_number(value):
        return f"{value:g}" if abs(value) < 1e6 else plain_number(value, 0)
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)
    return "" if value is None else str(value)


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    found: dict[str, Any] = {}
    for name, item in value.items():
        found |= flat(item, f"{prefix}.{name}" if prefix else str(name))
    return found


def fact(value: Any) -> Cell:
    words = shown(value)
    return Cell(words, words) if words else undefined("not stated")


def side_by_side(id: str, caption: str, first: str, settings: Mapping[str, Any]) -> Table | None:
    """Settings of several things: a row per setting, a column per thing; rows that differ first."""
    by_thing = {str(name): flat(value) for name, value in settings.items()}
    names = list(dict.fromkeys(name for values in by_thing.values() for name in values))
    rows = [[text(name), *(fact(values.get(name)) for values in by_thing.values())] for name in names]
    rows.sort(key=lambda row: len({cell.text for cell in row[1:]}) == 1)
    kinds = [Column(first, "text"), *(Column(name, "text") for name in by_thing)]
    return Table(id, caption, kinds, rows) if rows else None


def settings_table(record: Record) -> Table | None:
    settings = {m.get("name"): m.get("settings") for m in record.get("methods") or () if m.get("settings")}
    return side_by_side("settings-table", "Settings per method, those that differ first", "Setting", settings)


def sample_table(record: Record) -> Table | None:
    return side_by_side("sample-table", "Samples, what differs first", "Fact", record.get("samples") or {})


def fact_table(values: Any, id: str, caption: str) -> Table | None:
    """One mapping of the record: a row per fact that it states."""
    facts = {name: fact(value) for name, value in flat(values or {}).items() if name}
    rows = [[text(name), cell] for name, cell in facts.items() if not cell.undefined]
    return Table(id, caption, [Column("Fact", "text"), Column("Value", "text")], rows) if rows else None


def dataset_table(record: Record) -> Table | None:
    facts = {name: value for name, value in (record.get("dataset") or {}).items() if name != "about"}
    return fact_table(facts, "dataset-table", "The data")


def provenance_table(record: Record) -> Table | None:
    about = (record.get("dataset") or {}).get("about")
    about = about if isinstance(about, Mapping) else {"about": about}
    return fact_table(about, "provenance-table", "Where the data come from and how they were read")


def environment_table(record: Record) -> Table | None:
    return fact_table(record.get("environment"), "environment-table", "The machine and its software")


def duration(seconds: Any) -> str:
    """``2 h 03 min``, ``4 min 05 s`` or ``12 s``."""
    if not is_number(seconds):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
