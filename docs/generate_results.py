"""Write the tables of docs/results.md, docs/results-tables.md and the README from the records in docs/results/.

    python docs/generate_results.py                                     after the page has been edited
    python docs/generate_results.py experiments/lastfm/experiment.json  to take over what an experiment found

A record is shortened: histograms, single titles and territories that are too small to judge stay behind.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.page import filled, table  # noqa: E402 (the root has to be known first)
from twotower.experiments.report.wording import as_of  # noqa: E402

DOCS = ROOT / "docs"
PAGES = (DOCS / "results.md", ROOT / "README.md", DOCS / "results-tables.md", DOCS / "explanation" / "memory.md")
RECORDS = ROOT / "docs" / "results"
MARK = "results"
NAMES = {  # of the experiments, in the order of the page
    "world-0.5": "built-in world, tastes differ",
    "world-0": "built-in world, tastes alike",
    "lastfm": "Last.fm by country",
    "retail": "Online Retail by day",
}
PARTS = (  # what heads and offsets bring, each alone
    *("world-parts", "world-0-parts", "lastfm-parts"),
    *("world-alike-parts", "world-blind-parts", "lastfm-blind-parts"),
)
ZOO = {  # all methods, evaluated on users kept for choosing
    "lastfm-zoo": "Last.fm",
    "retail-zoo": "Online Retail",
    "world-0-zoo": "world, shift 0",
    "world-0.5-zoo": "world, shift 0.5",
    "world-1-zoo": "world, shift 1",
}
PRIORS = {name.replace("-zoo", "-prior"): title for name, title in ZOO.items()}  # what the zoo is not: chosen, or 5
RIVALS = {  # simple rivals and the network, and the same with memory in every network
    "Last.fm": ("lastfm-rivals", "lastfm-memory"),
}
LEFT_OUT = ("histograms", "titles", "measures", "calibration", "environment", "dataset")
PER_TERRITORY = ("average", "spread", "low", "high", "p", "p_adjusted", "verdict")  # of gains and PR-AUC
BIAS = {
    "local_share": ("local titles in the top 10, %", 100),
    "global_share": ("global titles in the top 10, %", 100),
    "average_popularity": ("average recommendation popularity", 1),
    "coverage": ("catalogue coverage, %", 100),
    "local_score": ("mean score of local titles, %", 100),
    "global_score": ("mean score of global titles, %", 100),
}

Record = dict[str, Any]


def shortened(record: Record) -> Record:
    """What the page needs of a record, without paths."""
    evaluated = [i for i, territory in enumerate(record["territories"]) if territory["evaluated"]]

    def of_judged(values: list[Any]) -> list[Any]:
        return [rounded(values[i]) for i in evaluated]

    def of_comparison(told: Record) -> Record:
        kept = {key: of_judged(value) if key in PER_TERRITORY else rounded(value) for key, value in told.items()}
        return kept | {"by_period": [of_judged(values) for values in told["by_period"]]}

    kept = {key: rounded(value) for key, value in record.items() if key not in LEFT_OUT}
    kept["territories"] = of_judged(record["territories"])
    kept["gains"] = [of_comparison(told) for told in record["gains"]]
    kept["pr_auc"] = {name: of_comparison(found) for name, found in record["pr_auc"].items()}
    kept["bias"] = {name: {"overall": rounded(found["overall"])} for name, found in record["bias"].items()}
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
    found = {"overview": overview(records), "zoo": zoo_rows(records), "priors": prior_rows(records)}
    found |= {"rivals": rival_rows(records), "memory_gains": memory_rows(records)}
    with_rivals = [name for names in RIVALS.values() for name in names]
    for name, record in records.items():
        if name in ZOO or name in PRIORS or name in with_rivals:
            continue
        key = name.replace("-", "_").replace(".", "_")
        found[f"{key}_methods"] = method_rows(record)
        found[f"{key}_ingredients"] = ingredient_rows(record)
        found[f"{key}_territories"] = territory_rows(record)
        found[f"{key}_bias"] = bias_rows(record)
        found[f"{key}_titles"] = title_rows(record)
        found[f"{key}_kinds"] = kind_rows(record)
    return found


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
    """A row a data set: three methods, and what the main method gains over the upsampled baseline."""
    rows = []
    for name, record in records.items():
        if name not in NAMES:
            continue
        overall = {method["name"]: with_spread(method["overall"]) for method in record["methods"]}
        gains = gains_over(record, "upsampled")
        told = told_where(gains)
        verdict = f"{told['won']} of {told['evaluated']}; {told['better']} significantly better, {told['worse']} worse"
        cells = [overall[method] for method in ("baseline", "upsampled", "mtl")]
        rows.append([NAMES[name], *cells, percent(gains["overall"]), percent(told), verdict])
    heads = ["data", "baseline", "+ upsampling", "+ `--mtl`", "gain over upsampled, all pairs, %"]
    return table([*heads, "mean of territories, %", "ahead in"], rows, left=1)


def method_rows(record: Record) -> str:
    rows = [[f"`{m['name']}`", with_spread(m["overall"]), with_spread(m["macro"])] for m in record["methods"]]
    return table(["method", "overall PR-AUC", "macro PR-AUC"], rows)


def ingredient_rows(record: Record) -> str:
    """Every comparison: over all pairs, and over the territories that can be evaluated."""
    rows = []
    for gains in record["gains"]:
        told = told_where(gains)
        names = [f"`{gains['method']}`", f"`{gains['baseline']}`"]
        won = f"{told['won']} of {told['evaluated']}"
        rows.append([*names, percent(gains["overall"]), percent(told), won, str(told["better"]), str(told["worse"])])
    heads = ["method", "baseline", "gain over all pairs, %", "mean of territories, %", "ahead in"]
    return table([*heads, "significantly better", "significantly worse"], rows, left=2)


def territory_rows(record: Record) -> str:
    """The paper's Table 2, turned: a row a territory."""
    over = [gains_over(record, baseline) for baseline in record["baselines"]]
    evaluated = [territory for territory in record["territories"] if territory["evaluated"]]
    shown = [i for i, territory in enumerate(evaluated) if territory["major"]] or range(len(evaluated))
    rows = []
    for i in shown:
        cells = [evaluated[i]["name"], f"{evaluated[i]['test_positives']:,}"]
        for gains in over:
            cells += [interval(gains, i), gains["verdict"][i]]
        rows.append(cells)
    heads = ["territory", "test positives"]
    for gains in over:
        heads += [f"over `{gains['baseline']}`, %", "verdict"]
    return table(heads, rows, left=1)


