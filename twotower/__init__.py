"""Two-tower recommenders for many territories: multi-task heads, masked gradients, no deep-learning framework.

The names below are for programs (docs/python.md). Each is loaded when it is first used: NumPy and Numba take longer to
import than help takes to print.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Public name → the module that holds it.
HOMES = {
    "Batcher": "data.batches",
    "Config": "config",
    "Dataset": "data.dataset",
    "InputError": "errors",
    "METHODS": "methods",
    "ModelConfig": "config",
    "RunReader": "run",
    "Sample": "data.sample",
    "TrainConfig": "config",
    "TrainingJob": "pipeline",
    "TwoTower": "nn.model",
    "average_precision": "evaluation.average_precision",
    "average_precision_by": "evaluation.average_precision",
    "make_optimiser": "train",
    "open_model": "scoring",
    "score_pairs": "scoring",
}

if TYPE_CHECKING:
    from twotower.config import Config as Config
    from twotower.config import ModelConfig as ModelConfig
    from twotower.config import TrainConfig as TrainConfig
    from twotower.data.batches import Batcher as Batcher
    from twotower.data.dataset import Dataset as Dataset
    from twotower.data.sample import Sample as Sample
    from twotower.errors import InputError as InputError
    from twotower.evaluation.average_precision import average_precision as average_precision
    from twotower.evaluation.average_precision import average_precision_by as average_precision_by
    from twotower.methods import METHODS as METHODS
    from twotower.nn.model import TwoTower as TwoTower
    from twotower.pipeline import TrainingJob as TrainingJob
    from twotower.run import RunReader as RunReader
    from twotower.scoring import open_model as open_model
    from twotower.scoring import score_pairs as score_pairs
    from twotower.train import make_optimiser as make_optimiser


def __getattr__(name: str) -> Any:
    """A public name, from where it lives (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *HOMES])
