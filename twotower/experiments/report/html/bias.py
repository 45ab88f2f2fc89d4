"""Tables of popularity bias, calibration and distances between models; a missing part gives none."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twotower.experiments.report.html.cells import (
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
from twotower.experiments.report.html.tables import minor_rows, territory_name

Record = Mapping[str, Any]
ROUNDING = 12  # digits after the point: a spread beyond them is rounding, of seeds that agree


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


def excess(value: Any, digits: int) -> Cell:
    """A difference of probabilities, with its sign."""
    return Cell(signed(value, digits), float(value)) if is_number(value) else undefined()


def pair_of(value: Any, shown: Callable[[Any, int], Cell] = number) -> Cell:
    """``[mean, spread]``, or a bare number; ``shown`` writes the mean."""
    mean, spread = (at(value, 0), at(value, 1)) if isinstance(value, Sequence) else (value, None)
    digits = 1 if is_number(mean) and abs(mean) >= 100 else 2 if is_number(mean) and abs(mean) >= 10 else 4
    cell = shown(mean, digits)
    if cell.undefined or not is_number(spread):
        return cell
    return Cell(f"{cell.text} ± {number(round(spread, ROUNDING), digits).text}", cell.value)


def bias_territory_tables(record: Record) -> list[Table]:
    """Popularity bias per territory: a table per measure, a column per method."""
    bias, territories = record.get("bias") or {}, record.get("territories") or []
    tables = []
    for i, name in enumerate(dict.fromkeys(m for b in bias.values() for m in b.get("territories") or {})):
        rows = [
            [
                territory_name(t),
                *(pair_of([at(bias, m, key, name, c) for key in ("territories", "territory_spreads")]) for m in bias),
            ]
            for c, t in enumerate(territories)
        ]
        title = at(record, "measures", name, "title") or name
        caption = f"{title}, per territory{over_seeds(bias)}"
        table = Table(f"bias-{i}", caption, columns("Territory", *bias), rows, minor_rows(record))
        tables += [table] if filled(table) else []
    return tables


def over_seeds(of_methods: Record) -> str:
    """What stands behind the sign, where the record knows it."""
    known = any(at(found, "territory_spreads") for found in of_methods.values())
    return ", mean ± standard deviation over seeds" if known else ""


def calibration_territory_tables(record: Record) -> list[Table]:
    """Calibration per territory: a table a figure, a column a method, and the support that it rests on."""
    curves, territories = record.get("calibration") or {}, record.get("territories") or []
    told = (
        ("ece", "Expected calibration error per territory, 0 is perfect", number),
        ("excess", "Mean predicted minus observed rate per territory, above 0: too much is promised", excess),
    )
    tables = []
    for name, caption, shown in told:
        rows = [
            [
                territory_name(t),
                *(pair_of([at(c, key, name, i) for key in ("territories", "territory_spreads")], shown)
                  for c in curves.values()),
                *(count(t.get(key)) for key in ("test_pairs", "test_positives")),
            ]
            for i, t in enumerate(territories)
            if t.get("test_pairs") != 0
        ]  # fmt: skip
        minor = [not t.get("major", True) for t in territories if t.get("test_pairs") != 0]
        kinds = columns("Territory", *curves, "Test pairs", "Test positives")
        known = any(at(curve, "territories", name) for curve in curves.values())
        caption += over_seeds(curves)
        tables += [Table(f"calibration-territory-{name}", caption, kinds, rows, minor)] if known and rows else []
    return tables


def calibration_table(record: Record) -> Table | None:
    """Expected calibration error per method."""
    curves = record.get("calibration") or {}
    rows = [
        [
            text(name),
            number(at(curve, "ece"), 4),
            excess(at(curve, "excess"), 4),
            count(sum(filter(is_number, at(curve, "pairs") or ())) or None),
        ]
        for name, curve in curves.items()
    ]
    kinds = columns("Method", "Expected calibration error", "Predicted minus observed", "Test pairs, all seeds")
    return Table("calibration-table", "Calibration, 0 is perfect", kinds, rows) if rows else None


def distance_table(record: Record) -> Table | None:
    rows = [
        [
            text(f"{d.get('method')} and {d.get('baseline')}"),
            text(d.get("kind")),
            text(d.get("territory") or "all"),
            number(d.get("ks"), 4),
            number(d.get("wasserstein"), 4),
            excess(d.get("shift"), 4),
        ]
        for d in record.get("distances") or ()
    ]
    kinds = [Column("Models", "text"), Column("Titles", "text"), Column("Territory", "text")]
    kinds += [Column("Kolmogorov–Smirnov"), Column("Wasserstein"), Column("Shift of the mean")]
    caption = "How far the scores (probabilities) of two models lie apart; a shift above 0: the first scores higher"
    return Table("distance-table", caption, kinds, rows) if rows else None
