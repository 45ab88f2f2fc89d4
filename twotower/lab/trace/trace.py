"""Trace one training step of a tiny network: forward, loss, backward and Adam, as the textbook computes them.

``trace`` runs ``model/reference.py`` under a recorder, with the mask and without it, and adds a formula to each array.
Nothing of the network is computed here.
"""

import numpy as np

from twotower.core.config import TrainConfig
from twotower.core.version import __version__
from twotower.lab.trace.formulas import ALL, OWN, formula
from twotower.lab.trace.record import NetworkFacts, Run, Step, Trace, TraceLeak
from twotower.lab.trace.recorder import Observation, Recorder
from twotower.lab.trace.tiny_network import GROUP_OF_USER, GROUPS, PAIRS, TITLES, USERS, TinyNetwork, tiny_network
from twotower.model import reference

FORMAT_VERSION = 1
GROUP_PREFIXES = ("head.", "title_bias.")  # parameters (K, …) with a part for each group
TWO_TITLES = "Nearly 0: batch-norm scales the two titles to mean 0 and variance 1, whatever the weights."


def trace(seed: int = 0, head: str = "residual", group: int | None = None, title_bias: bool = False) -> Trace:
    """The record of one step, with the mask and without: see ``docs/reference/trace.md`` for its keys.

    With ``group``, only steps of that head and shared steps.
    """
    network = tiny_network(seed, head, title_bias)
    train = TrainConfig()
    runs = {"on": run(network, train, masked=True), "off": run(network, train, masked=False)}
    for one_run in runs.values():
        one_run["steps"] = [step for step in one_run["steps"] if group is None or step["group"] in (None, group)]
    return {
        "format": FORMAT_VERSION,
        "kind": "trace",
        "twotower": __version__,
        "seed": seed,
        "group": group,
        "network": network_record(network, train),
        "runs": runs,
        "leak": [part for part in leaks(network) if group in (None, part["group"])],
    }


def run(network: TinyNetwork, train: TrainConfig, masked: bool) -> Run:
    """Loss and steps of one training step of the textbook."""
    recorder = Recorder(network.params)
    loss, gradients = recorder.run(
        reference.loss_and_gradients, network.params, network.batch, network.config, masked=masked
    )
    steps = [step_record(step, network, masked) for step in recorder.observations]
    for name, k in blocks(network.params):
        steps += adam_steps(network, train, gradients, name, k)
    for number, step in enumerate(steps, 1):
        step["number"] = number
    return {"loss": loss, "steps": steps}


def blocks(params: dict[str, np.ndarray]) -> list[tuple[str, int | None]]:
    """The blocks of Adam: a parameter, or a group's part of it, each with its own moments and step count."""
    return [
        (name, k)
        for name, value in params.items()
        for k in (range(len(value)) if name.startswith(GROUP_PREFIXES) else [None])
    ]


def adam_steps(
    network: TinyNetwork, train: TrainConfig, gradients: dict[str, np.ndarray], name: str, k: int | None
) -> list[Step]:
    """The first update of one block, from moments of 0."""
    P, G = (arrays[name] if k is None else arrays[name][k] for arrays in (network.params, gradients))
    recorder = Recorder(network.params)
    M, V = np.zeros_like(P), np.zeros_like(P)
    recorder.run(reference.adam, P, M, V, G, train.learning_rate, train.beta1, train.beta2, train.eps, 1)
    steps = [step_record(step, network, True) for step in recorder.observations]
    for step in steps:
        step["group"], step["parameter"] = k, name if k is None else f"{name}[{k}]"
    return steps


def step_record(step: Observation, network: TinyNetwork, masked: bool) -> Step:
    """A step in plain values, with its formula and the names of its rows."""
    about = formula(step, network.config)
    batch_group = network.batch.group
    pairs = {
        None: None,
        ALL: list(range(len(batch_group))),
        OWN: [i for i, k in enumerate(batch_group) if k == step.group or not masked],
    }[about.rows]
    value = step.value.astype(int) if step.value.dtype == bool else step.value
    return {
        "number": 0,
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


def network_record(network: TinyNetwork, train: TrainConfig) -> NetworkFacts:
    """The batch, the shape of the network, and its optimiser."""
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


def leaks(network: TinyNetwork) -> list[TraceLeak]:
    """For each block of a group: what rows of other groups do to its gradient, with the mask and without."""
    batch, model = network.batch, network.config

    def gradients(labels: np.ndarray, masked: bool) -> dict[str, np.ndarray]:
        return reference.loss_and_gradients(network.params, batch._replace(labels=labels), model, masked=masked)[1]

    masked, unmasked = (gradients(batch.labels, on) for on in (True, False))
    records: list[TraceLeak] = []
    for name, k in blocks(network.params):
        if k is not None:
            flipped = gradients(np.where(batch.group != k, 1 - batch.labels, batch.labels), True)
            own = masked[name][k]
            records.append({
                "parameter": f"{name}[{k}]",
                "group": k,
                "own": norm(own),
                "others": norm(unmasked[name][k] - own),
                "flipped": norm(flipped[name][k] - own),
            })  # fmt: skip
    return records


def norm(vector: np.ndarray) -> float:
    return float(np.linalg.norm(vector))
