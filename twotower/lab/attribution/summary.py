"""An inspection in sentences, from its record alone."""

from collections.abc import Sequence
from itertools import combinations

from twotower.core.formatting import in_words, minus
from twotower.lab.attribution.record import BlockGradient, Inspection, times_text

ORTHOGONAL = 0.1  # cosines below this size are called nearly orthogonal
#: Parameters whose gradient passes through another parameter, which is 0 at the start of training.
PASSES_THROUGH = {"head.P": "head.Q", "head.G": "experts.Q", "experts.P": "experts.Q", "head.alpha": "stitch.W"}


def summary(record: Inspection) -> list[str]:
    """A sentence or two on each part of the record."""
    of_groups = [*mask(record), *remainder(record), *conflict(record)] if len(record.groups) > 1 else []
    return [*of_groups, *leak(record), *dead(record), *updates(record)]


def mask(record: Inspection) -> list[str]:
    """Which groups contribute to shared blocks, and to blocks owned by one group."""
    present = [k for k, group in enumerate(record.groups) if group.pairs]
    shared = [block for block in record.blocks if block.owner is None]
    moved = sum(all(block.by_group[k] for k in present) for block in shared)
    count = f"All {len(shared)}" if moved == len(shared) else f"{moved} of {len(shared)}"
    sources = groups_text(present, len(record.groups))
    sentences = [f"{count} shared blocks get a gradient from the rows of {sources}."]
    cells = [
        (block.name, k, value)
        for block in record.blocks
        if block.owner is not None and any(value != 0 for value in (block.gradient, *block.by_group))
        for k, value in enumerate(block.by_group)
        if k != block.owner
    ]
    leaks = [cell for cell in cells if cell[2] != 0]
    if leaks:
        name, k, value = max(leaks, key=lambda cell: -1.0 if cell[2] is None else cell[2])
        size = "NaN" if value is None else in_words(value, ".2e")
        sentences.append(
            f"LEAK: {len(leaks)} of {len(cells)} cells for other groups are not 0; "
            f"{name} gets {size} from rows of group {k}."
        )
    elif cells:
        sentences.append(
            "Blocks owned by one group get their gradient from that group’s rows only: "
            f"all {len(cells):,} cells for other groups are exactly 0."
        )
    return sentences + no_gradient([block for block in record.blocks if block.owner in (None, *present)])


def no_gradient(blocks: Sequence[BlockGradient]) -> list[str]:
    """Parameters without any gradient, with the reason where another parameter is 0, as before the first step."""
    still = list(dict.fromkeys(block.parameter for block in blocks if block.gradient == 0))
    zero = {block.parameter for block in blocks if block.weight == 0}
    blocked = [name for name in still if PASSES_THROUGH.get(name) in zero]
    sentences = []
    for names in (blocked, [name for name in still if name not in blocked]):
        if names:
            factors = dict.fromkeys(PASSES_THROUGH[name] for name in names if names is blocked)
            why = f": it passes through {' and '.join(factors)}, which is 0" if factors else ""
            subject = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
            verb = "gets" if len(names) == 1 else "get"
            sentences.append(f"{subject} {verb} no gradient, not even from own rows{why}.")
    return sentences


def groups_text(present: Sequence[int], groups: int) -> str:
    """The groups that have rows in the batch."""
    if len(present) < groups:
        return f"the {len(present)} groups in the batch" if len(present) > 1 else "the one group in the batch"
    return "both groups" if groups == 2 else f"all {groups} groups"


def remainder(record: Inspection) -> list[str]:
    """Whether the groups' parts add up to the gradient."""
    known = [b for b in record.blocks if b.remainder is not None and largest(b.by_group)]
    error = max((b.remainder / largest([b.gradient, *b.by_group]) for b in known), default=0.0)  # type: ignore[operator]
    precision = f"up to rounding (relative error {in_words(error)})" if error else "to the last bit"
    return [f"The groups’ parts add up to the gradient of the batch, {precision}."]


def conflict(record: Inspection) -> list[str]:
    """Which groups' gradients of the towers conflict, and which group contributes most."""
    of_pairs = ((record.conflict[j].cosine[k], j, k) for j, k in combinations(range(len(record.conflict)), 2))
    pairs = [(value, j, k) for value, j, k in of_pairs if value is not None]
    if not pairs:
        return []
    (least, j, k), (most, m, n) = min(pairs), max(pairs)
    values = f"cosine {least:+.2f} (groups {j} and {k})"
    if len(pairs) > 1:
        values = f"cosines from {least:+.2f} (groups {j} and {k}) to {most:+.2f} ({m} and {n})"
    conflicts = sum(value < -ORTHOGONAL for value, *_ in pairs)
    if conflicts:
        who = f"Gradients of the towers conflict in {conflicts} of {len(pairs)} pairs of groups"
    elif most < ORTHOGONAL:
        who = "The groups’ gradients of the towers are nearly orthogonal"
    else:
        who = "No two groups’ gradients of the towers conflict"
    sentences = [minus(f"{who}: {values}.")]
    known = [(group.share, k) for k, group in enumerate(record.groups) if group.share is not None]
    if known:
        value, group = max(known)
        pairs_share = record.groups[group].pairs / sum(of.pairs for of in record.groups)
        parts = [minus(f"{100 * part:.0f}\u00a0%") for part in (value, pairs_share)]
        sentences.append(f"Group {group} contributes {parts[0]} of the towers’ gradient with {parts[1]} of the pairs.")
    return sentences


def leak(record: Inspection) -> list[str]:
    """The gradient that other groups' rows would send to a head without the mask."""
    for part in ("head", "title bias"):
        ratios = [(of.ratio, of.head) for of in record.leak if of.part == part and of.ratio]
        if ratios:
            (least, j), (most, k) = min(ratios), max(ratios)
            times = f"{times_text(most)} times"
            if len(ratios) > 1:
                times = f"from {times_text(least)} times (group {j}) to {times} (group {k})"
            return [f"Without the mask, other groups’ rows would send a {part} {times} the gradient of its own rows."]
    return []


def dead(record: Inspection) -> list[str]:
    """Dead units; of a head those that are dead for the rows of its own group."""
    layers = [layer for layer in record.dead if layer.dead is not None]
    counts = [(layer.layer, layer.dead, layer.units) for layer in layers if layer.layer != "head"]
    for layer in layers:
        if layer.layer == "head":
            counts += [(f"head {k}", dead, layer.units) for k, dead in enumerate(layer.by_group or [])]
    parts = [f"{dead} of {units} in {name}" for name, dead, units in counts if dead]
    if parts:
        return [f"Dead ReLU units, which are 0 for every row: {', '.join(parts)}."]
    return [f"No dead ReLU units ({', '.join(layer.layer for layer in layers)})."]


def updates(record: Inspection) -> list[str]:
    """How far Adam's next step moves the weights."""
    known = [(block.ratio, block.name) for block in record.blocks if block.ratio]
    if not known:
        return []
    (least, slow), (most, fast) = min(known), max(known)
    moved = f"by {in_words(least, '.2g')} ({slow}) to {in_words(most, '.2g')} ({fast}) of their norm"
    adam = record.optimiser
    if adam.fresh:
        rate = in_words(adam.learning_rate, "g")
        state = f"It is Adam’s first step: about the learning rate, {rate}, per weight, whatever the gradient"
    else:
        state = f"Adam continues from its moments after {adam.steps:,} steps"
    return [f"The next step changes the blocks {moved}. {state}."]


def largest(values: Sequence[float | None]) -> float:
    """The largest defined value, or 0."""
    return max((value for value in values if value is not None), default=0.0)
