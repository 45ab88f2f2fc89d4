"""The configuration of a training run: every setting with its help and limits; read from and written as TOML."""

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from twotower.core.errors import InputError
from twotower.core.settings import Sections, SettingError, require, setting, validate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BATCHNORM_EPS = 1e-5  # added to the variance
BATCHNORM_MOMENTUM = 0.1  # weight of the newest batch in the running statistics

SMALLEST_EPS = 1e-30  # of Adam: in float32 a much smaller one is 0, and so is the denominator of a dead unit
LARGEST_HIDDEN = 1 << 16  # a layer of this width has 16 GiB of weights
LARGEST_EXPERTS = 256
LARGEST_UNITS = 1024
MEMORY_TERMS = 14  # F of m(u, t); data/memory computes and names them

HEADS = ("none", "plain", "residual", "lowrank", "mmoe", "cross-stitch", "market-gate")
RANKED = ("lowrank", "mmoe")  # heads of low rank
OUTPUTS = ("linear", "relu")
OFFSETS = ("none", "title", "group", "territory")
CELL_OFFSETS = ("group", "territory")  # the levels at which a title has more than one offset
BATCHNORMS = ("all", "group")
TASK_WEIGHTS = ("equal", "count", "inverse", "uncertainty", "dro", "cvar")
DEBIASES = ("none", "ipw", "logq", "penalty")
BATCHINGS = ("pairs", "positives", "users")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the network; the defaults are the single-task baseline."""

    hidden: int = setting(512, "Width D of every layer.", low=1, high=LARGEST_HIDDEN)
    groups: int = setting(1, "Territory groups K, each with its own head.", low=1)
    head: str = setting("none", "Heads on the user tower; none is the single-task baseline.", choices=HEADS)
    rank: int = setting(8, "Rank r of low-rank heads, and of each expert.", low=1)
    experts: int = setting(4, "Number of experts that mmoe heads share.", low=2, high=LARGEST_EXPERTS)
    title_bias: bool = setting(False, "Learn a linear map from title features to a bias per group.")
    territory_bias: bool = setting(False, "Learn an offset of U and of the title bias per territory.")
    title_offsets: str = setting(
        "title", "Post-hoc correction of title logits: none, global (title), per group or per territory.",
        choices=OFFSETS,
    )  # fmt: skip
    offset_prior: float = setting(5.0, "Pseudo-positives that shrink a title's offset towards 0.", above=0)
    group_prior: float = setting(
        0.0, "The same for the part that a group or territory adds; 0: chosen on held-out pairs.", low=0
    )
    batchnorm: str = setting(
        "all", "Batch-norm statistics in the user tower: whole batch (all) or per group.", choices=BATCHNORMS
    )
    output: str = setting("linear", "Activation of the last layer of each tower.", choices=OUTPUTS)
    memory: bool = setting(False, "Add memory to the score: counts of titles, and how well they fit a user's history.")
    memory_units: int = setting(
        16, "ReLU units over the terms of memory; 0: a linear form alone.", low=0, high=LARGEST_UNITS
    )
    learned_logit: bool = setting(True, "Learn s and c in z = s·<U, V> + c; otherwise s = 1 and c = 0.")

    def __post_init__(self) -> None:
        validate(self, "model")
        one_group, cells = self.groups == 1, self.title_offsets in CELL_OFFSETS
        for ok, name, expected in (
            (one_group or self.multi_task, "groups", "1 without heads, a title bias or memory (see --mtl)"),
            (self.head not in RANKED or self.rank <= self.hidden, "rank", f"from 1 to hidden = {self.hidden}"),
            (not (one_group and self.title_offsets == "group"), "title_offsets", "title or territory with one group"),
            (not (one_group and self.batchnorm == "group"), "batchnorm", "all with one group"),
            (cells or not self.group_prior, "group_prior", f"0 with title_offsets = {self.title_offsets!r}"),
            (self.output == "linear" or not self.territory_bias, "territory_bias", "false with output = 'relu'"),
        ):
            require(ok, f"model.{name}", getattr(self, name), expected)

    @property
    def multi_task(self) -> bool:
        """Whether groups have parameters of their own."""
        return self.head != "none" or self.title_bias or (self.memory and self.groups > 1)

    @property
    def user_pools(self) -> int:
        """Pools of user rows that share batch-norm statistics: one for all, or one per group."""
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

    epochs: int = setting(3, "Maximum number of passes over the training pairs.", low=1)
    batch_size: int = setting(8192, "Pairs per step.", low=2)
    learning_rate: float = setting(1e-3, "Learning rate of Adam.", above=0)
    beta1: float = setting(0.9, "Decay of Adam's first moment.", low=0, below=1)
    beta2: float = setting(0.999, "Decay of Adam's second moment.", low=0, below=1)
    eps: float = setting(1e-8, "Adam's epsilon, added outside the square root.", low=SMALLEST_EPS)
    head_decay: float = setting(
        0.0, "Weight decay (AdamW) of the heads' matrices: shrinks heads towards the shared tower.", low=0
    )
    bias_decay: float = setting(0.0, "Weight decay (AdamW) of the groups' title biases.", low=0)
    tower_decay: float = setting(0.0, "Weight decay (AdamW) of the towers' matrices.", low=0)
    task_weights: str = setting(
        "equal", "Weight of a group's pairs in the loss; uncertainty learns it, dro follows the losses, cvar keeps the "
        "worse half of the groups.",
        choices=TASK_WEIGHTS,
    )  # fmt: skip
    pcgrad: bool = setting(
        False, "PCGrad: remove conflicts between the groups' gradients of the towers; one pass per group."
    )
    debias: str = setting("none", "Correction for popularity bias.", choices=DEBIASES)
    debias_strength: float = setting(0.5, "Exponent of popularity (ipw, logq), or factor of the penalty.", above=0)
    batching: str = setting(
        "positives", "What a batch keeps together: pairs (nothing, as in the paper), positives (with their "
        "negatives), or users.", choices=BATCHINGS,
    )  # fmt: skip
    validation: float = setting(
        0.1, "Share of the training users held out for early stopping; 0: none.", low=0, below=1
    )
    patience: int = setting(2, "Stop after this many validations without a better macro PR-AUC.", low=1)
    validations_per_epoch: int = setting(1, "Validations per epoch, at most one per step.", low=1)
    seed: int = setting(0, "Seed of the initial weights, the validation users and the order of the pairs.", low=0)
    threads: int = setting(0, "Threads; 0: one per core.", low=0)
    shards: int = setting(
        1, "Parts of every batch, by user, that 1, 2, 4, … processes share out; 8 with --processes. Results depend on "
        "it, not on the processes.", low=1, high=128,
    )  # fmt: skip
    incremental_periods: int = setting(
        0, "Blocks of test days; training continues on each block before the next is evaluated. 0: none.", low=0
    )

    def __post_init__(self) -> None:
        validate(self, "train")
        most = 1 / self.learning_rate
        for name in ("head_decay", "bias_decay", "tower_decay"):
            decay = getattr(self, name)
            require(decay < most, f"train.{name}", decay, f"from 0 to below 1 / learning_rate = {most:g}")
        highest = 1.0 if self.debias in ("ipw", "logq") else 1e6
        strength = f"above 0 and at most {highest:g} for {self.debias}"
        require(self.debias_strength <= highest, "train.debias_strength", self.debias_strength, strength)


@dataclass(frozen=True)
class Config:
    """The effective configuration of a run, kept with it as ``config.toml``."""

    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        model, train = self.model, self.train
        one_group = model.groups == 1
        for ok, name, expected in (
            (not train.head_decay or model.head != "none", "head_decay", "0 without heads (see --mtl)"),
            (not train.bias_decay or model.title_bias, "bias_decay", "0 without a title bias (see --title-bias)"),
            (train.debias == "none" or model.title_offsets == "none", "debias",
             "none with title offsets, which would put popularity back (see --title-offsets none)"),
            (train.task_weights == "equal" or not one_group, "task_weights", "equal with a single group"),
            (not train.pcgrad or not one_group, "pcgrad", "false with a single group"),
            (train.shards & (train.shards - 1) == 0, "shards", "a power of two"),
            (train.shards == 1 or not model.territory_bias, "shards", "1 with a territory bias"),
            (train.shards == 1 or (train.task_weights, train.debias, train.pcgrad) == ("equal", "none", False),
             "shards", "1 with task weights, debiasing or PCGrad"),
        ):  # fmt: skip
            require(ok, f"train.{name}", getattr(train, name), expected)

    def to_dict(self) -> Sections:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "config") -> "Config":
        """The defaults, with the values of a nested dictionary on top. Errors as in ``from_layers``."""
        return cls.from_layers((source, values))

    @classmethod
    def from_layers(cls, *layers: tuple[str, Mapping[str, Any]]) -> "Config":
        """The defaults, with nested dictionaries on top of them, each over those before it.

        Only the result has to be valid: a file may name 6 groups, and the command line the heads for them.

        Errors: InputError with the layer's name, for unknown sections and keys and for invalid values.
        """
        sections: dict[str, Any] = {"model": ModelConfig, "train": TrainConfig}
        values: Sections = {section: {} for section in sections}
        sources: dict[str, str] = {}
        for source, layer in layers:
            for section, entries in layer.items():
                require(section in sections, f"{source}: section", section, f"one of {', '.join(sections)}")
                require(isinstance(entries, Mapping), f"{source}: {section}", entries, "a table of settings")
                known = [item.name for item in fields(sections[section])]
                for key in entries:
                    name = f"{section}.{key}"
                    require(key in known, f"{source}: key", name, f"one of {', '.join(known)}")
                    sources[name] = source
                values[section] |= entries
        try:
            return cls(**{section: kind(**values[section]) for section, kind in sections.items()})
        except SettingError as error:
            raise (error.said_by(sources[error.name]) if error.name in sources else InputError(str(error))) from None


def load_toml(path: Path) -> dict[str, Any]:
    """A TOML file as nested dictionaries. Errors: InputError with the file, and the line that is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a byte-order mark first
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected settings in TOML (--config)") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not readable as TOML ({error}), expected settings (--config)") from None
