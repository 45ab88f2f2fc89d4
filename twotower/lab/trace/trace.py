"""One training step of a tiny network, number by number: forward, loss, backward and Adam, as the textbook does them.

``trace`` runs ``model/reference.py`` under a recorder, once with the mask and once without it, and puts the line of
maths beside each array. Nothing here computes anything of the network.
"""

from typing import Any

import numpy as np

from twotower.core.config import ModelConfig, TrainConfig
from twotower.core.version import __version__
from twotower.lab.trace.formulas import ALL, OWN, formula
from twotower.lab.trace.recorder import Observation, Recorder
from twotower.lab.trace.tiny_network import GROUP_OF_USER, GROUPS, PAIRS, TITLES, USERS, TinyNetwork, tiny_network
from twotower.model import reference

FORMAT_VERSION = 1
PER_GROUP = ("head.W", "head.b", "head.P", "head.Q", "head.G", "head.alpha", "title_bias.C")  # (K, …), a part a group
TWO_TITLES = (
    "Nearly 0: two titles, shifted and scaled to mean 0 and variance 1, stand where they stand, whatever the weights."
)


def trace(seed: int = 0, head: str = "residual", group: int | None = None, title_bias: bool = False) -> dict[str, Any]:
    """The record of one step, with the mask and without: see ``docs/reference/trace.md`` for its keys.

    With ``group`` only the steps of that head and those that all groups share.
    """
    network = tiny_network(seed, head, title_bias)
    train = TrainConfig()
    runs = {"on": run(network, train, masked=True), "off": run(network, train, masked=False)}
    leak = leaks(network)
    for told in runs.values():
        told["steps"] = [step for step in told["steps"] if group is None or step["group"] in (None, group)]
    return {
        "format": FORMAT_VERSION,
        "kind": "trace",
        "twotower": __version__,
        "seed": seed,
        "group": group,
        "network": network_record(network, train),
        "runs": runs,
        "leak": leak if group is None else [part for part in leak if part["group"] == group],
    }


def run(network: TinyNetwork, train: TrainConfig, masked: bool) -> dict[str, Any]:
    """Loss and steps of one training step of the textbook."""
    recorder = Recorder(network.params)
    loss, gradients = recorder.watch(
        reference.loss_and_gradients, network.params, network.batch, network.config, masked=masked
    )
    told = [step_record(step, network, masked, network.config) for step in recorder.told]
    for name, k in blocks(network.params):
        told += adam_steps(network, train, gradients, name, k)
    steps = [{"number": number, **step} for number, step in enumerate(told, 1)]
    return {"loss": loss, "steps": steps}


def blocks(params: dict[str, np.ndarray]) -> list[tuple[str, int | None]]:
    """The blocks of Adam: a parameter, or what one group owns of it, which has moments and a count of its own."""
    return [(name, k) for name, value in params.items() for k in (range(len(value)) if name in PER_GROUP else [None])]


def adam_steps(
    network: TinyNetwork, train: TrainConfig, gradients: dict[str, np.ndarray], name: str, k: int | None
) -> list[dict[str, Any]]:
    """The first update of one block, from moments that are 0."""
    P, G = (arrays[name] if k is None else arrays[name][k] for arrays in (network.params, gradients))
    recorder = Recorder(network.params)
    M, V = np.zeros_like(P), np.zeros_like(P)
    recorder.watch(reference.adam, P, M, V, G, train.learning_rate, train.beta1, train.beta2, train.eps, 1)
    owner = {"group": k, "parameter": name if k is None else f"{name}[{k}]"}
    return [step_record(step, network, True, network.config) | owner for step in recorder.told]


def step_record(step: Observation, network: TinyNetwork, masked: bool, model: ModelConfig) -> dict[str, Any]:
    """A step in plain values, with its maths and the names of its rows."""
    about = formula(step, model)
    batch_group = network.batch.group
    pairs = {
        None: None,
        ALL: list(range(len(batch_group))),
        OWN: [i for i, k in enumerate(batch_group) if k == step.group or not masked],
    }[about.rows]
    value = step.value.astype(int) if step.value.dtype == bool else step.value
    return {
        "stage": about.stage,
        "function": step.function,
        "block": about.block,
        "group": step.group,
        "source": step.source,
        "line": step.line,
        "maths": about.maths,
        "name": step.name,
        "shape": list(value.shape),
        "values": value.tolist(),
        "rows": None if pairs is None else [USERS[PAIRS[i][0]] for i in pairs],
        "pairs": pairs,
        "note": TWO_TITLES if (step.layer or "").startswith("title") and step.name == "dW" else None,
    }


def network_record(network: TinyNetwork, train: TrainConfig) -> dict[str, Any]:
    """Who and what is in the batch, the shape of the network, and how it is trained."""
    model = network.config
    users = zip(USERS, GROUP_OF_USER, network.user_features, strict=True)
    titles = zip(TITLES, network.title_features, strict=True)
    return {
        "users": [{"name": name, "group": int(k), "features": x.tolist()} for name, k, x in users],
        "titles": [{"name": name, "features": x.tolist()} for name, x in titles],
        "groups": list(GROUPS),
        "pairs": [
            {"user": USERS[u], "title": TITLES[t], "group": int(GROUP_OF_USER[u]), "label": int(label)}
            for u, t, label in PAIRS
        ],
        "model": {
            "hidden": model.hidden,
            "groups": model.groups,
            "head": model.head,
            "rank": model.rank,
            "title_bias": model.title_bias,
            "output": model.output,
        },
        "train": {name: getattr(train, name) for name in ("learning_rate", "beta1", "beta2", "eps")},
        "parameters": {name: value.tolist() for name, value in network.params.items()},
    }


def leaks(network: TinyNetwork) -> list[dict[str, Any]]:
    """What each group owns: lengths of its gradient and of what foreign rows do to it, with the mask and without.

    ``foreign`` is what they add to it with the mask off; ``flipped`` how much it changes, with the mask on, when all
    their labels are turned round.
    """
    batch, model = network.batch, network.config
    _, on = reference.loss_and_gradients(network.params, batch, model)
    _, off = reference.loss_and_gradients(network.params, batch, model, masked=False)
    found = []
    for name, k in blocks(network.params):
        if k is not None:
            turned = batch._replace(labels=np.where(batch.group != k, 1 - batch.labels, batch.labels))
            _, flipped = reference.loss_and_gradients(network.params, turned, model)
            own, without, turned_round = (gradients[name][k] for gradients in (on, off, flipped))
            vectors = {"own": own, "foreign": without - own, "flipped": turned_round - own}
            lengths = {key: float(np.linalg.norm(vector)) for key, vector in vectors.items()}
            found.append({"parameter": f"{name}[{k}]", "group": k, **lengths})
    return found
