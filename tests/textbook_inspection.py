"""What an inspection must find, by the textbook in float64: the same batch with one row a pair."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from subjects import stirred_subject

from twotower.core.serialisation import plain
from twotower.lab.attribution import inspection
from twotower.lab.subject import Subject
from twotower.model import reference

MTL2 = {"head": "lowrank", "title_bias": True}
MODELS = {
    "low-rank": MTL2,
    "three groups": {**MTL2, "groups": 3},
    "group batch-norm": {**MTL2, "groups": 3, "batchnorm": "group"},
    "paper": {"head": "plain", "title_bias": False, "output": "relu", "learned_logit": False, "title_offsets": "none"},
    "residual": {"head": "residual"},
    "experts": {"head": "mmoe", "experts": 3},
    "cross-stitch": {"head": "cross-stitch", "title_bias": False},
    "title bias alone": {"head": "none"},
    "territories": {**MTL2, "territory_bias": True},
    "baseline": {"head": "none", "title_bias": False, "groups": 1},
}
CLOSE = {"rtol": 2e-4, "atol": 2e-7}  # float32 passes against float64


@dataclass
class Textbook:
    """Gradients of a subject's batch in float64."""

    subject: Subject

    def __post_init__(self) -> None:
        self.shape = self.subject.model.config
        self.params = {name: value.astype(np.float64) for name, value in self.subject.model.params.items()}
        self.batch = reference.expand(self.subject.batch)

    def gradients(self, rows: np.ndarray | None = None, masked: bool = True) -> dict[str, np.ndarray]:
        """Of the pairs where ``rows`` is true, or of all; in a batch of all pairs either way."""
        weights = 1.0 if rows is None else rows.astype(np.float64)
        terms = reference.Terms(weights=weights)
        return reference.loss_and_gradients(self.params, self.batch, self.shape, terms, masked=masked)[1]

    def of_group(self, k: int, masked: bool = True) -> dict[str, np.ndarray]:
        return self.gradients(self.batch.group == k, masked)

    def part(self, gradients: dict[str, np.ndarray], block: dict) -> np.ndarray:
        """A block of a record among such gradients."""
        whole, owner = gradients[block["parameter"]], block["owner"]
        if owner is None:
            return whole
        if block["part"] == "territory":
            return whole[self.subject.territory_group == owner]
        return whole[owner]


def stirred(world, name: str, **settings) -> Subject:
    """A subject whose parameters are away from where training begins."""
    return stirred_subject(world, **{**MODELS[name], **settings})


def inspect(subject: Subject) -> dict:
    """The record of an inspection, as JSON has it."""
    return plain(inspection.inspect(subject))


@functools.cache
def looked_into(world: Path, name: str) -> tuple[Textbook, dict]:
    """A textbook and the record of the same batch, which no test changes."""
    subject = stirred(world, name)
    return Textbook(subject), inspect(subject)
