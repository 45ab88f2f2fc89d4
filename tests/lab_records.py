"""Records of the lab as JSON and back: frozen ones, so that what is printed does not depend on the last digits."""

import json
import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rich.console import Console

RECORDS = Path(__file__).parent / "lab" / "records"


def frozen_record(kind: type, name: str) -> Any:
    """A record as ``--json`` printed it once."""
    return from_json(kind, json.loads((RECORDS / f"{name}.json").read_text("utf-8")))


def from_json(kind: Any, data: Any) -> Any:
    """The value of a type that JSON holds; a list may stand for an array."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints, known = get_type_hints(kind), {each.name for each in fields(kind)}
        return kind(**{name: from_json(hints[name], value) for name, value in data.items() if name in known})
    if origin in (Union, types.UnionType):
        return None if data is None else from_json(arguments[0], data)
    if origin is list:
        return [from_json(arguments[0], item) for item in data]
    if origin is dict:
        return {name: from_json(arguments[1], item) for name, item in data.items()}
    assert origin in (None, Literal), kind
    return data


def shown_by(show, record, width: int = 80) -> str:
    """What ``show(record, console)`` prints on a terminal of so many columns."""
    console = Console(width=width, record=True, force_terminal=False, file=open("/dev/null", "w"))  # noqa: SIM115
    show(record, console)
    return console.export_text()
