"""The operations of ``reference`` again, fast: same names, outputs first, then the same parameters.

Each kernel works on a tile of rows while it is in cache, on one thread, without the GIL and without allocating; the
layers above run tiles side by side. Callers check, kernels assume: arrays are C-contiguous and of one float type.
The matrix products are in ``gemm``. ``adam``, ``head_output``, ``memory_score`` and ``sum_parts``
update in place.
"""

import math

import numpy as np

from twotower.core.jit import njit

#: Sums may be reordered and multiply-adds fused, for vector units; NaN and infinity keep their meaning.
FAST_SUMS = {"reassoc", "contract"}
STRETCH = 2048  # numbers, 8 KiB in float32
kernel = njit(cache=True, nogil=True, fastmath=FAST_SUMS)


@kernel
def moments(mean, squares, Z, counts):
    """Weighted column means and sums of squared deviations of a tile."""
    weight = counts.dtype.type(0)
    mean[:] = 0
    squares[:] = 0
    for i in range(Z.shape[0]):
        weight += counts[i]
        for j in range(Z.shape[1]):
            mean[j] += counts[i] * Z[i, j]
    for j in range(Z.shape[1]):
        mean[j] /= weight
    for i in range(Z.shape[0]):
        for j in range(Z.shape[1]):
            deviation = Z[i, j] - mean[j]
            squares[j] += counts[i] * deviation * deviation


@kernel
def batchnorm_relu(A, Z, mean, rstd, gamma, beta, floor):
    """A = max(gamma·(Z − mean)·rstd + beta, floor)."""
    bound = Z.dtype.type(floor)
    for i in range(Z.shape[0]):
        for j in range(Z.shape[1]):
            A[i, j] = max(gamma[j] * (Z[i, j] - mean[j]) * rstd[j] + beta[j], bound)


@kernel
def relu_backward(dY, dgamma, dbeta, dA, A, Z, mean, rstd, floor):
    """dY = dA where A > floor, and its two sums over the tile; dY may be dA itself."""
    bound, zero = Z.dtype.type(floor), Z.dtype.type(0)
    dgamma[:] = 0
    dbeta[:] = 0
    for i in range(Z.shape[0]):
        for j in range(Z.shape[1]):
            gradient = dA[i, j] if A[i, j] > bound else zero
            dY[i, j] = gradient
            dbeta[j] += gradient
            dgamma[j] += gradient * ((Z[i, j] - mean[j]) * rstd[j])


@kernel
def batchnorm_backward(dZ, dY, Z, counts, mean, rstd, gamma, dgamma, dbeta, B):
    """dZ = gamma·rstd·(dY − c·dbeta/B − c·Ẑ·dgamma/B); dgamma and dbeta are sums over the whole batch."""
    share = Z.dtype.type(1 / B)
    for i in range(Z.shape[0]):
        weight = counts[i] * share
        for j in range(Z.shape[1]):
            Z_hat = (Z[i, j] - mean[j]) * rstd[j]
            dZ[i, j] = gamma[j] * rstd[j] * (dY[i, j] - weight * (dbeta[j] + Z_hat * dgamma[j]))


@kernel
def head_output(U, A, b, residual, floor):
    """U = max(U + residual·A + b, floor), in place."""
    share, bound = U.dtype.type(residual), U.dtype.type(floor)
    for i in range(U.shape[0]):
        for j in range(U.shape[1]):
            U[i, j] = max(U[i, j] + share * A[i, j] + b[j], bound)


@kernel
def head_output_backward(dU, U, floor):
    """dU = 0 where U does not exceed the floor, in place."""
    bound = U.dtype.type(floor)
    for i in range(U.shape[0]):
        for j in range(U.shape[1]):
            if U[i, j] <= bound:
                dU[i, j] = 0


@kernel
def pair_dots(dots, U, V, pair_start, pair_title):
    """<U_r, V_t> of each pair of a tile of user rows; ``dots`` starts at the tile's first pair."""
    first = pair_start[0]
    for r in range(U.shape[0]):
        for pair in range(pair_start[r], pair_start[r + 1]):
            title = pair_title[pair]
            total = U.dtype.type(0)
            for j in range(U.shape[1]):
                total += U[r, j] * V[title, j]
            dots[pair - first] = total


