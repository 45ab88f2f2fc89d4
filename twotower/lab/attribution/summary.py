"""An inspection in plain words: what a reader should see in its figures, read off the record alone."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from twotower.core.formatting import in_words, minus

Record = Mapping[str, Any]
RIGHT_ANGLE = 0.1  # a smaller cosine is nearly one: nobody helps or hurts much
#: Parameters whose gradient comes back through another one, which training starts at 0.
MULTIPLIED_BY = {"head.P": "head.Q", "head.G": "experts.Q", "experts.P": "experts.Q", "head.alpha": "stitch.W"}


def summary(record: Record) -> list[str]:
    """A sentence or two on each part of the record."""
    several = len(record["groups"]) > 1
    parts = [*mask(record), *whole(record)] if several else []
    return [*parts, *(conflict(record) if several else []), *leak(record), *dead(record), *updates(record)]


def mask(record: Record) -> list[str]:
    """Where gradients came from: the shared blocks, and those of one group."""
    shared, foreign = [], []
    present = [k for k, group in enumerate(record["groups"]) if group["pairs"]]
    for block in record["blocks"]:
        if block["owner"] is None:
            shared.append(all(block["by_group"][k] for k in present))
        else:
            cells = [(block["name"], k, value) for k, value in enumerate(block["by_group"]) if k != block["owner"]]
            if block["gradient"] != 0 or any(value != 0 for *_, value in cells):  # or else 0 would say little
                foreign += cells
    moved = f"each of the {len(shared)}" if all(shared) else f"{sum(shared)} of the {len(shared)}"
    found = [f"Rows of {those(present, len(record['groups']))} moved {moved} shared blocks."]
    leaks = [cell for cell in foreign if cell[2] != 0]
    if leaks:
        name, k, value = max(leaks, key=lambda cell: -1.0 if cell[2] is None else cell[2])
        size = "no number" if value is None else in_words(value, ".2e")
        found.append(
            f"A LEAK: {len(leaks)} of {len(foreign)} cells off a block's own group are not 0; "
            f"{name} gets {size} from rows of group {k}."
        )
    elif foreign:
        found.append(
            "A block that belongs to a group was moved by that group’s rows alone: in all "
            f"{len(foreign):,} cells off its own group the backward pass found exactly 0."
        )
    return found + without_gradient([block for block in record["blocks"] if block["owner"] in (None, *present)])


def without_gradient(blocks: list[Record]) -> list[str]:
    """Parameters that nobody moves, and why where that can be told: another weight is 0, as before the first step."""
    still = list(dict.fromkeys(block["parameter"] for block in blocks if block["gradient"] == 0))
    zero = {block["parameter"] for block in blocks if block["weight"] == 0}
    waiting = [name for name in still if MULTIPLIED_BY.get(name) in zero]
    found = []
    for names in (waiting, [name for name in still if name not in waiting]):
        if names:
            verb = "gets" if len(names) == 1 else "get"
            factor = " and ".join(dict.fromkeys(MULTIPLIED_BY[name] for name in names if names is waiting))
            why = f": what comes back is multiplied by {factor}, which is 0" if factor else ""
            found.append(f"{listed(names)} {verb} no gradient from anybody, own rows included{why}.")
    return found


def listed(names: list[str]) -> str:
    """Names in a sentence."""
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), names[-1]])


def those(present: list[int], groups: int) -> str:
    """The groups that have rows in the batch."""
    if len(present) < groups:
        return f"the {len(present)} groups in the batch" if len(present) > 1 else "the one group in the batch"
    return "both groups" if groups == 2 else f"all {groups} groups"


def whole(record: Record) -> list[str]:
    """Whether the groups' parts are all there is."""
    known = [b for b in record["blocks"] if b["remainder"] is not None and max_of(b["by_group"])]
    rest = max((b["remainder"] / max(b["gradient"], max_of(b["by_group"])) for b in known), default=0.0)
    if rest == 0:
        return ["The groups’ parts add up to the gradient of the batch, to the last bit."]
    added = "The groups’ parts add up to the gradient of the batch"
    return [f"{added}: the rest is {in_words(rest)} of it, which is rounding."]


