"""A rival that scores a title by its neighbours in the user's history."""

import numpy as np

from twotower.data.memory.knowledge import Knowledge
from twotower.data.memory.neighbours import neighbours_of, profile_cosines


class ItemKNN:
    """Σ of cosines between a title and the user's history, over the root of its length."""

    def __init__(self, known: Knowledge):
        self.history, self.weights = known.history, neighbours_of(known).cosines

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores (n, T) float32 of users (n,)."""
        return profile_cosines(self.history[users], self.weights)
