"""The network of the paper's Figure 1: forward through the towers and heads, and the same list reversed.

    user features  (R, F_u) → Tower → (R, D) → head of the row's group → U (R, D) ╮
                                                                                  ├ z = s·<U, V> + c → masked loss
    title features (T, F_t) → Tower → V (T, D) ───────────────────────────────────╯

Rows are unique: R users and T titles stand behind B pairs, and batch-norm counts each row as often as it occurs, which
makes values and gradients equal to those of the expanded batch (``reference.loss_and_gradients``, the specification).
User rows are sorted by group; a tile of rows goes through its own head, its pairs, and back through the head while it
is in cache. Of the activations only Z1, Z2, U and V are kept; the others are computed again on the way back.
"""

from typing import Any, NamedTuple

import numpy as np

from twotower.core.config import ModelConfig
from twotower.model import tower as towers
from twotower.model.engine import kernels
from twotower.model.engine.arena import Arena
from twotower.model.engine.threads import CHUNKS, Tile, Workers, chunked_tiles
from twotower.model.heads import TerritoryOffsets, make_heads
from twotower.model.layers import Dense, GradientSums, Scratch, ScratchPool
from twotower.model.loss import PairWork, logits, masked_binary_cross_entropy
from twotower.model.parameters import initialise, parameter_shapes
from twotower.model.tower import Tower, TowerBatch, TowerWork
from twotower.model.variants.objective import Objective, PairTerms


class Losses(NamedTuple):
    """Loss of one batch."""

    total: float  # mean over the pairs; an objective's penalties included
    by_group: list[float]  # what each group's pairs add to the total; 0.0 for an absent group
    pairs_by_group: list[int]
    territories: tuple[int, ...] = ()  # those in the batch that have something to themselves

    @property
    def present(self) -> list[int]:
        """The blocks of parameters that the batch updates: group k is k, and territory c is K + c."""
        groups = [k for k, pairs in enumerate(self.pairs_by_group) if pairs]
        return groups + [len(self.pairs_by_group) + c for c in self.territories]


