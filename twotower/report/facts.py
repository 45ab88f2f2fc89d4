"""Facts about a machine or a dataset, for people or for machines."""

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console

from twotower.report.files import json_text


def print_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    """A line a fact, or one JSON object."""
    if as_json:
        click.echo(json_text(facts))
        return
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        Console().print(f"{name.replace('_', ' '):{width}}{value}", highlight=False, markup=False, soft_wrap=True)
