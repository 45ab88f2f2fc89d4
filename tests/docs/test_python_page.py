"""The page for programmers is a program that runs, and its public names are there without loading anything heavy."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import twotower

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8")


def test_the_blocks_are_one_program_that_runs(own_world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "page"}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), 1):
        exec(compile(block, f"block {number} of docs/how-to/python.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("runs/001-") and len(lines) == 4 + 5
    dataset = names["dataset"]
    one = names["pairs"].take([0])
    expected = names["users"][one.user] @ names["titles"][one.title[0]]
    expected += names["bias"][dataset.user_territory[one.user], one.title]
    assert expected == pytest.approx(twotower.score_pairs(names["run"], dataset, one), abs=1e-4)


@pytest.mark.parametrize("name", twotower.HOMES)
def test_a_public_name_is_what_its_room_calls_so(name):
    found = getattr(twotower, name)
    assert found is getattr(sys.modules[f"twotower.{twotower.HOMES[name]}"], name)
    assert name in dir(twotower)


def test_the_names_for_type_checkers_are_the_public_names():
    text = (ROOT / "twotower" / "__init__.py").read_text("utf-8")
    told = re.findall(r"^    from twotower\.([\w.]+) import (\w+) as (\w+)", text, re.MULTILINE)
    assert {name: home for home, name, _ in told} == twotower.HOMES
    assert all(name == again for _, name, again in told)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Transformer'"):
        twotower.Transformer  # noqa: B018


def test_importing_loads_nothing_of_it():
    code = "import sys, twotower; print([m for m in sys.modules if m.startswith(('twotower.', 'numpy', 'numba'))])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['twotower.core', 'twotower.core.version']"
