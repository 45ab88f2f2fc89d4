"""Frozen records of the lab's commands, so that what is printed does not depend on the processor's last digits."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

RECORDS = Path(__file__).parent / "lab" / "records"


def frozen_record(name: str) -> Any:
    """A record as ``--json`` printed it once."""
    return json.loads((RECORDS / f"{name}.json").read_text("utf-8"))


def shown_by(show, record, width: int = 80) -> str:
    """What ``show(record, console)`` prints on a terminal of so many columns."""
    console = Console(width=width, record=True, force_terminal=False, file=open("/dev/null", "w"))  # noqa: SIM115
    show(record, console)
    return console.export_text()
