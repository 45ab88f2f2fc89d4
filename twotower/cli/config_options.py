"""Options for the settings of a configuration, and help in two lengths for commands that have many options."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from twotower.core.config import Config, ModelConfig, TrainConfig
from twotower.core.no_effect import refuse_no_effect
from twotower.core.presets import build_config
from twotower.core.settings import NAMES, OPTIONS, Sections, Setting, kind_of

SECTIONS = {"model": ModelConfig, "train": TrainConfig}

TYPES = {"int": int, "float": float, "str": str}
EVERYTHING = f"{__name__}.everything"  # key in a context's meta: its help lists all options

Command = TypeVar("Command", bound=Callable[..., Any])


class ShortHelp(click.Command):
    """A command whose ``--help`` lists its ``common`` options, and whose ``--help-all`` lists all of them."""

    def __init__(self, *args: Any, common: Collection[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.common = frozenset(common)
        self.params.append(
            click.Option(
                ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=print_full_help,
                help="Show all options and exit.",
            )
        )  # fmt: skip

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        everything = ctx.meta.get(EVERYTHING, False)
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            listed = everything or param.name in self.common or (isinstance(param, click.Option) and param.is_eager)
            if record is not None and listed:
                section = setting_of(self, param) if everything else None
                title = {"model": "Model", "train": "Training"}.get(section or "", "Options")
                groups.setdefault(title, []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def setting_of(command: click.Command, param: click.Parameter) -> str | None:
    """The section of the configuration whose setting an option is, in a command with ``config_options``; else None."""
    if not any(param.name == "hidden" for param in command.params) or not isinstance(command, ShortHelp):
        return None  # it may have a --seed of its own
    return next((s for s, kind in SECTIONS.items() if param.name in {item.name for item in fields(kind)}), None)


def print_full_help(context: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.meta[EVERYTHING] = True
        click.echo(context.get_help(), color=context.color)
        context.exit()


def config_options(command: Command) -> Command:
    """An option for every setting of the configuration; None where it is not given."""
    for section in reversed(SECTIONS.values()):
        for item in reversed(fields(section)):
            kind, name = kind_of(item), NAMES.get(item.name, item.name).replace("_", "-")
            flag = f"--{name}/--no-{name}" if kind == "bool" else f"--{name}"
            choices = item.metadata["choices"]
            type_ = click.Choice(choices) if choices else TYPES.get(kind)
            text = f"{item.metadata['help']}  [{default_text(item.name)}]"
            command = click.option(flag, item.name, type=type_, default=None, help=text)(command)
    return command


def default_text(name: str) -> str:
    """``default: none; lowrank with --mtl; plain with --preset paper --mtl``: what each makes of a setting."""
    usual, mtl, paper, both = (values[name] for values in preset_values())
    text = f"default: {shown(usual)}"
    if mtl != usual:
        text += f"; {shown(mtl)} with --mtl"
    if paper != usual:
        text += f"; {shown(paper)} with --preset paper"
    if both != (paper if paper != usual else mtl):
        text += f"; {shown(both)} with --preset paper --mtl"
    return text


@cache
def preset_values() -> list[dict[str, Setting]]:
    """All settings of each preset, without ``--mtl`` and with it."""
    return [values_of(build_config(preset, mtl)) for preset in ("default", "paper") for mtl in (False, True)]


def values_of(config: Config) -> dict[str, Setting]:
    """All settings of both sections."""
    return {name: value for section in config.to_dict().values() for name, value in section.items()}


def shown(value: Any) -> str:
    """A setting's value as an option takes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def chosen_settings(options: Mapping[str, Any]) -> Sections:
    """Options that were given, by section of the configuration."""
    return {
        section: {item.name: options[item.name] for item in fields(kind) if options.get(item.name) is not None}
        for section, kind in SECTIONS.items()
    }


def config_from_options(
    preset: str, file: Path | None, mtl: bool, options: Mapping[str, Any], groups: int | None = None
) -> Config:
    """The configuration of a command line; ``groups`` is what --mtl means where nobody says how many.

    Errors: InputError for invalid values, and for options that have no effect.
    """
    chosen = chosen_settings(options)
    several = groups if groups and groups > 1 else None
    config = build_config(preset, mtl, [(OPTIONS, chosen)], groups=several, file=file)
    refuse_no_effect("train", {**chosen["model"], **chosen["train"]}, values_of(config))
    return config


def given_options(context: click.Context | None = None) -> set[str]:
    """The names of the present command's parameters that are not left at their defaults."""
    context = context or click.get_current_context()
    sources = {str(param.name): context.get_parameter_source(str(param.name)) for param in context.command.params}
    return {name for name, source in sources.items() if source not in (None, ParameterSource.DEFAULT)}