def interval(gains: Record, i: int) -> str:
    return f"{gains['average'][i]:+.2f} ({gains['low'][i]:+.2f} to {gains['high'][i]:+.2f})"


def bias_rows(record: Record) -> str:
    """A row a measure, a column a method."""
    names = [method["name"] for method in record["methods"]]
    rows = []
    for key, (title, factor) in BIAS.items():
        found = [record["bias"][name]["overall"].get(key, [None, None]) for name in names]
        rows.append([title, *(score(mean, spread, factor) for mean, spread in found)])
    rows.append(["expected calibration error", *(f"{record['calibration'][name]['ece']:.4f}" for name in names)])
    told = table(["measure", *(f"`{name}`" for name in names)], rows)
    return f"{told}\n\n{day}" if (day := as_of(record)) else told


def score(mean: float | None, spread: float | None, factor: int) -> str:
    return "–" if mean is None else f"{factor * mean:.2f} ± {factor * (spread or 0):.2f}"


def title_rows(record: Record) -> str:
    """The paper's Table 3."""
    rows = []
    for pair in record["title_pairs"]:
        for kind in ("local", "global"):
            gains = [pair["gains"].get(baseline, {}).get(kind) for baseline in record["baselines"]]
            cells = ["–" if gain is None else f"{gain:+.1f}" for gain in gains]
            rows.append([pair["territory"], kind, str(pair[kind]), str(pair[f"{kind}_positives"]), *cells])
    heads = ["territory", "kind", "title", "training positives there", *(f"over `{t}`, %" for t in record["baselines"])]
    return table(heads, rows, left=3) if rows else "No local title by the rule."


def kind_rows(record: Record) -> str:
    """The gains of the main method over all titles of a kind."""
    rows = []
    for told in record["title_kinds"]:
        if told["titles"]:
            quartiles = f"{told['median']:+.2f} ({told['lower_quartile']:+.2f} to {told['upper_quartile']:+.2f})"
            rows.append([f"`{told['baseline']}`", told["kind"], quartiles, f"{told['ahead']} of {told['titles']}"])
    return table(["over", "titles", "median gain (quartiles), %", "ahead"], rows, left=2)


def rival_rows(records: dict[str, Record]) -> str:
    """Overall PR-AUC of simple rivals and networks, without and with memory: a row a method, a column a data set."""
    present = {title: names for title, names in RIVALS.items() if records.keys() >= set(names)}
    shown = {title: [records[name] for name in names] for title, names in present.items()}
    cells: dict[str, list[str]] = {}
    for plain, with_memory in shown.values():
        of_plain = {method["name"]: method for method in plain["methods"]}
        of_memory = {f"{m['name']} with memory": m for m in with_memory["methods"] if not m["rival"]}
        for name, method in (of_plain | of_memory).items():
            cells.setdefault(name, []).append(with_spread(method["overall"]))
    rows = [[name, *row] for name, row in cells.items()]
    return table(["method", *shown], rows, left=1)


