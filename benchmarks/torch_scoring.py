"""PyTorch's part in benchmarks/scoring.py: all users against all titles, and pairs one by one."""

import numpy as np
import torch
from torch.nn import functional

from benchmarks.scoring_problem import PAIRS, TOP, Problem
from twotower.core.config import BATCHNORM_EPS

CHUNK = 1024  # users at a time: the fastest of 256 to 8192 with 5000 titles


class TorchScorer:
    """Each side embedded once, own-rows heads, one product per chunk of users of a group, ``torch.topk``."""

    def __init__(self, problem: Problem):
        self.problem, self.model = problem, problem.model
        self.p = {name: torch.from_numpy(value.copy()) for name, value in self.model.params.items()}
        self.running = {name: torch.from_numpy(value.copy()) for name, value in self.model.running.items()}
        self.titles = torch.from_numpy(problem.titles)
        self.floor = {"user": self.model.config.tower_floor, "title": self.model.config.output_floor}

        matrices = {name: value for name, value in self.p.items() if ".W" in name}
        heads = {f"{name}{k}": self.p[name][k] for name in ("head.P", "head.Q") for k in range(len(self.p[name]))}
        self.stored = {name: self.store(W) for name, W in (matrices | heads).items()}

    def store(self, W: torch.Tensor) -> torch.Tensor:
        """A matrix (F, D) as ``product`` wants it."""
        return W.contiguous()

    def product(self, X: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
        """X W from a stored W."""
        return X @ W

    def tower(self, name: str, X: torch.Tensor) -> torch.Tensor:
        for i, relu in (("1", True), ("2", self.floor[name] == 0)):
            Z = self.product(X, self.stored[f"{name}.W{i}"])
            moments = self.running[f"{name}.mean{i}"], self.running[f"{name}.var{i}"]
            affine = self.p[f"{name}.gamma{i}"], self.p[f"{name}.beta{i}"]
            X = functional.batch_norm(Z, *moments, *affine, training=False, eps=BATCHNORM_EPS)
            X = X.relu_() if relu else X
        return X

    def embed_users(self, rows: np.ndarray, k: int) -> torch.Tensor:
        A = self.tower("user", torch.from_numpy(self.problem.users[rows]).float())
        return A + self.product(self.product(A, self.stored[f"head.P{k}"]), self.stored[f"head.Q{k}"])

    @torch.inference_mode()
    def top(self, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The ten best titles of users, all unless told, and their scores."""
        p = self.problem
        rows = np.arange(len(p.users)) if rows is None else rows
        V = self.tower("title", self.titles)
        right = self.store((V * self.p["logit.scale"]).T)  # the scale is applied once
        bias = self.p["title_bias.C"] @ self.titles.T + self.p["logit.bias"]
        offset = bias.masked_fill(~torch.from_numpy(p.allowed), -torch.inf)
        titles, scores = torch.empty(len(rows), TOP, dtype=torch.int64), torch.empty(len(rows), TOP)
        for k in range(len(offset)):
            members = np.flatnonzero(p.group[rows] == k)
            for start in range(0, len(members), CHUNK):
                who = members[start : start + CHUNK]
                z = self.product(self.embed_users(rows[who], k), right).add_(offset[k])
                z.scatter_(1, torch.from_numpy(p.seen[rows[who]]).long(), -torch.inf)
                scores[who], titles[who] = torch.topk(z, TOP, dim=1)
        return titles.numpy(), scores.numpy()


class TorchOneDNN(TorchScorer):
    """The same with its products as 1 × 1 convolutions, which reach oneDNN's 512-bit kernels on AMD processors."""

    def store(self, W: torch.Tensor) -> torch.Tensor:
        return W.T.contiguous()[:, :, None, None]  # (D, F, 1, 1)

    def product(self, X: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
        image = X.view(1, len(X), 1, X.shape[1]).permute(0, 3, 1, 2)  # (1, F, n, 1), channels last
        return functional.conv2d(image, W).permute(0, 2, 3, 1).reshape(len(X), W.shape[0])


class TorchPairs(TorchScorer):
    """A pair at a time through both towers, as a model for pairs is usually called: with features a row a pair."""

    @torch.inference_mode()
    def score(self) -> torch.Tensor:
        """Logits of PAIRS pairs of users of group 0, each with a few titles."""
        p = self.problem
        users = np.resize(np.flatnonzero(p.group == 0), PAIRS)
        titles = np.arange(PAIRS) % len(p.titles)
        features = self.titles[titles]
        V = self.tower("title", features)
        dots = (self.embed_users(users, 0) * V).sum(1)
        return self.p["logit.scale"] * dots + self.p["logit.bias"] + features @ self.p["title_bias.C"][0]
