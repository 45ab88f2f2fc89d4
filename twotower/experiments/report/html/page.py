"""The page: the record's tables and figures set into one template, written whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.core.errors import InputError
from twotower.core.formatting import duration, interval, is_number, signed
from twotower.core.storage import write_file
from twotower.experiments.report import (
    fact_tables,
    method_tables,
    paper,
    ranking_tables,
    territory_tables,
    title_tables,
)
from twotower.experiments.report.cells import TONES, standing, territory_cell, verdict_cell
from twotower.experiments.report.html import figures
from twotower.experiments.report.title_tables import title_names
from twotower.experiments.report.wording import (
    NO_TITLE_PAIRS,
    TWO_FIGURES,
    Record,
    as_of,
    has_periods,
    main_gains,
    mean_of,
)
from twotower.report.html import table_of
from twotower.report.table import Table

HERE = Path(__file__).parent
FOREST_ROWS = 24  # at most, of the major territories
FIGURE_2_PAIRS = 2


def write_report(record: Record, path: Path) -> None:
    """Write the page of a result record to ``path``, whole or not at all.

    Errors: InputError when jinja2 or matplotlib is not installed, or the file cannot be written.
    """
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(f"{path}: a report needs {error.name}: pip install 'twotower[report]'") from None
    write_file(path, page_text(record))


def page_text(record: Record) -> str:
    """The page as text. What is undefined is shown as such; a section with nothing to show is left out."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # methods and territories keep their order
    environment.globals["show"] = lambda table: Markup(table_of(table))
    parts = {
        "record": record,
        "created": record["created"][:16].replace("T", " "),
        "duration": duration(record["seconds"]),
        "css": (HERE / "page.css").read_text("utf-8"),
        "js": [(HERE / name).read_text("utf-8") for name in ("page.js", "explorer.js")],
        "headlines": headlines(record),
        "tables": all_tables(record),
        "drawings": all_drawings(record),
        "explorer": explorer_data(record),
        "series": series_of(record),
        "verdicts": [verdict_cell(name) for name in TONES],
        "paper": paper,
        "as_of": as_of(record),
        "two_figures": TWO_FIGURES if has_periods(record) else "",
        "no_title_pairs": NO_TITLE_PAIRS,
    }
    return environment.get_template("template.html.j2").render(parts)


def series_of(record: Record) -> dict[str, figures.Series]:
    """The same colour and dash for a method all over the page: the main one, the baselines, the others."""
    names = [record["main_method"], *record["baselines"], *(method["name"] for method in record["methods"])]
    return figures.series_of(list(dict.fromkeys(names)), record["main_method"])


def headlines(record: Record) -> list[dict[str, str]]:
    """The main comparisons that have a mean gain, in a few words for the top of the page."""
    result = []
    for gains in main_gains(record):
        mean = mean_of(gains)
        if is_number(mean["mean"]):
            where = "major territories" if mean is gains["major"] else "territories"
            direction = standing(mean)
            words = [f"mean gain of PR-AUC over {where}", f"ahead in {mean['won']} of {mean['evaluated']}"]
            if direction:
                words = [direction, words[0], f"95 % interval {interval(mean['low'], mean['high'])}", words[1]]
            result.append(
                {
                    "models": f"{gains['method']} over {gains['baseline']}",
                    "gain": f"{signed(mean['mean'])} %",
                    "tone": TONES.get(direction, ""),
                    "words": "; ".join(words),
                }
            )
    return result


def all_tables(record: Record) -> dict[str, Any]:
    """Every table of the page by its place in the template; None, or an empty list, where it has no rows."""
    main = main_gains(record)
    further = [gains for gains in record["gains"] if gains not in main]
    tables: dict[str, Table | list[Table]] = {
        "gains": [territory_tables.gain_table(record, gains, f"gain-table-{i}") for i, gains in enumerate(main)],
        "further_gains": [
            territory_tables.gain_table(record, gains, f"further-table-{i}", majors_only=True)
            for i, gains in enumerate(further)
        ],
        "comparisons": territory_tables.comparison_table(record, record["gains"]),
        "territories": territory_tables.support_table(record),
        "scores": territory_tables.scores_by_method(record),
        "methods": method_tables.method_table(record),
        "parts": method_tables.part_table(record),
        "rankings": ranking_tables.ranking_table(record),
        "ranking_gains": ranking_tables.ranking_gain_table(record),
        "ranking_territories": ranking_tables.ranking_territory_tables(record),
        "bias_changes": method_tables.change_table(record),
        "pairs": title_tables.pair_table(record),
        "kinds": title_tables.kind_table(record),
        "titles": title_tables.title_table(record, shown=True),
        "bias": method_tables.overall_bias_table(record),
        "bias_territories": method_tables.bias_territory_tables(record),
        "calibration_territories": method_tables.calibration_territory_tables(record),
        "calibration": method_tables.calibration_table(record),
        "distances": title_tables.distance_table(record),
        "settings": fact_tables.settings_table(record),
        "samples": fact_tables.sample_table(record),
        "dataset": fact_tables.dataset_table(record),
        "provenance": fact_tables.provenance_table(record),
        "environment": fact_tables.environment_table(record),
    }
    return {
        name: [each for each in table if each.rows] if isinstance(table, list) else table if table.rows else None
        for name, table in tables.items()
    }


def all_drawings(record: Record) -> dict[str, Any]:
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


def forest_rows(record: Record, gains: Record) -> list[dict[str, Any]]:
    """The major territories with a gain."""
    return [
        {"name": territory["code"], **{key: gains[key][c] for key in ("average", "low", "high", "verdict")}}
        for c, territory in enumerate(record["territories"])
        if territory["major"] and is_number(gains["average"][c])
    ][:FOREST_ROWS]


def figure_2(record: Record) -> list[figures.Drawing]:
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


def compared(record: Record) -> Mapping[str, Any]:
    """The reliability curves of the main method and its baselines; the table has the others."""
    return {name: record["calibration"][name] for name in (record["main_method"], *record["baselines"])}


def explorer_data(record: Record) -> dict[str, Any] | None:
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
        "titles": {title["id"]: {key: title[key] for key in kept} for title in record["titles"] if title["id"] in used},
        "counts": shown["counts"],
        "first": [first["territory"], first["local"]],
    }
