"""Every choice of a training run, validated once; TOML in, TOML out."""

import math
import sys
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from twotower.core.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BATCHNORM_EPS = 1e-5  # added to the variance
BATCHNORM_MOMENTUM = 0.1  # weight of the newest batch in the running statistics

SMALLEST_EPS = 1e-30  # of Adam: in float32 a much smaller one is 0, and so is the denominator of a dead unit
LARGEST_HIDDEN = 1 << 16  # a layer of this width has 16 GiB of weights

#: What the values of a field may be, and how that is said.
KINDS: dict[str, tuple[Any, str]] = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "a text"),
}

HEADS = ("none", "plain", "residual", "lowrank", "mmoe", "cross-stitch", "market-gate")
RANKED = ("lowrank", "mmoe")  # heads of low rank
LARGEST_EXPERTS = 256
OUTPUTS = ("linear", "relu")
OFFSETS = ("none", "title", "group", "territory")
CELL_OFFSETS = ("group", "territory")  # the levels at which a title has more than one offset
BATCHNORMS = ("all", "group")
TASK_WEIGHTS = ("equal", "count", "inverse", "uncertainty")
DEBIASES = ("none", "ipw", "logq", "penalty")
BATCHINGS = ("pairs", "positives", "users")
BATCHING_HELP = "What a batch keeps together: pairs (nothing; the paper's), positives (with negatives), users."


def setting(default: Any, help: str) -> Any:
    """A field with the line of help that the command line shows for it."""
    return field(default=default, metadata={"help": help})


class SettingError(InputError):
    """A setting has a value that it cannot have."""

    def __init__(self, name: str, value: Any, expected: str):
        super().__init__(f"{name} = {value!r}: expected {expected}")
        self.name = name


def _require(ok: bool, name: str, value: Any, expected: str) -> None:
    if not ok:
        raise SettingError(name, value, expected)


def kind_of(item: "Field[Any]") -> str:
    """``int``, ``float``, ``bool`` or ``str``."""
    return item.type if isinstance(item.type, str) else item.type.__name__


