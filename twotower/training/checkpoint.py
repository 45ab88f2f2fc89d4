"""Weights and training state on disk: written whole or not at all, read without pickle, resumed exactly.

weights     parameters, running statistics and title offsets by name; the model's shape in the metadata
training    the same of a moment between two steps, Adam's moments, the best weights so far, and counters

Each holds a checksum of its contents.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from twotower.core.config import ModelConfig
from twotower.core.errors import InputError
from twotower.core.random_streams import placeholder
from twotower.core.storage import whole_file
from twotower.model.adam import Adam
from twotower.model.two_tower import TwoTower
from twotower.training.loop import TrainingState

DIGEST_LENGTH = 64  # hexadecimal digits before the facts: files with two keys of metadata are not always the same bytes
OFFSETS = "title_offsets"  # (C, T), where there are any


def save_weights(path: Path, model: TwoTower) -> None:
    """Write what is needed to score: parameters, running statistics, and the model's shape."""
    shape = {"model": asdict(model.config), "user_width": model.widths[0], "title_width": model.widths[1]}
    shape["territories"] = model.territories
    offsets = {} if model.title_offsets is None else {OFFSETS: model.title_offsets}
    _save(path, _named(model) | offsets, shape)


def load_model(path: Path, threads: int = 1) -> TwoTower:
    """The model of a run. Errors: InputError when its weights are missing, damaged or of another shape."""
    arrays, shape = _load(path)
    try:
        config = ModelConfig(**shape["model"])
        model = TwoTower(
            config, shape["user_width"], shape["title_width"], placeholder(), threads=threads,
            territories=shape["territories"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not the weights of a two-tower model ({error}); train again") from None
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name} holds NaN or infinity; train again with a lower --learning-rate")
    _fill(path, _named(model), arrays)
    model.title_offsets = arrays.get(OFFSETS)
    return model


def save_training(path: Path, model: TwoTower, optimiser: Adam, state: TrainingState) -> None:
    """Write all that the next step depends on."""
    counters = {
        "epoch": state.epoch,
        "step": state.step,
        "steps": state.steps,
        "best_score": state.best_score,
        "misses": state.misses,
        "adam_steps": optimiser.steps,
    }
    if model.objective.steps is not None:
        counters[OBJECTIVE_STEPS] = model.objective.steps
    _save(path, _training_arrays(model, optimiser, state), counters)


def load_training(path: Path, model: TwoTower, optimiser: Adam, state: TrainingState) -> None:
    """Put model, optimiser and state back to where the last checkpoint left them, bit for bit.

    Errors: InputError when the file is missing, damaged, or of a model of another shape.
    """
    arrays, counters = _load(path)
    needed = _COUNTERS | ({OBJECTIVE_STEPS} if model.objective.steps is not None else set())
    if not counters.keys() >= needed or len(counters["adam_steps"]) != len(optimiser.steps):
        raise InputError(f"{path}: not the training state of such a model; start a new run")
    if "best.params" in arrays:
        state.best = np.empty_like(model.params.flat), np.empty_like(model.running.flat)
    _fill(path, _training_arrays(model, optimiser, state), arrays)
    state.epoch, state.step, state.steps = counters["epoch"], counters["step"], counters["steps"]
    state.best_score, state.misses = counters["best_score"], counters["misses"]
    optimiser.steps = counters["adam_steps"]
    if model.objective.steps is not None:
        model.objective.steps[:] = counters[OBJECTIVE_STEPS]


OBJECTIVE_STEPS = "objective_steps"  # updates of what a training objective learns itself
_COUNTERS = {"epoch", "step", "steps", "best_score", "misses", "adam_steps"}


def _named(model: TwoTower) -> dict[str, np.ndarray]:
    return {**model.params, **{f"running.{name}": value for name, value in model.running.items()}}


def _training_arrays(model: TwoTower, optimiser: Adam, state: TrainingState) -> dict[str, np.ndarray]:
    arrays = {"params": model.params.flat, "running": model.running.flat}
    arrays |= {"adam.m": optimiser.m.flat, "adam.v": optimiser.v.flat}
    arrays |= {f"objective.{name}": value for name, value in model.objective.state().items()}
    if state.best is not None:
        arrays |= {"best.params": state.best[0], "best.running": state.best[1]}
    return arrays


def _save(path: Path, arrays: Mapping[str, np.ndarray], facts: dict[str, Any]) -> None:
    text = json.dumps(facts)
    content = save(dict(arrays), metadata={"facts": _digest(arrays, text) + text})
    with whole_file(path) as partial:
        partial.write_bytes(content)  # save_file would put another file in the place of the one that is locked


def _digest(arrays: Mapping[str, np.ndarray], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"{path}: missing; the run is incomplete, train again")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            digest_and_text = (file.metadata() or {})["facts"]
        digest, text = digest_and_text[:DIGEST_LENGTH], digest_and_text[DIGEST_LENGTH:]
        if digest != _digest(arrays, text):
            raise ValueError("its checksum does not fit")
        facts = json.loads(text)
        if not isinstance(facts, dict):
            raise ValueError("its facts are no object")
        return arrays, facts
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not readable as weights ({error}); train again") from None


def _fill(path: Path, targets: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> None:
    for name, target in targets.items():
        if name not in arrays or arrays[name].shape != target.shape or arrays[name].dtype != target.dtype:
            found = f"{arrays[name].dtype} {arrays[name].shape}" if name in arrays else "missing"
            raise InputError(f"{path}: {name} is {found}, expected {target.dtype} {target.shape}: damaged, train again")
        target[...] = arrays[name]
