"""What ``--preset`` and ``--mtl`` stand for, and the one function that builds a configuration from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twotower.core.config import Config, load_toml
from twotower.core.errors import InputError
from twotower.core.settings import SettingError

Settings = Mapping[str, Any]  # {"model": {...}, "train": {...}}
Layer = tuple[str, Settings]  # where settings come from, for errors, and the settings

DEFAULT_GROUPS = 4  # of --mtl, as in the paper
DEFAULT_PERIODS = 3  # of --incremental: the paper has three test days
MOST_SHRINKING = 0.1  # of the heads of --mtl per step, however large the learning rate


@dataclass(frozen=True)
class Preset:
    """Settings that differ from the defaults: always, and in addition with ``--mtl``."""

    model: Settings = field(default_factory=dict)
    train: Settings = field(default_factory=dict)
    mtl_model: Settings = field(default_factory=dict)
    mtl_train: Settings = field(default_factory=dict)  # weight decay: unregularised heads overfit (docs/results.md)


#: ``paper`` is the text to the letter, kept for study: it collapses on rare positives.
PRESETS = {
    "default": Preset(
        model={"memory": True},
        mtl_model={"head": "lowrank", "title_bias": True, "title_offsets": "territory"},
        mtl_train={"head_decay": 10.0, "bias_decay": 30.0},
    ),
    "paper": Preset(
        model={"output": "relu", "learned_logit": False, "title_offsets": "none"},
        train={"batching": "pairs"},
        mtl_model={"head": "plain", "title_bias": False},
    ),
}


def build_config(
    preset: str = "default",
    mtl: bool = False,
    settings: Settings | Sequence[Layer] = (),
    *,
    groups: int | None = None,
    file: Path | None = None,
) -> Config:
    """Preset, then a TOML file, then ``mtl``, then ``settings``: each overrides what stands before it.

    ``mtl`` adds heads for ``groups`` territory groups, unless the file names heads or a number of groups itself. Its
    weight decay is for its own heads: it is left out where the settings name a head.

    Errors: InputError for an unknown preset, and for settings that are unknown or invalid.
    """
    if preset not in PRESETS:
        raise InputError(f"--preset {preset!r}: expected one of {', '.join(PRESETS)}")
    chosen, last = PRESETS[preset], [("settings", settings)] if isinstance(settings, Mapping) else list(settings)
    layers: list[Layer] = [(f"preset {preset}", {"model": chosen.model, "train": chosen.train})]
    if file is not None:
        layers.append((str(file), load_toml(file)))
    if mtl:
        layers.append(("--mtl", multi_task(chosen, layers, last, groups or DEFAULT_GROUPS)))
    config = Config.from_layers(*layers, *last)
    if not mtl:
        refuse_groups_for_nothing(config, [*layers[1:], *last])
    return config


def refuse_groups_for_nothing(config: Config, layers: Sequence[Layer]) -> None:
    """Errors: InputError for groups that have nothing of their own but the weights of a memory that nobody named: they
    come from a forgotten --mtl."""
    model = config.model
    if model.groups > 1 and model.head == "none" and not model.title_bias and "memory" not in section("model", layers):
        source = [name for name, layer in layers if "groups" in section("model", [(name, layer)])][-1]
        expected = "1 without heads or a title bias (see --mtl)"
        raise SettingError("model.groups", model.groups, expected).said_by(source)


def multi_task(preset: Preset, before: Sequence[Layer], after: Sequence[Layer], groups: int) -> Settings:
    """The settings that ``--mtl`` adds between the layers before and after it."""
    earlier, later = section("model", before), section("model", after)
    model = dict(preset.mtl_model) if earlier.get("head", "none") == "none" else {}
    if earlier.get("groups", 1) == 1:
        model["groups"] = groups
    if "head" not in model or "head" in later:
        return {"model": model}
    named = section("train", [*before[1:], *after])
    decays, rate = dict(preset.mtl_train), named.get("learning_rate")
    if isinstance(rate, int | float) and rate > 0:
        decays = {key: min(value, MOST_SHRINKING / rate) for key, value in decays.items()}
    if not {**earlier, **model, **later}.get("title_bias", False):
        decays.pop("bias_decay", None)
    return {"model": model, "train": {key: value for key, value in decays.items() if key not in named}}


def section(name: str, layers: Sequence[Layer]) -> dict[str, Any]:
    """One section of several layers, later ones on top."""
    found: dict[str, Any] = {}
    for _, layer in layers:
        entries = layer.get(name)
        found |= entries if isinstance(entries, Mapping) else {}
    return found
