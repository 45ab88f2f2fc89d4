"""Facts about a machine or a dataset, for people or for machines."""

from collections.abc import Mapping
from typing import Any

import click

from twotower.core.serialisation import json_text
from twotower.report.terminal import print_lines, stdout_console


def print_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    """A line per fact, or one JSON object. A fact may be a mapping of counts."""
    if as_json:
        click.echo(json_text(facts))
        return
    width = max(map(len, facts)) + 2
    lines = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{count:,} {noun.replace('_', ' ')}" for noun, count in value.items())
        lines.append(f"{name.replace('_', ' '):{width}}{value}")
    print_lines(stdout_console(), lines)
