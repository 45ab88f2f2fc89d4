"""A synthetic streaming service with known truth, streamed to disk in blocks of users."""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.progress import Progress, silent
from twotower.core.random_streams import Stream, generator, seed_sequence
from twotower.data.dataset import HISTORY, Dataset
from twotower.data.dataset_writer import DatasetWriter
from twotower.data.grouping import geographic_groups
from twotower.data.synthetic.affinity import Affinity, make_affinity
from twotower.data.synthetic.catalogue import TASTE_DIM, Catalogue, make_catalogue, title_columns
from twotower.data.synthetic.noisy_embeddings import USER_DTYPE, UserEncoder, make_user_encoder, title_vectors
from twotower.data.synthetic.watching import Watches, first_streams, repeats, sample_rates
from twotower.data.synthetic.world import WorldConfig, make_territories
from twotower.data.territories import Territories

BLOCK_USERS = 4096  # users simulated at a time; part of what a seed means, since each block has its own


class World(NamedTuple):
    """The truth before anybody watches."""

    config: WorldConfig
    territories: Territories
    catalogue: Catalogue
    affinity: Affinity
    user_encoder: UserEncoder


class Block(NamedTuple):
    """The streams and vectors of n users."""

    taste: np.ndarray  # (n, d) float32
    favourite: np.ndarray  # (n,) int32 collection
    rate: np.ndarray  # (n,) float32 first streams a day
    first: Watches
    again: Watches
    vectors: np.ndarray  # (n, F_u) float16


def simulate(
    path: str | Path, config: WorldConfig | None = None, progress: Progress = silent, overwrite: bool = False
) -> Dataset:
    """Make a world at ``path``: a dataset with log and vectors, and the truth behind them under truth/.

    The same config gives the same bytes. Memory: 100 MB, 8 bytes an event and 70 bytes a user.

    Errors: InputError when ``path`` exists and ``overwrite`` is false, or cannot be written.
    """
    config = config or WorldConfig()
    # One BLAS thread: with more, sums are split elsewhere, and last bits depend on the number of cores.
    with DatasetWriter(path, "world", config.seed, asdict(config), overwrite) as writer, threadpool_limits(1):
        world = make_world(config, seed_sequence(config.seed, Stream.WORLD))
        writer.write_territories(world.territories)
        write_titles(writer, world, generator(config.seed, Stream.WORLD_TITLES))
        write_users(writer, world, seed_sequence(config.seed, Stream.WORLD_USERS), progress)
        world.affinity.write(writer)
        progress("computing checksums", 0, 1)
        writer.finish(config.train_days, config.test_days, has_time=True)
    progress("computing checksums", 1, 1)
    return Dataset.open(path)


def make_world(config: WorldConfig, seed: np.random.SeedSequence) -> World:
    """Sample territories, titles and tastes, each from its own seed: a shift changes no title."""
    for_territories, for_titles, for_affinity, for_users = map(np.random.default_rng, seed.spawn(4))
    territories = make_territories(config, for_territories)
    catalogue = make_catalogue(config, territories, for_titles)
    group = geographic_groups(territories, config.groups)
    affinity = make_affinity(config, catalogue, group, for_affinity)
    return World(config, territories, catalogue, affinity, make_user_encoder(config, for_users))


def write_titles(writer: DatasetWriter, world: World, rng: np.random.Generator) -> None:
    columns = title_columns(world.catalogue, world.territories, rng)
    launch_day = np.maximum(world.catalogue.launch, 0)
    writer.write_titles(columns, world.catalogue.availability, launch_day)
    writer.write_title_vectors(title_vectors(world.catalogue, columns, world.config.title_dim, rng))


def write_users(writer: DatasetWriter, world: World, seed: np.random.SeedSequence, progress: Progress) -> None:
    """Simulate all users, in mixed order, and write their vectors, their streams and the truth about them."""
    config = world.config
    order_seed, block_seed = seed.spawn(2)
    residents = np.repeat(np.arange(config.territories, dtype=np.int16), world.territories.users)
    territory = np.random.default_rng(order_seed).permutation(residents)  # (U,)
    taste = np.empty((config.users, TASTE_DIM), np.float32)
    favourite = np.empty(config.users, np.int32)
    rate = np.empty(config.users, np.float32)
    first_streams_of = np.zeros((config.territories, config.end_day), np.int64)  # first streams
    starts = range(0, config.users, BLOCK_USERS)
    vectors = writer.open_user_vectors((config.users, config.user_dim), USER_DTYPE)
    with open(str(vectors.filename), "r+b") as file:  # pages of the map would count as this process's memory
        file.seek(vectors.offset)
        for start, child in zip(starts, block_seed.spawn(len(starts)), strict=True):
            progress("simulating users", start, config.users)
            users = slice(start, start + BLOCK_USERS)
            block = simulate_block(world, territory[users], np.random.default_rng(child))
            taste[users], favourite[users], rate[users] = block.taste, block.favourite, block.rate
            file.write(block.vectors.tobytes())
            write_streams(writer, block, start)
            new = block.first.day > HISTORY
            np.add.at(first_streams_of, (territory[users][block.first.user[new]], block.first.day[new]), 1)
    progress("simulating users", config.users, config.users)
    writer.write_users(territory)
    writer.write_truth("user_taste", taste)
    writer.write_truth("user_favourite", favourite)
    writer.write_truth("user_rate", rate)
    writer.write_truth("first_streams", first_streams_of)


def simulate_block(world: World, territory: np.ndarray, rng: np.random.Generator) -> Block:
    """Tastes, streams and vectors of users who live in territory (n,)."""
    config, catalogue = world.config, world.catalogue
    taste = rng.standard_normal((len(territory), TASTE_DIM), np.float32)
    rate = sample_rates(config, len(territory), rng)
    favourite = world.affinity.favourites(territory, rng)
    shares = world.affinity.shares(taste, favourite, territory)
    first = first_streams(config, catalogue.launch, rate, shares, rng)
    again = repeats(config.end_day, catalogue.format, first, rng)
    in_history = np.bincount(first.user[first.day == HISTORY], minlength=len(territory))
    vectors = world.user_encoder.user_vectors(taste, territory, in_history, rng)  # knows nothing from day 0 on
    return Block(taste, favourite, rate, first, again, vectors)


def write_streams(writer: DatasetWriter, block: Block, first_user: int) -> None:
    """Append a block's streams to the shards of their days."""
    user, title, _ = map(np.concatenate, zip(block.first, block.again, strict=True))
    day = np.concatenate([block.first.day, block.again.day])
    in_order = np.argsort(day, kind="stable")
    days, starts = np.unique(day[in_order], return_index=True)
    for shard, rows in zip(days.tolist(), np.split(in_order, starts[1:]), strict=True):
        writer.append_events(shard, first_user + user[rows], title[rows])
