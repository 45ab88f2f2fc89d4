"""PyTorch at its best: everything that twotower does to save work, said in PyTorch's fastest operations.

Unique rows with exact, count-weighted batch-norm; each head on the rows of its own group; scores and their
gradients as sparse products, which touch each pair once; fused Adam. Tried, and slower on this model:

- scores by gathering both rows of each pair (``index_select``, multiply, sum): 5 to 20 times as long;
- scores as a dense matrix users × titles from which the pairs are picked: 17 to 30 times as long;
- weighted batch-norm by autograd: twice as long as the function below; ``torch.compile`` of it: 3 to 8 times;
- that function where all rows occur equally often: native batch-norm is exact there, and takes half as long.

``TorchBest`` multiplies with ``torch.mm``, which is MKL. On AMD processors MKL keeps to 256-bit vectors even
where there are 512; oneDNN, which PyTorch asks for convolutions only, takes what there is. So ``TorchOneDNN``
writes each product as a 1 × 1 convolution, which a reader of PyTorch's documentation would hardly think of.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers import LEARNING_RATE, Arrays
from benchmarks.workload import IndexBatch, Workload
from twotower.core.config import BATCHNORM_EPS, BATCHNORM_MOMENTUM, ModelConfig

warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
torch.sparse.check_sparse_tensor_invariants.disable()  # checks cost time; the patterns below are sound


class UniqueRows(NamedTuple):
    """A batch on its unique rows; users sorted by group, pairs by user row."""

    user_rows: torch.Tensor  # (R,) rows of the user table
    title_rows: torch.Tensor  # (T,) rows of the title table
    user_counts: torch.Tensor  # (R,) pairs of each user, in the network's dtype
    title_counts: torch.Tensor  # (T,)
    segment_sizes: list[int]  # (K,) users of each group
    pairs: "PairPattern"
    pair_group: torch.Tensor  # (B,)
    labels: torch.Tensor  # (B,)


class PairPattern(NamedTuple):
    """Which user row and title row each pair joins, compressed by user (CSR) and by title."""

    user_start: torch.Tensor  # (R+1,)
    title_of: torch.Tensor  # (B,) by user
    title_start: torch.Tensor  # (T+1,)
    user_of: torch.Tensor  # (B,) by title
    by_title: torch.Tensor  # (B,) pair i by title is pair by_title[i] by user

    def matrix(self, values: torch.Tensor) -> torch.Tensor:
        """(R, T) sparse, with a value a pair."""
        shape = len(self.user_start) - 1, len(self.title_start) - 1
        return torch.sparse_csr_tensor(self.user_start, self.title_of, values, shape)

    def transposed(self, values: torch.Tensor) -> torch.Tensor:
        """(T, R) sparse, with a value a pair."""
        shape = len(self.title_start) - 1, len(self.user_start) - 1
        return torch.sparse_csr_tensor(self.title_start, self.user_of, values[self.by_title], shape)


def starts(counts: torch.Tensor) -> torch.Tensor:
    """Where each row's pairs start: 0, c0, c0 + c1, …"""
    return functional.pad(counts.cumsum(0), (1, 0))