@kernel
def binary_cross_entropy(loss, dz, z, y, B):
    """Loss of each logit and its gradient over ``B``, without overflow."""
    kind = z.dtype.type
    one, share = kind(1), kind(1 / B)
    for i in range(z.size):
        e = kind(math.exp(-abs(z[i])))
        loss[i] = max(z[i], kind(0)) - z[i] * y[i] + kind(math.log1p(e))
        probability = one / (one + e) if z[i] >= 0 else e / (one + e)
        dz[i] = (probability - y[i]) * share


@kernel
def user_gradient(dU, ddots, V, pair_start, pair_title):
    """dU_r = Σ ddot·V_t over the pairs of each user row of a tile."""
    first = pair_start[0]
    for r in range(dU.shape[0]):
        for j in range(dU.shape[1]):
            dU[r, j] = 0
        for pair in range(pair_start[r], pair_start[r + 1]):
            title, weight = pair_title[pair], ddots[pair - first]
            for j in range(dU.shape[1]):
                dU[r, j] += weight * V[title, j]


@kernel
def title_gradient(dV, ddots, U, pair_user, pair_title, columns):
    """dV_t = Σ ddot·U_r over the pairs of each title, for the columns from ``columns[0]`` to ``columns[1]``.

    Threads take different columns: no two write the same cell, and each sum keeps the order of the pairs.
    """
    span = slice(columns[0], columns[1])
    for title in range(dV.shape[0]):
        dV[title, span] = 0
    for pair in range(pair_title.size):
        weight, total, row = ddots[pair], dV[pair_title[pair], span], U[pair_user[pair], span]
        for j in range(total.size):
            total[j] += weight * row[j]


@kernel
def memory_score(z, m, w, A, v):
    """z + <m, w> + <relu(m A + a), v> of each pair, in place; a is the last row of A."""
    F, H = w.size, v.size
    h = np.empty(H, z.dtype)
    for i in range(z.size):
        total = z[i]
        for j in range(H):
            h[j] = A[F, j]
        for f in range(F):
            x = m[i, f]
            total += x * w[f]
            for j in range(H):
                h[j] += x * A[f, j]
        for j in range(H):
            total += max(h[j], z.dtype.type(0)) * v[j]
        z[i] = total


@kernel
def memory_score_backward(dw, dA, dv, dz, m, A, v):
    """Gradients of ``memory_score`` for its weights, summed over the pairs."""
    F, H, zero = dw.size, v.size, dz.dtype.type(0)
    h = np.empty(H, dz.dtype)
    dw[:] = 0
    dA[:] = 0
    dv[:] = 0
    for i in range(dz.size):
        for j in range(H):
            h[j] = A[F, j]
        for f in range(F):
            x = m[i, f]
            dw[f] += dz[i] * x
            for j in range(H):
                h[j] += x * A[f, j]
        for j in range(H):
            dv[j] += dz[i] * max(h[j], zero)
            h[j] = dz[i] * v[j] if h[j] > zero else zero
            dA[F, j] += h[j]
        for f in range(F):
            x = m[i, f]
            for j in range(H):
                dA[f, j] += x * h[j]


@kernel
def adam(P, M, V, G, lr, beta1, beta2, eps, t):
    """Adam, Algorithm 1, on one block of the flat parameters, in place."""
    kind = P.dtype.type
    decay1, decay2, gain1, gain2 = kind(beta1), kind(beta2), kind(1 - beta1), kind(1 - beta2)
    rate, scale, epsilon = kind(lr / (1 - beta1**t)), kind(1 / math.sqrt(1 - beta2**t)), kind(eps)
    for i in range(P.size):
        M[i] = decay1 * M[i] + gain1 * G[i]
        V[i] = decay2 * V[i] + gain2 * G[i] * G[i]
        P[i] -= rate * M[i] / (np.sqrt(V[i]) * scale + epsilon)


@kernel
def sum_parts(G, parts, first):
    """G = G + the parts from column ``first`` on, in their order, in place; a stretch at a time, while in cache."""
    for start in range(0, G.size, STRETCH):
        for part in range(parts.shape[0]):
            for i in range(start, min(start + STRETCH, G.size)):
                G[i] += parts[part, first + i]
