"""The page: the record's tables and figures set into one template, written whole or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twotower.core.errors import InputError
from twotower.core.serialisation import plain
from twotower.core.storage import write_file
from twotower.experiments.report.html import bias, facts, figures, paper, tables
from twotower.experiments.report.html.cells import TONES, at, is_number, signed, verdict
from twotower.experiments.report.wording import NO_TITLE_PAIRS, TWO_FIGURES, as_of, has_periods

HERE = Path(__file__).parent
FOREST_ROWS = 24  # at most: the major territories, or the largest
FIGURE_2_PAIRS = 2

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Headline:
    """One comparison in a few words, for the top of the page."""

    method: str
    baseline: str
    gain: str
    tone: str
    words: str


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
    """The page as text. A part that the record lacks is left out; what is undefined is shown as such."""
    import jinja2

    record = plain(record)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # methods and territories keep their order
    parts = {
        "summary": record.get("summary") or [],
        "twotower": record.get("twotower"),
        "histogram_methods": at(record, "histograms", "methods") or [],
        "created": str(record.get("created") or "")[:16].replace("T", " "),
        "name": str(record.get("name") or "experiment"),
        "css": (HERE / "page.css").read_text("utf-8"),
        "js": [(HERE / name).read_text("utf-8") for name in ("page.js", "explorer.js")],
        "headlines": headlines(record),
        "tables": all_tables(record),
        "drawings": all_drawings(record),
        "measures": [
            {"title": at(measure, "title") or name, **{key: at(measure, key) for key in ("about", "source")}}
            for name, measure in (record.get("measures") or {}).items()
        ],
        "explorer": explorer_data(record),
        "series": series_of(record),
        "verdicts": [verdict(name) for name in TONES],
        "paper": paper,
        "as_of": as_of(record),
        "two_figures": TWO_FIGURES if has_periods(record) else "",
        "no_title_pairs": NO_TITLE_PAIRS,
        "duration": facts.duration(record.get("seconds")),
    }
    return environment.get_template("template.html.j2").render(parts)


def series_of(record: Record) -> dict[str, figures.Series]:
    """The same colour and dash for a method all over the page: the main method, the baselines, the others."""
    names = [record.get("main_method"), *(record.get("baselines") or ())]
    names += [method.get("name") for method in record.get("methods") or ()]
    names += [*(at(record, "histograms", "methods") or ()), *(record.get("calibration") or {})]
    return figures.series_of([name for name in dict.fromkeys(names) if name], record.get("main_method"))


def main_gains(record: Record) -> list[Record]:
    """The main method over its baselines, or the first comparison where there are none."""
    gains, method, baselines = record.get("gains") or [], record.get("main_method"), record.get("baselines") or ()
    return [g for g in gains if g.get("method") == method and g.get("baseline") in baselines] or gains[:1]


def headlines(record: Record) -> list[Headline]:
    found = []
    for gains in main_gains(record):
        told = tables.mean_of(gains)
        mean, low, high = told.get("mean"), told.get("low"), told.get("high")
        if not is_number(mean):
            continue
        where = "major territories" if told is gains.get("major") else "territories"
        words, tone = [f"mean gain of PR-AUC over {where}"], ""
        if is_number(low) and is_number(high):
            judgement = "better" if low > 0 else "worse" if high < 0 else "undecided"
            tone = TONES[judgement]
            words.insert(0, judgement)
            words.append(f"95 % interval {signed(low)} to {signed(high)}")
        if is_number(told.get("evaluated")) and is_number(told.get("won")):
            words.append(f"ahead in {told['won']} of {told['evaluated']}")
        shown = f"{signed(mean)} %"
        found.append(Headline(str(gains.get("method")), str(gains.get("baseline")), shown, tone, "; ".join(words)))
    return found


def gain_tables(record: Record) -> tuple[list[Any], list[Any]]:
    """The main comparisons with all territories, and the further ones with the major ones alone."""
    chosen = main_gains(record)
    further = [gains for gains in record.get("gains") or () if gains not in chosen]
    first = [tables.gain_table(record, gains, f"gain-table-{i}") for i, gains in enumerate(chosen)]
    rest = [tables.gain_table(record, gains, f"further-table-{i}", True) for i, gains in enumerate(further)]
    return [table for table in first if table], [table for table in rest if table]


def all_tables(record: Record) -> dict[str, Any]:
    gains, further_gains = gain_tables(record)
    return {
        "gains": gains,
        "further_gains": further_gains,
        "comparisons": tables.comparison_table(record),
        "paper_gains": tables.paper_gain_table(),
        "paper_pairs": tables.paper_pair_table(),
        "territories": tables.territory_table(record),
        "scores": tables.score_table(record),
        "methods": tables.method_table(record),
        "pairs": tables.pair_table(record),
        "kinds": tables.kind_table(record),
        "titles": tables.title_table(record),
        "bias": bias.bias_table(record),
        "bias_territories": bias.bias_territory_tables(record),
        "calibration_territories": bias.calibration_territory_tables(record),
        "calibration": bias.calibration_table(record),
        "distances": bias.distance_table(record),
        "settings": facts.settings_table(record),
        "samples": facts.sample_table(record),
        "dataset": facts.dataset_table(record),
        "provenance": facts.provenance_table(record),
        "environment": facts.environment_table(record),
    }


def all_drawings(record: Record) -> dict[str, Any]:
    return {
        "forests": [
            figures.forest(
                rows,
                tables.mean_of(gains),
                f"forest-{i}",
                f"Gain of {gains.get('method')} over {gains.get('baseline')}, with 95 % intervals",
            )
            for i, gains in enumerate(main_gains(record))
            if (rows := forest_rows(record, gains))
        ],
        "figure_2": figure_2(record),
        "reliability": reliability(record),
        "reliability_methods": list(compared(record)),
    }


def forest_rows(record: Record, gains: Record) -> list[dict[str, Any]]:
    territories = list(enumerate(record.get("territories") or ()))
    chosen = [(c, t) for c, t in territories if t.get("major")] or territories
    columns = ("average", "low", "high", "verdict")
    rows = [{"name": str(t.get("code")), **{key: at(gains, key, c) for key in columns}} for c, t in chosen]
    return [row for row in rows if is_number(row["average"])][:FOREST_ROWS]


def figure_2(record: Record) -> list[figures.Drawing]:
    """Histograms of the local titles of the first pairs, then of their global ones."""
    shown, names, series = record.get("histograms") or {}, tables.title_names(record), series_of(record)
    edges, methods = shown.get("edges"), shown.get("methods") or []
    drawings = []
    for kind in ("local", "global"):
        for i, pair in enumerate((record.get("title_pairs") or ())[:FIGURE_2_PAIRS]):
            code, title = pair.get("territory"), str(pair.get(kind))
            counts = at(shown, "counts", code, title)
            if edges and counts:
                heading = f"{kind.capitalize()}: {names.get(title, title)} ({code})"
                caption = f"User histogram of the scores of {names.get(title, title)}, a {kind} title, in {code}"
                chosen = [series[method] for method in methods][: len(counts)]
                drawing = figures.histogram(counts[: len(chosen)], edges, chosen, f"users-{kind}-{i}", heading, caption)
                drawings.append(drawing)
    return drawings


def compared(record: Record) -> dict[str, Any]:
    """The reliability curves of our model and its baselines, or of the first few; the table has the others."""
    curves, chosen = record.get("calibration") or {}, [record.get("main_method"), *(record.get("baselines") or ())]
    return {name: curves[name] for name in chosen if name in curves} or dict(list(curves.items())[:3])


def reliability(record: Record) -> list[figures.Drawing]:
    shown = compared(record)
    return [figures.reliability(shown, series_of(record), "reliability")] if shown else []


def explorer_data(record: Record) -> dict[str, Any] | None:
    """What the title explorer shows, small: the histograms, and facts of the titles in them."""
    shown = record.get("histograms") or {}
    if not (shown.get("counts") and shown.get("edges") and shown.get("methods")):
        return None
    used = {str(title) for by_title in shown["counts"].values() for title in by_title}
    kept = ("name", "kind", "home_territory", "train_positives", "test_positives", "pr_auc")
    series = series_of(record)
    first = at(record, "title_pairs", 0) or {}
    return {
        "edges": shown["edges"],
        "methods": [{"name": m, "color": series[m].css, "dashes": series[m].dashes} for m in shown["methods"]],
        "territories": [
            {"code": code, "name": name}
            for code, name in territory_names(record, shown).items()
            if shown["counts"].get(code)
        ],
        "titles": {
            str(t.get("id")): {key: t.get(key) for key in kept}
            for t in record.get("titles") or ()
            if str(t.get("id")) in used
        },
        "counts": shown["counts"],
        "first": [first.get("territory"), str(first.get("local"))],
    }


def territory_names(record: Record, shown: Record) -> dict[str, str]:
    names = {str(t.get("code")): tables.territory_name(t).text for t in record.get("territories") or ()}
    codes = shown.get("territories") or list(shown["counts"])
    return {str(code): names.get(str(code), str(code)) for code in codes}
