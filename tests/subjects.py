"""Subjects on the tiny world, for the tests of what looks into a batch."""

from pathlib import Path

import numpy as np
from tiny_runs import MTL, small_config

from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.lab.subject import Subject, make_subject


def tiny_subject(world: Path, number: int = 1, batch_size: int = 128, seed: int = 3, **model) -> Subject:
    """A fresh network of width 8 and one batch of the default sample; two groups of territories unless told."""
    dataset = Dataset.open(world)
    config = small_config({**MTL, **model}, seed=seed)
    groups = np.arange(dataset.n_territories, dtype=np.int16) % config.model.groups
    return make_subject("tiny", dataset, Sample(dataset), groups, config, number, batch_size)


def stirred_subject(world: Path, seed: int = 5, **settings) -> Subject:
    """The same with heads, biases and batch-norm's gamma and beta away from where training begins."""
    subject = tiny_subject(world, **settings)
    rng = np.random.default_rng(seed)
    flat = subject.model.params.flat
    flat += (0.3 * rng.standard_normal(len(flat))).astype(np.float32)
    return subject
