"""What the mask promises: a head's gradient is exactly 0, not nearly, wherever no row of its group is."""

from typing import Any

import numpy as np

from twotower.core.progress import Progress, silent
from twotower.data.batches import Batch
from twotower.lab.attribution.gradient_matrix import Block
from twotower.lab.gradcheck.finite_differences import Textbook
from twotower.lab.gradcheck.small_batch import SmallBatches
from twotower.model.two_tower import TwoTower
from twotower.model.variants.one_group import gradients_of_group


def masked_blocks(
    network: TwoTower, small: SmallBatches, batch: Batch, blocks: list[Block], progress: Progress = silent
) -> list[dict[str, Any]]:
    """A record for each group of the batch that shares it with others: the largest number of its blocks' gradient

    own      from the whole batch, in the engine; the others mean nothing where this is 0
    foreign  from the rows of the other groups alone, a backward pass for each of them, in the engine
    absent   from the batch without its rows, in the engine, and in the textbook
    """
    own = {k: [block for block in blocks if block.owner == k] for k in range(network.config.groups)}
    present = [k for k in np.flatnonzero(np.diff(batch.segments)).tolist() if own[k]]
    if network.config.groups == 1 or len(np.flatnonzero(np.diff(batch.segments))) < 2:
        return []
    stage, done, total = "heads without rows", 0, 2 * len(present)
    network.loss_and_gradients(batch)
    sizes = {k: largest(network, own[k]) for k in present}
    foreign = dict.fromkeys(present, 0.0)
    for source in present:
        gradients_of_group(network, batch, source)
        for k in present:
            if k != source:
                foreign[k] = worse(foreign[k], largest(network, own[k]))
        done += 1
        progress(stage, done, total)
    records = []
    for k in present:
        network.loss_and_gradients(batch)  # a head must not keep what it had
        rest = small.part(batch, [other for other in range(network.config.groups) if other != k])
        network.loss_and_gradients(rest)
        absent = largest(network, own[k])
        _, gradients = Textbook(network, rest).loss_and_gradients()
        textbook = 0.0
        for block in own[k]:
            values = gradients[block.parameter].reshape(-1)[local(network, block)]
            textbook = worse(textbook, float(np.abs(values).max()))
        agrees = foreign[k] == absent == textbook == 0
        records.append({"group": k, "own": sizes[k], "foreign": foreign[k], "absent": absent, "textbook": textbook,
                        "agrees": agrees})  # fmt: skip
        done += 1
        progress(stage, done, total)
    return records


def local(network: TwoTower, block: Block) -> np.ndarray:
    """Where the numbers of a block lie in its parameter, (n,)."""
    return np.arange(len(network.params.flat))[block.where] - network.params.offsets[block.parameter]


def largest(network: TwoTower, blocks: list[Block]) -> float:
    """Size of the largest number of the engine's gradient; NaN where one is."""
    return float(max((np.abs(block.of(network.grads)).max() for block in blocks), key=lambda x: (np.isnan(x), x)))


def worse(a: float, b: float) -> float:
    """The larger of the two, or NaN."""
    return float(np.maximum(a, b))
