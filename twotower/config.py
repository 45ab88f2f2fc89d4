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


def setting(default: Any, help: str) -> Any:
    """A field with the line of help that the command line shows for it."""
    return field(default=default, metadata={"help": help})


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

    hidden: int = setting(512, "Width D of every layer.")
    groups: int = setting(1, "Territory groups K, each with its own head.")
    head: str = setting("none", "Heads on the user tower: none (the baseline), plain, residual or lowrank.")
    rank: int = setting(8, "Rank r of low-rank heads.")
    title_bias: bool = setting(False, "Learn a linear map from title features to a bias per group.")
    output: str = setting("linear", "Last layer of each tower: linear or relu.")
    learned_logit: bool = setting(True, "Learn s and c in z = s·<U, V> + c; otherwise s = 1 and c = 0.")

    def __post_init__(self) -> None:
        _check_types(self, "model")
        _require(self.hidden >= 1, "model.hidden", self.hidden, "at least 1")
        _require(self.groups >= 1, "model.groups", self.groups, "at least 1")
        grouped = self.head != "none" or self.title_bias
        _require(self.groups == 1 or grouped, "model.groups", self.groups, "1 without heads or a title bias (see --mtl)")
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

    epochs: int = setting(3, "Passes over the training pairs, at most.")
    batch_size: int = setting(8192, "Pairs a step.")
    learning_rate: float = setting(1e-3, "Of Adam.")
    beta1: float = setting(0.9, "Decay of Adam's first moment.")
    beta2: float = setting(0.999, "Decay of Adam's second moment.")
    eps: float = setting(1e-8, "Of Adam, added outside the root.")
    batching: str = setting("pairs", "What a batch keeps together: pairs (nothing; as the paper), positives, users.")
    validation: float = setting(0.1, "Share of the training users held out for early stopping.")
    patience: int = setting(2, "Validations without a better macro PR-AUC before training stops.")
    evaluations: int = setting(1, "Validations an epoch.")
    seed: int = setting(0, "Of the initial weights, the validation users and the order of the pairs.")
    threads: int = setting(0, "Threads; 0 is as many as there are cores.")

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
