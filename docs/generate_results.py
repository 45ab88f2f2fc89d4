"""Write the tables of docs/results.md and other pages, and docs/results/*.csv, from the records in docs/results/.

    python docs/generate_results.py                                     after a page has been edited
    python docs/generate_results.py experiments/lastfm/experiment.json  to take over what an experiment found

A record is shortened: histograms, single titles and territories that are too small to judge stay behind.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.page import filled, table  # noqa: E402 (the root has to be known first)
from twotower.core.serialisation import csv_text  # noqa: E402
from twotower.experiments.report import method_tables, ranking_tables, territory_tables, title_tables  # noqa: E402
from twotower.experiments.report.wording import main_gains  # noqa: E402
from twotower.report.csv_table import records_of  # noqa: E402

DOCS = ROOT / "docs"
PAGES = (DOCS / "results.md", ROOT / "README.md", DOCS / "explanation" / "memory.md")
RECORDS = ROOT / "docs" / "results"
MARK = "results"
NAMES = {  # of the experiments, in the order of the page
    "world-0.5": "built-in world, tastes differ",
    "world-0": "built-in world, tastes alike",
    "lastfm": "Last.fm by country",
    "retail": "Online Retail by day",
}
PARTS = {  # what heads and offsets bring, each alone; a star marks what was measured without memory
    "lastfm": "Last.fm",
    "lastfm-blind-parts": "Last.fm, blind *",
    "retail": "Online Retail",
    "world-parts": "world, tastes differ *",
    "world-0.5": "world, tastes differ",
    "world-0": "world, tastes alike",
    "world-alike-parts": "world-alike *",
    "world-blind-parts": "world-blind",
}
CONTROLS = ("mtl", "offsets", "lowrank-bias", "shuffled")
ZOO = {  # all methods, evaluated on users kept for choosing
    "lastfm-zoo": "Last.fm",
    "retail-zoo": "Online Retail",
    "world-0-zoo": "world, shift 0",
    "world-0.5-zoo": "world, shift 0.5",
    "world-1-zoo": "world, shift 1",
}
PRIORS = {name.replace("-zoo", "-prior"): title for name, title in ZOO.items()}  # what the zoo is not: chosen, or 5
RIVALS = {  # simple rivals beside the networks, which have memory in their score
    "Last.fm": "lastfm",
    "Online Retail": "retail",
    "world, tastes differ": "world-0.5",
    "world, tastes alike": "world-0",
}
WITHOUT = "-no-memory"  # the same networks without memory, where that was measured
LEFT_OUT = ("histograms", "titles", "measures", "calibration", "environment", "dataset")
PER_TERRITORY = ("average", "spread", "low", "high", "p", "p_adjusted", "verdict")  # of gains and PR-AUC
Record = dict[str, Any]


def shortened(record: Record) -> Record:
    """What the page needs of a record, without paths."""
    evaluated = [i for i, territory in enumerate(record["territories"]) if territory["evaluated"]]

    def of_judged(values: list[Any]) -> list[Any]:
        return [rounded(values[i]) for i in evaluated]

    def of_comparison(told: Record) -> Record:
        kept = {key: of_judged(value) if key in PER_TERRITORY else rounded(value) for key, value in told.items()}
        return kept | {"by_period": [of_judged(values) for values in told["by_period"]]}

    def of_ranking(found: Record) -> Record:
        by_metric = found["territories"].items()
        columns = {metric: {key: of_judged(values) for key, values in of.items()} for metric, of in by_metric}
        return rounded(found) | {"territories": columns}

    kept = {key: rounded(value) for key, value in record.items() if key not in LEFT_OUT}
    kept["territories"] = of_judged(record["territories"])
    kept["gains"] = [of_comparison(told) for told in record["gains"]]
    kept["pr_auc"] = {name: of_comparison(found) for name, found in record["pr_auc"].items()}
    kept["bias"] = {name: {"overall": rounded(found["overall"])} for name, found in record["bias"].items()}
    if "rankings" in record:
        kept["ranking_users"] = of_judged(record["ranking_users"])
        kept["ranking_gains"] = [of_comparison(told) for told in record["ranking_gains"]]
        kept["rankings"] = {name: of_ranking(found) for name, found in record["rankings"].items()}
    kept["calibration"] = {name: {"ece": rounded(found["ece"])} for name, found in record["calibration"].items()}
    kept["dataset"] = {key: record["dataset"][key] for key in ("users", "titles", "territories", "test_days")}
    return kept


def rounded(value: Any) -> Any:
    """All floats of nested values with six digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def blocks(records: dict[str, Record]) -> dict[str, str]:
    """Markdown by the name of its block."""
    found = {"overview": overview(records), "findings": finding_rows(records), "controls": control_rows(records)}
    return found | {"rivals": rival_rows(records), "memory_gains": memory_rows(records)}


