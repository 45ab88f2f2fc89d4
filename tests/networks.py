"""Small networks and batches for the tests: shapes, groups and counts as Hypothesis draws them."""

from types import SimpleNamespace

import numpy as np
from hypothesis import strategies as st

from twotower.core.config import BATCHNORMS, HEADS, MEMORY_TERMS, OUTPUTS, ModelConfig
from twotower.model.parameters import Arena, make_arena
from twotower.model.two_tower import TwoTower, declare

TERRITORIES = 5  # of models with offsets per territory


def make_batch(rng, pairs=24, users=7, titles=5, groups=3, user_width=4, title_width=6, absent=()):
    """A batch as the network wants it: unique rows by group, pairs by user row. Groups in ``absent`` have no row."""
    allowed = [k for k in range(groups) if k not in absent]
    row_group = np.sort(rng.choice(allowed, users))
    pair_user = np.sort(np.concatenate([np.arange(users), rng.integers(0, users, max(pairs - users, 0))]))
    pair_title = np.concatenate([np.arange(titles), rng.integers(0, titles, max(len(pair_user) - titles, 0))])
    pair_title = rng.permutation(pair_title[: len(pair_user)])
    titles_used, pair_title = np.unique(pair_title, return_inverse=True)
    return SimpleNamespace(
        user_features=rng.standard_normal((users, user_width)).astype(np.float32),
        title_features=rng.standard_normal((len(titles_used), title_width)).astype(np.float32),
        title_rows=titles_used,
        user_counts=np.bincount(pair_user, minlength=users).astype(np.float32),
        title_counts=np.bincount(pair_title, minlength=len(titles_used)).astype(np.float32),
        segments=np.searchsorted(row_group, np.arange(groups + 1)),
        pair_start=np.searchsorted(pair_user, np.arange(users + 1)),
        pair_user=pair_user.astype(np.int32),
        pair_title=pair_title.astype(np.int32),
        labels=rng.integers(0, 2, len(pair_user)).astype(np.float32),
        user_territory=(np.arange(users) % TERRITORIES).astype(np.int32),
        memory=rng.standard_normal((len(pair_user), MEMORY_TERMS)).astype(np.float32),
    )


def scatter_parameters(params: Arena, model: ModelConfig, rng, size=0.3):
    """Move every parameter off its initial value: gamma ≠ 1, biases and residual heads ≠ 0."""
    for name, value in params.items():
        if model.learned_logit or not name.startswith("logit."):
            value += (size * rng.standard_normal(value.shape)).astype(value.dtype)


def make_parameters(model: ModelConfig, rng, user_width=4, title_width=6) -> Arena:
    """Parameters in float64, all of them off their initial values."""
    params = make_arena(declare(model, (user_width, title_width), TERRITORIES, base_rate=0.3), rng, np.float64)
    scatter_parameters(params, model, rng)
    return params


def make_network(model: ModelConfig, rng, user_width=4, title_width=6, threads=1) -> TwoTower:
    """A network with all parameters off their initial values."""
    network = TwoTower(model, user_width, title_width, rng, 0.3, threads, TERRITORIES)
    scatter_parameters(network.params, model, rng)
    return network


@st.composite
def model_configs(draw) -> ModelConfig:
    """Every kind of head, output and logit, with one to four groups."""
    hidden, head, title_bias = draw(st.integers(1, 9)), draw(st.sampled_from(HEADS)), draw(st.booleans())
    output = draw(st.sampled_from(OUTPUTS))
    memory = draw(st.booleans())
    groups = draw(st.integers(1, 4)) if head != "none" or title_bias or memory else 1
    return ModelConfig(
        hidden=hidden,
        groups=groups,
        head=head,
        rank=draw(st.integers(1, min(hidden, 3))),
        experts=draw(st.integers(2, 4)),
        title_bias=title_bias,
        territory_bias=draw(st.booleans()) if output == "linear" else False,
        batchnorm=draw(st.sampled_from(BATCHNORMS)) if groups > 1 else "all",
        output=output,
        learned_logit=draw(st.booleans()),
        memory=memory,
        memory_units=draw(st.integers(0, 3)) if memory else 16,
    )


seeds = st.integers(0, 2**32 - 1)


@st.composite
def batches(draw, groups: int, user_width=4, title_width=6):
    """A batch with repeated users and titles, and perhaps with groups that have no row."""
    absent = draw(st.sets(st.integers(0, groups - 1), max_size=groups - 1))
    rng = np.random.default_rng(draw(seeds))
    users = draw(st.integers(2, 9))
    pairs = draw(st.integers(users, 40))
    return make_batch(rng, pairs, users, draw(st.integers(1, 6)), groups, user_width, title_width, absent)
