"""Who takes part in benchmarks/step.py, by name."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from benchmarks.peers import LEARNING_RATE, Arrays, Contender, TorchCompiled, TorchPaper
from benchmarks.torch_best import TorchBest, TorchOneDNN
from benchmarks.workload import IndexBatch, Workload
from twotower.core.config import MEMORY_TERMS, ModelConfig
from twotower.data.batches import Batcher, PairBatch
from twotower.model.adam import Adam
from twotower.model.two_tower import TwoTower


class Ours:
    """twotower itself, as ``train`` calls it but for the prefetching thread: a step includes the batch."""

    def __init__(self, workload: Workload, model: ModelConfig, params: Arrays) -> None:
        w, B = workload, len(workload.batches[0].labels)
        F = MEMORY_TERMS * model.memory
        self.terms = np.zeros((B, F), np.float32) if F else None
        self.batcher = Batcher(w.user_table, w.title_table, w.user_group, model.groups, B, memory_terms=F)
        widths = w.user_table.shape[1], w.title_table.shape[1]
        self.model = TwoTower(model, *widths, np.random.default_rng(0), threads=torch.get_num_threads())
        for name, value in params.items():
            self.model.params[name][...] = value
        self.adam = Adam(self.model.params, self.model.shared_span(), self.model.group_spans(), LEARNING_RATE)

    def _batch(self, batch: IndexBatch) -> PairBatch:
        terms = None if self.terms is None else self.terms[: len(batch.user)]
        return self.batcher.batch_view(batch.user, batch.title, batch.labels, terms)

    def step(self, batch: IndexBatch) -> float:
        losses = self.model.loss_and_gradients(self._batch(batch))
        present = [k for k, pairs in enumerate(losses.pairs_by_group) if pairs]
        self.adam.update(self.model.grads, present, self.model.threads)
        return losses.total

    def loss_and_gradients(self, batch: IndexBatch) -> tuple[float, Arrays]:
        losses = self.model.loss_and_gradients(self._batch(batch))
        return losses.total, {name: value.copy() for name, value in self.model.grads.items()}

    def parameters(self) -> Arrays:
        return {name: value.copy() for name, value in self.model.params.items()}


class WithMemory(Ours):
    """The same with memory. Its terms are 0, and so are the weights of its layer: the answers stay those without, and
    the time does not depend on values."""

    def __init__(self, workload: Workload, model: ModelConfig, params: Arrays) -> None:
        super().__init__(workload, replace(model, memory=True), params)
        self.model.params["memory.A"][:] = 0

    def loss_and_gradients(self, batch: IndexBatch) -> tuple[float, Arrays]:
        loss, grads = super().loss_and_gradients(batch)
        return loss, without_memory(grads)

    def parameters(self) -> Arrays:
        return without_memory(super().parameters())


def without_memory(arrays: Arrays) -> Arrays:
    return {name: value for name, value in arrays.items() if not name.startswith("memory.")}


#: Name → who, and what the name stands for; the first is the one that the others are compared with.
CONTENDERS: dict[str, tuple[Callable[[Workload, ModelConfig, Arrays], Contender], str]] = {
    "twotower": (Ours, "this project"),
    "twotower-memory": (WithMemory, "the same with memory: 14 terms per pair and 16 ReLU units"),
    "torch-paper": (
        TorchPaper,
        "PyTorch as a practitioner writes the paper: all heads on all rows, one-hot mask",
    ),
    "torch-compile": (TorchCompiled, "torch.compile of torch-paper"),
    "torch-best": (
        TorchBest,
        "PyTorch at its best: unique rows, own-rows heads, exact batch-norm, fused Adam",
    ),
    "torch-onednn": (TorchOneDNN, "torch-best with its products as 1 × 1 convolutions"),
}
