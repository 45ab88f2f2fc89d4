"""Batches in shards: one part per shard, each through its own network, with one loss, one batch-norm, one gradient.

    user → shard (md5 of the id) → the shard's part of the batch, from its own random stream
         → forward and back on each shard at once; moments and counts gathered from all in the order of the shards
         → gradients added by a binary tree over the shards → the same step of Adam in every process

A process owns whole shards. What comes out is a function of the seed and the number of shards alone.
"""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from twotower.core.errors import InputError
from twotower.core.random_streams import placeholder
from twotower.data.batches import Batcher, PairBatch
from twotower.data.dataset import Dataset
from twotower.data.epochs import batch_bounds, epoch_batches
from twotower.data.sample import Pairs
from twotower.model.batch import Batch
from twotower.model.loss import Losses, MaskedLoss, Network
from twotower.model.two_tower import TwoTower
from twotower.training.processes import Processes, tree_sum

HASH_DIGITS = 8  # of md5, hexadecimal


def user_shards(dataset: Dataset, shards: int) -> np.ndarray:
    """The shard of every user, (U,) uint8: the first digits of the md5 of the id as text, modulo S."""
    ids = dataset.user_ids or range(dataset.n_users)
    texts = (hashlib.md5(str(user).encode()).hexdigest()[:HASH_DIGITS] for user in ids)
    return np.fromiter((int(text, 16) % shards for text in texts), np.uint8, dataset.n_users)


class ShardedBatcher:
    """Makes of each batch the parts of this process's shards; in the place of a ``Batcher``."""

    def __init__(self, batchers: list[Batcher], shard: np.ndarray, first: int, shards: int):
        """``batchers`` are of the shards from ``first``, of ``shards`` in all; ``shard`` (U,) is that of each user."""
        self.batchers, self.shard, self.first, self.shards = batchers, shard, first, shards

    def batch_views(
        self, pairs: Pairs, rng: np.random.Generator, mode: str, memory: np.ndarray | None, skip: int
    ) -> Iterator[Any]:
        """One epoch: as many batches as there are without shards, to which each shard gives an even part of its pairs.

        Each is a list of PairBatch, for ``ShardedLoss``.

        Errors: InputError when a shard has too few pairs to be in every batch.
        """
        size, shard = self.batchers[0].batch_size, self.shard[pairs.user]
        steps = len(batch_bounds(len(pairs), size)) - 1
        have = np.bincount(shard, minlength=self.shards)
        if have.min() < steps:
            raise InputError(
                f"shard {have.argmin()} of {self.shards} has {have.min()} pairs, expected at least one in each of the "
                f"{steps} batches of an epoch; train with fewer --shards"
            )
        streams, orders = rng.spawn(self.shards), []
        for number in range(self.first, self.first + len(self.batchers)):
            rows = np.flatnonzero(shard == number)
            order = rows[np.concatenate(list(epoch_batches(pairs.take(shard == number), size, streams[number], mode)))]
            orders.append(np.split(order, [len(order) * step // steps for step in range(1, steps)]))
        for step in range(skip, steps):
            yield [
                batcher.batch_view(
                    pairs.user[index], pairs.title[index], pairs.label[index], None if memory is None else memory[index]
                )
                for batcher, index in zip(self.batchers, (order[step] for order in orders), strict=True)
            ]


class ShardExchange:
    """The exchange of one shard of this process."""

    def __init__(self, group: "ShardedLoss", place: int):
        self.group, self.place, self.shards = group, place, group.shards

    def gather(self, own: np.ndarray) -> np.ndarray:
        group = self.group
        group.brought[self.place] = own
        group.at_work.release()
        try:
            group.meeting.wait()
        finally:
            group.at_work.acquire()
        return group.gathered


class ShardedLoss(MaskedLoss):
    """The masked loss of a batch in shards: the shards of this process each have a network with the same parameters."""

    def __init__(self, model: TwoTower, shards: int, together: Processes):
        """``model`` has the parameters, and takes the gradients; as many shards work at once as it has threads."""
        own = shards // together.size
        self.shards, self.together = shards, together
        sizes = model.config, *model.widths, placeholder()
        self.networks = [TwoTower(*sizes, territories=model.territories, params=model.params) for _ in range(own)]
        self.brought: list[Any] = [None] * own
        self.gathered = np.empty(0)
        self.meeting = threading.Barrier(own, self._gather)
        self.at_work = threading.Semaphore(model.threads.count)
        self.pool = ThreadPoolExecutor(own, "shard")
        for place, network in enumerate(self.networks):
            network.exchange = ShardExchange(self, place)

    def _gather(self) -> None:
        every = self.together.allgather(np.stack(self.brought))
        self.gathered = every.reshape(self.shards, *every.shape[2:])

    def gradients(self, model: Network, batch: Batch, step: int) -> Losses:
        """Of the parts of a batch, the list that ``ShardedBatcher`` makes."""
        parts: list[PairBatch] = batch  # type: ignore[assignment]
        running = model.running.flat

        def one(network: TwoTower, part: PairBatch) -> Losses:
            network.running.flat[:] = running
            with self.at_work:
                try:
                    return network.loss_and_gradients(part)
                except BaseException:
                    self.meeting.abort()
                    raise

        self.meeting.reset()
        results = [self.pool.submit(one, *pair) for pair in zip(self.networks, parts, strict=True)]
        errors = [error for error in (result.exception() for result in results) if error]
        if errors:
            raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
        running[:] = self.networks[0].running.flat
        total = tree_sum([network.grads.flat for network in self.networks])
        model.grads.flat[:] = self.together.sum(total)
        return results[0].result()


def owned(shards: int, together: Processes) -> range:
    """The shards of this process. Errors: InputError when the processes cannot share them out evenly."""
    if shards % together.size:
        raise InputError(f"{together.size} processes: expected 1, 2, 4, … up to the {shards} shards of the run")
    return range(shards)[shards * together.rank // together.size :][: shards // together.size]
