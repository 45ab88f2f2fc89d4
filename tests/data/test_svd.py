"""Weights and factors of sparse matrices, against their definitions and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from scipy import sparse
from threadpoolctl import threadpool_limits

from twotower.data.features import svd as module
from twotower.data.features.svd import tf_idf, truncated_svd
from twotower.data.features.weighting import Weighting


def degree_normalised(counts):
    return Weighting.of("degree", counts).weigh(counts)


def random_counts(seed: int, n: int, m: int, density: float = 0.3) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 5, (n, m)) * (rng.random((n, m)) < density)
    return sparse.csr_matrix(counts.astype(float))


shapes = st.tuples(st.integers(0, 99), st.integers(1, 12), st.integers(1, 12))


@examples(30)
@given(shapes)
def test_tf_idf_is_scikit_learns(shape):
    text = pytest.importorskip("sklearn.feature_extraction.text")
    counts = random_counts(*shape)
    expected = text.TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    np.testing.assert_allclose(tf_idf(counts).toarray(), expected.toarray(), atol=1e-12)


@examples(30)
@given(shapes)
def test_degree_normalisation_divides_by_the_roots_of_both_sums(shape):
    counts = random_counts(*shape).toarray()
    W = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0)
    D_rows, D_columns = np.sqrt(W.sum(axis=1, keepdims=True)), np.sqrt(W.sum(axis=0, keepdims=True))
    expected = np.divide(W, D_rows * D_columns, out=np.zeros_like(W), where=W > 0)
    np.testing.assert_allclose(degree_normalised(sparse.csr_matrix(counts)).toarray(), expected, atol=1e-12)


def test_the_largest_singular_value_of_a_normalised_matrix_is_one():
    assert truncated_svd(degree_normalised(random_counts(0, 30, 20)), 1).s[0] == pytest.approx(1.0)


@pytest.mark.parametrize("gram_limit", [0, 2048], ids=["Lanczos", "Gram"])
@pytest.mark.parametrize("shape", [(40, 15), (15, 40), (20, 20)])
def test_the_svd_is_numpys(monkeypatch, gram_limit, shape):
    monkeypatch.setattr(module, "GRAM_LIMIT", gram_limit)
    A = random_counts(1, *shape)
    U, s, Vt = np.linalg.svd(A.toarray(), full_matrices=False)
    factors = truncated_svd(A, 6)
    np.testing.assert_allclose(factors.s, s[:6], rtol=1e-8)
    np.testing.assert_allclose(np.abs(factors.V.T @ Vt[:6].T), np.eye(6), atol=1e-6)
    np.testing.assert_allclose(np.abs(factors.rows(A)), np.abs(U[:, :6] * s[:6]), atol=1e-5)
    np.testing.assert_allclose(np.abs(factors.columns()), np.abs(Vt[:6].T * s[:6]), atol=1e-5)


def test_rows_and_columns_have_the_power_asked_for(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)  # several blocks
    A = random_counts(2, 30, 10)
    factors = truncated_svd(A, 10)
    U = factors.rows(A, power=0.0)
    np.testing.assert_allclose(U.T @ U, np.eye(10), atol=1e-5)
    np.testing.assert_allclose(factors.rows(A, power=1.0) @ factors.V.T, A.toarray(), atol=1e-5)
    np.testing.assert_allclose(factors.rows(A, power=3.0), (A @ A.T @ A @ factors.V), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(factors.columns(power=3.0), (A.T @ A @ factors.V) * factors.s, rtol=1e-3, atol=1e-3)
    assert factors.rows(A).dtype == factors.columns().dtype == np.float32


@pytest.mark.parametrize("gram_limit", [0, 2048], ids=["Lanczos", "Gram"])
@pytest.mark.parametrize("shape", [(60, 40), (40, 60)])
def test_vectors_of_empty_rows_and_columns_are_exactly_zero(monkeypatch, gram_limit, shape):
    monkeypatch.setattr(module, "GRAM_LIMIT", gram_limit)
    counts = random_counts(3, *shape).toarray()
    counts[4], counts[:, 2::7] = 0, 0
    A = degree_normalised(sparse.csr_matrix(counts))
    factors = truncated_svd(A, 20)
    assert not factors.rows(A)[4].any()
    assert not factors.columns()[2::7].any()


@pytest.mark.parametrize("gram_limit", [0, 2048], ids=["Lanczos", "Gram"])
def test_dimensions_are_capped_by_the_rank(monkeypatch, gram_limit):
    monkeypatch.setattr(module, "GRAM_LIMIT", gram_limit)
    base = np.random.default_rng(0).random((30, 3))
    A = sparse.csr_matrix(base @ np.random.default_rng(1).random((3, 12)))
    assert len(truncated_svd(A, 8).s) == 3
    assert len(truncated_svd(A, 100).s) == 3


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (3, 3)])
def test_a_matrix_without_entries_has_no_factors(shape):
    A = sparse.csr_matrix(shape)
    factors = truncated_svd(A, 5)
    assert factors.rows(A).shape == (shape[0], 0)
    assert factors.columns().shape == (shape[1], 0)


@pytest.mark.parametrize("gram_limit", [0, 2048], ids=["Lanczos", "Gram"])
def test_the_same_matrix_gives_the_same_bytes_and_fixed_signs(monkeypatch, gram_limit):
    monkeypatch.setattr(module, "GRAM_LIMIT", gram_limit)
    A = random_counts(4, 40, 25)
    first, again = truncated_svd(A, 9), truncated_svd(A.copy(), 9)
    assert first.V.tobytes() == again.V.tobytes()
    assert (first.V[np.abs(first.V).argmax(axis=0), np.arange(9)] > 0).all()


def test_the_bytes_do_not_depend_on_the_number_of_threads():
    A = degree_normalised(random_counts(0, 400, 300))
    made = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            made.append(truncated_svd(A, 40).V.tobytes())
    assert made[0] == made[1]
