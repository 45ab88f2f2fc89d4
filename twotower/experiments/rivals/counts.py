"""Counts alone: logistic regression of the memory terms, with no network at all: z(u, t) = w·m(u, t) + b."""

import numpy as np
import scipy.sparse as sp

from twotower.data.memory.knowledge import Knowledge
from twotower.data.memory.memory import Memory, training_terms
from twotower.data.memory.regression import logistic_regression


class Counts:
    """The regression, fitted on the training pairs; it scores users whose labels nobody knows."""

    def __init__(self, known: Knowledge):
        self.weights, self.bias = logistic_regression(training_terms(known), known.pairs.label)
        self.memory = Memory.of(known)
        self.table = self.memory.of_territories(self.weights)

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Logits (n, T) float32 of users (n,)."""
        own = self.memory.of_users(users, self.weights)
        return own + self.table[self.memory.territory[users]] + np.float32(self.bias)

    def meet(self, history: sp.csr_array | None, territory: np.ndarray) -> None:
        """See ``Rival``."""
        memory = self.memory
        history = memory.history if history is None else history
        self.memory = Memory(history, territory, memory.tables, memory.cosines, memory.factors).like(memory)
