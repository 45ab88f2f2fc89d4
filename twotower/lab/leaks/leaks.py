"""The leak detector: what rows outside a group change in the gradient of what that group has to itself.

For each group the labels, then the user features, then the title features of all other rows are disturbed, and the
gradient of the group's own head comes from the real backward pass again.

    labels            must change nothing, bit for bit: the loss is divided by the same B, and a head sees its own rows
    user features     may act through the moments that batch-norm of the user tower takes over all rows, and not at all
                      where it takes them a group (``batchnorm = "group"``)
    title features    may act through the moments of the title tower, which all groups share

The proof is a decomposition: with a tower's moments held at what they were, the same disturbance must change exactly
nothing. NaN in place of foreign labels and features must change nothing either: a mask that multiplies would let it by.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.core.random_streams import Stream, generator
from twotower.core.version import __version__
from twotower.data.batches import Batch
from twotower.lab.leaks.perturbation import (
    KINDS,
    LABELS,
    TITLES,
    USERS,
    Outside,
    disturbed,
    outside,
    poisoned,
    set_apart,
)
from twotower.lab.subject import Subject
from twotower.model.layers import BatchNormReLU, BatchStatistics
from twotower.model.variants.objective import Objective

DRAWS = 3  # disturbances of each kind
USER_TOWER, TITLE_TOWER = "user tower", "title tower"
TOWERS = (USER_TOWER, TITLE_TOWER)
OWN = ("head.", "title_bias.")  # parameters with a part for each group
SHARED = ("experts.", "stitch.")  # those of heads that all groups move by design
PARTS = {"head": "head.", "title bias": "title_bias.", "territories": "territory."}  # what a group has to itself

Own = dict[str, np.ndarray]  # gradients of what one group has to itself


class Suspect(Protocol):
    """A model whose groups have something to themselves."""

    allowed: Mapping[str, tuple[str, ...]]  # the towers whose moments a kind of disturbance may act through
    towers: tuple[str, ...]  # those whose moments can be held

    def remember(self, batch: Batch, k: int) -> Own:
        """The gradients of group ``k`` for a batch whose moments will be held."""

    def own(self, batch: Batch, k: int, held: Collection[str] = ()) -> Own:
        """The gradients of group ``k``, with the moments of the towers ``held`` as they were."""

    def takes_nan(self, what: str) -> bool:
        """Whether NaN can be put there."""


@dataclass
class Change:
    """How one gradient differs from another."""

    changed: int  # elements
    elements: int
    largest: float  # absolute; infinite where a number became NaN
    relative: float  # norm of the difference over the norm of what was there
    blocks: list[dict[str, Any]] = field(default_factory=list)  # the same for each block
    parts: dict[str, float] = field(default_factory=dict)  # relative, for each of PARTS that is there

    def record(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("changed", "elements", "largest", "relative")}


def compare(before: Own, after: Own) -> Change:
    """What changed, block by block and in all. NaN equals NaN, and 0 equals −0."""
    blocks = [{"block": name} | _differ(before, after, [name]).record() for name in before]
    parts = {part: [name for name in before if name.startswith(prefix)] for part, prefix in PARTS.items()}
    relative = {part: _differ(before, after, names).relative for part, names in parts.items() if names}
    return replace(_differ(before, after, list(before)), blocks=blocks, parts=relative)


def _differ(before: Own, after: Own, names: list[str]) -> Change:
    old, new = (np.concatenate([np.ravel(of[name]).astype(np.float64) for name in names]) for of in (before, after))
    changed = (old != new) & ~(np.isnan(old) & np.isnan(new))
    if not changed.any():
        return Change(0, len(old), 0.0, 0.0)
    difference, size = new[changed] - old[changed], float(np.linalg.norm(old))
    relative = float(np.linalg.norm(difference)) / size if size else np.inf
    largest = float(np.abs(difference).max())
    largest, relative = (np.inf if np.isnan(x) else x for x in (largest, relative))
    return Change(int(changed.sum()), len(old), largest, relative)


class HeldMoments(BatchNormReLU):
    """A batch-norm in training whose moments are given: rows act through it no more."""

    def __init__(self, norm: BatchNormReLU, mean: np.ndarray, rstd: np.ndarray):
        vars(self).update(vars(norm))  # the same parameters, gradients and floor
        self.held = mean, rstd

    def combine(self, stats: BatchStatistics, *_: Any) -> None:
        stats.mean[...], stats.rstd[...] = self.held


class Engine:
    """The network of a subject, as training computes it."""

    towers: tuple[str, ...] = TOWERS

    def __init__(self, subject: Subject):
        self.subject, self.model = subject, subject.model
        users = (USER_TOWER,) if subject.model.config.batchnorm == "all" else ()
        self.allowed: Mapping[str, tuple[str, ...]] = {LABELS: (), USERS: users, TITLES: (TITLE_TOWER,)}
        self.names = [name for name in self.model.grads if name.startswith(OWN)]
        self.shared = [name for name in self.model.grads if name.startswith(SHARED)]
        objective = self.model.objective
        self.objective = replace(objective, penalty=0.0) if isinstance(objective, Objective) else objective
        self.moments: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def remember(self, batch: Batch, k: int) -> Own:
        before = self.own(batch, k)
        for tower, work in zip(TOWERS, (self.model.user_work, self.model.title_work), strict=True):
            self.moments[tower] = [(s.mean.copy(), s.rstd.copy()) for s in (work.stats1, work.stats2)]
        return before

    def own(self, batch: Batch, k: int, held: Collection[str] = ()) -> Own:
        """Gradients after one real step's backward pass; running statistics stay as they are."""
        with np.errstate(all="ignore"), self._holding(held):
            self.model.backward_pass(batch)  # unchecked: NaN may stand in it
        parts = {f"{name}[{k}]": self.model.grads[name][k].copy() for name in self.names}
        for name in (name for name in self.model.grads if name.startswith("territory.")):
            parts[f"{name} of its territories"] = self.model.grads[name][self._territories(k)]
        return parts

    def takes_nan(self, what: str) -> bool:
        """Weights by label and title are looked up with the label: NaN has no place in the table."""
        looked_up = isinstance(self.objective, Objective) and self.objective.title_weight is not None
        return what == USERS or (what == LABELS and not looked_up)

    def _territories(self, k: int) -> np.ndarray:
        return np.flatnonzero(self.subject.territory_group == k)

    @contextmanager
    def _holding(self, held: Collection[str]) -> Iterator[None]:
        model, running = self.model, self.model.running.flat.copy()
        towers = dict(zip(TOWERS, (model.user_tower, model.title_tower), strict=True))
        norms = {name: (tower.norm1, tower.norm2) for name, tower in towers.items()}
        objective, model.objective = model.objective, self.objective
        for name in held:
            pairs = zip(norms[name], self.moments[name], strict=True)
            towers[name].norm1, towers[name].norm2 = (HeldMoments(norm, *moments) for norm, moments in pairs)
        try:
            yield
        finally:
            for name, tower in towers.items():
                tower.norm1, tower.norm2 = norms[name]
            model.objective, model.running.flat[:] = objective, running


