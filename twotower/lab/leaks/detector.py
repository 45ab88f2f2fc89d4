"""The leak detector: does the gradient of what a group owns depend on rows of other groups?

For each group, the labels, then the user features, then the title features of all other rows are perturbed, and the
gradient of the group's own parameters is computed again by the real backward pass.

    labels            must change nothing, bit for bit: the loss is divided by the same B, and a head sees its own rows
    user features     may act through the user tower's batch-norm moments, if these are taken over all rows; not at all
                      with a batch-norm per group (``batchnorm = "group"``)
    title features    may act through the title tower's batch-norm moments, which all groups share

The proof: with a tower's moments frozen, the same perturbation must change nothing. NaN in place of other groups'
labels and features must change nothing either: a mask that multiplies would let it through.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.core.random_streams import Stream, generator
from twotower.data.batches import PairBatch
from twotower.lab.attribution.gradients import running_statistics_kept
from twotower.lab.leaks.perturbation import OtherGroups, other_groups, perturbed, separate_titles, with_nan
from twotower.lab.leaks.record import INPUTS, LABELS, TITLES, USERS, Change, GroupPairs, Input, LeakRecord, LeakRow
from twotower.lab.subject import Subject
from twotower.model.layers import BatchNormReLU, BatchStatistics
from twotower.model.variants.objective import Objective

DRAWS = 3  # perturbations of each input
USER_TOWER, TITLE_TOWER = "user tower", "title tower"
SHARED_PREFIXES = ("experts.", "stitch.")  # parameters of heads that all groups share by design

Gradients = dict[str, np.ndarray]  # of what one group owns, by block


class GroupedModel(Protocol):
    """A model with parameters for each group."""

    allowed: Mapping[Input, tuple[str, ...]]  # the towers through whose moments an input may act

    def reference(self, batch: PairBatch, k: int) -> Gradients:
        """The gradients of group ``k`` for an unperturbed batch, whose moments can be frozen afterwards."""

    def gradients(self, batch: PairBatch, k: int, frozen: Collection[str] = ()) -> Gradients:
        """The gradients of group ``k``, with the moments of the ``frozen`` towers those of the reference batch."""

    def accepts_nan(self, which: Input) -> bool:
        """Whether this input may be NaN."""


class FrozenMoments(BatchNormReLU):
    """A batch-norm in training with given moments, so that rows do not act through it."""

    def __init__(self, norm: BatchNormReLU, mean: np.ndarray, rstd: np.ndarray):
        vars(self).update(vars(norm))  # the same parameters, gradients and floor
        self.frozen = mean, rstd

    def combine(self, stats: BatchStatistics, *_: Any) -> None:
        stats.mean[...], stats.rstd[...] = self.frozen


class Network:
    """The network of a subject, as training computes it."""

    def __init__(self, subject: Subject):
        self.subject, self.model = subject, subject.model
        users = (USER_TOWER,) if subject.model.config.batchnorm == "all" else ()
        self.allowed: Mapping[Input, tuple[str, ...]] = {LABELS: (), USERS: users, TITLES: (TITLE_TOWER,)}
        objective = self.model.objective
        self.objective = replace(objective, penalty=0.0) if isinstance(objective, Objective) else objective
        self.moments: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def names(self, owner: str) -> list[str]:
        """The parameters with such an owner."""
        return [name for name, parameter in self.model.parameters.items() if parameter.owner == owner]

    def reference(self, batch: PairBatch, k: int) -> Gradients:
        gradients = self.gradients(batch, k)
        for tower, work in ((USER_TOWER, self.model.user_work), (TITLE_TOWER, self.model.title_work)):
            self.moments[tower] = [(s.mean.copy(), s.rstd.copy()) for s in (work.stats1, work.stats2)]
        return gradients

    def gradients(self, batch: PairBatch, k: int, frozen: Collection[str] = ()) -> Gradients:
        with np.errstate(all="ignore"), self._frozen(frozen), running_statistics_kept(self.model):
            self.model.backward_pass(batch, self.objective)  # unchecked: inputs may be NaN
        grads, members = self.model.grads, np.flatnonzero(self.subject.territory_group == k)
        parts = {f"{name}[{k}]": grads[name][k].copy() for name in self.names("group")}
        return parts | {f"{name} of its territories": grads[name][members] for name in self.names("territory")}

    def accepts_nan(self, which: Input) -> bool:
        """Weights by label and title are looked up by label, so a NaN label would be an invalid index."""
        looked_up = isinstance(self.objective, Objective) and self.objective.title_weight is not None
        return which == USERS or (which == LABELS and not looked_up)

    @contextmanager
    def _frozen(self, names: Collection[str]) -> Iterator[None]:
        """Some towers with frozen moments."""
        towers = {USER_TOWER: self.model.user_tower, TITLE_TOWER: self.model.title_tower}
        norms = {name: (tower.norm1, tower.norm2) for name, tower in towers.items()}
        for name in names:
            pairs = zip(norms[name], self.moments[name], strict=True)
            towers[name].norm1, towers[name].norm2 = (FrozenMoments(norm, *moments) for norm, moments in pairs)
        try:
            yield
        finally:
            for name, tower in towers.items():
                tower.norm1, tower.norm2 = norms[name]


def find_leaks(subject: Subject, draws: int = DRAWS, progress: Progress = silent) -> LeakRecord:
    """The record of a subject's own network. Errors: InputError when it has only one group."""
    network = Network(subject)
    record = check_model(network, subject, draws, progress)
    record.shared = [name for name in network.names("all") if name.startswith(SHARED_PREFIXES)]
    if record.shared:
        record.notes.append(f"Shared by design: {', '.join(record.shared)}. Rows of all groups update them.")
    if isinstance(subject.model.objective, Objective) and subject.model.objective.penalty:
        penalty = "the popularity penalty, a correlation over all pairs that acts on every head by design"
        record.notes.append(f"Excluded: {penalty}.")
    return record


