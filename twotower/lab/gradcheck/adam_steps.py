"""Steps of Adam against the formula: what each adds to a weight, and that absent groups' weights stay unchanged.

A step is no gradient, so finite differences cannot check it. The reference is ``reference.adam`` in float64, given the
same weights, moments and gradient, and its own count of updates per block for the bias correction.
"""

from collections.abc import Sequence

import numpy as np

from twotower.core.config import Config
from twotower.data.batches import PairBatch
from twotower.lab.attribution.blocks import Block
from twotower.lab.gradcheck.record import StepCheck
from twotower.model import reference
from twotower.model.two_tower import TwoTower
from twotower.training.loop import make_optimiser

#: Of an update, or of the learning rate if larger: a step divides two float32 moments with a few units of rounding.
UPDATE_TOLERANCE = 1e-5
#: Of the weight: the sum of weight and update is rounded to float32, whose unit is 1.2e-7, once or twice.
WEIGHT_TOLERANCE = 2 * float(np.finfo(np.float32).eps)


def adam_steps(network: TwoTower, batches: Sequence[PairBatch], blocks: list[Block], config: Config) -> list[StepCheck]:
    """Check a step on each batch, starting from moments of 0. Updates ``network``."""
    optimiser, train = make_optimiser(network, config.train), config.train
    owner, rates = owners(network), np.zeros(len(network.params.flat))
    for spans in optimiser.decays:
        for span, rate in spans:
            rates[span] += rate
    counts, steps = np.zeros(owner.max() + 1, int), []
    arenas = network.params, optimiser.m, optimiser.v
    for number, batch in enumerate(batches, 1):
        losses = network.loss_and_gradients(batch)
        updated = np.isin(owner, [0, *(1 + block for block in losses.present)])
        counts[np.unique(owner[updated])] += 1
        before = [arena.flat.copy() for arena in arenas]
        optimiser.update(network.grads, losses.present, network.threads)
        P, M, V, G = (values.astype(np.float64) for values in (*before, network.grads.flat))
        t = counts[owner].clip(1)
        settings = train.learning_rate, train.beta1, train.beta2, train.eps
        textbook = reference.adam(reference.decay(P, settings[0], rates), M, V, G, *settings, t)[0] - P
        engine = network.params.flat - P
        tolerance = WEIGHT_TOLERANCE * np.abs(P) + UPDATE_TOLERANCE * np.maximum(np.abs(textbook), optimiser.lr)
        with np.errstate(invalid="ignore"):
            error = np.where(updated, np.nan_to_num(np.abs(engine - textbook) / tolerance, nan=np.inf), 0)
        same = np.all([arena.flat == old for arena, old in zip(arenas, before, strict=True)], axis=0)
        block = max(blocks, key=lambda block: error[block.where].max())
        worst = int(np.arange(len(P))[block.where][error[block.where].argmax()])
        place = np.unravel_index(worst - network.params.offsets[block.parameter], network.params[block.parameter].shape)
        wrong, unchanged = [each.name for each in blocks if error[each.where].max() > 1], bool(same[~updated].all())
        absent = np.flatnonzero(np.diff(batch.segments) == 0).tolist()
        steps.append(
            StepCheck(number, absent, unchanged, block.name, [int(i) for i in place], int(t[worst]), float(G[worst]),
                      float(textbook[worst]), float(engine[worst]), float(error[worst]), wrong, unchanged and not wrong)
        )  # fmt: skip
    return steps


def owners(network: TwoTower) -> np.ndarray:
    """The owner of every flat parameter (n,): 0 shared, 1 + k group k, 1 + K + c territory c."""
    owner = np.zeros(len(network.params.flat), np.intp)
    for number, spans in enumerate(network.group_spans() + network.territory_spans(), 1):
        for span in spans:
            owner[span] = number
    return owner
