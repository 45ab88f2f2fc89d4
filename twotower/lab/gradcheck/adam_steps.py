"""Steps of Adam against the formula: what each adds to a weight, and that absent groups' weights stay unchanged.

A step is no gradient, so finite differences cannot check it. The reference is ``reference.adam`` in float64, given the
same weights, moments and gradient, and its own count of updates per block for the bias correction.
"""

from collections.abc import Sequence

import numpy as np

from twotower.core.config import Config
from twotower.data.batches import Batch
from twotower.lab.attribution.blocks import Block
from twotower.lab.gradcheck.record import BlockStep, StepCheck
from twotower.model import reference
from twotower.model.adam import Adam
from twotower.model.two_tower import TwoTower
from twotower.training.loop import make_optimiser

#: Of an update, or of the learning rate if larger: a step divides two float32 moments with a few units of rounding.
UPDATE_TOLERANCE = 1e-5
#: Of the weight: the sum of weight and update is rounded to float32, whose unit is 1.2e-7, once or twice.
WEIGHT_TOLERANCE = 2 * float(np.finfo(np.float32).eps)


def adam_steps(network: TwoTower, batches: Sequence[Batch], blocks: list[Block], config: Config) -> list[StepCheck]:
    """Check a step on each batch, starting from moments of 0. Updates ``network``."""
    optimiser, size = make_optimiser(network, config.train), len(network.params.flat)
    owner = owners(network)
    rates = np.zeros(size)
    for spans in optimiser.decays:
        for span, rate in spans:
            rates[span] += rate
    counts, steps = np.zeros(owner.max() + 1, int), []
    for number, batch in enumerate(batches, 1):
        losses = network.loss_and_gradients(batch)
        updated = np.isin(owner, [0, *(1 + block for block in losses.present)])
        counts[np.unique(owner[updated])] += 1
        before = [arena.flat.copy() for arena in (network.params, optimiser.m, optimiser.v)]
        optimiser.update(network.grads, losses.present, network.threads)
        expected = textbook_update(before, network.grads.flat, rates, counts[owner].clip(1), config)
        steps.append(step_check(number, network, optimiser, before, expected, updated, counts[owner], blocks))
    return steps


def owners(network: TwoTower) -> np.ndarray:
    """The owner of every flat parameter (n,): 0 shared, 1 + k group k, 1 + K + c territory c."""
    owner = np.zeros(len(network.params.flat), np.intp)
    for number, spans in enumerate(network.group_spans() + network.territory_spans(), 1):
        for span in spans:
            owner[span] = number
    return owner


def textbook_update(
    before: list[np.ndarray], gradient: np.ndarray, rates: np.ndarray, t: np.ndarray, config: Config
) -> np.ndarray:
    """What a step adds (n,) in float64; ``rates`` (n,) are of weight decay, ``t`` (n,) counts updates."""
    P, M, V, G = (values.astype(np.float64) for values in (*before, gradient))
    settings = config.train
    decayed = reference.decay(P, settings.learning_rate, rates)
    betas = settings.beta1, settings.beta2
    return reference.adam(decayed, M, V, G, settings.learning_rate, *betas, settings.eps, t)[0] - P


def step_check(
    number: int, network: TwoTower, optimiser: Adam, before: list[np.ndarray], expected: np.ndarray,
    updated: np.ndarray, t: np.ndarray, blocks: list[Block],
) -> StepCheck:  # fmt: skip
    """The worst element of every updated block, and whether absent blocks stayed unchanged bit for bit."""
    P = before[0].astype(np.float64)
    actual = network.params.flat - P
    arenas = network.params, optimiser.m, optimiser.v
    unchanged = np.all([arena.flat == old for arena, old in zip(arenas, before, strict=True)], axis=0)
    tolerance = WEIGHT_TOLERANCE * np.abs(P) + UPDATE_TOLERANCE * np.maximum(np.abs(expected), optimiser.lr)
    with np.errstate(invalid="ignore"):
        error = np.abs(actual - expected) / tolerance
    records: list[BlockStep] = []
    for block in blocks:
        where = np.arange(len(P))[block.where]
        if not len(where):
            continue
        present = where[updated[where]]
        record: BlockStep = {
            "name": block.name, "owner": block.owner, "present": bool(len(present)),
            "unchanged": bool(unchanged[where[~updated[where]]].all()), "error": 0.0,
        }  # fmt: skip
        if len(present):
            worst = int(present[np.argmax(np.nan_to_num(error[present], nan=np.inf))])
            shape, offset = network.params.shapes[block.parameter], network.params.offsets[block.parameter]
            record["index"] = [int(i) for i in np.unravel_index(worst - offset, shape)]
            record["t"], record["gradient"] = int(t[worst]), float(network.grads.flat[worst])
            record["textbook"], record["engine"] = float(expected[worst]), float(actual[worst])
            record["error"] = float(error[worst])
        record["agrees"] = record["unchanged"] and record["error"] <= 1
        records.append(record)
    return {"step": number, "blocks": records, "agrees": all(record["agrees"] for record in records)}