def _check_types(config: Any, section: str) -> None:
    """Every field holds what its annotation says; a whole number may stand for a float, and becomes one."""
    for item in fields(config):
        value, kind, name = getattr(config, item.name), kind_of(item), f"{section}.{item.name}"
        types, expected = KINDS[kind]
        ok = isinstance(value, types) and isinstance(value, bool) == (kind == "bool")
        _require(ok, name, value, expected)
        if kind == "float":
            _require(abs(value) <= sys.float_info.max, name, value, expected)  # false for NaN, too
            object.__setattr__(config, item.name, float(value))


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the network: by default what works by evidence, in ``PRESETS["paper"]`` the text's."""

    hidden: int = setting(512, "Width D of every layer.")
    groups: int = setting(1, "Territory groups K, each with its own head.")
    head: str = setting("none", "Heads on the user tower; none is the baseline.")
    rank: int = setting(8, "Rank r of low-rank heads, and of each expert.")
    experts: int = setting(4, "Experts that mmoe heads share.")
    title_bias: bool = setting(False, "Learn a linear map from title features to a bias per group.")
    territory_bias: bool = setting(False, "Learn an offset of U, and of the title bias, per territory.")
    title_offsets: str = setting("title", "Add what was mistaken about a title: none, title, group or territory.")
    offset_prior: float = setting(5.0, "Pseudo-positives that draw a title's offset to 0.")
    group_prior: float = setting(0.0, "The same for what a group or territory adds to it; 0: as many as predict best.")
    batchnorm: str = setting("all", "Whose moments batch-norm of the user tower takes: all rows', or each group's own.")
    output: str = setting("linear", "Last layer of each tower: linear or relu.")
    learned_logit: bool = setting(True, "Learn s and c in z = s·<U, V> + c; otherwise s = 1 and c = 0.")

    def __post_init__(self) -> None:
        _check_types(self, "model")
        width = f"from 1 to {LARGEST_HIDDEN}"
        _require(1 <= self.hidden <= LARGEST_HIDDEN, "model.hidden", self.hidden, width)
        _require(self.groups >= 1, "model.groups", self.groups, "at least 1")
        alone = "1 without heads or a title bias (see --mtl)"
        _require(self.groups == 1 or self.multi_task, "model.groups", self.groups, alone)
        _require(self.head in HEADS, "model.head", self.head, f"one of {', '.join(HEADS)}")
        highest = self.hidden if self.head in RANKED else math.inf
        _require(1 <= self.rank <= highest, "model.rank", self.rank, f"from 1 to hidden = {self.hidden}")
        some = f"from 2 to {LARGEST_EXPERTS}"
        _require(2 <= self.experts <= LARGEST_EXPERTS, "model.experts", self.experts, some)
        levels = f"one of {', '.join(OFFSETS)}"
        _require(self.title_offsets in OFFSETS, "model.title_offsets", self.title_offsets, levels)
        lonely = self.title_offsets == "group" and self.groups == 1
        _require(not lonely, "model.title_offsets", "group", "title or territory, since there is one group only")
        _require(self.batchnorm in BATCHNORMS, "model.batchnorm", self.batchnorm, f"one of {', '.join(BATCHNORMS)}")
        lonely = self.batchnorm == "group" and self.groups == 1
        _require(not lonely, "model.batchnorm", "group", "all, since there is one group only")
        _require(self.offset_prior > 0, "model.offset_prior", self.offset_prior, "above 0")
        _require(self.group_prior >= 0, "model.group_prior", self.group_prior, "at least 0")
        drawn = not self.group_prior or self.title_offsets in CELL_OFFSETS
        _require(drawn, "model.group_prior", self.group_prior, f"0 where title_offsets = {self.title_offsets!r}")
        _require(self.output in OUTPUTS, "model.output", self.output, f"one of {', '.join(OUTPUTS)}")
        possible = not self.territory_bias or self.output == "linear"
        _require(possible, "model.territory_bias", self.territory_bias, "false where output = 'relu'")

    @property
    def multi_task(self) -> bool:
        """Whether there is anything that a group has to itself."""
        return self.head != "none" or self.title_bias

    @property
    def user_pools(self) -> int:
        """Pools of user rows that share batch-norm's moments: one for all, or one a group."""
        return self.groups if self.batchnorm == "group" else 1

    @property
    def output_floor(self) -> float:
        """Lower bound of the embeddings U and V: 0 for ReLU, −inf for a linear output."""
        return 0.0 if self.output == "relu" else -math.inf

    @property
    def tower_floor(self) -> float:
        """Lower bound of the user tower's output; under plain heads it is a hidden layer with a ReLU."""
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
    head_decay: float = setting(0.0, "Weight decay of the heads' matrices (AdamW): shrinks heads to the shared tower.")
    bias_decay: float = setting(0.0, "Weight decay of the groups' title biases (AdamW).")
    tower_decay: float = setting(0.0, "Weight decay of the towers' matrices (AdamW).")
    task_weights: str = setting("equal", "Weight of a group's pairs: equal, count, inverse, uncertainty (learned).")
    pcgrad: bool = setting(False, "PCGrad: groups' gradients of the towers without conflict. A pass a group.")
    debias: str = setting("none", "Against popularity bias: none, ipw, logq or penalty.")
    debias_strength: float = setting(0.5, "Of --debias: exponent of popularity, or factor of the penalty.")
    batching: str = setting("positives", BATCHING_HELP)
    validation: float = setting(0.1, "Share of the training users held out for early stopping.")
    patience: int = setting(2, "Validations without a better macro PR-AUC before training stops.")
    validations_per_epoch: int = setting(1, "Validations an epoch, at most one a step.")
    seed: int = setting(0, "Of the initial weights, the validation users and the order of the pairs.")
    threads: int = setting(0, "Threads; 0 is as many as there are cores.")
    incremental_periods: int = setting(0, "Blocks of test days; before each but the first, training goes on.")

    def __post_init__(self) -> None:
        _check_types(self, "train")
        for name, least in (("epochs", 1), ("patience", 1), ("validations_per_epoch", 1), ("batch_size", 2)):
            _require(getattr(self, name) >= least, f"train.{name}", getattr(self, name), f"at least {least}")
        _require(self.learning_rate > 0, "train.learning_rate", self.learning_rate, "above 0")
        for name in ("beta1", "beta2"):
            _require(0 <= getattr(self, name) < 1, f"train.{name}", getattr(self, name), "from 0 to below 1")
        _require(self.eps >= SMALLEST_EPS, "train.eps", self.eps, f"at least {SMALLEST_EPS}")
        for name in ("head_decay", "bias_decay", "tower_decay"):
            decay, most = getattr(self, name), 1 / self.learning_rate
            _require(0 <= decay < most, f"train.{name}", decay, f"from 0 to below 1 / learning_rate = {most:g}")
        for name, known in (("task_weights", TASK_WEIGHTS), ("debias", DEBIASES)):
            _require(getattr(self, name) in known, f"train.{name}", getattr(self, name), f"one of {', '.join(known)}")
        highest = 1.0 if self.debias in ("ipw", "logq") else 1e6
        strength = f"above 0 and at most {highest:g} for {self.debias}"
        _require(0 < self.debias_strength <= highest, "train.debias_strength", self.debias_strength, strength)
        modes = f"one of {', '.join(BATCHINGS)}"
        _require(self.batching in BATCHINGS, "train.batching", self.batching, modes)
        _require(0 <= self.validation < 1, "train.validation", self.validation, "a share from 0 to below 1")
        _require(self.seed >= 0, "train.seed", self.seed, "at least 0")
        _require(self.threads >= 0, "train.threads", self.threads, "at least 0")
        periods = self.incremental_periods
        _require(periods >= 0, "train.incremental_periods", periods, "at least 0 (0: no incremental training)")


