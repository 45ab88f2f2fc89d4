"""The command line: one module per command, loaded when it is called, so that ``--help`` is instant.

The group knows every command by its name and its line of help; ``numba``, ``scipy`` and the rest are imported
by the one command that runs. Errors of all commands are reported here: one line, one exit code.
"""

import errno
import importlib
import signal
from contextlib import suppress
from typing import IO, Any

import click
from click.shell_completion import CompletionItem

from twotower.core.errors import InputError
from twotower.core.formatting import visible
from twotower.core.signals import Stopped, handled
from twotower.core.streams import show_anything
from twotower.core.version import __version__

#: Section of the help → command → its line of help. A test keeps each line equal to the command's own.
SECTIONS = {
    "Data": {
        "simulate": "Simulate a streaming service whose true tastes are known.",
        "import": "Turn watch logs into a dataset.",
        "embed": "Build user and title vectors from a dataset.",
        "group": "Group the territories, one head per group.",
        "sample": "Draw the users, positives and negatives to train and test on.",
    },
    "Model": {
        "train": "Train a model and evaluate it on unseen users and days.",
        "evaluate": "Evaluate a run per territory and per title.",
        "compare": "Compare runs: relative gains per territory.",
        "verify": "Check a run: checksums, data and, with --retrain, the same bits.",
    },
    "Study": {
        "experiment": "Run the paper's experiment: compare methods over several seeds.",
        "tune": "Search for better settings on development users.",
        "inspect": "Show which groups' rows moved which weights in one batch.",
        "leaks": "Check that no head learns from the rows of another group.",
        "gradcheck": "Check every gradient against finite differences, on your own data.",
        "trace": "Show one training step of a tiny network, number by number.",
        "explain": "Explain the score of a title for a user.",
    },
    "Daily": {
        "update": "Take in a day: evaluate on it, learn from it, serve the result.",
        "days": "List the days of a run: state, events, PR-AUC, size and time.",
        "rollback": "Serve an earlier day again.",
        "accept": "Serve a day that the gate held back.",
        "forget": "Remove users from a run and all of its days.",
        "compact": "Put old days of a run together, so that they take less disk.",
    },
    "Serve": {
        "recommend": "Recommend titles to each user.",
        "export": "Write user and title embeddings for scoring elsewhere.",
        "serve": "Serve recommendations as JSON, with a page to click.",
    },
    "Machine": {
        "doctor": "Check this machine and show which kernels it runs.",
        "warmup": "Compile the kernels now, so that the first run starts at once.",
    },
}
COMMANDS = {name: line for commands in SECTIONS.values() for name, line in commands.items()}


class CommandError(click.ClickException):
    """An expected failure: one line on stderr and an exit code, never a traceback."""

    exit_code = 2  # as of click's own usage errors

    def __init__(self, message: str, error: BaseException) -> None:
        super().__init__(visible(" ".join(message.split())))
        self.hint: str = getattr(error, "hint", "")  # the command that goes on, where there is something to go on from

    def show(self, file: IO[Any] | None = None) -> None:
        with suppress(OSError):  # the terminal may have gone
            click.echo(f"twotower: {self.message}", file=file, err=True)
            if self.hint:
                click.echo(f"Resume with: {self.hint}", file=file, err=True)


class Interruption(CommandError):
    """Ctrl-C, SIGTERM or SIGHUP; the exit code is 128 + the signal's number, as shells have it."""

    def __init__(self, error: KeyboardInterrupt) -> None:
        number = error.number if isinstance(error, Stopped) else signal.SIGINT
        super().__init__("interrupted" if number == signal.SIGINT else f"ended by {error}", error)
        self.exit_code = 128 + number  # type: ignore[misc]


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called, and never before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        attribute = "import_" if cmd_name == "import" else cmd_name  # the keyword cannot name a module
        return getattr(importlib.import_module(f"{__name__}.{attribute}"), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), line) for name, line in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(n, help=line) for n, line in COMMANDS.items() if n.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}.{did_you_mean(args[0])}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command and report its errors; here, so that ``CliRunner`` sees the same as the shell."""
        try:
            with handled():
                return super().invoke(ctx)
        except InputError as error:
            raise CommandError(f"error: {error}", error) from error
        except MemoryError as error:
            raise CommandError(f"error: out of memory: {error}", error) from error
        except KeyboardInterrupt as error:
            raise Interruption(error) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader has gone, as in `| head`: click ends quietly
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise CommandError(f"error: {where}{error.strerror or error}", error) from error


def did_you_mean(name: str) -> str:
    """The command nearest to a mistyped one, as a question, or nothing."""
    import difflib

    nearest = difflib.get_close_matches(name, COMMANDS, 1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="twotower")
@click.option("--verify/--no-verify", default=True, show_default=True,
              help="Compare files with their checksums when first used; sizes and shapes always are.")  # fmt: skip
@click.option("--spreadsheet", is_flag=True,
              help="In CSV output, put ' before texts that a spreadsheet would run: =, +, -, @.")  # fmt: skip
def cli(verify: bool, spreadsheet: bool) -> None:
    """Two-tower recommenders for many territories, trained and evaluated on CPUs alone.

    \b
    Example:
      twotower train --mtl --groups 4     simulate a world, train, print PR-AUC
      twotower train --help               what a command does, and its options
    """
    from twotower.core.manifest import Verification
    from twotower.core.serialisation import Spreadsheets

    Verification.enabled, Spreadsheets.enabled = verify, spreadsheet


def main() -> None:
    """The entry point of ``twotower`` and of ``python cli.py``."""
    show_anything()
    cli(prog_name="twotower")
