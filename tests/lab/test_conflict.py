"""Cosines and shares: by hand, and of the groups' gradients of both towers as the textbook has them."""

import numpy as np
import pytest
from textbook_inspection import MODELS, looked_into

from twotower.lab.attribution import gradients as matrices
from twotower.lab.attribution.gradients import conflict


def test_two_groups_by_hand():
    """(3, 0) and (−1, 1): cosine −1/√2; their sum (2, 1) is 5 long squared, of which 6 and −1 come from each."""
    gradients = np.array([[3.0, 0], [-1, 1]])
    found = conflict(gradients @ gradients.T)
    np.testing.assert_allclose(found.norm, [3, np.sqrt(2)])
    np.testing.assert_allclose(found.cosine, [[1, -np.sqrt(0.5)], [-np.sqrt(0.5), 1]])
    np.testing.assert_allclose(found.share, [6 / 5, -1 / 5])


@pytest.mark.parametrize("piece", [1, 7, 100, 101])
def test_inner_products_are_added_up_over_all_pieces(rng, monkeypatch, piece):
    monkeypatch.setattr(matrices, "GRAM_PIECE", piece)
    parts = rng.standard_normal((3, 100)).astype(np.float32)
    np.testing.assert_allclose(matrices.gram(parts), parts.astype(np.float64) @ parts.T.astype(np.float64))


def test_a_group_without_gradient_has_no_angle():
    gradients = np.array([[1.0, 2], [0, 0]])
    found = conflict(gradients @ gradients.T)
    assert np.isnan(found.cosine[1]).all() and np.isnan(found.cosine[0, 1]) and found.cosine[0, 0] == 1
    np.testing.assert_allclose(found.share, [1, 0])


def test_gradients_that_cancel_have_no_shares():
    found = conflict(np.array([[1.0, -1], [-1, 1]]))
    assert not np.isfinite(found.share).any() and found.cosine[0, 1] == -1


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_towers_conflict_in_the_textbook(tiny_world, name):
    textbook, record = looked_into(tiny_world, name)
    towers = [p for p in textbook.params if p.startswith(("user.", "title."))]
    parts = [textbook.of_group(k) for k in range(len(record["groups"]))]
    flat = np.stack([np.concatenate([part[p].ravel() for p in towers]) for part in parts])
    norms = np.linalg.norm(flat, axis=1)
    for k, (of, group) in enumerate(zip(record["conflict"], record["groups"], strict=True)):
        np.testing.assert_allclose(of["norm"], norms[k], rtol=1e-4)
        np.testing.assert_allclose(of["cosine"], flat[k] @ flat.T / (norms[k] * norms), atol=1e-4)
        whole = flat.sum(0)
        np.testing.assert_allclose(group["share"], flat[k] @ whole / (whole @ whole), atol=1e-4)
