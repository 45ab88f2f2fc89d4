"""Inspect one batch: which groups' rows moved which block, and what else the pass shows.

The order of work follows what the model's workspaces hold: one pass over the whole batch; what can be read from it
(dead units, Adam's next step); then a pass per group with the mask, and one per group without it.
"""

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.progress import Progress, silent
from twotower.core.serialisation import plain
from twotower.lab.attribution.blocks import Block, blocks_of, in_backward_order, part_of
from twotower.lab.attribution.dead_units import dead_units
from twotower.lab.attribution.gradients import (
    GradientMatrix,
    conflict,
    copy_of,
    gradient_matrix,
    running_statistics_kept,
    update_norms,
)
from twotower.lab.attribution.record import BlockGradient, Conflict, GroupFacts, Inspection, Leak, OptimiserFacts
from twotower.lab.attribution.summary import summary
from twotower.lab.attribution.without_mask import UnmaskedGradients, gradients_without_mask
from twotower.lab.subject import Subject
from twotower.model.loss import Losses


def inspect(subject: Subject, progress: Progress = silent) -> Inspection:
    """Inspect a subject's batch; weights, running statistics and optimiser stay unchanged, bit for bit."""
    model, batch, optimiser = subject.model, subject.batch, subject.trainer.optimiser
    K, done = model.config.groups, [0]

    def tick() -> None:
        done[0] += 1
        progress("inspecting the batch, a pass per group", done[0], K + 2)

    with threadpool_limits(1, "blas"), running_statistics_kept(model):
        losses = model.loss_and_gradients(batch)
        whole, dead = copy_of(model.grads), dead_units(model, batch)
        tick()
        blocks = in_backward_order(blocks_of(model, subject.territory_group))
        updates = update_norms(optimiser, whole, losses.present, blocks, model.threads)
        unmasked = gradients_without_mask(subject, whole)
        tick()
        matrix = gradient_matrix(model, batch, blocks, whole, tick)
    norm, cosine, share = map(plain, conflict(matrix.towers))
    record = Inspection(
        subject=subject.facts(),
        loss=plain(losses.total),
        optimiser=OptimiserFacts(optimiser.steps[0], optimiser.steps[0] == 0, optimiser.lr),
        groups=[group_facts(subject, losses, k, share[k]) for k in range(K)],
        blocks=[block_gradient(subject, block, n, matrix, unmasked, updates) for n, block in enumerate(blocks)],
        conflict=[Conflict(*of_group) for of_group in zip(subject.group_names, norm, cosine, strict=True)],
        leak=leaks(unmasked, K),
        dead=dead,
        summary=[],
    )
    record.summary = summary(record)
    return record


def group_facts(subject: Subject, losses: Losses, k: int, share: float | None) -> GroupFacts:
    """Rows and mean loss of a group."""
    batch, pairs = subject.batch, losses.pairs_by_group[k]
    start, stop = batch.pair_start[batch.segments[k : k + 2]]
    users, positives = int(np.diff(batch.segments)[k]), int(batch.labels[start:stop].sum())
    rate, loss = (positives / pairs, plain(losses.by_group[k] * len(batch) / pairs)) if pairs else (None, None)
    return GroupFacts(subject.group_names[k], pairs, users, positives, rate, loss, share)


def block_gradient(
    subject: Subject, block: Block, n: int, matrix: GradientMatrix, unmasked: UnmaskedGradients, updates: np.ndarray
) -> BlockGradient:
    """A row of the matrix of blocks × groups."""
    weight, cells = block.norm(subject.model.params), unmasked.blocks.get(block.parameter)
    return BlockGradient(
        **block.identity(),
        weight=plain(weight),
        gradient=plain(matrix.whole[n]),
        by_group=plain(matrix.by_group[n]),
        share=plain(matrix.share[n]),
        remainder=plain(matrix.remainder[n]),
        unmasked=None if cells is None or block.owner is None else plain(cells[block.owner]),
        update=plain(updates[n]),
        ratio=plain(updates[n] / weight) if weight else None,
    )


def leaks(unmasked: UnmaskedGradients, groups: int) -> list[Leak]:
    """What each group's part of the network would get without the mask; empty where groups own no parameters."""
    records = []
    for part in dict.fromkeys(map(part_of, unmasked.blocks)):
        by_group, others = unmasked.of(part)
        for k in range(groups):
            own, rest = plain(by_group[k, k]), plain(others[k])
            ratio = rest / own if own and rest is not None else None
            records.append(Leak(k, part, own, rest, ratio, plain(by_group[k])))
    return records