class TwoTower:
    """The model: parameters, gradients, running statistics and workspaces, on ``workers.threads`` threads."""

    def __init__(
        self, model: ModelConfig, user_width: int, title_width: int, rng: np.random.Generator,
        base_rate: float = 0.1, threads: int = 1, territories: int = 0,
    ):  # fmt: skip
        """``territories`` C is how many there are, for a model with offsets per territory."""
        self.config, self.territories = model, territories if model.territory_bias else 0
        if model.territory_bias and territories < 1:
            raise ValueError(f"{territories} territories: expected at least 1 for a model with territory_bias")
        self.objective: Objective | None = None  # of training, where that is not the plain masked loss
        self.widths = user_width, title_width
        self.title_offsets: np.ndarray | None = None  # (C, T) float32 added to the logits of scored pairs
        self.params = Arena(parameter_shapes(model, user_width, title_width, self.territories))
        self.grads = self.params.like()
        moments: dict[str, tuple[int, ...]] = {"user": (model.hidden,), "title": (model.hidden,)}
        if model.batchnorm == "group":
            moments["user"] = model.groups, model.hidden
        self.running = Arena({f"{t}.{m}{i}": moments[t] for t in moments for i in "12" for m in ("mean", "var")})
        for name, value in self.running.items():
            value[...] = ".var" in name
        initialise(self.params, model, rng, base_rate)

        self.user_tower = Tower("user", self.params, self.grads, self.running, model.tower_floor)
        self.title_tower = Tower("title", self.params, self.grads, self.running, model.output_floor)
        self.heads = make_heads(self.params, self.grads, model)
        self.offsets = TerritoryOffsets(self.params, self.grads) if model.territory_bias else None
        self.workers = Workers(threads)
        experts = model.experts if model.head == "mmoe" else 0
        self.scratches = ScratchPool(model.hidden, max(self.widths), model.rank * max(experts, 1), experts)
        shared, own = [f"{tower}.W{layer}" for tower in ("user", "title") for layer in "12"], []
        grads: dict[str, np.ndarray] = dict(self.grads)
        if self.heads is not None:
            shared, own, grads = shared + list(self.heads.shared), list(self.heads.own), grads | self.heads.pulled
        self.sums = GradientSums(grads, shared, own, model.groups)
        self._reserve(0, 0, 0)

    def _reserve(self, pairs: int, users: int, titles: int) -> None:
        """Workspaces for so many pairs and unique rows; they grow, and never shrink."""
        D = self.config.hidden
        self.user_work = TowerWork(users, D, self.config.groups, self.config.user_pools)
        self.title_work = TowerWork(titles, D, 1)
        self.U, self.V, self.dV = (np.empty((n, D), np.float32) for n in (users, titles, titles))
        self.pairs = PairWork(pairs)
        if self.offsets is not None:
            self.offsets.reserve(pairs, titles)

    def _fit(self, batch: Any) -> None:
        have = len(self.pairs.z), len(self.U), len(self.V)
        need = len(batch.labels), len(batch.user_counts), len(batch.title_counts)
        if any(n > h for n, h in zip(need, have, strict=True)):
            self._reserve(*map(max, need, have))

    def shared_span(self) -> slice:
        """The flat parameters that every batch updates."""
        names = list(self.params)
        last = names.index("logit.bias") if self.config.learned_logit else names.index("logit.scale") - 1
        return slice(0, self.params.span(names[last]).stop)

    def group_spans(self) -> list[list[slice]]:
        """The flat parameters of each group's own block."""
        own = [name for name in self.params if name.startswith(("head.", "title_bias."))]
        return [[self.params.span(name, k) for name in own] for k in range(self.config.groups)]

    def territory_spans(self) -> list[list[slice]]:
        """The flat parameters of each territory's own block."""
        own = [name for name in self.params if name.startswith("territory.")]
        return [[self.params.span(name, c) for name in own] for c in range(self.territories)]

    def matrix_spans(self, part: str) -> list[list[slice]]:
        """The flat matrices of the "tower", "head" or "bias" part: the shared ones, then those of each group."""
        if part == "bias":
            biases = [name for name in self.params if name.startswith("title_bias.")]
            return [[], *([self.params.span(name, k) for name in biases] for k in range(self.config.groups))]
        if part == "tower":
            towers = [f"{tower}.W{layer}" for tower in ("user", "title") for layer in "12"]
            return [[self.params.span(name) for name in towers]] + [[] for _ in range(self.config.groups)]
        heads = [name for name, value in self.params.items() if name.startswith("head.") and value.ndim == 3]
        shared = [self.params.span(name) for name in self.params if name.startswith(("experts.", "stitch."))]
        return [shared, *([self.params.span(name, k) for name in heads] for k in range(self.config.groups))]

    def pack(self) -> None:
        """Lay out all weights for the matrix product."""
        if self.heads is not None:
            self.heads.prepare()
        towers = (self.user_tower, self.title_tower)
        matrices = [dense for tower in towers for dense in (tower.dense1, tower.dense2)]
        self.workers.run(Dense.pack, matrices + (self.heads.matrices if self.heads else []))

    def _forward(self, batch: Any, training: bool) -> tuple[TowerBatch, TowerBatch, np.ndarray | None]:
        """Both towers up to Z2, and V. Returns the batch in both towers, and title biases (K, T)."""
        self._fit(batch)
        self.pack()
        T = len(batch.title_counts)
        user_runs, title_runs = chunked_tiles(batch.segments), chunked_tiles(np.array([0, T]))
        users = TowerBatch(self.user_tower, batch.user_features, batch.user_counts, user_runs, self.user_work)
        titles = TowerBatch(self.title_tower, batch.title_features, batch.title_counts, title_runs, self.title_work)
        towers.forward([users, titles], self.workers, self.scratches, training)

        def output(run: list[Tile]) -> None:
            for tile in run:
                Z2, stats2 = titles.work.Z2[tile.rows], titles.work.stats2
                self.title_tower.norm2.forward(self.V[tile.rows], Z2, stats2, tile.group)

        self.workers.run(output, title_runs)
        bias = self.params["title_bias.C"] @ batch.title_features.T if self.config.title_bias else None
        if self.offsets is not None:
            self.offsets.begin(batch)
        return users, titles, bias

    def _score(self, batch: Any, tile: Tile, A2: np.ndarray, bias: np.ndarray | None, scratch: Scratch) -> slice:
        """U of a tile's rows, and the logits of their pairs, which are returned as a span."""
        U = self.U[tile.rows]
        if self.heads is None:
            np.copyto(U, A2)
        else:
            self.heads.forward(U, A2, tile.group, scratch)
        if self.offsets is not None:
            self.offsets.add(U, batch.user_territory[tile.rows], scratch)
        start = batch.pair_start[tile.rows.start : tile.rows.stop + 1]
        span = slice(int(start[0]), int(start[-1]))
        kernels.pair_dots(self.pairs.dots[span], U, self.V, start, batch.pair_title)
        scale, c = self.params["logit.scale"], self.params["logit.bias"]
        logits(self.pairs, span, scale, c, None if bias is None else bias[tile.group], batch.pair_title)
        if self.offsets is not None:
            self.offsets.add_to_logits(self.pairs.z[span], span, batch)
        return span

    def _terms(self, batch: Any, users: TowerBatch, bias: np.ndarray | None, only: int | None) -> PairTerms | None:
        """What the objective says to a batch's pairs; a penalty needs all logits first."""
        if self.objective is None:
            return None if only is None else PairTerms(only=only)
        terms = self.objective.terms(batch)._replace(only=only)
        if self.objective.penalty:
            self._score_all(batch, users, bias)
            terms = self.objective.penalised(terms, batch, self.pairs.z[: len(batch.labels)])
        return terms

    def loss_and_gradients(self, batch: Any, only: int | None = None) -> Losses:
        """Loss of a batch, and its gradient in ``grads``; running statistics move along.

        Equal to ``reference.loss_and_gradients`` on the expanded batch. Blocks of absent groups get gradient 0.
        With ``only`` the loss is the same, and the gradient that of this group's pairs.
        """
        users, titles, bias = self._forward(batch, training=True)
        B, T, s = len(batch.labels), len(batch.title_counts), self.params["logit.scale"]
        work, norm2 = self.user_work, self.user_tower.norm2
        first_chunk = {tile.group: tile.chunk for run in reversed(users.runs) for tile in reversed(run)}
        self.sums.begin()
        terms = self._terms(batch, users, bias, only)

        def through_head_and_back(run: list[Tile]) -> None:
            with self.scratches.borrow() as scratch:
                for tile in run:
                    Z2 = work.Z2[tile.rows]
                    n = len(Z2)
                    A2 = norm2.forward(scratch.A[:n], Z2, work.stats2, tile.group)
                    span = self._score(batch, tile, A2, bias, scratch)
                    if terms is not None:
                        terms.shift(self.pairs, span)
                    masked_binary_cross_entropy(self.pairs, span, batch.labels, s, B)
                    if terms is not None:
                        terms.weigh(self.pairs, span, s, tile.group)
                    start = batch.pair_start[tile.rows.start : tile.rows.stop + 1]
                    dA2 = dU = scratch.dZ[:n]
                    kernels.user_gradient(dU, self.pairs.ddots[span], self.V, start, batch.pair_title)
                    if self.heads is not None:
                        where, dA2 = (self.sums, tile, first_chunk[tile.group]), scratch.dA[:n]
                        self.heads.backward(*where, dA2, dU, self.U[tile.rows], A2, scratch)
                    norm2.backward_relu(work.stats2, tile, work.dY[tile.rows], dA2, A2, Z2)

        def title_columns(columns: np.ndarray) -> None:
            kernels.title_gradient(
                self.dV[:T], self.pairs.ddots[:B], self.U, batch.pair_user, batch.pair_title, columns
            )

        def title_output(run: list[Tile]) -> None:
            norm, work = self.title_tower.norm2, self.title_work
            for tile in run:
                dV, V, Z2 = self.dV[tile.rows], self.V[tile.rows], work.Z2[tile.rows]
                norm.backward_relu(work.stats2, tile, work.dY[tile.rows], dV, V, Z2)

        self.workers.run(through_head_and_back, users.runs)
        edges = np.linspace(0, self.config.hidden, CHUNKS + 1).astype(np.int64)
        self.workers.run(title_columns, [edges[i : i + 2] for i in range(CHUNKS)])
        self.workers.run(title_output, titles.runs)
        if self.offsets is not None:
            self.offsets.backward(self.pairs, self.V, batch, self.workers)
        towers.backward([users, titles], self.workers, self.scratches, self.sums)
        self.workers.run(self.sums.finish, self.sums.blocks())
        if self.heads is not None:
            self.heads.finish(batch.segments)
        return self._finish(batch, B, T, 0.0 if terms is None else terms.added)

    def _finish(self, batch: Any, B: int, T: int, added: float) -> Losses:
        """Gradients of the logit's scale and bias and of the title biases, zeros for absent groups, and the losses."""
        dz, dots = self.pairs.dz[:B], self.pairs.dots[:B]
        if self.config.learned_logit:
            self.grads["logit.scale"][0] = np.dot(dz, dots)
            self.grads["logit.bias"][0] = self.pairs.total(dz)
        bounds = batch.pair_start[batch.segments]
        losses, counts = [], []
        for k, spans in enumerate(self.group_spans()):
            mine = slice(int(bounds[k]), int(bounds[k + 1]))
            counts.append(mine.stop - mine.start)
            losses.append(self.pairs.total(self.pairs.loss[mine]) / B)
            if counts[-1] == 0:
                for span in spans:
                    self.grads.flat[span] = 0
            elif self.config.title_bias:
                by_title = self.pairs.total_by(batch.pair_title[mine], dz[mine], T)
                self.grads["title_bias.C"][k] = by_title.astype(np.float32) @ batch.title_features
        territories = () if self.offsets is None else tuple(np.unique(batch.user_territory).tolist())
        return Losses(sum(losses) + added, losses, counts, territories)

    def predict(self, batch: Any) -> np.ndarray:
        """Logits (B,) float32 of a batch's pairs, in the batch's order, with the running statistics.

        The array is a workspace: it holds until the next batch.
        """
        users, _, bias = self._forward(batch, training=False)
        self._score_all(batch, users, bias)
        return self.pairs.z[: len(batch.labels)]

    def _score_all(self, batch: Any, users: TowerBatch, bias: np.ndarray | None) -> None:
        """Logits of all pairs."""

        def score(run: list[Tile]) -> None:
            with self.scratches.borrow() as scratch:
                for tile in run:
                    Z2, stats2 = self.user_work.Z2[tile.rows], self.user_work.stats2
                    A2 = self.user_tower.norm2.forward(scratch.A[: len(Z2)], Z2, stats2, tile.group)
                    self._score(batch, tile, A2, bias, scratch)

        self.workers.run(score, users.runs)
