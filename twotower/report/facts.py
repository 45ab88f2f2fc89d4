"""Facts about a machine or a dataset, for people or for machines."""

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console

from twotower.core.serialisation import json_text


def print_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    """A line a fact, or one JSON object. A fact may be a mapping of counts."""
    if as_json:
        click.echo(json_text(facts))
        return
    width = max(map(len, facts)) + 2
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for name, value in facts.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{count:,} {of.replace('_', ' ')}" for of, count in value.items())
        console.print(f"{name.replace('_', ' '):{width}}{value}")
