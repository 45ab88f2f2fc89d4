"""One batch looked into, as a record of plain values: whose rows moved what, and what else its pass can tell.

The order of events is that in which workspaces hold what is wanted: one pass over the whole batch; what can be read
from it (dead units, single rows, the heads with the mask off, Adam's step on copies); then a pass a group.
"""

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.progress import Progress, silent
from twotower.core.version import __version__
from twotower.lab.attribution.conflict import Conflict, conflict
from twotower.lab.attribution.gradient_matrix import (
    PARTS,
    Block,
    GradientMatrix,
    blocks_of,
    from_the_loss_down,
    gradient_matrix,
    left_as_it_was,
)
from twotower.lab.attribution.mask_off import MaskOff, mask_off
from twotower.lab.attribution.rows import RULE, chosen_rows, embedding_gradients, pairs_of, row_gradients
from twotower.lab.attribution.summary import summary
from twotower.lab.attribution.units import Activations, activations, dead_units
from twotower.lab.attribution.updates import copy_of, update_norms
from twotower.lab.subject import Subject
from twotower.model.loss import Losses
from twotower.model.reference import sigmoid

FORMAT = 1


def inspect(subject: Subject, progress: Progress = silent) -> dict[str, Any]:
    """The record INSPECTION of a batch; weights, running statistics and optimiser stay bit for bit as they are."""
    model, batch, optimiser = subject.model, subject.batch, subject.trainer.optimiser
    K, done = model.config.groups, [0]

    def tick() -> None:
        done[0] += 1
        progress("inspecting the batch, a pass a group", done[0], K + 2)

    with threadpool_limits(1, "blas"), left_as_it_was(model):
        losses = model.loss_and_gradients(batch)
        whole, A = copy_of(model.grads), activations(model, batch)
        tick()
        rows = row_records(subject, A)
        dead = [layer._asdict() for layer in dead_units(model, batch, A)]
        unmasked = mask_off(model, batch, A.user2)
        blocks = from_the_loss_down(blocks_of(model, subject.territory_group))
        updates = update_norms(optimiser, whole, losses.present, blocks, model.threads)
        tick()
        matrix = gradient_matrix(model, batch, blocks, whole, tick)
    record = plain({
        "format": FORMAT,
        "kind": "inspection",
        "twotower": __version__,
        "subject": subject.facts(),
        "loss": losses.total,
        "optimiser": {"steps": optimiser.steps[0], "fresh": optimiser.steps[0] == 0, "learning_rate": optimiser.lr},
        "groups": group_records(subject, losses),
        "blocks": block_records(subject, blocks, matrix, unmasked, updates),
        "conflict": conflict_record(blocks, conflict(matrix.towers)),
        "leak": leak_records(unmasked),
        "dead": dead,
        "rows_rule": RULE,
        "rows": rows,
    })  # fmt: skip
    return record | {"summary": summary(record)}


def group_records(subject: Subject, losses: Losses) -> list[dict[str, Any]]:
    """How many rows each group has in the batch, and how they are scored; ``loss`` is the mean over its pairs."""
    batch, found = subject.batch, []
    bounds = batch.pair_start[batch.segments]
    for k, name in enumerate(subject.group_names):
        pairs = losses.pairs_by_group[k]
        positives = int(batch.labels[bounds[k] : bounds[k + 1]].sum())
        found.append({
            "name": name,
            "pairs": pairs,
            "users": int(batch.segments[k + 1] - batch.segments[k]),
            "positives": positives,
            "base_rate": positives / pairs if pairs else None,
            "loss": losses.by_group[k] * len(batch.labels) / pairs if pairs else None,
        })  # fmt: skip
    return found


def block_records(
    subject: Subject, blocks: list[Block], matrix: GradientMatrix, unmasked: MaskOff, updates: np.ndarray
) -> list[dict[str, Any]]:
    """The matrix blocks × groups, a record a block."""
    found = []
    for n, block in enumerate(blocks):
        weight = float(np.linalg.norm(block.of(subject.model.params)))
        off = unmasked.blocks.get(block.parameter)
        found.append({
            "name": block.name,
            "parameter": block.parameter,
            "owner": block.owner,
            "part": block.part,
            "layer": block.layer,
            "shape": list(block.shape),
            "weight": weight,
            "gradient": matrix.whole[n],
            "by_group": matrix.by_group[n],
            "share": matrix.share[n],
            "remainder": matrix.remainder[n],
            "unmasked": None if off is None or block.owner is None else off[block.owner],
            "update": updates[n],
            "ratio": updates[n] / weight if weight else None,
        })  # fmt: skip
    return found


def conflict_record(blocks: list[Block], found: Conflict) -> dict[str, Any]:
    towers = [block.name for block in blocks if block.part in ("user tower", "title tower")]
    return {"cosine": found.cosine, "norm": found.norm, "share": found.share, "blocks": towers}


def leak_records(unmasked: MaskOff) -> list[dict[str, Any]]:
    """What a head would get with the mask off, in all and by parts; empty where no group has anything to itself."""
    if not unmasked.blocks:
        return []
    prefixes = list(dict.fromkeys(name.partition(".")[0] for name in unmasked.blocks))
    whole, parts = unmasked.of(), {PARTS[prefix]: unmasked.of(f"{prefix}.") for prefix in prefixes}
    found = []
    for k in range(len(whole[1])):
        told = {part: leak_of(k, *measured) for part, measured in parts.items()}
        found.append({"head": k, **leak_of(k, *whole), "parts": told})
    return found


def leak_of(k: int, by_group: np.ndarray, foreign: np.ndarray) -> dict[str, Any]:
    return {"own": by_group[k, k], "foreign": foreign[k], "by_group": by_group[k]}


def row_records(subject: Subject, A: Activations) -> list[dict[str, Any]]:
    """Some users of each group, chosen by ``RULE``, with their pairs and the gradient on its way back."""
    model, batch, dataset = subject.model, subject.batch, subject.dataset
    dU, dz = embedding_gradients(model, batch), model.pairs.dz[: len(batch.labels)]
    probability = sigmoid(model.pairs.z[: len(batch.labels)].astype(np.float64))
    chosen = chosen_rows(dU, batch.segments)
    gradients = row_gradients(model, batch, chosen, dU, A)
    codes, user_ids = dataset.territories.code, dataset.user_ids
    found = []
    for n, (row, k) in enumerate(chosen):
        user = int(batch.user_rows[row])
        pairs = pairs_of(batch, row, dz)
        found.append({
            "user": user_ids[user] if user_ids else str(user),
            "group": k,
            "territory": codes[dataset.user_territory[user]],
            "pairs_in_batch": int(batch.user_counts[row]),
            "pairs": [
                {
                    "title": dataset.title_ids[batch.title_rows[batch.pair_title[i]]],
                    "label": int(batch.labels[i]),
                    "probability": probability[i],
                    "dz": dz[i],
                }
                for i in pairs
            ],
            "gradient": {station: norms[n] for station, norms in gradients._asdict().items()},
        })  # fmt: skip
    return found


def plain(value: Any) -> Any:
    """Python's own values, and None for what is not a number."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
