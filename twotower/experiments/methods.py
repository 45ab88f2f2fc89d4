"""The methods that an experiment compares: on which sample each is trained, with which settings, on which groups.

A method is a description and what it changes in the shared settings: a new one is an entry below. The five of
``DEFAULT_METHODS`` take the paper's claim apart: what upsampling brings, what heads bring, what both bring, and what
as many further random users would have brought.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twotower.core.config import CELL_OFFSETS, Config
from twotower.core.errors import InputError
from twotower.core.presets import PRESETS, Layer, build_config

SAMPLES = ("random", "upsampled", "more-random")
GROUPINGS = ("none", "geography", "viewing", "random", "shuffled")
DEFAULT_RIVALS = ("popular", "item-knn", "ease", "counts")
DEFAULT_METHODS = ("baseline", "upsampled", "mtl", "mtl-random", "more-random", *DEFAULT_RIVALS)
MAIN_METHOD = "mtl"  # the method that an experiment is about, where it is among those asked for
BASELINES = ("baseline", "upsampled")  # what it is evaluated against, as in the paper
#: Of the model, for all methods; others are groups' own.
TOWER_SETTINGS = ("hidden", "output", "learned_logit", "offset_prior", "memory", "memory_units")
COMMON_OFFSETS = ("none", "title")  # the other levels of title offsets are what groups or territories have
GROUP_TRAINING = ("head_decay", "bias_decay", "task_weights", "pcgrad")  # of training, for groups
OWN_OFFSETS = {"title_offsets": "territory"}
PENALTY = 1.0  # factor of the penalty of "popularity-penalty"


@dataclass(frozen=True)
class Method:
    """One way to train a model. Overrides are of ``config.ModelConfig`` and ``config.TrainConfig``."""

    name: str
    about: str  # one sentence
    sample: str = "upsampled"  # one of SAMPLES
    grouping: str = "none"  # one of GROUPINGS: who shares a head
    rival: bool = False  # no network: experiments/rivals has it under the same name
    separate: bool = False  # one model per group of territories
    finetune: bool = False  # of these: all begin with the model of all, of which they train the last layer of users
    model: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)

    @property
    def multi_task(self) -> bool:
        return self.grouping != "none"

    def config(self, preset: str, settings: Mapping[str, Mapping[str, Any]], groups: int, seed: int) -> Config:
        """The effective configuration: preset, heads of ``--mtl``, shared ``settings``, then the method's own.

        Errors: InputError for settings that cannot be.
        """
        shared = {"model": dict(settings.get("model", {})), "train": dict(settings.get("train", {}))}
        if not self.multi_task:
            for_all = {"title_offsets"} if shared["model"].get("title_offsets") in COMMON_OFFSETS else set()
            for_all |= {*TOWER_SETTINGS, "group_prior"}
            shared["model"] = {key: value for key, value in shared["model"].items() if key in for_all}
            shared["train"] = {key: value for key, value in shared["train"].items() if key not in GROUP_TRAINING}
        own = {"model": self.model, "train": {**self.train, "seed": seed}}
        layers: list[Layer] = [("settings", shared), (f"method {self.name}", own)]
        offsets = {**(PRESETS[preset].mtl_model if self.multi_task else {}), **shared["model"], **self.model}
        if offsets.get("title_offsets") not in CELL_OFFSETS:
            shared["model"].pop("group_prior", None)  # nothing that it could shrink
        return build_config(preset, self.multi_task, layers, groups=groups)


def _rival(name: str, about: str) -> Method:
    """A simple rival, which knows what ``mtl`` knows."""
    return Method(name, about, rival=True)


def _heads(name: str, about: str, **model: Any) -> Method:
    """Heads alone: a title has one offset for all, as under the baselines."""
    return Method(
        name, about, grouping="geography", model={"title_offsets": "title", **model},
        train={"head_decay": 0.0, "bias_decay": 0.0},
    )  # fmt: skip


def _training(name: str, about: str, **train: Any) -> Method:
    """``mtl``, trained in another way."""
    return Method(name, about, grouping="geography", train=train)


def _remedy(name: str, about: str, **train: Any) -> Method:
    """One model for all on the sample of ``mtl``, with another remedy for popularity bias; offsets would undo it."""
    return Method(name, about, model={"title_offsets": "none"}, train=train)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("baseline", "One model for all territories, on a random sample of users.", sample="random"),
        Method("upsampled", "One model for all, on random users and active users, who fill up small territories."),
        Method("mtl", "Heads per group, title offsets per territory; random and active users.", grouping="geography"),
        Method("mtl-random", "As mtl, on random users alone.", "random", "geography"),
        Method("more-random", "One model for all, with random users in place of the active ones.", "more-random"),
        _rival("popular", "Counting: the share of viewers in the territory, shrunk to that of its group and of all."),
        _rival("item-knn", "Titles whose viewers are those of the user's titles: cosine neighbours."),
        _rival("ease", "Titles predicted from all others: EASE, in closed form."),
        _rival("counts", "Logistic regression of counts, neighbours and factors: everything but a network."),
        _rival("popular-world", "Counting everywhere alike."),
        _rival("popular-group", "Counting in the group of territories."),
        _rival("recent-popular", "Counting the latest labels in the territory."),
        _rival("als", "Matrix factorisation of who watched what, by alternating least squares."),
        _heads("plain", "Heads of one dense layer with ReLU each, as in the paper.", head="plain", title_bias=False),
        _heads(
            "residual",
            "Residual heads: a dense layer per group.",
            head="residual",
            title_bias=False,
        ),
        _heads("lowrank", "Residual heads of low rank.", head="lowrank", title_bias=False),
        _heads("lowrank-bias", "Low-rank heads, and a linear title bias per group.", head="lowrank", title_bias=True),
        _heads("memory-per-group", "No heads: one model, and memory weights per group.", head="none", title_bias=False),
        Method("offsets", "No heads: one model, and an offset per title and territory.", model=OWN_OFFSETS),
        Method("separate", "One model per group of territories, trained on its users alone.", separate=True),
        Method(
            "finetune",
            "One model per group, tuned from the one of all with all but the last layer of the user tower frozen.",
            separate=True,
            finetune=True,
        ),
        Method("no-offsets", "As upsampled, without title offsets.", model={"title_offsets": "none"}),
        _heads("territory", "Low-rank heads, and an embedding and a title bias per territory.", territory_bias=True),
        _heads("mmoe", "Shared low-rank experts and a gate per group.", head="mmoe"),
        _heads("market-gate", "A gate per territory on the user embedding.", head="market-gate"),
        _heads("cross-stitch", "Dense heads, mixed across groups by learned weights.", head="cross-stitch"),
        _training("unshrunk", "As mtl, without weight decay of the heads.", head_decay=0.0, bias_decay=0.0),
        _training("by-count", "As mtl, with groups weighted by their number of pairs.", task_weights="count"),
        _training("inverse-frequency", "As mtl, with equal weight for every group.", task_weights="inverse"),
        _training("uncertainty", "As mtl, with learned group weights (uncertainty).", task_weights="uncertainty"),
        _training("group-dro", "As mtl, with group weights that follow the losses (group DRO).", task_weights="dro"),
        _training("cvar", "As mtl, with the mean loss of the worse half of the groups (CVaR).", task_weights="cvar"),
        _training("pcgrad", "As mtl, with conflicting gradients of groups projected away (PCGrad).", pcgrad=True),
        _remedy("ipw", "One model for all, with inverse propensity weights.", debias="ipw"),
        _remedy("logq", "One model for all, with log popularity subtracted from the logits (logQ).", debias="logq"),
        _remedy(
            "popularity-penalty",
            "One model for all, with a penalty on scores that follow popularity.",
            debias="penalty",
            debias_strength=PENALTY,
        ),
        Method(
            "group-batchnorm",
            "As mtl, with batch-norm statistics of users per group.",
            grouping="geography",
            model={"batchnorm": "group"},
        ),
        Method("viewing-groups", "As mtl, with territories grouped by what is watched there.", grouping="viewing"),
        Method("random-groups", "As mtl, with territories grouped at random: a control.", grouping="random"),
        Method("shuffled", "As mtl, with users assigned to heads at random: a control.", grouping="shuffled"),
    )
}


def find_methods(names: str) -> list[Method]:
    """The methods of a list with commas, or ``all``: each once, in the order of ``METHODS``, not as they were given.

    Errors: InputError for one that does not exist.
    """
    if names.strip() == "all":
        return list(METHODS.values())
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not wanted:
        raise InputError(f"--methods {names!r}: expected some of {', '.join(METHODS)}")
    for name in wanted:
        if name not in METHODS:
            raise InputError(f"--methods: no method {name!r}, expected some of {', '.join(METHODS)}")
    return [method for name, method in METHODS.items() if name in wanted]


def choose_roles(names: list[str]) -> tuple[str, list[str]]:
    """Which of some methods the experiment is about, and those that it is evaluated against."""
    networks = [name for name in names if name not in METHODS or not METHODS[name].rival] or names
    method = MAIN_METHOD if MAIN_METHOD in names else networks[-1]
    others = [name for name in names if name != method]
    return method, [name for name in BASELINES if name in others] or others
