"""The network of the paper's Figure 1: forward through the towers and heads, and the same list reversed.

    user features  (R, F_u) → Tower → (R, D) → head of the row's group → U (R, D) ╮
                                                                                  ├ z = s·<U, V> + c → masked loss
    title features (T, F_t) → Tower → V (T, D) ───────────────────────────────────╯

Rows are unique: R users and T titles stand behind B pairs, and batch-norm counts each row as often as it occurs, which
makes values and gradients equal to those of the expanded batch (``reference.loss_and_gradients``, the specification).
User rows are sorted by group; a tile of rows goes through its own head, its pairs, and back through the head while it
is in cache. Of the activations Z1, A1, Z2, U and V are kept; the others are computed again on the way back.
"""

from itertools import pairwise

import numpy as np

from twotower.core.checks import check_between, check_count, check_labels
from twotower.core.config import MEMORY_TERMS, ModelConfig
from twotower.model import tower as towers
from twotower.model.batch import Batch, check_batch
from twotower.model.engine.threads import TASKS, Threads, Tile, cut_into_tiles, split, tile_height
from twotower.model.exchange import Alone, Exchange
from twotower.model.gradients import Piece, WeightGradients, add, multiply
from twotower.model.heads import head_parameters, make_head
from twotower.model.layers import Packing, Scratch, ScratchPool
from twotower.model.loss import BatchLoss, Losses, MaskedLoss, PairWork
from twotower.model.memory import MemoryWeights
from twotower.model.parameters import Arena, Decay, Floats, Parameter, in_order, make_arena, owned_spans
from twotower.model.score import Score
from twotower.model.tower import Tower, TowerBatch, TowerWork


def declare(
    model: ModelConfig, widths: tuple[int, int], territories: int, base_rate: float = 0.1
) -> dict[str, Parameter]:
    """Every parameter of a network, in the order of the flat array. ``widths`` are those of user and title features."""
    parts = [Tower.parameters(name, F, model.hidden) for name, F in zip(("user", "title"), widths, strict=True)]
    parts += [head_parameters(model, widths[1], territories), Score.parameters(model, widths[1], base_rate)]
    return in_order({name: parameter for part in parts for name, parameter in part.items()})