def check_model(model: GroupedModel, subject: Subject, draws: int, progress: Progress) -> LeakRecord:
    """Check all groups and inputs of a model on a subject's batch."""
    groups = subject.model.config.groups
    if groups == 1:
        raise InputError(f"{subject.name}: only one group, so no rows of other groups; see --mtl and --groups")
    row_group = subject.trainer.members[subject.batch.user_rows]  # not the batch's segments: they may be wrong
    seed, rows, total = subject.config.train.seed, [], groups * len(INPUTS)
    with threadpool_limits(1, "blas"):  # the same bits every time
        for k in range(groups):
            for number, which in enumerate(INPUTS):
                progress("perturbing rows of other groups", k * len(INPUTS) + number, total)
                batch = separate_titles(subject.batch, row_group, k) if which == TITLES else subject.batch
                rng = generator(seed, Stream.LEAKS, k, number)
                rows.append(check_input(model, batch, k, which, other_groups(batch, row_group, k), draws, rng))
    progress("perturbing rows of other groups", total, total)
    pairs = np.bincount(row_group[subject.batch.pair_user], minlength=groups).tolist()
    return LeakRecord(
        subject=subject.facts(),
        shared=[],
        draws=draws,
        groups=[GroupPairs(name, n) for name, n in zip(subject.group_names, pairs, strict=True)],
        rows=rows,
        leaks=sum(row.verdict == "leak" for row in rows),
        notes=[],
    )


def check_input(
    model: GroupedModel,
    batch: PairBatch,
    k: int,
    which: Input,
    others: OtherGroups,
    draws: int,
    rng: np.random.Generator,
) -> LeakRow:
    """What perturbing an input outside group ``k`` changes in the group's gradient, and whether past batch-norm."""
    n_perturbed, allowed = int(others.of(which).sum()), model.allowed[which]
    before = worst_after = model.reference(batch, k)
    worst = direct = compare(before, before)
    for _ in range(draws if n_perturbed else 0):
        variant = perturbed(batch, which, others, rng)
        after = model.gradients(variant, k)
        change = compare(before, after)
        if change.relative > worst.relative:
            worst, worst_after = change, after
        if change.changed:
            past = compare(before, model.gradients(variant, k, allowed)) if allowed else change
            direct = max(direct, past, key=lambda change: change.relative)
    nan = None
    if n_perturbed and model.accepts_nan(which) and not direct.changed:
        nan = compare(before, model.gradients(with_nan(batch, which, others), k, allowed))
    leaks = direct.changed or (nan is not None and nan.changed)
    blocks = {name: compare(before, worst_after, [name]) for name in before}
    return LeakRow(
        k, which, n_perturbed, worst, blocks, direct, nan,
        "none" if not n_perturbed else "leak" if leaks else "batch-norm" if worst.changed else "isolated",
    )  # fmt: skip


def compare(before: Gradients, after: Gradients, names: Collection[str] = ()) -> Change:
    """What changed in some blocks, by default all. NaN equals NaN, and 0 equals −0."""
    names = names or list(before)
    old, new = (np.concatenate([np.ravel(of[name]).astype(np.float64) for name in names]) for of in (before, after))
    changed = (old != new) & ~(np.isnan(old) & np.isnan(new))
    if not changed.any():
        return Change(0, len(old), 0.0, 0.0)
    difference, size = new[changed] - old[changed], float(np.linalg.norm(old))
    relative = float(np.linalg.norm(difference)) / size if size else np.inf
    largest, relative = (np.inf if np.isnan(x) else float(x) for x in (np.abs(difference).max(), relative))
    return Change(int(changed.sum()), len(old), largest, relative)
