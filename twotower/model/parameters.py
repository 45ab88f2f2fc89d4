"""The parameters of the network: their names and shapes, and the values that training starts from.

    D hidden width · F features of a tower · K groups · C territories

Those that all groups share come first, then the groups' own, then the territories' own: so Adam walks over what every
batch updates in one loop.
"""

import math

import numpy as np

from twotower.core.config import ModelConfig
from twotower.model.engine.arena import Arena
from twotower.model.heads import head_shapes

OWN_SHARE = 0.9  # of a head's own layer in what cross-stitch makes of all, at the start


def parameter_shapes(
    model: ModelConfig, user_width: int, title_width: int, territories: int = 0
) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter; what all groups share comes first, what a territory has to itself last."""
    D, K = model.hidden, model.groups
    shared, own = head_shapes(model)
    shapes: dict[str, tuple[int, ...]] = {}
    for tower, F in (("user", user_width), ("title", title_width)):
        for layer, inputs in (("1", F), ("2", D)):
            shapes[f"{tower}.W{layer}"] = (inputs, D)
            shapes[f"{tower}.gamma{layer}"] = shapes[f"{tower}.beta{layer}"] = (D,)
    shapes |= shared | {"logit.scale": (1,), "logit.bias": (1,)} | own
    if model.title_bias:
        shapes["title_bias.C"] = (K, title_width)
    if model.territory_bias:
        shapes["territory.b"] = (territories, D)
        if model.title_bias:
            shapes["territory.C"] = (territories, title_width)
    return shapes


def initialise(params: Arena, model: ModelConfig, rng: np.random.Generator, base_rate: float) -> None:
    """Fill in the values to start from.

    Weights are uniform in ±1/√inputs. All heads but plain ones add nothing yet: training starts from the baseline. The
    learned scale starts at 1/√D, where <U, V> has unit variance, and the bias at the log-odds of ``base_rate``: without
    them every probability would start far too high, and the negatives would drive all activations to 0.
    """
    for name, value in params.items():
        if ".W" in name or name in ("head.P", "experts.P"):
            value[...] = rng.uniform(-1, 1, value.shape) / math.sqrt(value.shape[-2])
        elif ".gamma" in name:
            value[...] = 1
    if model.head == "residual":
        params["head.W"][...] = 0
    if model.head == "cross-stitch":
        params["stitch.W"][...] = 0
        own = OWN_SHARE if model.groups > 1 else 1.0
        params["head.alpha"][...] = (1 - own) / max(model.groups - 1, 1)
        np.fill_diagonal(params["head.alpha"], own)
    params["logit.scale"][...] = 1 / math.sqrt(model.hidden) if model.learned_logit else 1
    params["logit.bias"][...] = math.log(base_rate / (1 - base_rate)) if model.learned_logit else 0