class TwoTower:
    """The model: parameters, gradients, running statistics and workspaces, on ``threads.count`` threads."""

    def __init__(
        self, model: ModelConfig, user_width: int, title_width: int, rng: np.random.Generator,
        base_rate: float = 0.1, threads: int = 1, territories: int = 0, params: Arena | None = None,
    ):  # fmt: skip
        """``territories`` C is how many there are, for a model with something for each territory.

        ``params`` are those of another such model, to share them; otherwise there are new ones from ``rng``.

        Raises ValueError for widths or threads below 1, a base rate that is no probability, and territories below 1
        where the model has parameters per territory.
        """
        for name, count in (("user_width", user_width), ("title_width", title_width), ("threads", threads)):
            check_count(name, count)
        check_between("base_rate", base_rate, 0, 1)
        self.config, self.widths = model, (user_width, title_width)
        self.parameters = declare(model, self.widths, territories, base_rate)
        needs_territories = any(parameter.owner == "territory" for parameter in self.parameters.values())
        self.territories = territories if needs_territories else 0
        if needs_territories:
            check_count("territories", territories)
        self.objective = MaskedLoss()  # of training
        self.title_offsets: Floats | None = None  # (C, T) float32 added to the logits of scored pairs
        self.params = make_arena(self.parameters, rng) if params is None else params
        self.exchange: Exchange = Alone()  # with the other shards of a batch in training
        self.grads = self.params.like()
        moments: dict[str, tuple[int, ...]] = {"user": (model.hidden,), "title": (model.hidden,)}
        if model.batchnorm == "group":
            moments["user"] = model.groups, model.hidden
        self.running = Arena({f"{t}.{m}{i}": moments[t] for t in moments for i in "12" for m in ("mean", "var")})
        for name, value in self.running.items():
            value[...] = ".var" in name

        self.user_tower = Tower("user", self.params, self.grads, self.running, model.tower_floor)
        self.title_tower = Tower("title", self.params, self.grads, self.running, model.output_floor)
        self.head = make_head(self.params, self.grads, model)
        self.score = Score(self.params, self.grads, model)
        self.threads = Threads(threads)
        self.scratches = ScratchPool(model.hidden, max(self.widths), *self.head.scratch)
        self.gradients = WeightGradients(self.head.shared, self.head.by_group)
        self._group_spans = self.group_spans()
        self._reserve(0, 0, 0)

    def _reserve(self, pairs: int, users: int, titles: int) -> None:
        """Workspaces for so many pairs and unique rows; they grow, and never shrink."""
        D = self.config.hidden
        self.user_work = TowerWork(users, D, self.config.groups, self.config.user_pools)
        self.title_work = TowerWork(titles, D, 1)
        self.U, self.V, self.dV = (np.empty((n, D), np.float32) for n in (users, titles, titles))
        self.pairs = PairWork(pairs)

    def _fit(self, batch: Batch) -> None:
        have = len(self.pairs.z), len(self.U), len(self.V)
        need = len(batch.labels), len(batch.user_counts), len(batch.title_counts)
        if any(n > h for n, h in zip(need, have, strict=True)):
            self._reserve(*map(max, need, have))

    def shared_span(self) -> slice:
        """The flat parameters that every batch updates; they come first."""
        last = [name for name, parameter in self.parameters.items() if parameter.owner == "all"][-1]
        return slice(0, self.params.span(last).stop)

    def group_spans(self) -> list[list[slice]]:
        """The flat parameters of each group's own block."""
        return owned_spans(self.params, self.parameters, "group", self.config.groups)

    def territory_spans(self) -> list[list[slice]]:
        """The flat parameters of each territory's own block."""
        return owned_spans(self.params, self.parameters, "territory", self.territories)

    def decayed_spans(self, part: Decay) -> list[list[slice]]:
        """The flat parameters that weight decay of a part shrinks: shared ones, then by group, then by territory."""
        shared = [
            self.params.span(name)
            for name, parameter in self.parameters.items()
            if parameter.owner == "all" and parameter.decay == part
        ]
        groups = owned_spans(self.params, self.parameters, "group", self.config.groups, [part])
        return [shared, *groups, *owned_spans(self.params, self.parameters, "territory", self.territories, [part])]

    def memory_weights(self) -> MemoryWeights:
        """What memory terms are weighed with. Raises ValueError for a model without memory."""
        if self.score.memory is None:
            raise ValueError("a model without memory")
        return self.score.memory.weights()

    def pack(self) -> None:
        """Lay out all weights for the matrix product."""
        self.head.prepare()
        towers = (self.user_tower, self.title_tower)
        matrices = [dense for tower in towers for dense in (tower.dense1, tower.dense2)]
        tasks = [task for dense in matrices + self.head.matrices for task in dense.packing()]
        self.threads.run(Packing.run, tasks)

    def _forward(self, batch: Batch, training: bool) -> tuple[TowerBatch, TowerBatch]:
        """Both towers up to Z2, and V. Returns the batch in both towers."""
        self._fit(batch)
        self.pack()
        T = len(batch.title_counts)
        height = tile_height(len(batch.user_counts) + T)
        user_tiles, title_tiles = (cut_into_tiles(bounds, height) for bounds in (batch.segments, np.array([0, T])))
        users = TowerBatch(self.user_tower, batch.user_features, batch.user_counts, user_tiles, self.user_work)
        titles = TowerBatch(self.title_tower, batch.title_features, batch.title_counts, title_tiles, self.title_work)
        towers.forward([users, titles], self.threads, self.scratches, training, self.exchange)

        def output(rows: slice) -> None:
            self.title_tower.norm2.forward(self.V[rows], titles.work.Z2[rows], titles.work.stats2, 0)

        self.threads.run(output, split(T, TASKS, 1))
        self.score.begin(batch)
        self.head.begin(batch)
        return users, titles

    def _score(self, batch: Batch, tile: Tile, scratch: Scratch) -> tuple[Floats, slice]:
        """A2 of a tile's rows; their U, and the logits of their pairs, which are returned as a span."""
        Z2 = self.user_work.Z2[tile.rows]
        A2 = self.user_tower.norm2.forward(scratch.A[: len(Z2)], Z2, self.user_work.stats2, tile.group)
        U = self.head.forward(self.U[tile.rows], A2, tile.group, batch.user_territory[tile.rows], scratch)
        span = self.score.forward(self.pairs, batch, tile.rows, tile.group, U, self.V)
        self.head.add_to_logits(self.pairs.z[span], span, batch)
        return A2, span

    def _score_all(self, batch: Batch, users: TowerBatch) -> Floats:
        """Logits (B,) of all pairs, in the workspace."""

        def score(tile: Tile) -> None:
            with self.scratches.borrow() as scratch:
                self._score(batch, tile, scratch)

        self.threads.run(score, users.tiles)
        return self.pairs.z[: len(batch.labels)]

    def loss_and_gradients(self, batch: Batch, objective: MaskedLoss | None = None) -> Losses:
        """Loss of a batch, and its gradient in ``grads``; running statistics move along.

        Equal to ``reference.loss_and_gradients`` on the expanded batch. Blocks of absent groups get gradient 0.
        ``objective`` defaults to the model's own.

        Raises ValueError for labels other than 0 and 1, and as ``check_batch`` for a batch that does not fit.
        """
        check_batch(batch, self.widths, self.config.groups, self.territories, MEMORY_TERMS * self.config.memory)
        check_labels("labels", batch.labels)
        return self.backward_pass(batch, objective)

    def backward_pass(self, batch: Batch, objective: MaskedLoss | None = None) -> Losses:
        """``loss_and_gradients`` of a batch that the caller has checked."""
        users, titles = self._forward(batch, training=True)
        objective = objective or self.objective
        loss = objective.begin(batch, lambda: self._score_all(batch, users))
        self.gradients.begin(users.tiles)
        bounds = batch.pair_start[batch.segments]
        counts = self.exchange.gather(np.diff(bounds)).sum(0).tolist()  # pairs of each group, of the whole batch
        self._through_heads_and_back(batch, users, loss, sum(counts))
        T, norm2, title_work = len(batch.title_counts), self.title_tower.norm2, self.title_work
        self.score.backward_titles(self.dV[:T], self.pairs, batch, self.U, self.threads)

        def title_output(tile: Tile) -> None:
            dV, V, Z2 = self.dV[tile.rows], self.V[tile.rows], title_work.Z2[tile.rows]
            norm2.backward_relu(title_work.stats2, tile, title_work.d2.rows(tile), dV, V, Z2)

        self.threads.run(title_output, titles.tiles)
        towers.backward([users, titles], self.threads, self.scratches, self.exchange)
        self._weight_gradients(users, titles)
        self.head.finish(batch, self.pairs, self.V, self.threads)
        return self._finish(batch, loss.added, counts)

    def _through_heads_and_back(self, batch: Batch, users: TowerBatch, loss: BatchLoss, B: int) -> None:
        """From Z2 of the user rows to the loss, and back to the gradient before the last ReLU, a tile at a time."""
        work, norm2 = self.user_work, self.user_tower.norm2

        def one_tile(tile: Tile) -> None:
            rows = tile.rows
            with self.scratches.borrow() as scratch:
                A2, span = self._score(batch, tile, scratch)
                loss.tile(self.pairs, span, tile.group, batch.labels, self.score.s, B)
                dU, dA2, territory = scratch.dZ[: len(A2)], scratch.dA[: len(A2)], batch.user_territory[rows]
                self.score.backward_users(dU, self.pairs, batch, rows, span, self.V)
                dA2 = self.head.backward(self.gradients, tile, dA2, dU, self.U[rows], A2, territory, scratch)
                norm2.backward_relu(work.stats2, tile, work.d2.rows(tile), dA2, A2, work.Z2[rows])

        self.threads.run(one_tile, users.tiles)

    def _weight_gradients(self, users: TowerBatch, titles: TowerBatch) -> None:
        """The gradients of all matrices, when all tiles have gone backward."""
        products = users.products() + titles.products() + self.head.products(users.tiles)

        def piece(task: Piece) -> None:
            with self.scratches.borrow() as scratch:
                multiply(task, scratch.gemm)

        self.threads.run(piece, self.gradients.pieces(products))
        self.threads.run(add, self.gradients.sums(products))

    def _finish(self, batch: Batch, added: float, counts: list[int]) -> Losses:
        """Gradients of the score's parameters, zeros for absent groups, and losses; ``counts`` are of all shards."""
        bounds = batch.pair_start[batch.segments].tolist()
        spans = [slice(start, stop) for start, stop in pairwise(bounds)]
        own = np.array([self.pairs.total(self.pairs.loss[span]) for span in spans])
        losses = (self.exchange.gather(own).sum(0) / sum(counts)).tolist()
        self.score.finish(self.pairs, batch, spans)
        for blocks, pairs in zip(self._group_spans, spans, strict=True):
            if pairs.start == pairs.stop:
                for span in blocks:
                    self.grads.flat[span] = 0
        present = [k for k, pairs in enumerate(counts) if pairs]
        if self.territories:
            present += (len(counts) + np.unique(batch.user_territory)).tolist()
        return Losses(sum(losses) + added, losses, counts, present)

    def predict(self, batch: Batch) -> Floats:
        """Logits (B,) float32 of a batch's pairs, in the batch's order, with the running statistics.

        Raises ValueError and IndexError for a batch that does not fit, as ``check_batch`` says.
        """
        check_batch(batch, self.widths, self.config.groups, self.territories, MEMORY_TERMS * self.config.memory)
        return self.predict_in_workspace(batch).copy()

    def predict_in_workspace(self, batch: Batch) -> Floats:
        """``predict`` without check or copy: the array holds until the next batch."""
        users, _ = self._forward(batch, training=False)
        return self._score_all(batch, users)
