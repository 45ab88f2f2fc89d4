"""The page and the plot of benchmarks/daily.py, from its JSON."""

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.page import filled, table

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "daily.md"
MARK = "daily"
RECOVERED, SMOOTHED, WEEK = 0.9, 3, 7  # share of the goal; days of a mean; days that the goal is of
MANY = 30  # days, from which on the plot has means of a week
NAMES = {"drift": "drifting world", "retail": "Online Retail"}
ARMS = ("updated", "replayed", "anew daily", "anew weekly", "never")  # in this order, each in a colour of its own
Results = dict[str, Any]


def blocks(found: dict[str, Results]) -> dict[str, str]:
    """Markdown by the name of its block."""
    return {"means": means(found), "recovery": recovery(found["drift"])}


def means(found: dict[str, Results]) -> str:
    """Mean PR-AUC over the days that all ways have, over all days, and seconds per day."""
    rows = []
    for name, results in found.items():
        arms = results["arms"]
        common = min(map(len, arms.values()))
        for arm, days in arms.items():
            scores = [day["pr_auc"] for day in days]
            later = f"{mean(scores):.4f} ({len(days)})" if len(scores) == len(results["days"]) else "–"
            used = [day["processor_seconds"] for day in days if "processor_seconds" in day]
            minutes = [f"{mean(values) / 60:.3f}" if values else "–" for values in (used, [d["seconds"] for d in days])]
            rows.append([NAMES[name], arm, f"{mean(scores[:common]):.4f} ({common})", later, *minutes])
    heads = ["log", "model", "first days", "all days", "processor minutes per day", "minutes per day"]
    return table(heads, rows, left=2)


def mean(values: list[float | None]) -> float:
    """Of those that are defined; NaN of nothing."""
    defined = [value for value in values if value is not None and not math.isnan(value)]
    return sum(defined) / len(defined) if defined else float("nan")


def recovery(results: Results) -> str:
    """Days after a shock until the mean of three reaches 0.9 of what *updated* has in its last week."""
    rows, arms = [], results["arms"]
    for key, name in (("new_title", "a title that everybody likes"), ("new_territory", "a territory that opens")):
        series = {arm: [day[key] for day in days if day.get(key) is not None] for arm, days in arms.items()}
        goal = RECOVERED * mean(series["updated"][-WEEK:])
        for arm, values in series.items():
            if values:
                means = [mean(values[:n][-SMOOTHED:]) for n in range(SMOOTHED, len(values) + 1)]
                day = next((n + SMOOTHED for n, value in enumerate(means) if value >= goal), None)
                rows.append([name, arm, f"{mean(values):.3f}", str(day) if day else f"more than {len(values)}"])
    return table(["shock", "model", "PR-AUC on it", "days to recover"], rows, left=2)


def read(results: Path) -> dict[str, Results]:
    """The JSON of each log that there is, its models in the order of ARMS."""
    paths = {name: results / f"daily-{name}.json" for name in NAMES}
    found = {name: json.loads(path.read_text("utf-8")) for name, path in paths.items() if path.is_file()}
    for log in found.values():
        log["arms"] = dict(sorted(log["arms"].items(), key=lambda arm: ARMS.index(arm[0])))
    return found


def write_page(results: Path) -> None:
    """Fill the blocks of the page, and draw PR-AUC by day."""
    found = read(results)
    PAGE.write_text(filled(PAGE.read_text("utf-8"), MARK, blocks(found)), encoding="utf-8")
    draw(found, PAGE.with_suffix(".svg"))


def draw(found: dict[str, Results], path: Path) -> None:
    """A panel per log."""
    import matplotlib
    from matplotlib.figure import Figure

    from benchmarks.growth_plot import COLOURS, INK, SETTINGS, STYLE

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(7.2, 3.2 * len(found)), layout="constrained")
        for axes, (name, results) in zip(figure.subplots(len(found), squeeze=False)[:, 0], found.items(), strict=True):
            span = WEEK if len(results["days"]) > MANY else 1
            for arm, days in results["arms"].items():
                scores = [mean([day["pr_auc"] for day in days[:n][-span:]]) for n in range(span, len(days) + 1)]
                axes.plot(range(span, len(days) + 1), scores, color=COLOURS[ARMS.index(arm)], label=arm)
            of = f", mean of {span} days" if span > 1 else ""
            axes.set(title=f"{NAMES[name]}{of}", xlabel="day", ylabel="PR-AUC of held-out users")
            axes.legend(ncols=3, fontsize=8)
        figure.savefig(path, format="svg", metadata={"Date": None}, transparent=True)
    text = path.read_text("utf-8").replace(INK, "currentColor")
    path.write_text(text.replace("<defs>", f"{STYLE}\n <defs>", 1), encoding="utf-8")