class PairDots(torch.autograd.Function):
    """Dot product of the two rows of each pair."""

    @staticmethod
    def forward(ctx: Any, U: torch.Tensor, V: torch.Tensor, pairs: PairPattern) -> torch.Tensor:
        ctx.save_for_backward(U, V)
        ctx.pairs = pairs
        pattern = pairs.matrix(torch.zeros(len(pairs.title_of), dtype=U.dtype))
        return torch.sparse.sampled_addmm(pattern, U, V.T).values()

    @staticmethod
    def backward(ctx: Any, ddots: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        # forward: dot_i = <U_u, V_t>   so: dU = G V, dV = Gᵀ U, with G sparse and g_ut = ddot_i
        U, V = ctx.saved_tensors
        return ctx.pairs.matrix(ddots) @ V, ctx.pairs.transposed(ddots) @ U, None


class WeightedBatchNorm(torch.autograd.Function):
    """Batch-norm and ReLU where row u occurs ``counts[u]`` times among ``B``, as if each had its own row."""

    @staticmethod
    def forward(
        ctx: Any, Z: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, counts: torch.Tensor,
        B: int, relu: bool, running: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:  # fmt: skip
        mean = counts @ Z / B
        centred = Z - mean
        variance = counts @ centred.square() / B
        rstd = (variance + BATCHNORM_EPS).rsqrt()
        A = torch.addcmul(beta, centred, gamma * rstd)
        if relu:
            A.relu_()
        running[0].lerp_(mean, BATCHNORM_MOMENTUM)
        running[1].lerp_(variance * (B / (B - 1)), BATCHNORM_MOMENTUM)
        ctx.save_for_backward(A, centred, rstd, gamma, counts)
        ctx.B, ctx.relu = B, relu
        return A

    @staticmethod
    def backward(ctx: Any, dA: torch.Tensor) -> tuple[Any, ...]:
        # dZ = gamma·rstd·(dY − c·(dbeta + Ẑ·dgamma)/B), with Ẑ = centred·rstd
        A, centred, rstd, gamma, counts = ctx.saved_tensors
        dY = torch.ops.aten.threshold_backward(dA, A, 0) if ctx.relu else dA.clone()
        dbeta, dgamma = dY.sum(0), (dY * centred).sum(0) * rstd
        scale = gamma * rstd
        shared = torch.addcmul(scale * dbeta / ctx.B, centred, scale * rstd * dgamma / ctx.B)
        dZ = dY.mul_(scale).addcmul_(shared, counts[:, None], value=-1)
        return dZ, dgamma, dbeta, None, None, None, None


class TorchBest:
    """Unique rows, own-rows heads, exact weighted batch-norm, sparse scores, fused Adam."""

    def __init__(self, workload: Workload, model: ModelConfig, params: Arrays) -> None:
        self.config = model
        self.user_table = torch.from_numpy(workload.user_table)
        self.title_table = torch.from_numpy(workload.title_table)
        self.user_group = torch.from_numpy(workload.user_group)
        self.running = {
            f"{name}{i}": (torch.zeros(model.hidden), torch.ones(model.hidden))
            for name in ("user", "title")
            for i in "12"
        }
        self.p = {name: self._leaves(name, value) for name, value in params.items()}
        learned = [leaf for leaves in self.p.values() for leaf in leaves if leaf.requires_grad]
        self.optimiser = torch.optim.Adam(learned, lr=LEARNING_RATE, fused=True)

    def _leaves(self, name: str, value: np.ndarray) -> list[torch.Tensor]:
        """A parameter as leaves of autograd: one a head, or one."""
        parts = list(value) if name.startswith("head.") else [value]
        learned = self.config.learned_logit or not name.startswith("logit.")
        weight = ".W" in name or name in ("head.P", "head.Q")
        tensors = [torch.from_numpy(part.copy()) for part in parts]
        return [(self._store(t) if weight else t).requires_grad_(learned) for t in tensors]

    # ------------------------------------------------ products, which TorchOneDNN replaces

    def _store(self, value: torch.Tensor) -> torch.Tensor:
        return value

    def _restore(self, value: torch.Tensor) -> torch.Tensor:
        return value

    def _product(self, X: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        return X @ W if b is None else torch.addmm(b, X, W)

    # ------------------------------------------------ the model

    def _unique(self, batch: IndexBatch) -> UniqueRows:
        n_users, dtype = len(self.user_table), self.user_table.dtype
        user, title = torch.from_numpy(batch.user), torch.from_numpy(batch.title)
        key = self.user_group[user] * n_users + user  # sorts users by group
        keys, pair_user, user_counts = torch.unique(key, return_inverse=True, return_counts=True)
        title_rows, pair_title, title_counts = torch.unique(title, return_inverse=True, return_counts=True)
        by_user = torch.argsort(pair_user * len(title_rows) + pair_title)
        pair_user, pair_title = pair_user[by_user], pair_title[by_user]
        by_title = torch.argsort(pair_title, stable=True)
        group = keys // n_users
        return UniqueRows(
            user_rows=keys % n_users,
            title_rows=title_rows,
            user_counts=user_counts.to(dtype),
            title_counts=title_counts.to(dtype),
            segment_sizes=torch.bincount(group, minlength=self.config.groups).tolist(),
            pairs=PairPattern(starts(user_counts), pair_title, starts(title_counts), pair_user[by_title], by_title),
            pair_group=group[pair_user],
            labels=torch.from_numpy(batch.labels)[by_user],
        )

    def _tower(self, name: str, X: torch.Tensor, counts: torch.Tensor, B: int, relu: bool) -> torch.Tensor:
        for i, layer_relu in (("1", True), ("2", relu)):
            Z = self._product(X, self.p[f"{name}.W{i}"][0])
            gamma, beta = self.p[f"{name}.gamma{i}"][0], self.p[f"{name}.beta{i}"][0]
            running = self.running[f"{name}{i}"]
            if counts.min() == counts.max():  # then the unweighted moments are the weighted ones
                X = functional.batch_norm(
                    Z, *running, gamma, beta, training=True, momentum=BATCHNORM_MOMENTUM, eps=BATCHNORM_EPS
                )
                X = X.relu_() if layer_relu else X
            else:
                X = WeightedBatchNorm.apply(Z, gamma, beta, counts, B, layer_relu, running)
        return X

    def _heads(self, A: torch.Tensor, sizes: list[int]) -> torch.Tensor:
        kind = self.config.head
        if kind == "none":
            return A
        U = []
        for k, Ak in enumerate(A.split(sizes)):
            if kind == "lowrank":
                U.append(Ak + self._product(self._product(Ak, self.p["head.P"][k]), self.p["head.Q"][k]))
            else:
                own = self._product(Ak, self.p["head.W"][k], self.p["head.b"][k])
                U.append(own if kind == "plain" else Ak + own)
        joined = torch.cat(U)
        return joined.relu_() if self.config.head_floor == 0 else joined

    def _backward(self, batch: IndexBatch) -> float:
        rows, B = self._unique(batch), len(batch.labels)
        self.optimiser.zero_grad()
        title_features = self.title_table.index_select(0, rows.title_rows)
        A = self._tower(
            "user", self.user_table.index_select(0, rows.user_rows), rows.user_counts, B,
            self.config.tower_floor == 0,
        )  # fmt: skip
        V = self._tower("title", title_features, rows.title_counts, B, self.config.output_floor == 0)
        dots = PairDots.apply(self._heads(A, rows.segment_sizes), V, rows.pairs)
        z = self.p["logit.scale"][0] * dots + self.p["logit.bias"][0]
        if self.config.title_bias:
            z = z + (title_features @ self.p["title_bias.C"][0].T)[rows.pairs.title_of, rows.pair_group]
        loss = functional.binary_cross_entropy_with_logits(z, rows.labels)
        loss.backward()
        return loss.item()

    # ------------------------------------------------ the contender

    def step(self, batch: IndexBatch) -> float:
        loss = self._backward(batch)
        self.optimiser.step()
        return loss

    def loss_and_gradients(self, batch: IndexBatch) -> tuple[float, Arrays]:
        loss = self._backward(batch)
        return loss, self._collect(lambda leaf: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)

    def parameters(self) -> Arrays:
        return self._collect(torch.Tensor.detach)

    def _collect(self, read: Any) -> Arrays:
        arrays = {}
        for name, leaves in self.p.items():
            parts = [self._restore(read(leaf)).numpy().copy() for leaf in leaves]
            arrays[name] = np.stack(parts) if name.startswith("head.") else parts[0]
        return arrays


class TorchOneDNN(TorchBest):
    """The same with each product as a 1 × 1 convolution over an image of one column, a pixel a row."""

    def _store(self, value: torch.Tensor) -> torch.Tensor:
        return value.T.contiguous()[:, :, None, None]  # (F, D) → (D, F, 1, 1)

    def _restore(self, value: torch.Tensor) -> torch.Tensor:
        return value[:, :, 0, 0].T if value.ndim == 4 else value

    def _product(self, X: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        image = X.view(1, len(X), 1, X.shape[1]).permute(0, 3, 1, 2)  # (1, F, n, 1), channels last
        return nn.functional.conv2d(image, W, b).permute(0, 2, 3, 1).reshape(len(X), W.shape[0])
