"""The page and the plot of benchmarks/daily.py, from its JSON."""

import json
from pathlib import Path
from typing import Any

from benchmarks.page import filled, table

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "daily.md"
MARK = "daily"
NAMES = {"drift": "drifting world", "retail": "Online Retail"}
Results = dict[str, Any]


def blocks(found: dict[str, Results]) -> dict[str, str]:
    """Markdown by the name of its block."""
    return {"means": means(found)}


def means(found: dict[str, Results]) -> str:
    """Mean PR-AUC over the days that all ways have, over all days, and seconds per day."""
    rows = []
    for name, results in found.items():
        arms = results["arms"]
        common = min(map(len, arms.values()))
        for arm, days in arms.items():
            scores = [day["pr_auc"] for day in days]
            later = [f"{mean(scores):.4f}" if len(scores) == len(results["days"]) else "–"]
            keys = "new_title", "new_territory"
            new = [[day[key] for day in days if day.get(key) is not None] for key in keys]
            cells = [f"{mean(values):.3f}" if values else "–" for values in new]
            seconds = f"{mean([day['seconds'] for day in days]):.1f}"
            rows.append([NAMES[name], arm, f"{mean(scores[:common]):.4f} ({common})", *later, *cells, seconds])
    heads = ["log", "model", "first days", "all days", "new title", "new territory", "seconds per day"]
    return table(heads, rows, left=2)


def mean(values: list[float]) -> float:
    """NaN of nothing."""
    return sum(values) / len(values) if values else float("nan")


def read(results: Path) -> dict[str, Results]:
    """The JSON of each log that there is."""
    paths = {name: results / f"daily-{name}.json" for name in NAMES}
    return {name: json.loads(path.read_text("utf-8")) for name, path in paths.items() if path.is_file()}


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
            for colour, (arm, days) in zip(COLOURS, results["arms"].items(), strict=False):
                axes.plot(range(1, len(days) + 1), [day["pr_auc"] for day in days], color=colour, label=arm)
            axes.set(title=NAMES[name], xlabel="day", ylabel="PR-AUC of held-out users")
            axes.legend(ncols=3, fontsize=8)
        figure.savefig(path, format="svg", metadata={"Date": None}, transparent=True)
    text = path.read_text("utf-8").replace(INK, "currentColor")
    path.write_text(text.replace("<defs>", f"{STYLE}\n <defs>", 1), encoding="utf-8")
