"""The generated reference pages say what the code says; tests/cli has the same for the page of commands."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from console_blocks import needs_jit

DOCS = Path(__file__).resolve().parents[2] / "docs"


def generator(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_settings_is_what_the_configuration_says():
    settings = generator("generate_settings")
    assert settings.PAGE.read_text("utf-8") == settings.page(), "run: python docs/generate_settings.py"


@needs_jit
def test_the_page_of_files_is_what_the_commands_write():
    files = generator("generate_files")
    assert files.PAGE.read_text("utf-8") == files.page(), "run: python docs/generate_files.py"


def test_a_file_that_nobody_describes_is_an_error(tmp_path):
    files = generator("generate_files")
    (tmp_path / "new.bin").write_bytes(b"")
    with pytest.raises(SystemExit, match=r"no description of \['new.bin'\]"):
        files.listing("A run", [tmp_path])
