"""Steps of Adam against the formula: what each adds to a weight, and that what is absent does not move.

No difference can witness a step, since it is no gradient. The witness is ``reference.adam`` in float64, given the same
weights, moments and gradient; and a count of updates of its own, a block at a time, for the correction of the bias.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from twotower.core.config import Config
from twotower.data.batches import Batch
from twotower.lab.attribution.gradient_matrix import Block
from twotower.model import reference
from twotower.model.adam import Adam
from twotower.model.two_tower import TwoTower
from twotower.training.loop import make_optimiser

#: Of an update, or of the learning rate where that is more: a step divides two float32 moments of few units' rounding.
UPDATE_TOLERANCE = 1e-5
#: Of the weight: the sum of weight and update is rounded to float32, whose unit is 1.2e-7, once or twice.
WEIGHT_TOLERANCE = 2 * float(np.finfo(np.float32).eps)


def adam_steps(
    network: TwoTower, batches: Sequence[Batch], blocks: list[Block], config: Config
) -> list[dict[str, Any]]:
    """A step on each batch from moments of 0; ``network`` moves along. A record a step."""
    optimiser, size = make_optimiser(network, config.train), len(network.params.flat)
    owner = owners(network)
    rates = np.zeros(size)
    for spans in optimiser.decays:
        for span, rate in spans:
            rates[span] += rate
    counts, steps = np.zeros(owner.max() + 1, int), []
    for number, batch in enumerate(batches, 1):
        losses = network.loss_and_gradients(batch)
        moved = np.isin(owner, [0, *(1 + block for block in losses.present)])
        counts[np.unique(owner[moved])] += 1
        before = [arena.flat.copy() for arena in (network.params, optimiser.m, optimiser.v)]
        optimiser.update(network.grads, losses.present, network.threads)
        expected = textbook(before, network.grads.flat, rates, counts[owner].clip(1), config)
        steps.append(judged(number, network, optimiser, before, expected, moved, counts[owner], blocks))
    return steps


def owners(network: TwoTower) -> np.ndarray:
    """Whose every flat parameter is (n,): 0 of all, 1 + k of group k, 1 + K + c of territory c."""
    owner = np.zeros(len(network.params.flat), np.intp)
    for number, spans in enumerate(network.group_spans() + network.territory_spans(), 1):
        for span in spans:
            owner[span] = number
    return owner


def textbook(
    before: list[np.ndarray], gradient: np.ndarray, rates: np.ndarray, t: np.ndarray, config: Config
) -> np.ndarray:
    """What a step adds (n,), by the formula in float64; ``rates`` and ``t`` (n,) of decay, and counts of updates."""
    P, M, V, G = (values.astype(np.float64) for values in (*before, gradient))
    settings = config.train
    shrunk = reference.decay(P, settings.learning_rate, rates)
    betas = settings.beta1, settings.beta2
    return reference.adam(shrunk, M, V, G, settings.learning_rate, *betas, settings.eps, t)[0] - P


def judged(
    number: int, network: TwoTower, optimiser: Adam, before: list[np.ndarray], expected: np.ndarray,
    moved: np.ndarray, t: np.ndarray, blocks: list[Block],
) -> dict[str, Any]:  # fmt: skip
    """A step's record: of every block its worst number, of the absent ones whether they stayed bit for bit."""
    P = before[0].astype(np.float64)
    found = network.params.flat - P
    arenas = network.params, optimiser.m, optimiser.v
    stayed = np.all([arena.flat == old for arena, old in zip(arenas, before, strict=True)], axis=0)
    tolerance = WEIGHT_TOLERANCE * np.abs(P) + UPDATE_TOLERANCE * np.maximum(np.abs(expected), optimiser.lr)
    with np.errstate(invalid="ignore"):
        error = np.abs(found - expected) / tolerance
    records = []
    for block in blocks:
        where = np.arange(len(P))[block.where]
        if not len(where):
            continue
        present = where[moved[where]]
        frozen = bool(stayed[where[~moved[where]]].all())
        record: dict[str, Any] = {
            "name": block.name, "owner": block.owner, "present": bool(len(present)), "stayed": frozen, "error": 0.0,
        }  # fmt: skip
        if len(present):
            worst = int(present[np.argmax(np.nan_to_num(error[present], nan=np.inf))])
            shape, offset = network.params.shapes[block.parameter], network.params.offsets[block.parameter]
            index = np.unravel_index(worst - offset, shape)
            record |= {
                "index": [int(i) for i in index], "t": int(t[worst]), "gradient": float(network.grads.flat[worst]),
                "textbook": float(expected[worst]), "engine": float(found[worst]), "error": float(error[worst]),
            }  # fmt: skip
        records.append(record | {"agrees": frozen and record["error"] <= 1})
    return {"step": number, "blocks": records, "agrees": all(record["agrees"] for record in records)}