def csv_files(records: dict[str, Record]) -> dict[str, str]:
    """The appendix: name and text of each CSV file, with the rows of all experiments below each other."""
    files = {}
    for name, (make, keys) in TABLES.items():
        rows = [{"experiment": of} | row for of, record in records.items() for row in make(record)]
        columns = keys or list(dict.fromkeys(key for row in rows for key in row))
        files[name] = csv_text({key: [row.get(key) for row in rows] for key in ("experiment", *columns)})
    return files


def territory_rows(record: Record) -> list[Record]:
    """The paper's Table 2: the main method over each baseline, a row per evaluated territory."""
    gains = main_gains(record)
    return [row for each in gains for row in records_of(territory_tables.gain_table(record, each))]


def bias_rows(record: Record) -> list[Record]:
    """A row per method and measure, of all users."""
    return [
        {"method": method, "measure": name, "mean": mean, "spread": spread}
        for method, found in record["bias"].items()
        for name, (mean, spread) in found["overall"].items()
        if name in method_tables.SHOWN_MEASURES
    ]


def title_rows(record: Record) -> list[Record]:
    """The paper's Table 3: a row per title and baseline."""
    return [
        {"territory": pair["territory"], "kind": kind, "title": pair[kind], "positives": pair[f"{kind}_positives"],
         "baseline": baseline, "gain": gains[kind]}
        for pair in record["title_pairs"] for kind in ("local", "global") for baseline, gains in pair["gains"].items()
    ]  # fmt: skip


def prior_rows(record: Record) -> list[Record]:
    """The prior that each run found for title offsets per group or territory; infinite where they add nothing."""
    return [
        {"method": method["name"], "seed": seed, "level": run["level"],
         "group_prior": float("inf") if run["group_prior"] is None else run["group_prior"]}
        for method in record["methods"]
        for seed, run in zip(method["seeds"], method["title_offsets"], strict=True) if run and "group_prior" in run
    ]  # fmt: skip


def where_known(key: str, table: Callable[[Any], Any]) -> Callable[[Record], list[Record]]:
    """Rows of a table of records that have this part."""
    return lambda record: records_of(table(record)) if record.get(key) else []


TERRITORY_KEYS = ["method", "baseline", "territory", "average", "spread", "low", "high", "p_adjusted", "verdict"]
TABLES: dict[str, tuple[Callable[[Record], list[Record]], list[str]]] = {
    "methods": (where_known("methods", method_tables.run_data), []),
    "gains": (where_known("gains", lambda record: territory_tables.comparison_table(record, record["gains"])), []),
    "territories": (territory_rows, TERRITORY_KEYS),
    "parts": (where_known("parts", method_tables.part_table), []),
    "rankings": (where_known("rankings", ranking_tables.ranking_table), []),
    "ranking_gains": (where_known("ranking_gains", ranking_tables.ranking_gain_table), []),
    "bias": (bias_rows, []),
    "bias_changes": (lambda record: record.get("bias_changes", []), []),
    "title_pairs": (title_rows, []),
    "title_kinds": (where_known("title_kinds", title_tables.kind_table), []),
    "priors": (prior_rows, []),
}


def finding_rows(records: dict[str, Record]) -> str:
    """What the main method changes against the upsampled baseline, a row per data set."""
    rows = []
    for name, title in NAMES.items():
        if name in records and "rankings" in records[name]:
            record = records[name]
            methods = {method["name"]: method for method in record["methods"]}
            ndcg = next(g for g in record["ranking_gains"] if (g["metric"], g["baseline"]) == ("ndcg", "upsampled"))
            changes = {told["measure"]: told for told in record["bias_changes"] if told["baseline"] == "upsampled"}
            worst, gap = (
                " → ".join(f"{sum(m[key]) / len(m[key]):.4f}" for m in (methods["upsampled"], methods["mtl"]))
                for key in ("worst", "gap")
            )
            shares = (points(changes[f"{kind}_share"]) for kind in ("local", "global"))
            rows.append([title, percent(ndcg["overall"]), worst, gap, *shares])
    heads = ["data", "nDCG@10, %", "worst territory", "gap between territories", "local titles in the top 10, points"]
    return table([*heads, "global titles, points"], rows, left=1)


def points(change: Record) -> str:
    """A change of a share, with its interval where there is one."""
    mean, low, high = (None if change[key] is None else 100 * change[key] for key in ("mean", "low", "high"))
    return "–" if mean is None else f"{mean:+.2f}" if low is None else f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def control_rows(records: dict[str, Record]) -> str:
    """Gains over the upsampled baseline of single ingredients and of the control: mean of territories."""
    rows = []
    for name, title in PARTS.items():
        if name in records:
            gains = (gains_over(records[name], "upsampled", method) for method in CONTROLS)
            rows.append([title, *(percent(told_where(each)) for each in gains)])
    return table(["data", *(f"`{method}`" for method in CONTROLS)], rows, left=1)


