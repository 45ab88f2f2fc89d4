"""Trace one training step of a tiny network: forward, loss, backward and Adam, as the textbook computes them.

``trace`` runs ``model/reference.py`` under a recorder, with the mask and without it. Nothing of the network is computed
here.
"""

import numpy as np

from twotower.core.config import TrainConfig
from twotower.lab.trace.record import Entity, NetworkFacts, Pair, Run, Step, Trace, TraceLeak
from twotower.lab.trace.recorder import Observation, Recorder
from twotower.lab.trace.tiny_network import GROUP_OF_USER, GROUPS, PAIRS, TITLES, USERS, TinyNetwork, tiny_network
from twotower.model import reference

STAGES = ("forward", "loss", "backward", "adam")
TWO_TITLES = "Nearly 0: batch-norm scales the two titles to mean 0 and variance 1, whatever the weights."
OF_LOSS = ("loss", "losses", "dz")  # names of the loss stage
BACKWARD = ("dw", "dv", "dA_memory", "dV", "dU", "dA", "dA_head", "grads", "head_grads")
SCORE = ("score", "s", "c", "z", "dots", "dw", "dv", "dA_memory", "dV", "dU")  # function and names at the score
OF_SCORE = ("logit", "title_bias", "memory")  # parameters of the score; others than towers' belong to the head


def trace(
    seed: int = 0, head: str = "residual", group: int | None = None, title_bias: bool = False, memory: bool = False
) -> Trace:
    """The record of one step, with the mask and without: see ``docs/reference/trace.md``.

    With ``group``, only steps of that head and shared steps.
    """
    network, train = tiny_network(seed, head, title_bias, memory), TrainConfig()
    runs = {"on": run(network, train, True), "off": run(network, train, False)}
    for each in runs.values():
        each.steps = [step for step in each.steps if group is None or step.group in (None, group)]
    leak = [part for part in leaks(network) if group in (None, part.group)]
    return Trace(seed, group, network_facts(network, train), runs, leak)


def run(network: TinyNetwork, train: TrainConfig, masked: bool) -> Run:
    """Loss and steps of one training step of the textbook."""
    recorder = Recorder(network.params, network.declared)
    loss, gradients = recorder.run("loss_and_gradients", network.params, network.batch, network.config, masked=masked)
    steps = [step_record(each, network, masked) for each in recorder.observations]
    recorder = Recorder({}, {})
    for name, k in network.blocks():
        steps += adam_steps(recorder, network, train, gradients, name, k)
    for number, step in enumerate(steps, 1):
        step.number = number
    return Run(loss, steps)


def adam_steps(
    recorder: Recorder, network: TinyNetwork, train: TrainConfig, gradients: dict[str, np.ndarray], name: str,
    k: int | None,
) -> list[Step]:  # fmt: skip
    """The first update of one block, from moments of 0."""
    P, G = (np.array(arrays[name] if k is None else arrays[name][k]) for arrays in (network.params, gradients))
    recorder.observations, M, V = [], np.zeros_like(P), np.zeros_like(P)
    recorder.is_known(M), recorder.is_known(V)
    recorder.run("adam", P, M, V, G, train.learning_rate, train.beta1, train.beta2, train.eps, 1)
    steps = [step_record(each, network, True) for each in recorder.observations]
    steps[0].maths, steps[1].maths = "θ before the step", "g: the gradient"
    for step in steps:
        step.group, step.parameter = k, block_name(name, k)
    return steps


def block_name(name: str, k: int | None) -> str:
    return name if k is None else f"{name}[{k}]"


def step_record(step: Observation, network: TinyNetwork, masked: bool) -> Step:
    """A step with its place in the network and the names of its rows."""
    value = step.value.astype(int) if step.value.dtype == bool else step.value
    pairs = pairs_of(step, network, masked)
    users = None if pairs is None else [USERS[PAIRS[i][0]] for i in pairs]
    note = TWO_TITLES if (step.layer or "").startswith("title") and step.name == "dW" else None
    return Step(stage_of(step), step.function, block_of(step), step.group, step.source, step.line, step.maths,
                step.name, list(value.shape), value, users, pairs, note)  # fmt: skip


def stage_of(step: Observation) -> str:
    if step.function == "adam":
        return "adam"
    if step.function in ("binary_cross_entropy", "sigmoid") or step.name in OF_LOSS:
        return "loss"
    return "backward" if step.backward or step.name.partition("[")[0] in BACKWARD else "forward"


def block_of(step: Observation) -> str:
    """Where in the network: a layer of a tower, head, score, loss, or Adam."""
    stage, entry = stage_of(step), step.name.partition('["')[2] or (step.parameter or "")
    if step.layer or stage in ("loss", "adam"):
        return step.layer or stage
    if step.name == "V":
        return "title.2"
    at_score = step.function.startswith("memory_") or ({step.function, step.name} & set(SCORE) and not step.backward)
    of_score = entry.startswith(OF_SCORE) if entry else at_score
    return "score" if of_score else "head"


def pairs_of(step: Observation, network: TinyNetwork, masked: bool) -> list[int] | None:
    """The pairs that a step's rows are: all of the batch, or those of the head. None for parameters and their likes."""
    group = network.batch.group
    own = [i for i, k in enumerate(group) if step.group == k or not masked]
    alike = [p.shape for name, p in network.params.items() if step.name == f"d{name.rpartition('.')[2].rstrip('12')}"]
    is_gradient = step.value.shape in [*alike, *(shape[1:] for shape in alike)]
    if step.value.ndim == 0 or "[" in step.name or step.parameter or step.function == "adam" or is_gradient:
        return None
    return {len(group): list(range(len(group))), len(own): own}.get(len(step.value))


def network_facts(network: TinyNetwork, train: TrainConfig) -> NetworkFacts:
    """The batch, the shape of the network, and its optimiser."""
    users = zip(USERS, network.user_features, GROUP_OF_USER.tolist(), strict=True)
    titles = zip(TITLES, network.title_features, strict=True)
    return NetworkFacts(
        users=[Entity(*user) for user in users],
        titles=[Entity(*title) for title in titles],
        groups=list(GROUPS),
        pairs=[Pair(USERS[u], TITLES[t], int(GROUP_OF_USER[u]), int(label)) for u, t, label in PAIRS],
        model=network.config,
        train={name: getattr(train, name) for name in ("learning_rate", "beta1", "beta2", "eps")},
        parameters=network.params,
    )


def leaks(network: TinyNetwork) -> list[TraceLeak]:
    """For each block of a group: what rows of other groups do to its gradient, with the mask and without."""
    batch, model, norm = network.batch, network.config, np.linalg.norm

    def gradients(labels: np.ndarray, masked: bool) -> dict[str, np.ndarray]:
        return reference.loss_and_gradients(network.params, batch._replace(labels=labels), model, masked=masked)[1]

    masked, unmasked = (gradients(batch.labels, on) for on in (True, False))
    records = []
    for name, k in network.blocks():
        if k is not None:
            flipped = gradients(np.where(batch.group != k, 1 - batch.labels, batch.labels), True)
            own = masked[name][k]
            norms = (float(norm(part)) for part in (own, flipped[name][k] - own, unmasked[name][k] - own))
            records.append(TraceLeak(k, block_name(name, k), *norms))
    return records