def memory_rows(records: dict[str, Record]) -> str:
    """The network against counting, without and with memory, and heads on top of memory."""
    rows = []
    for title, names in RIVALS.items():
        for name, memory in zip(names, ("no", "yes"), strict=True):
            if name not in records:
                continue
            record = records[name]
            rivals = [method for method in record["methods"] if method["rival"]]
            best = max(rivals, key=lambda method: sum(method["overall"]))["name"]
            for baseline in (best, "upsampled"):
                gains = gains_over(record, baseline)
                told = told_where(gains)
                won = f"{told['won']} of {told['evaluated']}"
                better = [str(told["better"]), str(told["worse"])]
                rows.append([title, memory, f"`{baseline}`", percent(gains["overall"]), percent(told), won, *better])
    heads = ["data", "memory", "`mtl` over", "gain over all pairs, %", "mean of territories, %", "ahead in"]
    return table([*heads, "significantly better", "significantly worse"], rows, left=3)


def prior_rows(records: dict[str, Record]) -> str:
    """Methods with offsets by territory, drawn by a prior of 5 and by the one that predicts best."""
    shown = {name: title for name, title in PRIORS.items() if name in records}
    pairs = [sorted((records[name.replace("-prior", "-zoo")], records[name]), key=chooses) for name in shown]
    rows = []
    for method in ("offsets", "mtl", "shuffled"):
        rows.append([f"`{method}`", "5", *(zoo_cell(fixed, method) for fixed, _ in pairs)])
        rows.append([f"`{method}`", "chosen", *(zoo_cell(chosen, method) for _, chosen in pairs)])
        rows.append(["", "which is", *(chosen_priors(chosen, method) for _, chosen in pairs)])
    return table(["method", "prior", *(f"{title}, %" for title in shown.values())], rows, left=2)


def chooses(record: Record) -> bool:
    """Whether its runs chose the prior of their offsets by territory."""
    (settings,) = [found["settings"]["model"] for found in record["methods"] if found["name"] == "mtl"]
    return settings["group_prior"] == 0


def chosen_priors(record: Record, method: str) -> str:
    """The prior of each run of a method, once each, ascending."""
    (told,) = [found["title_offsets"] for found in record["methods"] if found["name"] == method]
    priors = {float("inf") if run["group_prior"] is None else run["group_prior"] for run in told}
    return ", ".join("∞" if prior == float("inf") else f"{prior:g}" for prior in sorted(priors))


def zoo_rows(records: dict[str, Record]) -> str:
    """Every method over the upsampled baseline, on each dataset."""
    shown = {name: title for name, title in ZOO.items() if name in records}
    heads = ["method", *(f"{title}, %" for title in shown.values())]
    rows = []
    for method in dict.fromkeys(method["name"] for name in shown for method in records[name]["methods"]):
        cells = [zoo_cell(records[name], method) for name in shown]
        if any(cell != "–" for cell in cells):
            rows.append([f"`{method}`", *cells])
    return table(heads, rows)


def zoo_cell(record: Record, method: str) -> str:
    """Mean gain over the upsampled baseline, bold where its interval leaves out 0, and where it is ahead."""
    found = [g for g in record["gains"] if (g["method"], g["baseline"]) == (method, "upsampled")]
    if not found:
        return "–"
    told = told_where(found[0])
    mark = "" if told["low"] <= 0 <= told["high"] else "**"
    return f"{mark}{told['mean']:+.2f}{mark} · {told['won']}/{told['evaluated']}"


def read_records() -> dict[str, Record]:
    with_rivals = [name for names in RIVALS.values() for name in names]
    paths = {name: RECORDS / f"{name}.json" for name in (*NAMES, *PARTS, *ZOO, *PRIORS, *with_rivals)}
    return {name: json.loads(path.read_text("utf-8")) for name, path in paths.items() if path.is_file()}


def pages() -> dict[Path, str]:
    """Each page as the records want it."""
    found = blocks(read_records())
    return {path: filled(path.read_text("utf-8"), MARK, found) for path in PAGES}


def main() -> None:
    for argument in sys.argv[1:]:
        record = json.loads(Path(argument).read_text("utf-8"))
        text = json.dumps(shortened(record), ensure_ascii=False, separators=(",", ":"))
        (RECORDS / f"{record['name']}.json").write_text(text + "\n", encoding="utf-8")
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
