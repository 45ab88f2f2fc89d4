"""Validation users, held out with all of their pairs, and the score that early stopping looks at."""

import numpy as np

from twotower.core.errors import InputError
from twotower.core.random_streams import Stream, generator
from twotower.data.sample import Pairs, Sample
from twotower.metrics.per_territory import macro_average_precision

SUPPORTING_POSITIVES = 10  # of a territory among the validation pairs, for its PR-AUC to count in early stopping


def split_users(pairs: Pairs, sampled: Sample, share: float, seed: int) -> tuple[Pairs, Pairs]:
    """Training and validation pairs: a ``share`` of the users that have pairs is held out with all of them.

    Errors: InputError when users are held out and there is no positive among them.
    """
    if share == 0:
        return pairs, pairs.take(np.zeros(len(pairs), bool))
    rng = generator(seed, Stream.VALIDATION_USERS)
    has_pairs, chosen_users = np.zeros((2, sampled.n_users), bool)
    has_pairs[pairs.user] = True
    users = np.flatnonzero(has_pairs)
    chosen = rng.choice(users, min(len(users), max(1, round(share * len(users)))), replace=False)
    chosen_users[chosen] = True
    held = chosen_users[pairs.user]
    if not pairs.label[held].any():
        found = f"no positive among {len(chosen)} validation users"
        raise InputError(f"{sampled.path}: {found}; raise --validation, or set it to 0")
    return pairs.take(~held), pairs.take(held)


def supported_macro(labels: np.ndarray, scores: np.ndarray, territory: np.ndarray, territories: int) -> float:
    """Macro PR-AUC of the territories with enough positives to count, or of all where none has enough.

    With one or two positives a territory's PR-AUC is chance, and the mean over a hundred of them is noise.
    """
    macro = macro_average_precision(labels, scores, territory, territories, SUPPORTING_POSITIVES)
    return macro if np.isfinite(macro) else macro_average_precision(labels, scores, territory, territories)
