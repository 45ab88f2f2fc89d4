"""A network small enough to compute by hand: 3 users, 2 titles, 2 groups, width 4, numbers like 1 and −0.5.

Its parameters are those that the network declares, as multiples of 1/4 and not as at the start of training: heads
differ, every path carries a gradient, and a forgotten gamma would show. s, c and α have their initial values.
"""

import math
from dataclasses import dataclass

import numpy as np

from twotower.core.config import MEMORY_TERMS, ModelConfig
from twotower.core.random_streams import Stream, generator
from twotower.model.parameters import Parameter
from twotower.model.reference import ExpandedBatch, batchnorm_relu, tower
from twotower.model.two_tower import declare

USERS = ("Ann", "Bob", "Cem")
TITLES = ("Comet", "Harbour")
GROUPS = ("North", "South")
GROUP_OF_USER = np.array([0, 0, 1])
TERRITORY_OF_USER = np.array([0, 1, 2])  # each lives in another, for heads with something per territory
PAIRS = ((0, 0, 1.0), (0, 1, 0.0), (1, 0, 0.0), (2, 0, 0.0), (2, 1, 1.0))  # user, title, label
WIDTH, FEATURES, RANK, EXPERTS = 4, 3, 2, 2
TERMS, UNITS = 6, 4  # of memory: as many as a line has room for
AS_INITIAL = ("logit.", "head.alpha")  # parameters that keep their initial values
DRAWS = 10_000  # of a tower at most, until it is well conditioned; a hundred are rarely needed
LEAST_VARIANCE = 0.05  # of a column: batch-norm divides by its square root
KINK = 0.01  # least distance of a ReLU's input from 0, so that a sum by hand has the right sign


@dataclass(frozen=True, eq=False)
class TinyNetwork:
    """Parameters in float64 and one batch, one row per pair."""

    config: ModelConfig
    declared: dict[str, Parameter]
    params: dict[str, np.ndarray]
    batch: ExpandedBatch
    user_features: np.ndarray  # (3, F)
    title_features: np.ndarray  # (2, F)

    def blocks(self) -> list[tuple[str, int | None]]:
        """The blocks of Adam: a parameter, or a group's part of it, each with its own moments and step count."""
        K = self.config.groups
        return [(name, k) for name, each in self.declared.items()
                for k in (range(K) if each.owner == "group" else [None])]  # fmt: skip


def tiny_network(seed: int = 0, head: str = "residual", title_bias: bool = False, memory: bool = False) -> TinyNetwork:
    """The network of a seed; its features are whole numbers."""
    model = ModelConfig(hidden=WIDTH, groups=len(GROUPS), head=head, rank=RANK, experts=EXPERTS,
                        title_bias=title_bias, title_offsets="none", memory=memory, memory_units=UNITS)  # fmt: skip
    rng = generator(seed, Stream.TINY_NETWORK)
    user, title, label = (np.array(column) for column in zip(*PAIRS, strict=True))
    declared = declare(model, (FEATURES, FEATURES), len(TERRITORY_OF_USER), float(label.mean()))
    X_user, params = random_tower("user", user, declared, model.tower_floor, rng)
    X_title, of_titles = random_tower("title", title, declared, model.output_floor, rng)
    params |= of_titles
    params |= {name: values(name, each, rng) for name, each in declared.items() if name not in params}
    territory = TERRITORY_OF_USER[user] if "territory.m" in params else np.zeros(0, int)
    terms = quarters(rng, len(PAIRS), TERMS) if memory else None
    batch = ExpandedBatch(X_user[user], X_title[title], GROUP_OF_USER[user], label, territory, terms)
    return TinyNetwork(model, declared, params, batch, X_user, X_title)


def values(name: str, parameter: Parameter, rng: np.random.Generator) -> np.ndarray:
    """Values of a parameter: quarters, positive ones for gamma."""
    shape = tuple(n - MEMORY_TERMS + TERMS if n in (MEMORY_TERMS, MEMORY_TERMS + 1) else n for n in parameter.shape)
    if name.startswith(AS_INITIAL):
        value = np.empty(shape)
        parameter.initial(value, rng)
        return value
    if ".gamma" in name:
        return rng.integers(2, 7, shape) / 4
    return rng.integers(-2, 3, shape) / 4 if ".b" in name else quarters(rng, *shape)


def quarters(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Weights from −1 to 1, multiples of 1/4 other than 0."""
    return rng.integers(1, 5, shape) * rng.choice((-0.25, 0.25), shape)


def random_tower(
    tower: str, rows: np.ndarray, declared: dict[str, Parameter], floor: float, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Features of the users or titles in ``rows`` and parameters, drawn until the tower is well conditioned."""
    for _ in range(DRAWS):
        X = rng.integers(-1, 3, (rows.max() + 1, FEATURES)).astype(float)
        own = {name: values(name, each, rng) for name, each in declared.items() if name.startswith(f"{tower}.")}
        if X.any(1).all() and is_well_conditioned(own, tower, X[rows], floor):
            break
    return X, own


def is_well_conditioned(params: dict[str, np.ndarray], name: str, X: np.ndarray, floor: float) -> bool:
    """No column is nearly constant, and no ReLU input is near 0."""
    _, tape = tower(params, name, X, floor)
    for layer, (_, Z, mean, rstd, _, _) in zip("12", tape.layers, strict=True):
        Y = batchnorm_relu(Z, mean, rstd, params[f"{name}.gamma{layer}"], params[f"{name}.beta{layer}"], -math.inf)
        if 1 / rstd.max() ** 2 < LEAST_VARIANCE or np.abs(Y).min() < KINK:
            return False
    return True
