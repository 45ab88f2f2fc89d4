"""The page: the record's tables and figures set into one template, written whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.core.formatting import duration, interval, is_number, signed
from twotower.core.storage import write_file
from twotower.experiments.report import paper
from twotower.experiments.report.cells import TONES, territory_cell, verdict_cell
from twotower.experiments.report.html import figures
from twotower.experiments.report.tables import page_tables
from twotower.experiments.report.title_tables import title_names
from twotower.experiments.report.wording import (
    NO_TITLE_PAIRS,
    TWO_FIGURES,
    as_of,
    has_periods,
    main_gains,
    mean_of,
    standing,
    values,
)
from twotower.experiments.schema import CalibrationRecord, ExperimentRecord, GainsRecord
from twotower.report.html import table_of
from twotower.report.template import check_packages, rendered

HERE = Path(__file__).parent
FOREST_ROWS = 24  # at most, of the major territories
FIGURE_2_PAIRS = 2


def write_report(record: ExperimentRecord, path: Path) -> None:
    """Write the page of a result record to ``path``, whole or not at all.

    Errors: InputError when jinja2 or matplotlib is not installed, or the file cannot be written.
    """
    check_packages(path, "jinja2", "matplotlib")
    write_file(path, page_text(record))


def page_text(record: ExperimentRecord) -> str:
    """The page as text. What is undefined is shown as such; a section with nothing to show is left out."""
    from markupsafe import Markup

    parts = {
        "record": record,
        "created": record["created"][:16].replace("T", " "),
        "duration": duration(record["seconds"]),
        "css": (HERE / "page.css").read_text("utf-8"),
        "js": [(HERE / name).read_text("utf-8") for name in ("page.js", "explorer.js")],
        "headlines": headlines(record),
        "tables": page_tables(record),
        "drawings": all_drawings(record),
        "explorer": explorer_data(record),
        "series": series_of(record),
        "verdicts": [verdict_cell(name) for name in TONES],
        "paper": paper,
        "as_of": as_of(record),
        "two_figures": TWO_FIGURES if has_periods(record) else "",
        "no_title_pairs": NO_TITLE_PAIRS,
    }
    return rendered(HERE, parts, show=lambda table: Markup(table_of(table)))


def series_of(record: ExperimentRecord) -> dict[str, figures.Series]:
    """The same colour and dash for a method all over the page: the main one, the baselines, the others."""
    names = [record["main_method"], *record["baselines"], *(method["name"] for method in record["methods"])]
    return figures.series_of(list(dict.fromkeys(names)), record["main_method"])


def headlines(record: ExperimentRecord) -> list[dict[str, str]]:
    """The main comparisons that have a mean gain, in a few words for the top of the page."""
    result = []
    for gains in main_gains(record):
        mean = mean_of(gains)
        if mean["mean"] is not None:
            where = "major territories" if mean is gains["major"] else "territories"
            words = [f"mean gain of PR-AUC over {where}", f"ahead in {mean['won']} of {mean['evaluated']}"]
            if mean["low"] is not None and mean["high"] is not None:
                words = [standing(mean), words[0], f"95 % interval {interval(mean['low'], mean['high'])}", words[1]]
            result.append(
                {
                    "models": f"{gains['method']} over {gains['baseline']}",
                    "gain": f"{signed(mean['mean'])} %",
                    "tone": TONES.get(standing(mean), ""),
                    "words": "; ".join(words),
                }
            )
    return result


def all_drawings(record: ExperimentRecord) -> dict[str, Any]:
    """Every figure of the page."""
    curves = compared(record)
    return {
        "forests": [
            figures.forest(
                forest_rows(record, gains),
                mean_of(gains),
                f"forest-{i}",
                f"Gain of {gains['method']} over {gains['baseline']}, with 95 % intervals",
            )
            for i, gains in enumerate(main_gains(record))
        ],
        "figure_2": figure_2(record),
        "reliability": [figures.reliability(curves, series_of(record), "reliability")],
        "reliability_methods": list(curves),
    }


def forest_rows(record: ExperimentRecord, gains: GainsRecord) -> list[dict[str, Any]]:
    """The major territories with a gain."""
    return [
        {"name": territory["code"], **{key: gains[key][c] for key in ("average", "low", "high", "verdict")}}
        for c, territory in enumerate(record["territories"])
        if territory["major"] and is_number(gains["average"][c])
    ][:FOREST_ROWS]


def figure_2(record: ExperimentRecord) -> list[figures.Drawing]:
    """Histograms of the local titles of the first pairs, then of their global ones."""
    shown, names, series = record["histograms"], title_names(record), series_of(record)
    methods = [series[method] for method in shown["methods"]]
    drawings = []
    for kind in ("local", "global"):
        for i, pair in enumerate(record["title_pairs"][:FIGURE_2_PAIRS]):
            code, title = pair["territory"], pair[kind]
            if counts := shown["counts"].get(code, {}).get(title):
                heading = f"{kind.capitalize()}: {names[title]} ({code})"
                caption = f"User histogram of the scores of {names[title]}, a {kind} title, in {code}"
                name = f"users-{kind}-{i}"
                drawings.append(figures.histogram(counts, shown["edges"], methods, name, heading, caption))
    return drawings


def compared(record: ExperimentRecord) -> Mapping[str, CalibrationRecord]:
    """The reliability curves of the main method and its baselines; the table has the others."""
    return {name: record["calibration"][name] for name in (record["main_method"], *record["baselines"])}


def explorer_data(record: ExperimentRecord) -> dict[str, Any] | None:
    """What the title explorer shows, small: the histograms, and facts of the titles in them."""
    shown, series = record["histograms"], series_of(record)
    if not shown["counts"]:
        return None
    used = {title for by_title in shown["counts"].values() for title in by_title}
    kept = ("name", "kind", "home_territory", "train_positives", "test_positives", "pr_auc")
    first = record["title_pairs"][0] if record["title_pairs"] else {"territory": None, "local": None}
    return {
        "edges": shown["edges"],
        "methods": [{"name": m, "color": series[m].css, "dashes": series[m].dashes} for m in shown["methods"]],
        "territories": [
            {"code": territory["code"], "name": territory_cell(territory).text}
            for territory in record["territories"]
            if shown["counts"].get(territory["code"])
        ],
        "titles": {
            title["id"]: dict(zip(kept, values(title, *kept), strict=True))
            for title in record["titles"] if title["id"] in used
        },
        "counts": shown["counts"],
        "first": [first["territory"], first["local"]],
    }
