"""A step allocates nothing after the first: its memory is the workspaces, whose size is a formula."""

import tracemalloc

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from twotower.core.config import ModelConfig, TrainConfig
from twotower.data.batches import Batcher
from twotower.model.engine import gemm
from twotower.model.engine.threads import TILE_ROWS, cut_into_tiles, most_tiles, tile_height
from twotower.model.gradients import in_chunks
from twotower.model.two_tower import TwoTower
from twotower.training.loop import make_optimiser

USERS, TITLES, F_USER, F_TITLE, D, K, RANK = 3000, 600, 24, 40, 256, 3, 8
MODELS = {
    "paper": ModelConfig(hidden=D, groups=K, head="plain", output="relu", learned_logit=False),
    "default": ModelConfig(hidden=D, groups=K, head="lowrank", rank=RANK, title_bias=True),
    "baseline": ModelConfig(hidden=D),
}
VARIANTS = {
    "experts": ModelConfig(hidden=D, groups=K, head="mmoe", rank=RANK, title_bias=True),
    "cross-stitch": ModelConfig(hidden=D, groups=K, head="cross-stitch"),
    "group batch-norm": ModelConfig(hidden=D, groups=K, head="lowrank", title_bias=True, batchnorm="group"),
    "territories": ModelConfig(hidden=D, groups=K, head="lowrank", title_bias=True, territory_bias=True),
}
TERRITORIES = 8


def network(model, B, threads=1):
    """A network, its optimiser, and a batch of B pairs."""
    rng = np.random.default_rng(0)
    users = rng.standard_normal((USERS, F_USER)).astype(np.float32)
    titles = rng.standard_normal((TITLES, F_TITLE)).astype(np.float32)
    territory = np.arange(USERS) % TERRITORIES
    batcher = Batcher(users, titles, np.minimum(territory, model.groups - 1), model.groups, B, user_territory=territory,
                      n_territories=TERRITORIES)  # fmt: skip
    pairs = rng.integers(0, USERS, B), rng.integers(0, TITLES, B).astype(np.int32), (rng.random(B) < 0.1)
    batch = batcher.batch(*pairs[:2], pairs[2].astype(np.float32))
    net = TwoTower(model, F_USER, F_TITLE, rng, threads=threads, territories=TERRITORIES)
    return net, make_optimiser(net, TrainConfig()), batch


def step(net, optimiser, batch):
    losses = net.loss_and_gradients(batch)
    optimiser.update(net.grads, losses.present, net.threads)


pytestmark = pytest.mark.skipif(
    gemm.PATH == "numpy", reason="without the micro-kernel NumPy's products allocate, and their scratch is larger"
)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("model", (MODELS | VARIANTS).values(), ids=MODELS | VARIANTS)
def test_a_step_allocates_less_than_64_kib(model, threads):
    parts = network(model, 8192, threads)
    with threadpool_limits(1, "blas"):
        for _ in range(2):
            step(*parts)
        tracemalloc.start()
        try:
            step(*parts)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            step(*parts)
            grown = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
    assert grown < 64 * 1024


def arrays_of(thing, seen):
    """Bytes of the arrays that can be reached from an object; what several views share counts once."""
    if isinstance(thing, np.ndarray):
        while isinstance(thing.base, np.ndarray):
            thing = thing.base
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    if isinstance(thing, dict):
        return sum(arrays_of(value, seen) for value in thing.values())
    if isinstance(thing, list | tuple | set):
        return sum(arrays_of(value, seen) for value in thing)
    if type(thing).__module__.startswith("twotower."):
        return sum(arrays_of(value, seen) for value in vars(thing).values())
    return 0


@pytest.mark.parametrize("name", MODELS)
def test_the_workspace_is_what_the_formula_says(name):
    """Z1, A1, Z2 and two gradients of both towers, U and V, and both sides of full heads' gradient; per pair score,
    loss and gradients; per thread tiles between two kernels; large weight gradients of the second chunk and later,
    small ones and moments of each tile; weights in panels, and transposed ones but W1 of both towers."""
    model = MODELS[name]
    B = 900
    net, optimiser, batch = network(model, B)
    step(net, optimiser, batch)
    R, T = len(batch.user_counts), len(batch.title_counts)
    first, second = (F_USER + F_TITLE) * D, 2 * D * D
    tiles = cut_into_tiles(batch.segments, tile_height(R + T))
    own = [[tile for tile in tiles if tile.group == k] for k in range(model.groups)]
    of_users, of_titles, *of_groups = (
        len(in_chunks(some)) - 1 for some in (tiles, cut_into_tiles(np.array([0, T]), tile_height(R + T)), *own)
    )
    assert of_users > 0, "the formula's terms occur"
    head = {"plain": K * D * D, "lowrank": 2 * K * D * RANK, "none": 0}[model.head]
    activations = (6 * R + 7 * T + 2 * R * (model.head == "plain")) * D + 9 * B
    scratch = TILE_ROWS * (3 * D + 2 * model.rank + 2 * gemm.LANES)
    sums = of_users * (F_USER + D) * D + of_titles * (F_TITLE + D) * D
    sums += sum(of_groups) * D * D if model.head == "plain" else len(tiles) * head // model.groups
    packed = first + 2 * second + 2 * head
    moments = 24 * (most_tiles(R, model.groups) + most_tiles(T, 1)) // 2 * D
    formula = 4 * (activations + scratch + sums + packed + moments)
    seen = set()
    arrays_of([net.params, net.grads, net.running], seen)
    assert arrays_of(net, seen) == pytest.approx(formula, rel=0.04)
