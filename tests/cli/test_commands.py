"""The command line as a whole; each command's own doings are tested in its own file."""

import errno
import importlib.util
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import twotower
from twotower.cli import COMMANDS, LazyGroup, cli, main
from twotower.core.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_its_line_in_the_list(name):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert f"twotower {name}" in result.output.split("Example:")[1]
    assert command_of(name).get_short_help_str(limit=1000).rstrip(".") == COMMANDS[name].rstrip(".")
    assert len(COMMANDS[name]) <= 70, "it would wrap in the list"


def test_every_option_says_what_it_does():
    params = [(name, param) for name in COMMANDS for param in command_of(name).params]
    assert not [(name, p.name) for name, p in params if isinstance(p, click.Option) and not p.help]


def test_every_file_of_a_command_is_listed():
    files = [path for path in (ROOT / "twotower" / "cli").glob("*.py") if "\n@click.command" in path.read_text()]
    assert {path.stem.rstrip("_") for path in files} == set(COMMANDS)


def test_the_reference_page_is_what_help_says():
    spec = importlib.util.spec_from_file_location("generate_commands", ROOT / "docs" / "generate_commands.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    written = (ROOT / "docs" / "reference" / "commands.md").read_text("utf-8")
    assert written == generator.page(), "run: python docs/generate_commands.py"


def modules_after(code: str) -> set[str]:
    """The modules that are loaded when ``code`` has run, seen from a process of its own."""
    code += "\nimport sys; print(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stderr.split())


def helping(*commands: list[str]) -> str:
    """Code that runs the command line with each of these arguments."""
    return f"from twotower.cli import cli\nfor words in {commands!r}: cli(words, standalone_mode=False)"


def test_the_list_of_commands_is_instant():
    assert not {"numpy", "rich", "numba", "scipy"} & modules_after(helping(["--help"], ["--version"]))


def test_help_of_a_command_loads_nothing_heavy():
    loaded = modules_after(helping(*([name, "--help"] for name in COMMANDS)))
    assert "twotower.cli.train" in loaded and not {"numba", "scipy", "pyarrow", "matplotlib"} & loaded


def test_no_module_loads_a_package_of_an_extra():
    """Each is imported where it is used, so that nobody needs what he does not use."""
    code = "import importlib, pkgutil, twotower\n"
    code += "for m in pkgutil.walk_packages(twotower.__path__, 'twotower.'): importlib.import_module(m.name)"
    loaded = modules_after(code)
    assert {"twotower.serving.nearest", "twotower.serving.onnx_graphs"} <= loaded
    assert not {"onnx", "onnxruntime", "voyager", "optuna", "matplotlib", "jinja2", "pyarrow", "duckdb"} & loaded


def test_importing_the_package_loads_nothing_heavy():
    assert not {"numba", "scipy"} & modules_after("import twotower")


def test_commands_are_listed_in_the_order_of_use():
    listed = CliRunner().invoke(cli, ["--help"]).output.split("Data:")[1].splitlines()
    words = [line.split()[0] for line in listed if line.strip()]
    assert [word for word in words if not word.endswith(":")] == list(COMMANDS)
    assert [word for word in words if word.endswith(":")] == ["Model:", "Study:", "Daily:", "Serve:", "Machine:"]


def test_short_help_lists_the_common_options_and_help_all_the_rest():
    short, full = (CliRunner().invoke(cli, ["train", option]).output for option in ("--help", "--help-all"))
    options = [param for param in command_of("train").params if isinstance(param, click.Option)]
    common = [param for param in options if param.name in command_of("train").common]
    assert len(common) == len(command_of("train").common) == 15
    for param in options:
        flag = f"{param.opts[0]}"
        assert f"\n  {flag}" in full
        assert (f"\n  {flag}" in short) == (param in common or flag == "--help-all")


def test_defaults_say_what_mtl_and_the_papers_preset_make_of_them():
    text = " ".join(CliRunner().invoke(cli, ["train", "--help-all"]).output.split())
    assert "[default: none; lowrank with --mtl; plain with --preset paper --mtl]" in text
    assert "[default: 0; 10 with --mtl; 0 with --preset paper --mtl]" in text
    assert "[default: no; yes with --mtl; no with --preset paper --mtl]" in text
    assert "[default: title; territory with --mtl; none with --preset paper]" in text
    assert "[default: positives; pairs with --preset paper]" in text


def test_version_is_the_packages():
    assert CliRunner().invoke(cli, ["--version"]).output == f"twotower, version {twotower.__version__}\n"


def test_a_mistyped_command_gets_the_nearest_one():
    result = CliRunner().invoke(cli, ["trian"])
    assert result.exit_code == 2 and "No such command 'trian'. Did you mean 'train'?" in result.stderr


def test_an_unknown_command_is_no_command():
    assert cli.get_command(click.Context(cli), "nonsense") is None


def test_the_entry_point_runs_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["anything", "--version"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0 and capsys.readouterr().out == f"twotower, version {twotower.__version__}\n"


def test_a_checkout_runs_without_installation():
    result = subprocess.run([sys.executable, "cli.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.startswith("Usage: twotower ")


# ---------------------------------------------------------------- what goes wrong


def run_failing(monkeypatch, error: BaseException):
    """What the user sees when a command ends with ``error``."""

    @click.command()
    def train():
        raise error

    monkeypatch.setattr(LazyGroup, "get_command", lambda self, ctx, name: train)
    return CliRunner().invoke(cli, ["train"])


def test_bad_input_is_one_line_and_exit_code_2(monkeypatch):
    result = run_failing(monkeypatch, InputError("log.csv line 3: user is\n  empty"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "twotower: error: log.csv line 3: user is empty\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "world"), "error: world: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device"),
        (MemoryError("Unable to allocate 3 TiB"), "error: out of memory: Unable to allocate 3 TiB"),
    ],
)
def test_a_machine_at_its_end_is_one_line_too(monkeypatch, error, line):
    result = run_failing(monkeypatch, error)
    assert (result.exit_code, result.stderr) == (2, f"twotower: {line}\n")


def test_ctrl_c_ends_with_a_word_and_130(monkeypatch):
    result = run_failing(monkeypatch, KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "twotower: interrupted\n")


def test_a_reader_who_leaves_early_hears_nothing(monkeypatch):
    result = run_failing(monkeypatch, BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert result.exit_code == 1 and not result.stderr


def test_a_bug_keeps_its_traceback(monkeypatch):
    assert isinstance(run_failing(monkeypatch, ZeroDivisionError()).exception, ZeroDivisionError)


@pytest.mark.parametrize("typed", [["compare"], ["compare", "--against"], ["evaluate", "--dataset"]])
def test_the_shell_completes_paths(typed):
    found = ShellComplete(cli, {}, "twotower", "_TWOTOWER_COMPLETE").get_completions(typed, "ru")
    assert [(item.value, item.type) for item in found] == [("ru", "file")]


def test_the_shell_completes_commands_with_their_help():
    complete = ShellComplete(cli, {}, "twotower", "_TWOTOWER_COMPLETE")
    found = {item.value: item.help for item in complete.get_completions([], "e")}
    assert found == {name: COMMANDS[name] for name in ("embed", "evaluate", "experiment", "export", "explain")}


def test_a_message_cannot_control_the_terminal(monkeypatch):
    result = run_failing(monkeypatch, InputError("log.csv: title '\x1b]0;[/Off]\x07' is unknown"))
    assert result.stderr == "twotower: error: log.csv: title '\\x1b]0;[/Off]\\x07' is unknown\n"
