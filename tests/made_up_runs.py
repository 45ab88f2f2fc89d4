"""Small finished runs for tests: made-up scores of made-up test pairs, evaluated and saved for real."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from twotower.metrics.per_territory import evaluate_scores
from twotower.metrics.results import Evaluation
from twotower.training.run import RunWriter

TERRITORIES = SimpleNamespace(
    code=["PL", "US", "BR", "JP", "NR"],
    name=["Poland", "United States", "Brazil", "Japan", "Nauru"],
    group=np.array([1, 0, 0, 2, -1]),
    users=np.array([70, 900, 500, 300, 0]),
)
TITLES = {"title": [f"t{i}" for i in range(6)], "kind": ["global", "local"] * 3}
USERS = 60


def make_pairs(days=(60,), n=600, seed=0) -> SimpleNamespace:
    """Labelled pairs of users in the first four territories; users of Japan have no positive."""
    rng = np.random.default_rng(seed)
    user_territory = (np.arange(USERS) % 4).astype(np.int16)
    user = rng.integers(0, USERS, n)
    label = (rng.random(n) < 0.3) & (user_territory[user] != 3)
    return SimpleNamespace(
        user=user,
        title=rng.integers(0, len(TITLES["title"]), n).astype(np.int32),
        label=label.astype(np.float32),
        day=np.sort(rng.choice(days, n)).astype(np.int32),
        user_territory=user_territory,
    )


def make_scores(pairs, skill=1.0, seed=0) -> np.ndarray:
    """Scores (B,) float32: noise, and ``skill`` times the label."""
    noise = np.random.default_rng(1000 + seed).standard_normal(len(pairs.label))
    return (skill * pairs.label + noise).astype(np.float32)


def make_evaluation(pairs, scores) -> Evaluation:
    return evaluate_scores(
        pairs.label,
        scores,
        user=pairs.user,
        title=pairs.title,
        day=pairs.day,
        user_territory=pairs.user_territory,
        territories=TERRITORIES,
        title_ids=TITLES["title"],
        title_kind=TITLES["kind"],
    )


def make_run(
    path: Path,
    label="mtl-4",
    skill=1.0,
    seed=0,
    days=(60,),
    config=None,
    digest="a" * 64,
    dataset="world",
    sample="default",
    pairs=None,
) -> Path:
    """Write a finished run and return its path."""
    pairs = make_pairs(days) if pairs is None else pairs
    scores = make_scores(pairs, skill, seed)
    with RunWriter(path, label=label, dataset=dataset, sample=sample, seed=seed,
                   config=config or {"model": {"head": "lowrank"}, "train": {"seed": seed}}) as run:  # fmt: skip
        run.log({"epoch": 1, "loss": 0.5})
        run.weights_path.write_bytes(b"weights")
        run.save_results(make_evaluation(pairs, scores), scores, digest)
    return path
