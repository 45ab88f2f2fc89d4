"""Compiled kernels are kept where they can be: for the next process, the next installation, the read-only one."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import pytest
from numba import config as numba_config
from numba.core import caching

import twotower
from twotower.core import jit
from twotower.model.engine import kernels

PACKAGE = Path(twotower.__file__).parent
ROOT_WRITES = (
    "the superuser writes everywhere, and setpriv, which could take that right away, is not installed; "
    "run the tests as another user"
)
pytestmark = pytest.mark.skipif(bool(numba_config.DISABLE_JIT), reason="nothing is compiled, and nothing kept")

#: Where the kernels of two files lie, and whether one of them had to be compiled.
CODE = """
import json
import numpy as np
from twotower.core import jit
from twotower.model.engine import kernels
A = np.zeros((2, 3), np.float32)
kernels.head_output(A, A, A[0], 1.0, 0.0)
stats = kernels.head_output.stats
print(json.dumps([stats.cache_path, sum(stats.cache_misses.values()), *jit.cache_state()]))
"""


def installation(where: Path) -> Path:
    """A copy of the package without anything compiled."""
    shutil.copytree(PACKAGE, where / "twotower", ignore=shutil.ignore_patterns("__pycache__", ".ruff_cache"))
    return where


def loaded_from(site: Path, home: Path, *before: str, **variables: str) -> tuple[Path, int, jit.CacheState]:
    """What a fresh process in an installation says: the kernel's directory, how often it compiled, all that is kept."""
    own = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    own |= {"HOME": str(home), "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"} | variables
    done = subprocess.run([*before, sys.executable, "-c", CODE], env=own, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path, compiled, *state = json.loads(done.stdout)
    return Path(path), compiled, jit.CacheState(*state)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_a_process_finds_the_kernels_of_the_same_source_and_of_no_other(tmp_path, home):
    site = installation(tmp_path / "site")
    path, compiled, state = loaded_from(site, home)
    assert compiled == 1 and state.lasting and state.kernels == 1 and 0 < state.mib < 1
    assert path.parent == home / ".cache" / "twotower" / f"numba-{numba.__version__}"
    assert not list(site.rglob("__pycache__")), "nothing lies beside the source"
    again = site.rename(tmp_path / "elsewhere")
    for file in again.rglob("*.py"):
        os.utime(file, (1, 1))  # pip gives each file the date of its installation
    assert loaded_from(again, home) == (path, 0, state)
    source = again / "twotower" / "model" / "engine" / "kernels.py"
    source.write_text(source.read_text() + "\n# another version\n")
    other, compiled, state = loaded_from(again, home)
    assert compiled == 1 and other != path and state.kernels == 2


def test_numbas_own_variable_moves_the_cache_and_so_does_the_desktops(tmp_path, monkeypatch):
    monkeypatch.setitem(vars(numba_config), "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jit.wanted_directories()[0].is_relative_to(tmp_path / "xdg" / "twotower")
    monkeypatch.setitem(vars(numba_config), "CACHE_DIR", str(tmp_path / "numba"))
    places = [tmp_path / name / "twotower" / f"numba-{numba.__version__}" for name in ("numba", "xdg")]
    assert jit.wanted_directories() == places and jit.cache_directory.__wrapped__() == places[0]


def forbid_writing(*trees: Path) -> tuple[str, ...]:
    """Take the right to write from whole trees. Returns the words before a command that make it hold for us too."""
    for tree in trees:
        for path in (tree, *tree.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
    if not os.access(trees[0], os.W_OK):
        return ()
    if not shutil.which("setpriv"):
        pytest.skip(ROOT_WRITES)
    without = ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override")
    if subprocess.run([*without, "true"], capture_output=True).returncode:
        pytest.skip("setpriv may not take the superuser's right to write everywhere away")
    return without


def test_an_installation_that_cannot_be_written_keeps_its_kernels_at_the_users(tmp_path, home):
    site = installation(tmp_path / "site")
    before = forbid_writing(site)
    path, compiled, state = loaded_from(site, home, *before)
    assert compiled == 1 and path.is_relative_to(home) and state.lasting
    assert loaded_from(site, home, *before)[:2] == (path, 0)


def test_where_nothing_can_be_written_kernels_are_kept_for_the_process(tmp_path, home):
    site = installation(tmp_path / "site")
    before = forbid_writing(site, home)
    path, compiled, state = loaded_from(site, home, *before)
    assert compiled == 1 and not state.lasting and path.is_relative_to(state.directory)
    assert not path.exists() and not any(home.iterdir()), "nothing is left behind"


def test_signatures_that_are_compiled_at_the_same_time_are_all_kept(tmp_path, monkeypatch):
    read = caching.IndexDataCacheFile._load_index

    def read_slowly(self):
        index = read(self)
        time.sleep(0.05)  # in which others write theirs
        return index

    monkeypatch.setattr(caching.IndexDataCacheFile, "_load_index", read_slowly)
    kept = [caching.IndexDataCacheFile(str(tmp_path), "kernel", "source") for _ in range(4)]  # as in four processes
    with ThreadPoolExecutor(len(kept)) as pool:
        list(pool.map(lambda n: kept[n].save(f"signature {n}", f"code {n}"), range(len(kept))))
    assert [kept[0].load(f"signature {n}") for n in range(len(kept))] == [f"code {n}" for n in range(len(kept))]


def test_functions_of_others_are_numbas_business():
    assert jit.KernelCacheLocator.from_function(test_functions_of_others_are_numbas_business, __file__) is None
    ours = jit.KernelCacheLocator.from_function(kernels.adam.py_func, kernels.__file__)
    assert ours._py_file == kernels.__file__ and str(ours._lineno) == ours.get_disambiguator()


def test_kernels_that_nobody_has_loaded_for_long_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setitem(vars(numba_config), "CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    old, new, foreign = (tmp_path / "twotower" / "numba-0.1" / name for name in ("model.a-12", "model.a-34", "mine"))
    for directory in (old, new, foreign):
        directory.mkdir(parents=True)
        (directory / "kernel.nbc").touch()
    for directory in (old, foreign):
        os.utime(directory, (1, 1))
    assert jit.forget_unused() == 1
    assert not old.exists() and new.exists() and foreign.exists()


def test_a_damaged_file_is_compiled_again(tmp_path, home):
    site = installation(tmp_path / "site")
    path, _, state = loaded_from(site, home)
    (file,) = path.glob("*.nbc")
    whole = file.read_bytes()
    file.write_bytes(flipped(whole, len(whole) // 2))
    assert loaded_from(site, home) == (path, 1, state)
    assert len(file.read_bytes()) == len(whole)
    assert loaded_from(site, home)[1] == 0


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: flipped(b, len(b) // 2)])
def test_a_damaged_file_is_as_good_as_none(tmp_path, monkeypatch, ending, damage):
    monkeypatch.setattr(jit, "cache_directory", lambda: tmp_path)
    kept = jit.CheckedCacheFile(str(tmp_path / "kernels"), "kernel", "source")
    (tmp_path / "kernels").mkdir()
    kept.save("signature", "code")
    assert kept.load("signature") == "code"
    (file,) = (tmp_path / "kernels").glob(f"*.{ending}")
    file.write_bytes(damage(file.read_bytes()))
    assert kept.load("signature") is None


def flipped(content: bytes, place: int) -> bytes:
    """The same bytes, but for one bit."""
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
