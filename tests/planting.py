"""Plant a wrong text in a module and run tests on it: a process that forks one child per mutation.

The parent has imported what takes long, and nothing of the package; the child compiles the wrong source in place of
the right one when a test imports it. No file changes. Kernels are interpreted: compiling takes longer than running.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
QUIET = ["-q", "--tb=no", "--no-header", "--color=no", "-o", "addopts=--import-mode=importlib"]
WITHOUT = ("cacheprovider", "warnings", "unraisableexception")
OPTIONS = [*QUIET, *(word for plugin in WITHOUT for word in ("-p", f"no:{plugin}"))]


class Outcome(NamedTuple):
    """What became of one run of pytest."""

    exit_code: int  # of pytest
    failed: list[str]  # type of the exception that each failing test ended with; of errors outside a test as "error: …"
    output: str


class Planter:
    """The forking process, as seen from a test."""

    def __init__(self) -> None:
        environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        environment |= {"HYPOTHESIS_PROFILE": "mutations", "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, __file__], cwd=ROOT, env=environment, **pipes)

    def run(self, nodes: Sequence[str], file: str = "", right: str = "", wrong: str = "") -> Outcome:
        """Pytest on some nodes, with ``right`` replaced by ``wrong`` in a file of the package."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([list(nodes), file, right, wrong]) + "\n")
        self.process.stdin.flush()
        return Outcome(*json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        self.process.communicate()


class WrongSource(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Finds and loads one module of the package with the wrong text in place of the right one."""

    def __init__(self, file: str, right: str, wrong: str) -> None:
        super().__init__("twotower." + file.removesuffix(".py").replace("/", "."), str(ROOT / "twotower" / file))
        self.right, self.wrong = right, wrong

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, name: str) -> Any:
        text = Path(self.path).read_text("utf-8")
        assert text.count(self.right) == 1, f"{self.right!r} stands {text.count(self.right)} times in {self.path}"
        return compile(text.replace(self.right, self.wrong), self.path, "exec")


class Failures:
    """A plugin that notes how tests failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Any:
        report = yield
        if report.failed:
            assert call.excinfo is not None
            self.failed.append(("" if call.when == "call" else "error: ") + call.excinfo.type.__name__)
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(f"error: {report.longrepr}")


def run_here(nodes: Sequence[str], file: str, right: str, wrong: str) -> tuple[int, list[str]]:
    """Pytest in this process; what it prints goes to stdout."""
    if file:
        sys.meta_path.insert(0, WrongSource(file, right, wrong))
    failures = Failures()
    code = pytest.main([*OPTIONS, *nodes], plugins=[failures])
    return int(code), failures.failed


def run_in_child(*request: Any) -> Outcome:
    """``run_here`` in a fork of this process."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        with open(into, "w") as pipe:
            printed = os.memfd_create("output")
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            result = run_here(*request)
            sys.stdout.flush()
            output = os.pread(printed, 1 << 20, 0).decode("utf-8", "replace")
            json.dump([*result, output], pipe)
        os._exit(0)
    os.close(into)
    with open(out) as pipe:
        reply = pipe.read()
    os.waitpid(child, 0)
    return Outcome(*json.loads(reply)) if reply else Outcome(-1, ["error: the process died"], "")


def main() -> None:
    """Answer requests, a line each, until stdin ends."""
    import hypothesis.strategies  # noqa: F401
    import numba  # noqa: F401
    import scipy.sparse
    import scipy.stats  # noqa: F401

    with redirect_stdout(io.StringIO()):
        pytest.main(["--version"])  # imports what every run of pytest needs
    sys.path.insert(0, str(ROOT))
    for line in sys.stdin:
        print(json.dumps(run_in_child(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
