"""The problem of benchmarks/scoring.py: users, titles, what each user may have, and a network."""

from pathlib import Path

import numpy as np

from benchmarks.workload import GROUP_SHARES, TITLE_WIDTH, USER_WIDTH
from twotower.core.config import BATCHNORM_EPS, ModelConfig
from twotower.core.presets import PRESETS
from twotower.model import reference
from twotower.model.two_tower import TwoTower

K = len(GROUP_SHARES)
TOP = 10
SEEN = 30  # titles that each user has seen
BARRED = 0.2  # of the titles, in each group
PAIRS = 32768  # scored at a time by contenders that score pairs
MODEL = ModelConfig(groups=K, **PRESETS["default"].mtl_model)  # twotower train --mtl


class Problem:
    """Tables, what each user may have, and a network whose every parameter is off its initial value."""

    def __init__(self, users: int, titles: int, threads: int, folder: Path, model: ModelConfig = MODEL):
        rng = np.random.default_rng(0)
        path = folder / "users.npy"
        table = np.lib.format.open_memmap(path, "w+", np.float16, (users, USER_WIDTH))
        for start in range(0, users, PAIRS):
            table[start : start + PAIRS] = rng.standard_normal(table[start : start + PAIRS].shape, np.float32)
        table.flush()
        self.users: np.ndarray = np.load(path, mmap_mode="r")
        self.titles = rng.standard_normal((titles, TITLE_WIDTH), np.float32)
        self.group = rng.choice(K, users, p=GROUP_SHARES)
        self.allowed = rng.random((K, titles)) >= BARRED  # (K, T)
        self.seen = np.sort(rng.integers(0, titles, (users, SEEN)), axis=1).astype(np.int32)
        self.model = TwoTower(model, USER_WIDTH, TITLE_WIDTH, rng, threads=threads)
        for value in self.model.params.values():
            value += (0.02 * rng.standard_normal(value.shape)).astype(np.float32)
        for value in self.model.running.values():
            value += rng.uniform(0, 0.5, value.shape).astype(np.float32)

    def flops(self) -> float:
        """Floating-point operations of all products: towers, heads, title biases, scores."""
        (n, F_u), (T, F_t) = self.users.shape, self.titles.shape
        D, r = self.model.config.hidden, self.model.config.rank
        return 2.0 * (n * (F_u * D + D * D + 2 * D * r + D * T) + T * (F_t * D + D * D + F_t * K))

    def exact(self, rows: np.ndarray) -> np.ndarray:
        """The logits (n, T) of users in float64, by the textbook; −inf for what they may not have."""
        p = {name: value.astype(float) for name, value in self.model.params.items()}
        running = {name: value.astype(float) for name, value in self.model.running.items()}

        def tower(name: str, X: np.ndarray) -> np.ndarray:
            for i, floor in (("1", 0.0), ("2", self.model.config.output_floor)):
                moments = running[f"{name}.mean{i}"], 1 / np.sqrt(running[f"{name}.var{i}"] + BATCHNORM_EPS)
                Z = reference.dense(X, p[f"{name}.W{i}"])
                X = reference.batchnorm_relu(Z, *moments, p[f"{name}.gamma{i}"], p[f"{name}.beta{i}"], floor)
            return X

        A, V = tower("user", self.users[rows].astype(float)), tower("title", self.titles.astype(float))
        group = self.group[rows]
        U = A + np.einsum("nd,ndr,nre->ne", A, p["head.P"][group], p["head.Q"][group], optimize=True)
        bias = (p["title_bias.C"] @ self.titles.T.astype(float))[group]
        z = np.where(self.allowed[group], p["logit.scale"] * (U @ V.T) + p["logit.bias"] + bias, -np.inf)
        np.put_along_axis(z, self.seen[rows], -np.inf, axis=1)
        return z
