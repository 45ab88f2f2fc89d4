"""Are the gradients right? Engine against textbook, textbook against finite differences, on a user's own batch.

    numeric    a central difference of the textbook's loss, in float64
    textbook   the gradient of ``model.reference``, in float64
    engine     the gradient of ``model.two_tower``, in float32, from the kernels that train

A block is a parameter, or the part of it that one group owns. Engine and textbook are compared in all elements of a
block. Differences cost two evaluations each, so they are taken for a few elements (the one where the engine is furthest
off, the largest, and some random ones) and along one random direction of the whole block. Beside gradients: steps of
Adam. That a head gets exactly 0 from other groups' rows is what ``leaks`` and ``inspect`` show.
"""

import copy
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.environment import usable_cores
from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.core.random_streams import Stream, generator, placeholder
from twotower.data.batches import PairBatch
from twotower.lab.attribution.blocks import Block, blocks_of
from twotower.lab.gradcheck.adam_steps import adam_steps
from twotower.lab.gradcheck.blocks import CheckedBlock
from twotower.lab.gradcheck.finite_differences import NEAR_A_KINK, Relus, Textbook, loss_only, watched_relus
from twotower.lab.gradcheck.planted_bugs import PlantedBug, planted, require_possible
from twotower.lab.gradcheck.record import BatchFacts, BlockCheck, GradcheckRecord, LossCheck
from twotower.lab.gradcheck.small_batches import SmallBatches
from twotower.lab.subject import Subject, pairs_of
from twotower.model.loss import Losses
from twotower.model.two_tower import TwoTower
from twotower.model.variants.objective import Objective
from twotower.model.variants.uncertainty import LOG_VARIANCE
from twotower.training.loop import make_optimiser

PAIRS = 256
FEWEST_PAIRS = 8  # per group: of four users, two each
LOSS_TOLERANCE = 1e-5  # engine against textbook, of the loss
TRIES = 8


def check(
    subject: Subject, pairs: int | None = None, bug: PlantedBug | None = None, progress: Progress = silent
) -> GradcheckRecord:
    """Check the gradients on at most ``pairs`` training pairs of a subject; by default 256, or 8 per group if more.

    The subject stays unchanged. A trained network is checked as it is. A fresh one takes one step first, since low-rank
    heads start with Q = 0, where the gradient of P is 0 whatever the code does. ``bug`` is planted during the check.

    Errors: InputError for too few pairs, and for a bug that this model cannot have.
    """
    K = subject.config.model.groups
    fewest = FEWEST_PAIRS * K
    pairs = max(PAIRS, fewest) if pairs is None else pairs
    if pairs < fewest:
        raise InputError(f"--pairs {pairs}: expected at least {fewest}, {FEWEST_PAIRS} for each of {K} groups")
    require_possible(bug, subject.config.model)
    with planted(bug), threadpool_limits(1, "blas"), watched_relus() as relus:
        network, small = copy_of(subject), SmallBatches(subject, pairs)
        other, blocks = small.other(), blocks_of(network, subject.territory_group)
        blocks = [block for block in blocks if 0 not in block.shape]
        progress("choosing a batch", 0, 1)
        losses = network.loss_and_gradients(other)
        if not subject.trained:
            make_optimiser(network, subject.config.train).update(network.grads, losses.present, network.threads)
        batch, nearest, tries = far_from_kinks(network, small, relus)
        progress("choosing a batch", 1, 1)

        for earlier in (batch, other):  # allocate the workspaces, and leave another batch in them
            network.loss_and_gradients(earlier)
        losses = network.loss_and_gradients(batch)
        book = Textbook(network, batch)
        loss, gradients = book.loss_and_gradients()
        checked = check_blocks(network, book, gradients, losses, blocks, relus, subject.config.train.seed, progress)
        progress("steps of Adam", 0, 1)
        present = np.flatnonzero(np.diff(batch.segments))
        kept = pairs_of(batch).take(small.members[batch.user_rows][batch.pair_user] != present[-1])
        without = subject.make_batch(kept) if len(present) > 1 else other
        steps = adam_steps(network, [batch, without, batch], blocks, subject.config)
        progress("steps of Adam", 1, 1)
    same_loss = bool(abs(losses.total - loss) <= LOSS_TOLERANCE * abs(loss))
    return GradcheckRecord(
        subject=subject.facts(),
        groups=subject.group_names,
        batch=batch_facts(batch, nearest, tries),
        bug=None if bug is None else bug.facts(),
        loss=LossCheck(loss, losses.total, same_loss),
        blocks=checked,
        steps=steps,
        agrees=same_loss and all(block.agrees for block in checked) and all(step.agrees for step in steps),
    )


