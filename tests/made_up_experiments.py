"""A result record as an experiment leaves it, made up from a seed: no model was trained for it."""

from typing import Any

import numpy as np

from twotower.metrics.recommended import RANKING_METRICS

METHODS = ("baseline", "upsampled", "mtl", "more-random")
COUNTRIES = (
    ("US", "United States"),
    ("GB", "United Kingdom"),
    ("DE", "Germany"),
    ("BR", "Brazil"),
    ("PL", "Poland"),
    ("RU", "Russia"),
    ("SE", "Sweden"),
    ("FI", "Finland"),
    ("JP", "Japan"),
    ("IS", "Iceland"),
    ("MT", "Malta"),
    ("TV", "Tuvalu"),
)
EVIL = "</script><script>alert(1)</script> & “friends”"
LEVELS = (("baseline", 6.0), ("upsampled", 0.8), ("more-random", 2.0))
BINS = 20
KINDS = (("local", 4), ("global", 4), ("other", 0))  # of titles, and how many


def made_up_record(n_territories: int = 12, n_titles: int = 8, seed: int = 0) -> dict[str, Any]:
    """A whole record. The last territory is too small to judge, and the last title's name would break a page."""
    rng = np.random.default_rng(seed)
    codes = [COUNTRIES[c][0] if c < len(COUNTRIES) else f"X{c}" for c in range(n_territories)]
    territories = [territory(c, codes[c], n_territories, rng) for c in range(n_territories)]
    titles = [title(t, n_titles, codes, rng) for t in range(n_titles)]
    scores = {m: scores_of(1 + 0.05 * i, territories, rng) for i, m in enumerate(METHODS)}
    return {
        "format": 2,
        "created": "2026-03-01T12:00:00+00:00",
        "twotower": "0.4.0",
        "name": "made-up",
        "main_method": "mtl",
        "baselines": ["baseline", "upsampled"],
        "summary": [
            "Multi-task learning with upsampling beat the plain baseline in 7 of 8 territories, by 6.1 % on average.",
            "Against the upsampled baseline the mean gain is 0.8 %, and its interval covers 0: not decided.",
            "One territory has too few positives to say anything.",
        ],
        "dataset": {
            "path": "data/made-up",
            "users": 100_000,
            "titles": n_titles,
            "territories": n_territories,
            "train_days": 57,
            "test_days": 3,
            "has_time": True,
            "vectors": [64, 48],
            "about": {"source": "made up", "seed": seed},
        },
        "samples": {
            name: {"seed": seed, "train_users": 40_000, "active_users": active, "train_pairs": 900_000}
            for name, active in (("random", 0), ("upsampled", 15_000))
        },
        "environment": {"python": "3.11.8", "numpy": "2.1.0", "cores": 2, "blas": {"name": "openblas", "threads": 1}},
        "seconds": 512.3,
        "methods": [method(i, name, rng) for i, name in enumerate(METHODS)],
        "periods": [{"name": f"day {day}", "days": [day]} for day in (58, 59, 60)],
        "territories": territories,
        "min_positives": 50,
        "replicates": 1000,
        "pr_auc": scores,
        "gains": [gains_over(baseline, level, territories, rng) for baseline, level in LEVELS],
        "parts": [part("title offsets", "offsets", "upsampled", 0.75), part("heads", "mtl", "offsets", 0.25)],
        "k": 10,
        "ranking_users": [100 // (c + 1) for c in range(n_territories)],
        "rankings": {m: ranking_of(i, n_territories) for i, m in enumerate(METHODS)},
        "ranking_gains": [
            {**gains_over(baseline, level, territories, rng), "metric": metric}
            for baseline, level in LEVELS[:2]
            for metric in RANKING_METRICS
        ],
        "titles": titles,
        "panel_users": 900,
        "panel_day": 60,
        "title_pairs": [pair(codes[0], 0, 1, rng), pair(codes[1], 2, n_titles - 1, rng)],
        "title_kinds": [kind_of(baseline, *kind) for baseline in ("baseline", "upsampled") for kind in KINDS],
        "bias": {m: bias_of(territories, rng) for m in METHODS},
        "measures": {
            "gini": {"title": "Gini of exposure", "about": "0: all alike.", "source": "Gini 1912", "better": "lower"},
            "coverage": {"title": "Coverage", "about": "Titles shown to anyone.", "source": "", "better": "higher"},
        },
        "bias_changes": [
            {
                "method": "mtl",
                "baseline": baseline,
                "measure": measure,
                "mean": 0.25,
                "low": 0.125,
                "high": 0.375,
                "direction": "more",
                "over": "seeds",
            }
            for baseline in ("baseline", "upsampled")
            for measure in ("gini", "coverage")
        ],
        "calibration": {m: calibration_of(territories, rng) for m in METHODS},
        "distances": [
            {
                "method": "mtl",
                "baseline": baseline,
                "kind": kind,
                "territory": code,
                "ks": float(rng.uniform(0, 0.3)),
                "wasserstein": float(rng.uniform(0, 0.1)),
                "shift": float(rng.normal(0.02 if kind == "local" else -0.02, 0.01)),
            }
            for baseline in ("baseline", "upsampled")
            for kind in ("local", "global")
            for code in (None, codes[0])
        ],
        "histograms": histograms(codes, titles, rng),
    }


def territory(c: int, code: str, n: int, rng: np.random.Generator) -> dict[str, Any]:
    users = int(50_000 / (c + 1) ** 1.3)
    last = c == n - 1
    positives = 0 if last else users // 20
    return {
        "code": code,
        "name": dict(COUNTRIES).get(code, code),
        "group": ("Americas", "Europe", "Asia")[c % 3],
        "users": users,
        "test_users": users // 4,
        "test_pairs": users,
        "test_positives": positives,
        "base_rate": None if last else float(rng.uniform(0.03, 0.09)),
        "train_positives": {"random": users // 5, "upsampled": users // 3},
        "major": c < 8,
        "evaluated": not last,
    }


def title(t: int, n: int, codes: list[str], rng: np.random.Generator) -> dict[str, Any]:
    local = t % 2 == 0
    return {
        "id": f"tt{t:04d}",
        "name": EVIL if t == n - 1 else f"{'Home' if local else 'World'} story {t} $x$",
        "kind": "local" if local else "global",
        "home_territory": codes[t // 2 % len(codes)] if local else None,
        "share": float(rng.uniform(0.5, 1) if local else rng.uniform(0.05, 0.3)),
        "lift": float(rng.uniform(3, 20) if local else rng.uniform(0.5, 2)),
        "train_positives": int(rng.integers(20, 900)),
        "test_positives": int(rng.integers(0, 200)),
        "pr_auc": {m: None if t == 3 else float(rng.uniform(0.1, 0.4)) for m in METHODS},
    }


def method(i: int, name: str, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "name": name,
        "about": f"The model called {name}.",
        "rival": False,
        "sample": "random" if name == "baseline" else "upsampled",
        "settings": {
            "model": {"head": "residual" if name == "mtl" else "none", "hidden": 128, "dropout": 0.0},
            "train": {"learning_rate": 0.001, "epochs": 2},
        },
        "grouping": "geography",
        "seeds": [0, 1],
        "overall": rng.uniform(0.2, 0.3, 2).tolist(),
        "macro": rng.uniform(0.2, 0.3, 2).tolist(),
        "macro_evaluated": rng.uniform(0.2, 0.3, 2).tolist(),
        "worst": [0.0625, 0.09375],
        "gap": [0.25, 0.125],
        "worst_territory": "US",
        "title_offsets": [None, None],
        "seconds": [30.0 + i, 31.0 + i],
    }


def scores_of(level: float, territories: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    by_period = [[float(level * rng.uniform(0.1, 0.3)) if t["evaluated"] else None for t in territories] for _ in "123"]
    average = [None if None in column else sum(column) / 3 for column in zip(*by_period, strict=True)]
    return {"average": average, "by_period": by_period}


def gains_over(baseline: str, level: float, territories: list[Any], rng: np.random.Generator) -> dict[str, Any]:
    n = len(territories)
    by_period = rng.normal(level, 4, (3, n))
    average, spread = by_period.mean(axis=0), rng.uniform(1, 5, n)
    low, high = average - 1.96 * spread, average + 1.96 * spread
    verdicts = np.where(low > 0, "better", np.where(high < 0, "worse", "undecided")).tolist()
    columns = {"average": average, "spread": spread, "low": low, "high": high}
    p = np.where((low > 0) | (high < 0), 0.01, 0.4)
    columns |= {"p": p, "p_adjusted": 1.2 * p}
    lists = {name: column.tolist() for name, column in columns.items()}
    for column in [*lists.values(), *(periods := by_period.tolist())]:
        column[-1] = None  # too small
    verdicts[-1] = "too small"
    mean = {"mean": level, "low": level - 1.5, "high": level + 1.5, "won": 7, "evaluated": 8, "better": 3, "worse": 0}
    mean["sign_p"] = 0.0703
    means = {"major": mean, "all": {**mean, "evaluated": n - 1}}
    overall = {"mean": level, "low": level - 1, "high": level + 1}
    told = {"by_period": periods, **lists, "verdict": verdicts, **means, "overall": overall}
    return {"metric": "pr_auc", "method": "mtl", "baseline": baseline, **told}


def part(name: str, method: str, baseline: str, share: float) -> dict[str, Any]:
    mean = {"mean": 1.0 + share, "low": 0.5, "high": 2.0, "won": 7, "evaluated": 8, "better": 3, "worse": 0}
    overall = {"mean": 1.0, "low": -0.5, "high": 2.5}
    told = {"part": name, "method": method, "baseline": baseline}
    return {**told, "overall": overall, "mean": {**mean, "sign_p": 0.07}, "share": share}


def ranking_of(i: int, n_territories: int) -> dict[str, Any]:
    """Metrics rise from method to method, and by powers of two from metric to metric."""
    means = {name: {"mean": (1 + i) / 2 ** (4 + m), "low": 0.0, "high": 1.0} for m, name in enumerate(RANKING_METRICS)}
    columns = {name: {key: [value] * n_territories for key, value in mean.items()} for name, mean in means.items()}
    return {"overall": means, "macro": means, "territories": columns}


def pair(code: str, local: int, world: int, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "territory": code,
        "local": f"tt{local:04d}",
        "global": f"tt{world:04d}",
        "local_positives": int(rng.integers(50, 60)),
        "global_positives": int(rng.integers(50, 60)),
        "gains": {
            name: {"local": float(rng.normal(5, 5)), "global": float(rng.normal(3, 5))}
            for name in ("baseline", "upsampled")
        },
    }


def kind_of(baseline: str, kind: str, titles: int) -> dict[str, Any]:
    """The gains of all titles of a kind; nothing is known where there are none."""
    quartiles = {"lower_quartile": -3.5, "median": 0.75, "upper_quartile": 6.25}
    known = quartiles if titles else dict.fromkeys(quartiles)
    return {"method": "mtl", "baseline": baseline, "kind": kind, "titles": titles, "ahead": titles // 2, **known}


def bias_of(territories: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    return {
        "overall": {"gini": [float(rng.uniform(0.5, 0.9)), 0.01], "coverage": [float(rng.uniform(0.2, 0.9)), 0.02]},
        "territories": {
            "gini": [float(rng.uniform(0.5, 0.9)) if t["evaluated"] else None for t in territories],
            "coverage": [0.25 if t["evaluated"] else None for t in territories],
        },
        "territory_spreads": {
            "gini": [0.015625 * (c + 1) if t["evaluated"] else None for c, t in enumerate(territories)],
            "coverage": [0.03125 if t["evaluated"] else None for t in territories],
        },
    }


def calibration_of(territories: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    """The last territory has too few pairs to judge, and is calibrated by chance."""
    predicted = np.linspace(0.02, 0.6, 10)
    observed = (predicted * rng.uniform(0.8, 1.2, 10)).tolist()
    observed[-1] = None
    pairs = (10_000 / np.arange(1, 11)).astype(int).tolist()
    edges = np.linspace(0, 1, 11).tolist()
    curve = {"edges": edges, "predicted": predicted.tolist(), "observed": observed, "pairs": pairs, "ece": 0.0123}
    n = len(territories)
    means = {"ece": [0.0625 / (c + 1) for c in range(n)], "excess": [0.0078125 * (2 - c) for c in range(n)]}
    spreads = {name: [0.001953125] * n for name in means}
    return {**curve, "excess": -0.0042, "territories": means, "territory_spreads": spreads}


def histograms(codes: list[str], titles: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    def users(level: float, n: int) -> list[int]:
        return np.histogram(rng.beta(2, level, n), bins=BINS, range=(0, 1))[0].tolist()

    shown = codes[:4]
    return {
        "edges": np.linspace(0, 1, BINS + 1).tolist(),
        "methods": list(METHODS[:3]),
        "territories": shown,
        "titles": {code: [t["id"] for t in titles] for code in shown},
        "counts": {
            code: {t["id"]: [users(level, 1000 // (c + 1)) for level in (12, 10, 7)] for t in titles}
            for c, code in enumerate(shown)
        },
    }
