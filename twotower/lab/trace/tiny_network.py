"""A network small enough to compute by hand: 3 users, 2 titles, 2 groups, width 4, numbers like 1 and −0.5.

Its parameters are multiples of 1/4 and differ from their initial values, as after some training: heads differ, every
path carries a gradient, and a forgotten gamma would show. s, c and Adam's moments have their initial values.
"""

import math
from dataclasses import dataclass

import numpy as np

from twotower.core.config import ModelConfig
from twotower.core.random_streams import Stream, generator
from twotower.model.reference import ExpandedBatch, batchnorm_relu, tower

USERS = ("Ann", "Bob", "Cem")
TITLES = ("Comet", "Harbour")
GROUPS = ("North", "South")
GROUP_OF_USER = np.array([0, 0, 1])
TERRITORY_OF_USER = np.array([0, 1, 2])  # each lives in another, for heads with something per territory
PAIRS = ((0, 0, 1.0), (0, 1, 0.0), (1, 0, 0.0), (2, 0, 0.0), (2, 1, 1.0))  # user, title, label
WIDTH, FEATURES, RANK, EXPERTS = 4, 3, 2, 2
HEADS = ("plain", "residual", "lowrank", "mmoe", "cross-stitch", "market-gate")  # that the network can have
DRAWS = 10_000  # of a tower at most, until it is well conditioned; a hundred are rarely needed
LEAST_VARIANCE = 0.05  # of a column: batch-norm divides by its square root
KINK = 0.01  # least distance of a ReLU's input from 0, so that a sum by hand has the right sign


@dataclass(frozen=True, eq=False)
class TinyNetwork:
    """Parameters in float64 and one batch, one row per pair."""

    config: ModelConfig
    params: dict[str, np.ndarray]
    batch: ExpandedBatch
    user_features: np.ndarray  # (3, F)
    title_features: np.ndarray  # (2, F)


def tiny_network(seed: int = 0, head: str = "residual", title_bias: bool = False) -> TinyNetwork:
    """The network of a seed; its features are whole numbers."""
    model = ModelConfig(
        hidden=WIDTH,
        groups=len(GROUPS),
        head=head,
        rank=RANK,
        experts=EXPERTS,
        title_bias=title_bias,
        title_offsets="none",
    )
    rng = generator(seed, Stream.TINY_NETWORK)
    user, title, label = (np.array(column) for column in zip(*PAIRS, strict=True))
    X_user, user_params = random_tower("user", user, model.tower_floor, rng)
    X_title, title_params = random_tower("title", title, model.output_floor, rng)
    params = user_params | title_params | other_parameters(model, float(label.mean()), rng)
    territory = TERRITORY_OF_USER[user] if "territory.m" in params else np.zeros(0, int)
    batch = ExpandedBatch(X_user[user], X_title[title], GROUP_OF_USER[user], label, territory)
    return TinyNetwork(model, params, batch, X_user, X_title)


def random_tower(
    name: str, rows: np.ndarray, floor: float, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Features of the users or titles in ``rows`` and parameters, drawn until the tower is well conditioned."""
    for _ in range(DRAWS):
        X = rng.integers(-1, 3, (rows.max() + 1, FEATURES)).astype(float)
        params = tower_parameters(name, rng)
        if X.any(1).all() and is_well_conditioned(params, name, X[rows], floor):
            break
    return X, params


def quarters(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Weights from −1 to 1, multiples of 1/4 other than 0."""
    return rng.integers(1, 5, shape) * rng.choice((-0.25, 0.25), shape)


def tower_parameters(name: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The parameters of a tower, named as in ``model/two_tower.py``."""
    params = {}
    for layer, width in (("1", FEATURES), ("2", WIDTH)):
        params[f"{name}.W{layer}"] = quarters(rng, width, WIDTH)
        params[f"{name}.gamma{layer}"] = rng.integers(2, 7, WIDTH) / 4
        params[f"{name}.beta{layer}"] = rng.integers(-2, 3, WIDTH) / 4
    return params


def other_parameters(model: ModelConfig, base_rate: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The parameters outside the towers."""
    D, F, K, r, E = WIDTH, FEATURES, model.groups, model.rank, model.experts
    params = {}
    if model.head in ("plain", "residual"):
        params["head.W"] = quarters(rng, K, D, D)
    if model.head == "lowrank":
        params |= {"head.P": quarters(rng, K, D, r), "head.Q": quarters(rng, K, r, D)}
    if model.head == "mmoe":
        params |= {"experts.P": quarters(rng, D, E * r), "experts.Q": quarters(rng, E * r, D)}
        params["head.G"] = quarters(rng, K, D, E)
    if model.head == "cross-stitch":
        params |= {"stitch.W": quarters(rng, K, D, D), "head.alpha": np.array([[0.9, 0.1], [0.1, 0.9]])}
    if model.head == "market-gate":
        params["territory.m"] = quarters(rng, len(TERRITORY_OF_USER), D)
    if model.head in ("plain", "residual", "cross-stitch"):
        params["head.b"] = rng.integers(-2, 3, (K, D)) / 4
    if model.title_bias:
        params["title_bias.C"] = quarters(rng, K, F)
    odds = base_rate / (1 - base_rate)
    return params | {"logit.scale": np.array([1 / math.sqrt(D)]), "logit.bias": np.array([math.log(odds)])}


def is_well_conditioned(params: dict[str, np.ndarray], name: str, X: np.ndarray, floor: float) -> bool:
    """No column is nearly constant, and no ReLU input is near 0."""
    _, tape = tower(params, name, X, floor)
    for layer, (_, Z, mean, rstd, _, _) in zip("12", tape.layers, strict=True):
        Y = batchnorm_relu(Z, mean, rstd, params[f"{name}.gamma{layer}"], params[f"{name}.beta{layer}"], -math.inf)
        if 1 / rstd.max() ** 2 < LEAST_VARIANCE or np.abs(Y).min() < KINK:
            return False
    return True