def conflict(record: Record) -> list[str]:
    """Which groups agree on the towers, and who makes how much of their gradient."""
    cosine, share = record["conflict"]["cosine"], record["conflict"]["share"]
    pairs = [(cosine[j][k], j, k) for j, k in combinations(range(len(cosine)), 2) if cosine[j][k] is not None]
    if not pairs:
        return []
    (least, j, k), (most, m, n) = min(pairs), max(pairs)
    spread = f"{least:+.2f} (groups {j} and {k})"
    if len(pairs) > 1:
        spread = f"from {spread} to {most:+.2f} ({m} and {n})"
    spread, cosines = minus(spread), "cosines" if len(pairs) > 1 else "cosine"
    if least < -RIGHT_ANGLE:
        against = sum(cosine < -RIGHT_ANGLE for cosine, *_ in pairs)
        verb = "pulls" if against == 1 else "pull"
        who = f"{against} of {len(pairs)} pairs of groups {verb}" if len(cosine) > 2 else "The two groups pull"
        found = [f"{who} the towers against each other: {cosines} {spread}."]
    elif most < RIGHT_ANGLE:
        found = [f"The groups pull the towers in different directions, nearly at right angles: {cosines} {spread}."]
    else:
        found = [f"No two groups pull the towers against each other: {cosines} {spread}."]
    total = sum(group["pairs"] for group in record["groups"])
    known = [(value, group) for group, value in enumerate(share) if value is not None]
    if known:
        value, group = max(known)
        rows = record["groups"][group]["pairs"] / total
        towers, pairs_text = (minus(f"{100 * part:.0f}\u00a0%") for part in (value, rows))
        found.append(f"Group {group} makes {towers} of the towers’ gradient with {pairs_text} of the pairs.")
    return found


def leak(record: Record) -> list[str]:
    """What foreign rows would send to a head with the mask off."""
    for part in ("head", "title bias"):
        parts = [(of["parts"][part], of["head"]) for of in record["leak"] if part in of["parts"]]
        ratios = [(of["foreign"] / of["own"], head) for of, head in parts if of["own"] and of["foreign"]]
        if ratios:
            break
    else:
        return []
    (least, other), (most, head) = min(ratios), max(ratios)
    times = f"{times_of(most)} times"
    if len(ratios) > 1:
        times = f"from {times_of(least)} times (group {other}’s) to {times} (group {head}’s)"
    return [f"With the mask off, foreign rows would move a {part} {times} as strongly as its own rows do."]


def dead(record: Record) -> list[str]:
    """Units that say nothing: of a head those that are dead for its own group, whom alone it serves."""
    layers = [layer for layer in record["dead"] if layer["dead"] is not None]
    counts = [(layer["layer"], layer["dead"], layer["units"]) for layer in layers if layer["layer"] != "head"]
    for layer in layers:
        if layer["layer"] == "head":
            counts += [(f"head {k}", dead or 0, layer["units"]) for k, dead in enumerate(layer["by_group"])]
    found = [f"{dead} of {units} in {name}" for name, dead, units in counts if dead]
    if found:
        return [f"Dead ReLU units, at 0 for every row that comes by: {', '.join(found)}."]
    return [f"No ReLU unit is dead ({', '.join(layer['layer'] for layer in layers)})."]


def updates(record: Record) -> list[str]:
    """How far the next step moves the weights."""
    known = [(block["ratio"], block["name"]) for block in record["blocks"] if block["ratio"]]
    if not known:
        return []
    (least, slow), (most, fast) = min(known), max(known)
    moved = f"by {in_words(least, '.2g')} ({slow}) to {in_words(most, '.2g')} ({fast}) of their norm"
    found = f"The next step moves the weights {moved}."
    adam = record["optimiser"]
    if adam["fresh"]:
        rate = in_words(adam["learning_rate"], "g")
        first = f"whatever the gradient, its first step is about the learning rate, {rate} a weight"
        return [f"{found} Adam is fresh: {first}."]
    return [f"{found} Adam goes on from its moments after {adam['steps']:,} steps."]


def times_of(ratio: float) -> str:
    """A ratio in two digits, also where the second is 0; a large one as a whole number."""
    return f"{ratio:#.2g}" if ratio < 9.95 else f"{ratio:,.0f}"


def max_of(values: list[float | None]) -> float:
    """The largest number among some, 0 where there is none."""
    return max((value for value in values if value is not None), default=0.0)
