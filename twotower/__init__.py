"""Two-tower recommenders for many territories: multi-task heads, masked gradients, no deep-learning framework.

The names below are for programs (docs/how-to/python.md). Each is loaded when it is first used: NumPy and Numba take
longer to import than help takes to print.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from twotower.core.version import __version__ as __version__

#: Public name → the module that holds it.
HOMES = {
    "Batcher": "data.batches",
    "Callback": "training.callbacks",
    "Config": "core.config",
    "Dataset": "data.dataset",
    "InputError": "core.errors",
    "METHODS": "experiments.methods",
    "ModelConfig": "core.config",
    "RunReader": "training.run",
    "Sample": "data.sample",
    "TrainConfig": "core.config",
    "TrainingJob": "training.job",
    "TwoTower": "model.two_tower",
    "TwoTowerRecommender": "estimator",
    "average_precision": "metrics.average_precision",
    "average_precision_by": "metrics.average_precision",
    "build_config": "core.presets",
    "make_optimiser": "training.loop",
    "open_model": "serving.open_run",
    "score_pairs": "serving.open_run",
}

if TYPE_CHECKING:
    from twotower.core.config import Config as Config
    from twotower.core.config import ModelConfig as ModelConfig
    from twotower.core.config import TrainConfig as TrainConfig
    from twotower.core.errors import InputError as InputError
    from twotower.core.presets import build_config as build_config
    from twotower.data.batches import Batcher as Batcher
    from twotower.data.dataset import Dataset as Dataset
    from twotower.data.sample import Sample as Sample
    from twotower.estimator import TwoTowerRecommender as TwoTowerRecommender
    from twotower.experiments.methods import METHODS as METHODS
    from twotower.metrics.average_precision import average_precision as average_precision
    from twotower.metrics.average_precision import average_precision_by as average_precision_by
    from twotower.model.two_tower import TwoTower as TwoTower
    from twotower.serving.open_run import open_model as open_model
    from twotower.serving.open_run import score_pairs as score_pairs
    from twotower.training.callbacks import Callback as Callback
    from twotower.training.job import TrainingJob as TrainingJob
    from twotower.training.loop import make_optimiser as make_optimiser
    from twotower.training.run import RunReader as RunReader


def __getattr__(name: str) -> Any:
    """A public name, imported from its module (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *HOMES])