def copy_of(subject: Subject) -> TwoTower:
    """A copy of the subject's network, on one thread, which is enough for so few pairs."""
    model = subject.model
    network = TwoTower(model.config, *model.widths, placeholder(), threads=1,
                       territories=subject.dataset.n_territories)  # fmt: skip
    network.params.flat[:], network.running.flat[:] = model.params.flat, model.running.flat
    network.objective = model.objective
    return network


def far_from_kinks(network: TwoTower, small: SmallBatches, relus: Relus) -> tuple[PairBatch, float, int]:
    """A batch without ReLU inputs near 0, or the best of TRIES; its nearest input; the number of batches tried."""
    best, furthest = small.batch(), -1.0
    for skip in range(TRIES):
        batch = small.batch(skip)
        relus.clear()
        Textbook(network, batch).loss_and_gradients()
        if relus.nearest > furthest:
            best, furthest = batch, relus.nearest
        if furthest >= NEAR_A_KINK:
            break
    return best, furthest, skip + 1


def batch_facts(batch: PairBatch, nearest_kink: float, tries: int) -> BatchFacts:
    sizes = len(batch), len(batch.user_rows), len(batch.title_rows), int(batch.labels.sum())
    by_group = np.diff(batch.pair_start[batch.segments]).tolist(), np.diff(batch.segments).tolist()
    return BatchFacts(*sizes, *by_group, int(batch.user_counts.max()), int(batch.title_counts.max()), nearest_kink,
                      tries)  # fmt: skip


def check_blocks(
    network: TwoTower, book: Textbook, gradients: dict[str, np.ndarray], losses: Losses, blocks: list[Block],
    relus: Relus, seed: int, progress: Progress,
) -> list[BlockCheck]:  # fmt: skip
    """A record for every block: some of its elements, and one direction. ``losses`` are the engine's last."""
    B = sum(losses.pairs_by_group)
    dz, dots = np.abs(network.pairs.dz[:B]).astype(np.float64), np.abs(network.pairs.dots[:B])
    terms = {"logit.scale": float(dz @ dots), "logit.bias": float(dz.sum()), LOG_VARIANCE: 1.0}
    cases = [(block, block.places(network.params), block.of(network.grads)) for block in blocks]
    if LOG_VARIANCE in book.params:
        n = len(gradients[LOG_VARIANCE])
        block = Block(name=LOG_VARIANCE, parameter=LOG_VARIANCE, owner=None, part="loss", layer=None, shape=[n],
                      where=slice(0, n))  # fmt: skip
        cases.append((block, np.arange(n), gradient_of_log_variance(network, losses)))
    checked = []
    for number, (block, places, engine) in enumerate(cases):
        rng, name = generator(seed, Stream.GRADIENT_CHECK, number), block.parameter
        checked.append(CheckedBlock(block, places, gradients[name], engine, rng, terms.get(name, 0.0)))
    with loss_only(), ThreadPoolExecutor(usable_cores()) as pool:
        tasks = [[pool.submit(book.difference, each, relus) for each in block.directions()] for block in checked]
        futures = [task for of_block in tasks for task in of_block]
        for done, _ in enumerate(as_completed(futures), 1):
            progress("finite differences", done, len(futures))
    return [block.record([task.result() for task in of_block]) for block, of_block in zip(checked, tasks, strict=True)]


def gradient_of_log_variance(network: TwoTower, losses: Losses) -> np.ndarray:
    """The engine's gradient for the learned weights of the groups, (K,), computed in a step of a copy."""
    assert isinstance(network.objective, Objective) and network.objective.uncertainty is not None
    uncertainty = copy.deepcopy(network.objective.uncertainty)
    uncertainty.update(losses.by_group, losses.pairs_by_group, network.threads)
    return uncertainty.grads[LOG_VARIANCE].astype(np.float64)
