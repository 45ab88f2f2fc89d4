"""Tables of popularity bias, calibration and distances between models; a missing part gives none."""

from collections.abc import Mapping, Sequence
from typing import Any

from twotower.report.html.cells import (
    Cell,
    Column,
    Table,
    at,
    columns,
    count,
    filled,
    is_number,
    number,
    signed,
    text,
    undefined,
)
from twotower.report.html.tables import minor_rows, territory_name

Record = Mapping[str, Any]


def bias_table(record: Record) -> Table | None:
    """Popularity bias of all users: a row per measure, a column per method."""
    bias, measures = record.get("bias") or {}, record.get("measures") or {}
    names = list(dict.fromkeys([*measures, *(m for b in bias.values() for m in b.get("overall") or {})]))
    rows = [
        [
            text(at(measures, name, "title") or name),
            text(at(measures, name, "better")),
            *(pair_of(at(bias, method, "overall", name)) for method in bias),
        ]
        for name in names
    ]
    kinds = [Column("Measure", "text"), Column("Less bias is", "text")]
    kinds += [Column(name) for name in bias]
    caption = "Popularity bias over all test users, mean ± standard deviation over seeds"
    return Table("bias-table", caption, kinds, rows) if bias and rows else None


def pair_of(value: Any) -> Cell:
    """``[mean, spread]``, or a bare number."""
    mean, spread = (at(value, 0), at(value, 1)) if isinstance(value, Sequence) else (value, None)
    digits = 1 if is_number(mean) and abs(mean) >= 100 else 2 if is_number(mean) and abs(mean) >= 10 else 4
    cell = number(mean, digits)
    if cell.undefined or not is_number(spread):
        return cell
    return Cell(f"{cell.text} ± {number(spread, digits).text}", cell.value)


def bias_territory_tables(record: Record) -> list[Table]:
    """Popularity bias per territory: a table per measure, a column per method."""
    bias, territories = record.get("bias") or {}, record.get("territories") or []
    tables = []
    for i, name in enumerate(dict.fromkeys(m for b in bias.values() for m in b.get("territories") or {})):
        rows = [
            [territory_name(t), *(number(at(bias, m, "territories", name, c), 4) for m in bias)]
            for c, t in enumerate(territories)
        ]
        title = at(record, "measures", name, "title") or name
        table = Table(f"bias-{i}", f"{title}, per territory", columns("Territory", *bias), rows, minor_rows(record))
        tables += [table] if filled(table) else []
    return tables


def calibration_table(record: Record) -> Table | None:
    """Expected calibration error per method."""
    curves = record.get("calibration") or {}
    rows = [
        [text(name), number(at(curve, "ece"), 4), count(sum(filter(is_number, at(curve, "pairs") or ())) or None)]
        for name, curve in curves.items()
    ]
    kinds = columns("Method", "Expected calibration error", "Test pairs, all seeds")
    return Table("calibration-table", "Calibration, 0 is perfect", kinds, rows) if rows else None


def distance_table(record: Record) -> Table | None:
    rows = [
        [
            text(f"{d.get('ours')} and {d.get('theirs')}"),
            text(d.get("kind")),
            text(d.get("territory") or "all"),
            number(d.get("ks"), 4),
            number(d.get("wasserstein"), 4),
            shift_cell(d.get("shift")),
        ]
        for d in record.get("distances") or ()
    ]
    kinds = [Column("Models", "text"), Column("Titles", "text"), Column("Territory", "text")]
    kinds += [Column("Kolmogorov–Smirnov"), Column("Wasserstein"), Column("Shift of the mean")]
    caption = "How far the scores (probabilities) of two models lie apart; a shift above 0: ours scores higher"
    return Table("distance-table", caption, kinds, rows) if rows else None


def shift_cell(value: Any) -> Cell:
    return Cell(signed(value, 4), float(value)) if is_number(value) else undefined()
