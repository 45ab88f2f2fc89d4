"""Inspect one batch: which groups' rows moved which block, and what else the pass shows.

The order of work follows what the model's workspaces hold: one pass over the whole batch; what can be read from it
(dead units, single rows, Adam's step on copies); then a pass per group with the mask, and one per group without it.
"""

from typing import cast

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.progress import Progress, silent
from twotower.core.serialisation import plain
from twotower.core.version import __version__
from twotower.lab.attribution.activations import activations, dead_units
from twotower.lab.attribution.blocks import PARTS, Block, blocks_of, in_backward_order
from twotower.lab.attribution.gradients import (
    GradientMatrix,
    conflict,
    copy_of,
    gradient_matrix,
    running_statistics_kept,
    update_norms,
)
from twotower.lab.attribution.record import BlockGradient, GroupFacts, Inspection, Leak, LeakNorms
from twotower.lab.attribution.rows import RULE, user_rows
from twotower.lab.attribution.summary import summary
from twotower.lab.attribution.without_mask import UnmaskedGradients, gradients_without_mask
from twotower.lab.subject import Subject
from twotower.model.loss import Losses

FORMAT = 1


def inspect(subject: Subject, progress: Progress = silent) -> Inspection:
    """Inspect a subject's batch; weights, running statistics and optimiser stay unchanged, bit for bit."""
    model, batch, optimiser = subject.model, subject.batch, subject.trainer.optimiser
    K, done = model.config.groups, [0]

    def tick() -> None:
        done[0] += 1
        progress("inspecting the batch, a pass per group", done[0], K + 2)

    with threadpool_limits(1, "blas"), running_statistics_kept(model):
        losses = model.loss_and_gradients(batch)
        whole, A = copy_of(model.grads), activations(model, batch)
        tick()
        rows, dead = user_rows(subject, A), dead_units(model, batch, A)
        blocks = in_backward_order(blocks_of(model, subject.territory_group))
        updates = update_norms(optimiser, whole, losses.present, blocks, model.threads)
        unmasked = gradients_without_mask(model, batch, whole)
        tick()
        matrix = gradient_matrix(model, batch, blocks, whole, tick)
    towers = [block.name for block in blocks if block.part in ("user tower", "title tower")]
    record: Inspection = {
        "format": FORMAT,
        "kind": "inspection",
        "twotower": __version__,
        "subject": subject.facts(),
        "loss": losses.total,
        "optimiser": {"steps": optimiser.steps[0], "fresh": optimiser.steps[0] == 0, "learning_rate": optimiser.lr},
        "groups": group_facts(subject, losses),
        "blocks": block_gradients(subject, blocks, matrix, unmasked, updates),
        "conflict": {**conflict(matrix.towers)._asdict(), "blocks": towers},  # type: ignore[typeddict-item]
        "leak": leaks(unmasked),
        "dead": dead,
        "rows_rule": RULE,
        "rows": rows,
        "summary": [],
    }
    record = cast(Inspection, plain(record))
    record["summary"] = summary(record)
    return record


def group_facts(subject: Subject, losses: Losses) -> list[GroupFacts]:
    """Rows and mean loss of each group."""
    batch = subject.batch
    bounds = batch.pair_start[batch.segments]
    groups: list[GroupFacts] = []
    for k, name in enumerate(subject.group_names):
        pairs = losses.pairs_by_group[k]
        positives = int(batch.labels[bounds[k] : bounds[k + 1]].sum())
        groups.append({
            "name": name,
            "pairs": pairs,
            "users": int(batch.segments[k + 1] - batch.segments[k]),
            "positives": positives,
            "base_rate": positives / pairs if pairs else None,
            "loss": losses.by_group[k] * len(batch.labels) / pairs if pairs else None,
        })  # fmt: skip
    return groups


def block_gradients(
    subject: Subject, blocks: list[Block], matrix: GradientMatrix, unmasked: UnmaskedGradients, updates: np.ndarray
) -> list[BlockGradient]:
    """The matrix of blocks × groups, a record per block."""
    records: list[BlockGradient] = []
    for n, block in enumerate(blocks):
        weight = float(np.linalg.norm(block.of(subject.model.params)))
        cells = unmasked.blocks.get(block.parameter)
        records.append({
            "name": block.name,
            "parameter": block.parameter,
            "owner": block.owner,
            "part": block.part,
            "layer": block.layer,
            "shape": list(block.shape),
            "weight": weight,
            "gradient": matrix.whole[n],
            "by_group": matrix.by_group[n].tolist(),
            "share": matrix.share[n].tolist(),
            "remainder": matrix.remainder[n],
            "unmasked": None if cells is None or block.owner is None else cells[block.owner].tolist(),
            "update": updates[n],
            "ratio": updates[n] / weight if weight else None,
        })  # fmt: skip
    return records


def leaks(unmasked: UnmaskedGradients) -> list[Leak]:
    """What each head would get without the mask, in total and by part; empty where groups own no parameters."""
    if not unmasked.blocks:
        return []
    prefixes = list(dict.fromkeys(name.partition(".")[0] for name in unmasked.blocks))
    total, parts = unmasked.of(), {PARTS[prefix]: unmasked.of(f"{prefix}.") for prefix in prefixes}
    return [
        {"head": k, **leak_norms(k, *total), "parts": {part: leak_norms(k, *norms) for part, norms in parts.items()}}
        for k in range(len(total[1]))
    ]


def leak_norms(k: int, by_group: np.ndarray, others: np.ndarray) -> LeakNorms:
    """Row k of such norms."""
    return {"own": by_group[k, k], "others": others[k], "by_group": by_group[k].tolist()}