@dataclass(frozen=True)
class Config:
    """The effective configuration of a run, kept with it as ``config.toml``."""

    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        model, train = self.model, self.train
        _require(not train.head_decay or model.head != "none", "train.head_decay", train.head_decay,
                 "0 without heads (see --mtl)")  # fmt: skip
        _require(not train.bias_decay or model.title_bias, "train.bias_decay", train.bias_decay,
                 "0 without a title bias (see --title-bias)")  # fmt: skip
        _require(train.debias == "none" or model.title_offsets == "none", "train.debias", train.debias,
                 "none with title offsets, which would put popularity back (see --title-offsets none)")  # fmt: skip
        equal = train.task_weights == "equal"
        _require(equal or model.groups > 1, "train.task_weights", train.task_weights, "equal with a single group")
        _require(not train.pcgrad or model.groups > 1, "train.pcgrad", train.pcgrad,
                 "false with a single group")  # fmt: skip

    def to_dict(self) -> dict[str, dict[str, Any]]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "config") -> "Config":
        """The defaults, with the values of a nested dictionary on top. Errors as in ``from_layers``."""
        return cls.from_layers((source, values))

    @classmethod
    def from_layers(cls, *layers: tuple[str, Mapping[str, Any]]) -> "Config":
        """The defaults, with nested dictionaries on top of them, each over those before it.

        Only the result has to be valid: a file may name 6 groups, and the command line the heads for them.

        Errors: InputError with the layer's name, for unknown sections and keys and for values that can't be.
        """
        sections: dict[str, Any] = {"model": ModelConfig, "train": TrainConfig}
        values: dict[str, dict[str, Any]] = {section: {} for section in sections}
        sources: dict[str, str] = {}
        for source, layer in layers:
            for section, entries in layer.items():
                _require(section in sections, f"{source}: section", section, f"one of {', '.join(sections)}")
                _require(isinstance(entries, Mapping), f"{source}: {section}", entries, "a table of settings")
                known = [item.name for item in fields(sections[section])]
                for key in entries:
                    name = f"{section}.{key}"
                    _require(key in known, f"{source}: key", name, f"one of {', '.join(known)}")
                    sources[name] = source
                values[section] |= entries
        try:
            return cls(**{section: kind(**values[section]) for section, kind in sections.items()})
        except SettingError as error:
            origin = f"{sources[error.name]}: " if error.name in sources else ""
            raise InputError(f"{origin}{error}") from None


#: Named model shapes. ``paper`` is the text to the letter, kept for study: it collapses on rare positives.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {"output": "linear", "learned_logit": True},
    "paper": {"output": "relu", "learned_logit": False, "title_offsets": "none"},
}
#: How each preset trains, where that is not the default: the paper shuffles pairs.
PRESET_TRAINING: dict[str, dict[str, Any]] = {"default": {}, "paper": {"batching": "pairs"}}
#: The head that ``--mtl`` stands for under each preset.
MTL_HEADS: dict[str, dict[str, Any]] = {
    "default": {"head": "lowrank", "title_bias": True, "title_offsets": "territory"},
    "paper": {"head": "plain", "title_bias": False},
}

#: How ``--mtl`` trains these heads: drawn to what all share, or else they overfit (docs/results.md).
MTL_TRAINING: dict[str, dict[str, Any]] = {"default": {"head_decay": 10.0, "bias_decay": 30.0}, "paper": {}}
MOST_SHRINKING = 0.1  # of these heads in a step, however large the learning rate


def mtl_training(preset: str, settings: Mapping[str, Any], title_bias: bool = True) -> dict[str, Any]:
    """How ``--mtl`` trains, beside ``settings`` of training that were given: they are left alone.

    ``title_bias`` says whether its model has one, as it has unless told otherwise.
    """
    rate, found = settings.get("learning_rate"), dict(MTL_TRAINING[preset])
    if isinstance(rate, int | float) and rate > 0:
        found = {key: min(value, MOST_SHRINKING / rate) for key, value in found.items()}
    given = set(settings) | (set() if title_bias else {"bias_decay"})
    return {key: value for key, value in found.items() if key not in given}


def load_toml(path: Path) -> dict[str, Any]:
    """A TOML file as nested dictionaries. Errors: InputError with the file, and the line that is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a byte-order mark first
    except FileNotFoundError:
        raise InputError(f"{path}: no such config file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error})") from None
