"""All users against all titles: either side is embedded once, and a block of logits is used while it is in cache.

    user features  (n, F_u) → tower → head of the user's group → U (n, D) ╮
                                                                          ├ z = s·U Vᵀ + offset → the k best of a row
    title features (T, F_t) → tower → V (T, D), once and for all ─────────╯

A tile of users goes through tower and head, meets the titles a block at a time, and of its logits only the k best of
each user are kept: neither the (n, T) logits nor the (n, D) embeddings ever exist as a whole. Tiles are the work of the
model's threads, and each owns what it writes: the same bits on any number of threads.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from twotower.core import checks
from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.model.engine import gemm
from twotower.model.engine.threads import TILE_ROWS, Tile, cut_into_tiles, tile_height
from twotower.model.engine.topk import NO_TITLE, update_top_k
from twotower.model.layers import BatchStatistics, Scratch
from twotower.model.parameters import Floats
from twotower.model.score import logits
from twotower.model.tower import Tower
from twotower.model.two_tower import TwoTower

LARGEST = 1e37  # of scores: what is added to a product must not lead out of float32
TITLE_BLOCK = 256  # titles that a tile of users meets at a time: their logits stay in the second-level cache
PRODUCTS = 1 << 36  # multiply-adds between two reports of progress: about half a second

#: Called with the positions of a tile's users (n,), the first title of a block, and <U, V> (n, w).
Consumer = Callable[[np.ndarray, int, Floats], None]


class Users(NamedTuple):
    """Users to score: rows of a feature table, which may be memory-mapped and half precision, and their groups."""

    table: np.ndarray  # (N, F_u) float32 or float16
    rows: np.ndarray  # (n,) integer
    group: np.ndarray  # (n,) integer, 0 ≤ group < K
    territory: np.ndarray | None = None  # (n,) integer, for a head whose U depends on it


class Candidates(NamedTuple):
    """The titles that each user may be recommended. Users of one kind share offsets; −inf excludes a title."""

    offset: np.ndarray  # (M, T) float32, added to s·<U, V>
    kind: np.ndarray  # (n,) integer: the row of ``offset`` of each user
    seen_start: np.ndarray  # (n+1,) int64: user i has seen seen[seen_start[i]:seen_start[i+1]]
    seen: np.ndarray  # titles, ascending within each user


class TowerAtRest:
    """A tower with its running statistics in place of a batch's."""

    def __init__(self, tower: Tower):
        pools, D = tower.norm1.running_mean.shape
        self.tower = tower
        self.stats1, self.stats2 = BatchStatistics(D, 0, pools), BatchStatistics(D, 0, pools)
        tower.norm1.use_running(self.stats1)
        tower.norm2.use_running(self.stats2)

    def embed(self, X: np.ndarray, group: int, scratch: Scratch) -> np.ndarray:
        """A2 (n, D) of the features of a tile of one group; in ``scratch.A``."""
        A, Z = scratch.A[: len(X)], scratch.dZ[: len(X)]
        self.tower.dense1.forward(Z, X, scratch)
        self.tower.norm1.forward(A, Z, self.stats1, group)
        self.tower.dense2.forward(Z, A, scratch)
        return self.tower.norm2.forward(A, Z, self.stats2, group)


