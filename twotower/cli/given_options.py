"""Options that would do nothing are refused where somebody gave them, rather than ignored."""

from collections.abc import Iterable

import click
from click.core import ParameterSource

from twotower.core.errors import InputError


def refuse_given(names: Iterable[str], when: str) -> None:
    """Errors: InputError for the first of some parameters of the present command that was given; ``when`` says why."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) != ParameterSource.DEFAULT:
            flag = next(option.opts[0] for option in context.command.params if option.name == name)
            raise InputError(f"{flag} does nothing {when}")
