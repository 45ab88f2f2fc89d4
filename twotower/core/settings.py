"""Settings as dataclass fields that declare their help, choices and range; one check for all of them."""

import sys
from collections.abc import Sequence
from dataclasses import Field, field, fields
from typing import Any

from twotower.core.errors import InputError

#: Types that are checked by annotation, and how an error names them.
Setting = bool | int | float | str  # the value of one
Sections = dict[str, dict[str, Setting]]  # by section and name
KINDS: dict[str, tuple[Any, str]] = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "a text"),
}


OPTIONS = "options"  # the layer of the command line
NAMES = {"incremental_periods": "periods"}  # where the option has another name than its setting


class SettingError(InputError):
    """A setting has a value that it cannot have."""

    def __init__(self, name: str, value: Any, expected: str):
        super().__init__(f"{name} = {value!r}: expected {expected}")
        self.name, self.value, self.expected = name, value, expected

    def said_by(self, source: str) -> InputError:
        """The error with the layer that the value comes from; an option is named as it was typed."""
        if source != OPTIONS:
            return InputError(f"{source}: {self}")
        return InputError(f"{option_text(self.name, self.value)}: expected {self.expected}")


def option_text(name: str, value: Any) -> str:
    """``--rank 8`` of ``model.rank``, and ``--no-memory`` of a switch."""
    key = name.rpartition(".")[2]
    flag = NAMES.get(key, key).replace("_", "-")
    return f"--{'no-' * (value is False)}{flag}" if isinstance(value, bool) else f"--{flag} {value}"


def require(ok: bool, name: str, value: Any, expected: str) -> None:
    """Errors: SettingError unless ``ok``."""
    if not ok:
        raise SettingError(name, value, expected)


def setting(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] = (),
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
) -> Any:
    """A field with its line of help and its constraints: ``low`` and ``high`` are allowed, ``above``, ``below`` not."""
    limits = {"choices": tuple(choices), "low": low, "above": above, "high": high, "below": below}
    return field(default=default, metadata={"help": help, **limits})


def kind_of(item: "Field[Any]") -> str:
    """``int``, ``float``, ``bool``, ``str``, or another annotation."""
    return item.type if isinstance(item.type, str) else getattr(item.type, "__name__", str(item.type))


def validate(config: Any, section: str = "") -> None:
    """Check every field of a dataclass against its annotation and constraints; whole numbers for floats become floats.

    Fields with other annotations than those of ``KINDS`` are left to the dataclass.

    Errors: SettingError with the field's name, behind ``section`` where there is one.
    """
    for item in fields(config):
        value, kind, name = getattr(config, item.name), kind_of(item), f"{section}.{item.name}".lstrip(".")
        if kind not in KINDS:
            continue
        types, expected = KINDS[kind]
        require(isinstance(value, types) and isinstance(value, bool) == (kind == "bool"), name, value, expected)
        if kind == "float":
            require(abs(value) <= sys.float_info.max, name, value, expected)  # false for NaN, too
            value = float(value)
            object.__setattr__(config, item.name, value)
        if choices := item.metadata.get("choices"):
            require(value in choices, name, value, f"one of {', '.join(choices)}")
        if kind in ("int", "float"):
            require(in_range(item, value), name, value, range_text(item))


def in_range(item: "Field[Any]", value: float) -> bool:
    """Whether a number is within the limits of its field."""
    low, above, high, below = (item.metadata.get(key) for key in ("low", "above", "high", "below"))
    return (
        (low is None or value >= low)
        and (above is None or value > above)
        and (high is None or value <= high)
        and (below is None or value < below)
    )


def range_text(item: "Field[Any]") -> str:
    """``from 1 to 256``, ``at least 1``, ``above 0``, ``from 0 to below 1``."""
    low, above, high, below = (item.metadata.get(key) for key in ("low", "above", "high", "below"))
    end = f"to {high:g}" if high is not None else f"to below {below:g}" if below is not None else ""
    if low is None:
        return f"above {above:g} {end}".strip()
    return f"from {low:g} {end}" if end else f"at least {low:g}"