def find_leaks(subject: Subject, draws: int = DRAWS, progress: Progress = silent) -> dict[str, Any]:
    """The record of a subject's own network. Errors: InputError when it has one group, to which nothing is foreign."""
    engine = Engine(subject)
    notes = []
    if engine.shared:
        notes.append(f"Shared by design: {', '.join(engine.shared)}. They move with the rows of all groups.")
    if isinstance(subject.model.objective, Objective) and subject.model.objective.penalty:
        notes.append("Left out: the penalty on popularity, a correlation over all pairs, which heads feel by design.")
    facts = {"model": None, "batchnorm": subject.model.config.batchnorm, "shared": engine.shared}
    return record_of(engine, subject, draws, facts, notes, progress)


def record_of(
    suspect: Suspect, subject: Subject, draws: int, facts: dict[str, Any], notes: list[str], progress: Progress
) -> dict[str, Any]:
    """All groups' rows of a table of leaks, with what they are about, as plain values."""
    groups = subject.model.config.groups
    if groups == 1:
        raise InputError(f"{subject.name}: there is one group, so that no row is foreign to it; see --mtl and --groups")
    row_group = subject.trainer.members[subject.batch.user_rows]  # not the batch's segments: they may be wrong
    seed, rows = subject.config.train.seed, []
    with threadpool_limits(1, "blas"):  # the same bits every time
        for k in range(groups):
            for number, what in enumerate(KINDS):
                progress("disturbing rows of other groups", k * len(KINDS) + number, groups * len(KINDS))
                base = set_apart(subject.batch, row_group, k) if what == TITLES else subject.batch
                rng = generator(seed, Stream.LEAKS, k, number)
                rows.append(examine(suspect, base, k, what, outside(base, row_group, k), draws, rng))
    progress("disturbing rows of other groups", groups * len(KINDS), groups * len(KINDS))
    return {
        "format": 1, "kind": "leaks", "twotower": __version__, "subject": subject.facts(), **facts, "draws": draws,
        "groups": [{"name": name, "pairs": int((row_group == k)[subject.batch.pair_user].sum())}
                   for k, name in enumerate(subject.group_names)],
        "rows": rows, "leaks": sum(row["verdict"] == "leak" for row in rows), "notes": notes,
    }  # fmt: skip


def examine(
    suspect: Suspect, base: Batch, k: int, what: str, foreign: Outside, draws: int, rng: np.random.Generator
) -> dict[str, Any]:
    """One row of the table: what disturbing ``what`` outside group ``k`` changes in its gradient, and by which way."""
    disturbs = int(foreign.of(what).sum())
    before = suspect.remember(base, k)
    worst, besides, through = compare(before, before), compare(before, before), dict.fromkeys(suspect.towers, 0.0)
    for _ in range(draws if disturbs else 0):
        batch = disturbed(base, what, foreign, rng)
        live = compare(before, suspect.own(batch, k))
        worst = max(worst, live, key=lambda change: change.relative)
        if live.changed:
            found: dict[tuple[str, ...], Change] = {(): live}  # by the towers that are held
            for held in {*((tower,) for tower in suspect.towers), suspect.allowed[what]} - {()}:
                found[held] = compare(before, suspect.own(batch, k, held))
            besides = max(besides, found[suspect.allowed[what]], key=lambda change: change.relative)
            for tower in suspect.towers:
                (other,) = set(TOWERS) - {tower}
                through[tower] = max(through[tower], found[(other,)].relative)
    nan = None
    if disturbs and suspect.takes_nan(what) and not besides.changed:
        nan = compare(before, suspect.own(poisoned(base, what, foreign), k, suspect.allowed[what]))
    leaks = besides.changed or (nan is not None and nan.changed)
    verdict = "none" if not disturbs else "leak" if leaks else "statistics" if worst.changed else "sealed"
    return {
        "group": k, "what": what, "disturbed": disturbs, **worst.record(),
        "blocks": worst.blocks, "parts": worst.parts if suspect.towers else None,
        "through": through if suspect.towers else None, "besides": besides.record(), "nan": nan and nan.record(),
        "verdict": verdict,
    }  # fmt: skip