def gains_over(record: Record, baseline: str, method: str | None = None) -> Record:
    method = method or record["main_method"]
    return next(gains for gains in record["gains"] if (gains["method"], gains["baseline"]) == (method, baseline))


def percent(told: Record) -> str:
    """A mean gain and its 95 % interval."""
    return f"{told['mean']:+.2f} ({told['low']:+.2f} to {told['high']:+.2f})"


def with_spread(values: list[float], digits: int = 4) -> str:
    mean = sum(values) / len(values)
    spread = (sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)) ** 0.5
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"


def told_where(gains: Record) -> Record:
    """Of the major territories, or of all where no major one can be evaluated."""
    return gains["major"] if gains["major"]["evaluated"] else gains["all"]


def overview(records: dict[str, Record]) -> str:
    """A row a data set: three methods, the best rival, and what the main method gains over the upsampled baseline."""
    rows = []
    for name, record in records.items():
        if name not in NAMES:
            continue
        overall = {method["name"]: with_spread(method["overall"]) for method in record["methods"]}
        gains = gains_over(record, "upsampled")
        told = told_where(gains)
        verdict = f"{told['won']} of {told['evaluated']}; {told['better']} significantly better, {told['worse']} worse"
        cells = [overall[method] for method in ("baseline", "upsampled", "mtl")]
        best = max(of_rivals(record), key=lambda method: sum(method["overall"]))
        rival = f"{with_spread(best['overall'])[:6]} (`{best['name']}`)"
        rows.append([NAMES[name], rival, *cells, percent(gains["overall"]), percent(told), verdict])
    heads = ["data", "best rival", "baseline", "+ upsampling", "+ `--mtl`", "gain over upsampled, all pairs, %"]
    return table([*heads, "mean of territories, %", "ahead in"], rows, left=1)


def rival_rows(records: dict[str, Record]) -> str:
    """Overall PR-AUC of simple rivals, and of networks without memory: a row a method, a column a data set."""
    shown = {title: name for title, name in RIVALS.items() if name in records and of_rivals(records[name])}
    cells: dict[str, dict[str, str]] = {}
    for title, name in shown.items():
        for method in of_rivals(records[name]):
            cells.setdefault(f"`{method['name']}`", {})[title] = f"{method['overall'][0]:.4f}"  # for all seeds alike
        for method in records.get(name + WITHOUT, {"methods": []})["methods"]:
            cells.setdefault(f"`{method['name']} --no-memory`", {})[title] = with_spread(method["overall"])
    rows = [[method, *(row.get(title, "–") for title in shown)] for method, row in cells.items()]
    return table(["method", *shown], rows, left=1)


def of_rivals(record: Record) -> list[Record]:
    return [method for method in record["methods"] if method.get("rival")]


def memory_rows(records: dict[str, Record]) -> str:
    """The network against the best rival; heads against none without memory, where that is known."""
    rows = []
    for title, name in RIVALS.items():
        for record, memory in ((records.get(name + WITHOUT), "no"), (records.get(name), "yes")):
            if record is None:
                continue
            best = max(of_rivals(record), key=lambda method: sum(method["overall"]), default=None)
            baseline = best["name"] if best else "upsampled"  # over which the overview has what memory leaves
            gains = gains_over(record, baseline)
            told = told_where(gains)
            won = f"{told['won']} of {told['evaluated']}; {told['better']} better, {told['worse']} worse"
            rows.append([title, memory, f"`{baseline}`", percent(gains["overall"]), percent(told), won])
    heads = ["data", "memory", "`mtl` over", "gain over all pairs, %", "mean of territories, %"]
    return table([*heads, "ahead in; significantly"], rows, left=3)


def read_records() -> dict[str, Record]:
    without = [name + WITHOUT for name in NAMES]
    paths = {name: RECORDS / f"{name}.json" for name in (*NAMES, *without, *PARTS, *ZOO, *PRIORS)}
    return {name: json.loads(path.read_text("utf-8")) for name, path in paths.items() if path.is_file()}


def pages() -> dict[Path, str]:
    """Each page as the records want it."""
    found = blocks(read_records())
    return {path: filled(path.read_text("utf-8"), MARK, found) for path in PAGES}


def appendix() -> dict[Path, str]:
    """Each CSV file as the records want it."""
    return {RECORDS / f"{name}.csv": text for name, text in csv_files(read_records()).items()}


def main() -> None:
    for argument in sys.argv[1:]:
        record = json.loads(Path(argument).read_text("utf-8"))
        text = json.dumps(shortened(record), ensure_ascii=False, separators=(",", ":"))
        (RECORDS / f"{record['name']}.json").write_text(text + "\n", encoding="utf-8")
    for path, text in {**pages(), **appendix()}.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
