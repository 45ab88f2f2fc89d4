"""A rival that scores a title by its neighbours in the user's history."""

import numpy as np
import scipy.sparse as sp

from twotower.data.memory.knowledge import Knowledge
from twotower.data.memory.neighbours import neighbours_of, profile_cosines


class ItemKNN:
    """Σ of cosines between a title and the user's history, over the root of its length."""

    def __init__(self, known: Knowledge):
        self.history, self.weights = known.history, neighbours_of(known).cosines

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores (n, T) float32 of users (n,)."""
        return profile_cosines(self.history[users], self.weights)

    def meet(self, history: sp.csr_array | None, territory: np.ndarray) -> None:
        """See ``Rival``."""
        if history is not None:
            self.history = history
