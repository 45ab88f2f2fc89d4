"""The vectors of a synthetic world: what can be read from them, and what cannot."""

import numpy as np
import pytest

from twotower.data.synthetic.catalogue import TASTE_DIM, make_catalogue, title_columns
from twotower.data.synthetic.noisy_embeddings import make_user_encoder, title_vectors
from twotower.data.synthetic.world import WorldConfig, make_territories


def views(streams, n=3000, seed=0, **settings):
    """Taste, territory and vectors of n users who all have the same number of streams."""
    config = WorldConfig(users=1000, territories=20, **settings)
    rng = np.random.default_rng(seed)
    upstream = make_user_encoder(config, rng)
    taste = rng.standard_normal((n, TASTE_DIM), np.float32)
    territory = rng.integers(20, size=n)
    return taste, territory, upstream.user_vectors(taste, territory, np.full(n, streams), rng)


def explained(target, vectors):
    """Share of a target's variance (n, m) that a linear map of the vectors explains, on unseen rows."""
    half = len(target) // 2
    X = np.c_[vectors.astype(float), np.ones(len(vectors))]
    weights, *_ = np.linalg.lstsq(X[:half], target[:half], rcond=None)
    unseen = target[half:]
    return 1 - ((X[half:] @ weights - unseen) ** 2).sum() / ((unseen - unseen.mean(axis=0)) ** 2).sum()


def test_vectors_have_the_width_and_type_asked_for_and_moderate_size():
    _, _, vectors = views(streams=20, user_dim=100)
    assert vectors.shape == (3000, 100) and vectors.dtype == np.float16
    assert 0.5 < vectors.astype(float).std() < 2 and np.isfinite(vectors).all()


@pytest.mark.slow
@pytest.mark.parametrize(("streams", "noise"), [(0, 10.0), (9, 10.0), (99, 10.0), (9, 2.0)])
def test_a_vector_knows_the_more_of_a_taste_the_more_was_streamed(streams, noise):
    taste, _, vectors = views(streams, noise=noise, user_dim=128, n=20_000)
    known = (streams + 1) / (streams + 1 + noise)
    assert explained(taste, vectors) == pytest.approx(known, abs=0.05)


def test_without_noise_a_vector_knows_the_taste_of_everybody():
    taste, _, vectors = views(streams=0, noise=0.0)
    assert explained(taste, vectors) > 0.95


def test_a_vector_tells_the_territory():
    _, territory, vectors = views(streams=0)
    assert explained(np.eye(20)[territory], vectors) > 0.6


def test_a_vector_tells_the_activity():
    rng = np.random.default_rng(0)
    upstream = make_user_encoder(WorldConfig(users=1000, territories=20), rng)
    streams = rng.integers(0, 60, size=3000)
    taste = rng.standard_normal((3000, TASTE_DIM), np.float32)
    vectors = upstream.user_vectors(taste, rng.integers(20, size=3000), streams, rng)
    assert explained(np.log1p(streams)[:, None], vectors) > 0.6


@pytest.fixture(scope="module")
def titles():
    config = WorldConfig(titles=1000)
    rng = np.random.default_rng(0)
    territories = make_territories(config, rng)
    catalogue = make_catalogue(config, territories, rng)
    return catalogue, title_columns(catalogue, territories, rng)


def test_title_vectors_are_text_and_one_hot_categories(titles):
    catalogue, columns = titles
    vectors = title_vectors(catalogue, columns, 64, np.random.default_rng(0))
    names = ("kind", "home", "genre", "format", "language")
    width = sum(len(set(columns[name])) for name in names)
    assert vectors.shape == (1000, 64 + width) and vectors.dtype == np.float32
    one_hot = vectors[:, 64:]
    assert set(np.unique(one_hot)) == {0, 1} and (one_hot.sum(axis=1) == len(names)).all()
    kinds = np.array(sorted(set(columns["kind"])))[one_hot[:, :3].argmax(axis=1)]
    assert kinds.tolist() == columns["kind"]


def test_the_text_part_tells_the_taste_of_a_title_with_noise(titles):
    catalogue, columns = titles
    text = title_vectors(catalogue, columns, 64, np.random.default_rng(0))[:, :64]
    assert 0.85 < explained(catalogue.taste, text) < 0.999
    assert text.std() == pytest.approx(np.sqrt(1 + 0.25), rel=0.1)
