"""Rivals that count: how often a title is watched, everywhere, in a group of territories, in a territory, or lately."""

import numpy as np
import scipy.sparse as sp

from twotower.data.memory.knowledge import Knowledge, viewers_of
from twotower.data.memory.rates import log_rates, recent_log_rates


class Popular:
    """The log share of viewers of a title, the same for all users of a territory."""

    def __init__(self, known: Knowledge, level: str):
        """``level`` is "world", "group" or "territory", or "recent": in the territory, of the latest labels."""
        self.territory = known.territory
        if level == "recent":
            self.table = recent_log_rates(known)
        else:
            viewers = viewers_of(known.watched, known.territory, len(known.group))
            self.table = log_rates(viewers, known, level)

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores (n, T) float32 of users (n,)."""
        return self.table[self.territory[users]]

    def meet(self, history: sp.csr_array | None, territory: np.ndarray) -> None:
        """See ``Rival``."""
        self.territory = territory
