"""What an SVD loses is kept: popularity as columns; and a weighting is chosen by titles that are held out."""

import numpy as np
import pytest
from scipy import sparse
from small_dataset import make

from twotower.core.progress import silent
from twotower.data.dataset import Dataset
from twotower.data.features import choosing, embed
from twotower.data.features.popularity import PSEUDO_USERS, history_counts, log_shares
from twotower.data.features.svd import effective_rows
from twotower.data.features.weighting import WEIGHTINGS, Weighting


def test_shares_of_viewers_are_counted_everywhere_and_drawn_to_the_world_in_a_territory(tmp_path):
    dataset = Dataset.open(make(tmp_path / "set"))
    codes = [dataset.territories.code[1], "XX"]
    everywhere, there = log_shares(dataset, history_counts(dataset), codes)
    watched = np.zeros((dataset.n_users, dataset.n_titles), bool)
    watched[dataset.history()] = True
    world = (watched.sum(axis=0) + 0.5) / (dataset.n_users + 1)
    lives = np.asarray(dataset.user_territory) == 1
    share = (watched[lives].sum(axis=0) + PSEUDO_USERS * world) / (lives.sum() + PSEUDO_USERS)
    np.testing.assert_allclose(everywhere[:, 0], np.log(world))
    np.testing.assert_allclose(there[:, 0], np.log(share / world), atol=1e-12)
    assert not there[:, 1].any(), "a territory that the dataset does not have is like the world"


def clubs(users: int = 600, titles: int = 60, loners: int = 0) -> sparse.csr_matrix:
    """Users watch six titles of one of six clubs, and one of any; loners have ten titles of their own, often."""
    rng = np.random.default_rng(0)
    counts = np.zeros((users + loners, titles + 10 * (loners > 0)))
    for user in range(users):
        counts[user, 10 * (user % 6) + rng.choice(10, 6, replace=False)] = 1
        counts[user, rng.integers(titles)] = 1
    counts[users:, titles:] = 5
    return sparse.csr_matrix(counts)


def test_the_weighting_that_predicts_held_out_titles_is_chosen_and_the_counts_stay():
    counts = clubs()
    before = counts.toarray()
    measured = choosing.choose_weighting(counts, 8, 3.0, silent)
    assert set(measured) == set(WEIGHTINGS) and list(measured.values()) == sorted(measured.values(), reverse=True)
    assert measured["degree"] > 0.5, "clubs are easy to see"
    np.testing.assert_array_equal(counts.toarray(), before)
    assert choosing.choose_weighting(clubs(50), 8, 3.0, silent) == {}, "too few users to choose by"


def test_columns_that_a_handful_of_users_fill_are_counted_and_regularising_avoids_them():
    counts = clubs(loners=4)
    fewest = {}
    for name in ("degree", "regularised"):
        A = Weighting.of(name, counts).weigh(counts)
        fewest[name] = effective_rows(embed.truncated_svd(A, 3).rows(A, 3.0)).min()
    assert fewest["degree"] == pytest.approx(4, abs=0.1)
    assert fewest["regularised"] > 100
    assert effective_rows(np.eye(5)[:, :2] + 0.0).tolist() == [1, 1]
    assert effective_rows(np.ones((7, 1))).tolist() == pytest.approx([7])
