"""PyTorch as a practitioner writes the paper: the peer to compare with, and in float64 the answer.

Every pair has a row of its own in both towers; every head sees every row, and a one-hot mask selects.
Parameters come and go as NumPy arrays under twotower's names: ``user.W1`` (F,D), ``head.W`` (K,D,D), …
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from benchmarks.workload import IndexBatch, Workload
from twotower.core.config import ModelConfig, TrainConfig

Arrays = dict[str, np.ndarray]
LEARNING_RATE = TrainConfig().learning_rate


class Contender(Protocol):
    """What every contender can do; a step starts from index arrays and ends with updated parameters."""

    def step(self, batch: IndexBatch) -> float:
        """Gather, forward, backward, Adam; the loss of the batch."""
        ...

    def loss_and_gradients(self, batch: IndexBatch) -> tuple[float, Arrays]:
        """The loss of a batch and its gradient for every parameter; no parameter moves."""
        ...

    def parameters(self) -> Arrays:
        """The parameters as they are now."""
        ...


def tower(inputs: int, D: int, relu: bool) -> nn.Sequential:
    """Dense without bias → batch-norm → ReLU, twice; the last ReLU is a choice."""
    layers = [nn.Linear(inputs, D, bias=False), nn.BatchNorm1d(D), nn.ReLU()]
    layers += [nn.Linear(D, D, bias=False), nn.BatchNorm1d(D), nn.ReLU() if relu else nn.Identity()]
    return nn.Sequential(*layers)


class PaperModel(nn.Module):
    """Two towers, K heads on all rows, and the logits of every head for every pair."""

    def __init__(self, model: ModelConfig, user_width: int, title_width: int) -> None:
        super().__init__()
        D, K, r = model.hidden, model.groups, model.rank
        self.kind = model.head
        self.user = tower(user_width, D, model.tower_floor == 0)
        self.title = tower(title_width, D, model.output_floor == 0)
        if model.head in ("plain", "residual"):
            self.heads = nn.ModuleList(nn.Linear(D, D) for _ in range(K))
        elif model.head == "lowrank":
            low_rank = [(nn.Linear(D, r, bias=False), nn.Linear(r, D, bias=False)) for _ in range(K)]
            self.heads = nn.ModuleList(nn.Sequential(*pair) for pair in low_rank)
        else:
            self.heads = nn.ModuleList()
        self.output = nn.ReLU() if model.head_floor == 0 else nn.Identity()
        self.title_bias = nn.Linear(title_width, K, bias=False) if model.title_bias else None
        self.scale = nn.Parameter(torch.ones(1), requires_grad=model.learned_logit)
        self.bias = nn.Parameter(torch.zeros(1), requires_grad=model.learned_logit)

    def forward(self, user_features: torch.Tensor, title_features: torch.Tensor) -> torch.Tensor:
        """(B, F_u), (B, F_t) → (B, K) logits, one column a head."""
        A, V = self.user(user_features), self.title(title_features)
        if self.kind == "none":
            U = [A]
        elif self.kind == "plain":
            U = [self.output(head(A)) for head in self.heads]
        else:
            U = [self.output(A + head(A)) for head in self.heads]
        z = self.scale * torch.stack([(Uk * V).sum(1) for Uk in U], 1) + self.bias
        return z if self.title_bias is None else z + self.title_bias(title_features)

    def named_arrays(self) -> Iterator[tuple[str, int | None, nn.Parameter, bool]]:
        """twotower's name and head of each parameter, and whether it lies transposed here."""
        for name, layers in (("user", self.user), ("title", self.title)):
            for i, dense, norm in (("1", layers[0], layers[1]), ("2", layers[3], layers[4])):
                yield f"{name}.W{i}", None, dense.weight, True
                yield f"{name}.gamma{i}", None, norm.weight, False
                yield f"{name}.beta{i}", None, norm.bias, False
        for k, head in enumerate(self.heads):
            if isinstance(head, nn.Sequential):
                yield "head.P", k, head[0].weight, True
                yield "head.Q", k, head[1].weight, True
            else:
                yield "head.W", k, head.weight, True
                yield "head.b", k, head.bias, False
        if self.title_bias is not None:
            yield "title_bias.C", None, self.title_bias.weight, False
        yield "logit.scale", None, self.scale, False
        yield "logit.bias", None, self.bias, False


class TorchPaper:
    """The practitioner's training step, eager or compiled."""

    def __init__(
        self,
        workload: Workload,
        model: ModelConfig,
        params: Arrays,
        compiled: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.groups, self.dtype = model.groups, dtype
        self.user_table = torch.from_numpy(workload.user_table).to(dtype)
        self.title_table = torch.from_numpy(workload.title_table).to(dtype)
        self.user_group = torch.from_numpy(workload.user_group)
        self.model = PaperModel(model, self.user_table.shape[1], self.title_table.shape[1]).to(dtype)
        self._shapes = {name: value.shape for name, value in params.items()}
        with torch.no_grad():
            for name, k, parameter, transposed in self.model.named_arrays():
                value = torch.from_numpy(params[name] if k is None else params[name][k])
                parameter.copy_(value.T if transposed else value)
        self.criterion = nn.BCEWithLogitsLoss(reduction="none")
        self.compute_loss = torch.compile(self._loss) if compiled else self._loss
        learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.Adam(learned, lr=LEARNING_RATE)

    def _loss(self, user_features: Any, title_features: Any, group: Any, labels: Any) -> torch.Tensor:
        z = self.model(user_features, title_features)  # (B, K)
        losses = self.criterion(z, labels[:, None].expand_as(z))
        if z.shape[1] > 1:
            losses = losses * nn.functional.one_hot(group, self.groups).to(z.dtype)
        return losses.sum() / len(labels)

    def _backward(self, batch: IndexBatch) -> float:
        user, title = torch.from_numpy(batch.user), torch.from_numpy(batch.title)
        self.optimiser.zero_grad()
        loss = self.compute_loss(
            self.user_table[user],
            self.title_table[title],
            self.user_group[user],
            torch.from_numpy(batch.labels).to(self.dtype),
        )
        loss.backward()
        return loss.item()

    def step(self, batch: IndexBatch) -> float:
        loss = self._backward(batch)
        self.optimiser.step()
        return loss

    def loss_and_gradients(self, batch: IndexBatch) -> tuple[float, Arrays]:
        loss = self._backward(batch)
        return loss, self._collect(lambda parameter: parameter.grad)

    def parameters(self) -> Arrays:
        return self._collect(lambda parameter: parameter.detach())

    def _collect(self, read: Any) -> Arrays:
        arrays = {name: np.zeros(shape) for name, shape in self._shapes.items()}
        for name, k, parameter, transposed in self.model.named_arrays():
            value = read(parameter)
            if value is not None:  # a fixed logit has no gradient
                arrays[name][... if k is None else k] = (value.T if transposed else value).numpy()
        return arrays


class TorchCompiled(TorchPaper):
    """The same under ``torch.compile``, which fuses what stands between the products."""

    def __init__(self, workload: Workload, model: ModelConfig, params: Arrays) -> None:
        super().__init__(workload, model, params, compiled=True)


class Oracle(TorchPaper):
    """The same in float64: the answer, and how near a ReLU came to switching."""

    def __init__(self, workload: Workload, model: ModelConfig, params: Arrays) -> None:
        super().__init__(workload, model, params, dtype=torch.float64)
        self.margin = float("inf")  # least |input| of any ReLU since it was last reset
        for module in self.model.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_pre_hook(self._observe)

    def _observe(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.margin = min(self.margin, inputs[0].detach().abs().min().item())
