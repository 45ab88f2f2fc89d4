"""What the mask guarantees: a head's gradient is exactly 0 from other groups' rows and in batches without its group."""

import numpy as np

from twotower.core.progress import Progress, silent
from twotower.data.batches import Batch
from twotower.lab.attribution.blocks import Block
from twotower.lab.gradcheck.finite_differences import Textbook
from twotower.lab.gradcheck.record import MaskCheck
from twotower.lab.gradcheck.small_batches import SmallBatches
from twotower.model.two_tower import TwoTower
from twotower.model.variants.one_group import gradients_of_group


def check_masks(
    network: TwoTower, small: SmallBatches, batch: Batch, blocks: list[Block], progress: Progress = silent
) -> list[MaskCheck]:
    """A record per group that shares the batch with other groups."""
    K = network.config.groups
    owned = {k: [block for block in blocks if block.owner == k] for k in range(K)}
    present = np.flatnonzero(np.diff(batch.segments)).tolist()
    groups = [k for k in present if owned[k]]
    if K == 1 or len(present) < 2:
        return []
    stage, total = "heads without rows", 2 * len(groups)
    network.loss_and_gradients(batch)
    own = {k: largest(network, owned[k]) for k in groups}
    others = dict.fromkeys(groups, 0.0)
    for done, source in enumerate(groups, 1):
        gradients_of_group(network, batch, source)
        for k in groups:
            if k != source:
                others[k] = larger_or_nan(others[k], largest(network, owned[k]))
        progress(stage, done, total)
    records: list[MaskCheck] = []
    for done, k in enumerate(groups, len(groups) + 1):
        network.loss_and_gradients(batch)  # a head must not keep the gradient of this batch
        rest = small.restricted(batch, [other for other in range(K) if other != k])
        network.loss_and_gradients(rest)
        absent = largest(network, owned[k])
        _, gradients = Textbook(network, rest).loss_and_gradients()
        textbook = 0.0
        for block in owned[k]:
            values = gradients[block.parameter].reshape(-1)[places_in_parameter(network, block)]
            textbook = larger_or_nan(textbook, float(np.abs(values).max()))
        agrees = others[k] == absent == textbook == 0
        records.append({"group": k, "own": own[k], "others": others[k], "absent": absent, "textbook": textbook,
                        "agrees": agrees})  # fmt: skip
        progress(stage, done, total)
    return records


def places_in_parameter(network: TwoTower, block: Block) -> np.ndarray:
    """Positions (n,) of a block's elements in its parameter."""
    return np.arange(len(network.params.flat))[block.where] - network.params.offsets[block.parameter]


def largest(network: TwoTower, blocks: list[Block]) -> float:
    """Size of the largest element of the engine's gradient; NaN where one is."""
    return float(np.max([np.abs(block.of(network.grads)).max() for block in blocks]))


def larger_or_nan(a: float, b: float) -> float:
    return float(np.maximum(a, b))