class Buffers:
    """Buffers of one thread beside the model's scratch: a tile's features, and its logits for a block of titles."""

    def __init__(self, widest: int, dtype: np.dtype):
        self.X = np.empty((TILE_ROWS, widest), np.float32)
        self.stored = np.empty((TILE_ROWS if dtype == np.float16 else 0, widest), np.float16)
        self.dots = np.empty(TILE_ROWS * TITLE_BLOCK, np.float32)

    def gather(self, table: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Rows of a table as float32 (n, F)."""
        X = self.X.reshape(-1)[: len(rows) * table.shape[1]].reshape(len(rows), table.shape[1])
        if table.dtype == np.float32:
            return np.take(table, rows, axis=0, out=X, mode="clip")  # callers check rows; "raise" would copy once more
        X[...] = np.take(table, rows, axis=0, out=self.stored.reshape(-1)[: X.size].reshape(X.shape), mode="clip")
        return X


class Retrieval:
    """The titles of a table as a trained model sees them, laid out for products with any number of users.

    The weights are those of the moment: after another step of training, make another. What a head adds to all users of
    a territory alike (``Head.title_terms``) is part of the offsets of titles.
    """

    def __init__(self, model: TwoTower, title_table: np.ndarray, progress: Progress = silent):
        """``title_table`` (T, F_t) float32 or float16. Raises ValueError when its width is not the model's."""
        checks.check_vectors("titles", title_table, model.widths[1])
        self.model, D, T = model, model.config.hidden, len(title_table)
        model.pack()
        self.user_tower, self.title_tower = (TowerAtRest(tower) for tower in (model.user_tower, model.title_tower))
        self.V = np.empty((T, D), np.float32)
        self.bias = np.empty((model.config.groups, T), np.float32)  # c, and what the group's title bias adds
        self.own = np.zeros((model.territories, T), np.float32)  # what a territory adds to its group's
        table = np.asarray(title_table)

        def embed(tile: Tile, buffers: Buffers, scratch: Scratch) -> None:
            X = buffers.gather(table, np.arange(tile.rows.start, tile.rows.stop))
            V = self.V[tile.rows] = self.title_tower.embed(X, tile.group, scratch)
            check_embeddings("title", np.arange(tile.rows.start, tile.rows.stop), V)
            self.bias[:, tile.rows] = model.score.title_terms(X, model.config.groups)
            own = model.head.title_terms(V, X)
            if own is not None:
                self.own[:, tile.rows] = own

        self._each_tile(embed, np.array([0, T]), table, "embedding titles", progress)
        self.starts = range(0, T, TITLE_BLOCK)  # first title of each block
        widths = [min(TITLE_BLOCK, T - start) for start in self.starts]
        self.packed = [np.empty(gemm.packed_size(D, width), np.float32) for width in widths]
        self.reach = float(np.abs(self.V).max(initial=0)) * D  # no |<U, V>| is larger, of a U within ±1
        blocks = list(zip(self.packed, self.starts, strict=True))
        model.threads.run(lambda b: gemm.pack_transposed(b[0], self.V[b[1] : b[1] + TITLE_BLOCK]), blocks)

    def territory_bias(self, group: np.ndarray) -> np.ndarray:
        """What a territory adds to s·<U, V> of each title, (C, T) float32; ``group`` (C,) of each territory.

        Raises ValueError when the model has offsets of another number of territories.
        """
        bias = self.bias[group if len(self.bias) > 1 else np.zeros(len(group), np.int64)]
        if len(self.own):
            if len(self.own) != len(group):
                raise ValueError(f"groups of {len(group)} territories, and offsets of {len(self.own)}")
            bias += self.own
        return bias

    def scan(self, users: Users, consume: Consumer, progress: Progress = silent, stage: str = "scoring users") -> None:
        """Call ``consume`` with the products of every tile of users and every block of titles.

        Its array is a workspace, which it may overwrite; several threads call it at once, each for other users.

        Raises ValueError when shapes do not fit the model and each other, IndexError for rows outside the table.
        """
        table, order, segments = self._by_group(users)
        blocks = list(zip(self.starts, self.packed, strict=True))
        reach = self.reach * max(1.0, abs(float(self.model.params["logit.scale"][0])))

        def score(tile: Tile, buffers: Buffers, scratch: Scratch) -> None:
            which = order[tile.rows]
            U = self._embed_users(users, which, buffers.gather(table, users.rows[which]), tile.group, scratch)
            check_embeddings("user", users.rows[which], U, reach)
            for start, packed in blocks:
                width = min(TITLE_BLOCK, len(self.V) - start)
                dots = buffers.dots[: len(U) * width].reshape(len(U), width)
                gemm.matmul(dots, U, packed, scratch.gemm, 0)  # U Vᵀ
                consume(which, start, dots)

        self._each_tile(score, segments, table, stage, progress)

    def embed_users(self, out: np.ndarray, users: Users, progress: Progress = silent) -> None:
        """Fill ``out`` (n, D) float32, which may be memory-mapped, with s·U of each user: <out, V> is then s·<U, V>.

        Raises ValueError and IndexError as ``scan`` does.
        """
        table, order, segments = self._by_group(users)
        scale = self.model.params["logit.scale"]

        def embed(tile: Tile, buffers: Buffers, scratch: Scratch) -> None:
            which = order[tile.rows]
            X = buffers.gather(table, users.rows[which])
            out[which] = U = scale * self._embed_users(users, which, X, tile.group, scratch)
            check_embeddings("user", users.rows[which], U, self.reach)

        self._each_tile(embed, segments, table, "embedding users", progress)

    def top(
        self, k: int, users: Users, candidates: Candidates, progress: Progress = silent, own: Consumer | None = None
    ) -> tuple[np.ndarray, Floats]:
        """The top k unseen candidates of each user, best first: titles and logits, (n, k) each.

        Exact; of equal logits the lower title comes first. Missing titles are NO_TITLE, with −inf. ``own`` adds to each
        block of logits what is neither a product nor an offset.

        Raises ValueError and IndexError as ``scan`` does, and where ``candidates`` does not fit.
        """
        checks.check_count("k", k)
        check_candidates(candidates, len(users.rows), len(self.V))
        titles = np.full((len(users.rows), k), NO_TITLE, np.int32)
        scores = np.full((len(users.rows), k), -np.inf, np.float32)
        scale = self.model.params["logit.scale"][0]
        kind, start = (np.ascontiguousarray(index, np.int64) for index in (candidates.kind, candidates.seen_start))
        seen = np.ascontiguousarray(candidates.seen, np.int32)

        def keep(which: np.ndarray, first: int, dots: np.ndarray) -> None:
            logits(dots, scale, candidates.offset, kind[which], first)
            if own is not None:
                own(which, first, dots)
            update_top_k(titles, scores, which, dots, first, start, seen)

        self.scan(users, keep, progress)
        return titles, scores

    def _by_group(self, users: Users) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The table, the positions (n,) of users sorted by group, and the bounds of each group.

        Within a group by territory, whose offsets of titles then stay in cache, and there in the order given.
        """
        check_users(users, self.model)
        order = np.lexsort((users.group,) if users.territory is None else (users.territory, users.group))
        bounds = np.searchsorted(users.group[order], np.arange(self.model.config.groups + 1))
        return np.asarray(users.table), order, bounds

    def _embed_users(self, users: Users, which: np.ndarray, X: Floats, group: int, scratch: Scratch) -> Floats:
        """U (n, D) of users ``which`` (n,) of one group with features X, through its head; in ``scratch``."""
        A2 = self.user_tower.embed(X, group, scratch)
        territory = np.empty(0, np.intp) if users.territory is None else users.territory[which]
        return self.model.head.embed(scratch.dA[: len(X)], A2, group, territory, scratch)

    def _each_tile(
        self, work: Callable[[Tile, Buffers, Scratch], None], segments: np.ndarray, table: np.ndarray,
        stage: str, progress: Progress,
    ) -> None:  # fmt: skip
        """Process the tiles of grouped rows on all threads; report progress between batches of tiles."""
        tiles = cut_into_tiles(segments, tile_height(int(segments[-1])))
        threads, total = self.model.threads, int(segments[-1])
        spare = [Buffers(table.shape[1], table.dtype) for _ in range(threads.count)]
        per_row = self.model.config.hidden * (len(self.V) + table.shape[1] + 2 * self.model.config.hidden)
        step = max(threads.count, PRODUCTS // (per_row * TILE_ROWS))
        for start in range(0, len(tiles), step):
            queue = iter(tiles[start : start + step])  # next() of a list's iterator is one operation under the GIL

            def work_through(buffers: Buffers, queue: Iterator[Tile] = queue) -> None:
                with self.model.scratches.borrow() as scratch:
                    for tile in queue:
                        work(tile, buffers, scratch)

            threads.run(work_through, spare)
            progress(stage, max(tile.rows.stop for tile in tiles[start : start + step]), total)


def check_embeddings(kind: str, rows: np.ndarray, embeddings: Floats, reach: float = 1.0) -> None:
    """Embeddings (n, D) of some rows give scores that float32 can hold, since titles lie within ``reach``.

    Raises InputError: a score that is infinite or no number would be left out of the best, without a word.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if np.abs(embeddings).max(initial=0) * reach < LARGEST:
            return
        size = np.abs(embeddings).max(axis=1).astype(float) * reach
    row = rows[int(np.argmax(np.where(np.isnan(size), np.inf, size)))]
    if np.isnan(size).any():
        lost = f"scores of {kind} row {row} are not finite: NaN, or beyond float32"
        raise InputError(f"{lost}; its vector, or weights of the run, hold NaN or are too large")
    raise InputError(f"{kind} {row}: its scores are beyond float32; its vector, or weights of the run, are too large")


def check_users(users: Users, model: TwoTower) -> None:
    """Raises ValueError and IndexError where users do not fit the model and each other."""
    checks.check_vectors("users", users.table, model.widths[0])
    n = len(users.rows)
    limits = [("rows", users.rows, len(users.table)), ("group", users.group, model.config.groups)]
    if model.head.by_territory:
        if users.territory is None:
            raise ValueError(f"a head {model.config.head!r} needs the territory of each user")
        limits.append(("territory", users.territory, model.territories))
    for name, values, limit in limits:
        checks.check_shape(name, values, (n,))
        checks.check_rows(name, values, limit)


def check_candidates(candidates: Candidates, n: int, T: int) -> None:
    """Raises ValueError and IndexError where candidates do not fit n users and T titles."""
    checks.check_shape("offset", candidates.offset, (None, T))
    checks.check_type("offset", candidates.offset, np.float32)
    if not (candidates.offset < LARGEST).all():
        raise InputError("offset of a title: NaN or beyond float32; weights of the run are too large")
    checks.check_shape("kind", candidates.kind, (n,))
    checks.check_rows("kind", candidates.kind, len(candidates.offset))
    checks.check_shape("seen_start", candidates.seen_start, (n + 1,))
    checks.check_ascending("seen_start", candidates.seen_start, len(candidates.seen))
    checks.check_rows("seen", candidates.seen, T)
