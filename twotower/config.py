"""Every choice of a training run, validated once; TOML in, TOML out."""

import math
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from twotower.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BATCHNORM_EPS = 1e-5  # added to the variance
BATCHNORM_MOMENTUM = 0.1  # weight of the newest batch in the running statistics

HEADS = ("none", "plain", "residual", "lowrank")
OUTPUTS = ("linear", "relu")
BATCHINGS = ("pairs", "positives", "users")


def _require(ok: bool, name: str, value: Any, expected: str) -> None:
    if not ok:
        raise InputError(f"{name} = {value!r}: expected {expected}")


def _check_types(config: Any, section: str) -> None:
    """Every field holds what its annotation says; whole numbers may stand for fractions."""
    for item in fields(config):
        value, kind = getattr(config, item.name), item.type if isinstance(item.type, str) else item.type.__name__
        names = {"int": int, "float": (int, float), "bool": bool, "str": str}
        ok = isinstance(value, names[kind]) and (kind == "bool" or not isinstance(value, bool))
        _require(ok and not (kind == "float" and math.isnan(value)), f"{section}.{item.name}", value, f"a {kind}")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the network. The default is what works by evidence; ``PRESETS["paper"]`` is the paper's text."""

    hidden: int = 512  # D, width of every layer
    groups: int = 1  # K, territory groups, each with its own head
    head: str = "none"  # none (the baseline), plain, residual, lowrank
    rank: int = 8  # r of low-rank heads
    title_bias: bool = False  # a linear map from title features to a bias per group
    output: str = "linear"  # last layer of each tower: linear or relu
    learned_logit: bool = True  # learn the scale s and the bias c of z = s·<U,V> + c; otherwise s = 1, c = 0

    def __post_init__(self) -> None:
        _check_types(self, "model")
        _require(self.hidden >= 1, "model.hidden", self.hidden, "at least 1")
        _require(self.groups >= 1, "model.groups", self.groups, "at least 1")
        _require(self.head in HEADS, "model.head", self.head, f"one of {', '.join(HEADS)}")
        highest = self.hidden if self.head == "lowrank" else math.inf
        _require(1 <= self.rank <= highest, "model.rank", self.rank, f"from 1 to hidden = {self.hidden}")
        _require(self.output in OUTPUTS, "model.output", self.output, f"one of {', '.join(OUTPUTS)}")

    @property
    def output_floor(self) -> float:
        """Lower bound of the embeddings U and V: 0 for ReLU, −inf for a linear output."""
        return 0.0 if self.output == "relu" else -math.inf

    @property
    def tower_floor(self) -> float:
        """Lower bound of the user tower's output; under plain heads it is a hidden layer and keeps its ReLU."""
        return 0.0 if self.head == "plain" else self.output_floor

    @property
    def head_floor(self) -> float:
        """Lower bound of a head's output."""
        return self.output_floor


@dataclass(frozen=True)
class TrainConfig:
    """How the network is trained."""

    epochs: int = 3
    batch_size: int = 8192  # pairs
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8  # outside the root
    batching: str = "pairs"  # what stays together in a batch: pairs (nothing, as in the paper), positives, users
    validation: float = 0.1  # share of the training users held out for early stopping
    patience: int = 2  # evaluations without a better macro PR-AUC before training stops
    evaluations: int = 1  # validations an epoch
    seed: int = 0
    threads: int = 0  # 0: as many as the machine has cores

    def __post_init__(self) -> None:
        _check_types(self, "train")
        for name in ("epochs", "patience", "evaluations"):
            _require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "at least 1")
        _require(self.batch_size >= 2, "train.batch_size", self.batch_size, "at least 2")
        _require(0 < self.learning_rate < math.inf, "train.learning_rate", self.learning_rate, "above 0")
        for name in ("beta1", "beta2"):
            _require(0 <= getattr(self, name) < 1, f"train.{name}", getattr(self, name), "from 0 to below 1")
        _require(self.eps > 0, "train.eps", self.eps, "above 0")
        _require(self.batching in BATCHINGS, "train.batching", self.batching, f"one of {', '.join(BATCHINGS)}")
        _require(0 <= self.validation < 1, "train.validation", self.validation, "a share from 0 to below 1")
        _require(self.seed >= 0, "train.seed", self.seed, "at least 0")
        _require(self.threads >= 0, "train.threads", self.threads, "at least 0")


@dataclass(frozen=True)
class Config:
    """The effective configuration of a run, kept with it as ``config.toml``."""

    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any], base: "Config | None" = None, source: str = "config") -> "Config":
        """``base`` with the values of a nested dictionary in place of its own. Errors: InputError on unknown keys."""
        base = base or cls()
        sections = {}
        for section, entries in values.items():
            _require(section in ("model", "train"), f"{source}: section", section, "model or train")
            _require(isinstance(entries, dict), f"{source}: {section}", entries, "a table of settings")
            known = [item.name for item in fields(getattr(base, section))]
            for key in entries:
                _require(key in known, f"{source}: key", f"{section}.{key}", f"one of {', '.join(known)}")
            try:
                sections[section] = replace(getattr(base, section), **entries)
            except InputError as error:
                raise InputError(f"{source}: {error}") from None
        return replace(base, **sections)


#: Named model shapes. ``paper`` is the text to the letter; it is kept for study, since it collapses on rare positives.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {"output": "linear", "learned_logit": True},
    "paper": {"output": "relu", "learned_logit": False},
}
#: The head that ``--mtl`` stands for under each preset.
MTL_HEADS: dict[str, dict[str, Any]] = {
    "default": {"head": "lowrank", "title_bias": True},
    "paper": {"head": "plain", "title_bias": False},
}


def load_toml(path: Path) -> dict[str, Any]:
    """A TOML file as nested dictionaries. Errors: InputError that names the file, and the line where it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such config file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error})") from None
