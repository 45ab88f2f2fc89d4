"""The layout: which room may import which, no circles, and what must not be asked of Numba.

Each rule is a function of the parsed modules that returns what breaks it; each test reads all modules once.
"""

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Rooms of the package from the ground up: a room imports rooms of lower floors alone.
FLOORS = (
    ("core",),
    ("data", "metrics", "model"),
    ("report", "training"),
    ("serving",),
    ("daily", "experiments", "lab"),
    ("cli", "estimator"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FRAMEWORKS = {"torch", "tensorflow", "jax", "keras"}
DRAWERS = {"utils", "util", "helpers", "misc", "common"}
MAX_LINES = 400
JIT_MAKERS = {"njit", "jit", "vectorize", "guvectorize", "intrinsic", "overload", "generated_jit", "cfunc"}


@dataclass
class Module:
    """A parsed file."""

    name: str  # twotower.model.engine.kernels
    is_package: bool
    tree: ast.Module

    @property
    def room(self) -> str:
        """``model`` of ``twotower.model.engine.kernels``; empty for ``twotower`` itself, with its public names."""
        return self.name.split(".")[1] if "." in self.name else ""

    @cached_property
    def origins(self) -> dict[str, str]:
        """Local name → dotted origin of all imports, those in functions too; relative ones are resolved."""
        package = self.name if self.is_package else self.name.rpartition(".")[0]
        origins = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                origins |= {alias.asname or alias.name: alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                origins |= {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
        return origins

    @cached_property
    def type_only(self) -> set[str]:
        """Origins of the imports under ``if TYPE_CHECKING``, which never run."""
        blocks = (n for n in self.tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
        names = (alias for block in blocks for node in block.body for alias in getattr(node, "names", ()))
        return {self.origins[alias.asname or alias.name] for alias in names}

    @cached_property
    def jitted(self) -> dict[str, ast.FunctionDef]:
        """The compiled functions by name; also those under a shared ``kernel = njit(...)``."""
        aliases = {
            target.id
            for node in self.tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and is_jit(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        functions = (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef))
        return {f.name: f for f in functions if any(is_jit(d, aliases) for d in f.decorator_list)}

    @cached_property
    def jit_options(self) -> list[ast.keyword]:
        calls = (node for node in ast.walk(self.tree) if isinstance(node, ast.Call))
        return [keyword for call in calls if is_jit(call.func) for keyword in call.keywords]


Modules = dict[str, Module]


def is_jit(node: ast.expr, aliases: set[str] = frozenset()) -> bool:
    """Whether a decorator (``njit``, ``nb.njit(...)``, or a name bound to one) compiles its function."""
    if isinstance(node, ast.Call):
        return is_jit(node.func, aliases) or any(is_jit(argument, aliases) for argument in node.args)
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in JIT_MAKERS or name in aliases


def read(root: Path, *folders: str) -> Modules:
    """The modules of some folders by name."""
    modules = {}
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = Module(name, is_package, ast.parse(path.read_text("utf-8"), str(path)))
    return modules


def imported(module: Module, modules: Modules, running: bool = False) -> set[str]:
    """The modules of the project that a module imports: ``twotower.model.engine.kernels``, not the names in it.

    ``running``: without those imported for the type checker alone.
    """
    origins = set(module.origins.values()) - (module.type_only if running else set())
    found = {origin if origin in modules else origin.rpartition(".")[0] for origin in origins}
    return {name for name in found if name in modules and name != module.name}


# ---------------------------------------------------------------- rules


def upward_imports(modules: Modules) -> list[str]:
    """Imports of a room of the same or a higher floor, or of ``twotower`` itself, which may import all."""
    return [
        f"{module.name} may not import {other}"
        for module in modules.values()
        if module.room
        for other in sorted(imported(module, modules))
        if modules[other].room != module.room
        and FLOOR.get(modules[other].room, len(FLOORS)) >= FLOOR.get(module.room, -1)
    ]


def circles(modules: Modules) -> list[str]:
    """Modules that import themselves by way of others when they run."""
    graph = {name: imported(module, modules, running=True) for name, module in modules.items()}

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            further = graph[ahead.pop()] - seen
            seen |= further
            ahead += further
        return seen

    return [name for name in graph if name in reached(name)]


def foreign_kernel_calls(modules: Modules) -> list[str]:
    """Compiled functions that call those of another file: Numba's cache watches one file, and would keep old code."""
    calls = []
    for module in modules.values():
        for function in module.jitted.values():
            for node in ast.walk(function):
                if isinstance(node, ast.Name):
                    origin = module.origins.get(node.id, "")
                elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    origin = f"{module.origins.get(node.value.id, '')}.{node.attr}"
                else:
                    continue
                home, _, name = origin.rpartition(".")
                if home in modules and name in modules[home].jitted:
                    calls.append(f"{module.name}.{function.name} calls {origin}")
    return calls


def misused_numba(modules: Modules) -> list[str]:
    """njit from Numba itself, whose cache lies beside the source; its threads; fast-math that assumes away NaN."""
    misuses = []
    for module in modules.values():
        origins = set(module.origins.values())
        if module.name != "twotower.core.jit" and origins & {"numba.njit", "numba.jit", "numba.vectorize"}:
            misuses.append(f"{module.name}: take njit from twotower.core.jit")
        if "numba.prange" in origins or any(option.arg == "parallel" for option in module.jit_options):
            misuses.append(f"{module.name}: threads come from tiles, not from Numba")
        constants = {
            target.id: node.value
            for node in module.tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for option in module.jit_options:
            if option.arg == "fastmath":
                value = constants.get(option.value.id) if isinstance(option.value, ast.Name) else option.value
                flags = {n.value for n in ast.walk(value) if isinstance(n, ast.Constant)} if value else {True}
                if flags & {True, "fast", "nnan", "ninf"}:
                    misuses.append(f"{module.name}: fast-math assumes that NaN never comes")
    return misuses


# ---------------------------------------------------------------- tests


@pytest.fixture(scope="module")
def project() -> Modules:
    return read(ROOT, "twotower", "benchmarks")


@pytest.fixture(scope="module")
def package(project) -> Modules:
    return {name: module for name, module in project.items() if name.startswith("twotower")}


def test_imports_point_down(package):
    unknown = {module.room for module in package.values()} - {"", *FLOOR}
    assert not unknown, f"new rooms {unknown}: give each a floor here and in docs/explanation/architecture.md"
    assert upward_imports(package) == []


def test_nothing_imports_itself_by_way_of_others(project):
    assert circles(project) == []


def test_the_textbook_is_not_on_the_training_path(package):
    readers = {name for name, module in package.items() if "twotower.model.reference" in imported(module, package)}
    assert all(package[name].room == "lab" for name in readers) and readers


def test_no_deep_learning_framework_is_imported(package):
    importers = {n for n, m in package.items() if FRAMEWORKS & {o.split(".")[0] for o in m.origins.values()}}
    assert not importers


def test_files_have_a_noun_a_docstring_and_a_size(package):
    assert not [name for name in package if name.rpartition(".")[2] in DRAWERS]
    assert not [name for name, module in package.items() if not ast.get_docstring(module.tree)]
    folders = ("twotower", "tests", "benchmarks", "examples", "docs")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert not [str(path) for path in paths if path.read_text("utf-8").count("\n") > MAX_LINES]


def test_compiled_functions_that_call_each_other_are_in_one_file(package):
    assert sum(len(module.jitted) for module in package.values()) > 20
    assert foreign_kernel_calls(package) == []


def test_numba_is_used_in_one_way(package):
    assert misused_numba(package) == []


# ---------------------------------------------------------------- the tests of these tests


@pytest.fixture
def built(tmp_path):
    """Modules of files that break a rule."""

    def build(files: dict[str, str]) -> Modules:
        for name, text in files.items():
            path = tmp_path / "twotower" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return read(tmp_path, "twotower")

    return build


@pytest.mark.parametrize("line", ["def f():\n    from twotower.data import b\n", "from ..data import b\n"])
def test_an_import_of_the_same_floor_is_caught(built, line):
    modules = built({"model/a.py": line, "data/b.py": ""})
    assert upward_imports(modules) == ["twotower.model.a may not import twotower.data.b"]


def test_an_import_of_a_higher_floor_or_of_the_package_is_caught(built):
    modules = built({"__init__.py": "", "core/a.py": "import twotower.lab.b\nfrom twotower import c\n", "lab/b.py": ""})
    assert upward_imports(modules) == [
        "twotower.core.a may not import twotower", "twotower.core.a may not import twotower.lab.b"
    ]  # fmt: skip


def test_a_circle_is_caught(built):
    files = {"lab/a.py": "from twotower.lab import b", "lab/b.py": "from twotower.lab.c import f", "lab/d.py": ""}
    modules = built(files | {"lab/c.py": "def f():\n    from twotower.lab import a, d"})
    assert circles(modules) == ["twotower.lab.a", "twotower.lab.b", "twotower.lab.c"]
    modules = built({"lab/b.py": "if TYPE_CHECKING:\n    from twotower.lab.c import f"})
    assert circles(modules) == []


@pytest.mark.parametrize(
    "caller",
    [
        "from twotower.model.a import helper\n@njit(cache=True)\ndef f(x): return helper(x)\n",
        "from twotower.model import a\nkernel = nb.njit(nogil=True)\n@kernel\ndef f(x): return a.helper(x)\n",
    ],
)
def test_a_compiled_call_across_files_is_caught(built, caller):
    modules = built({"model/a.py": "@njit\ndef helper(x): return x\n", "model/b.py": caller})
    assert foreign_kernel_calls(modules) == ["twotower.model.b.f calls twotower.model.a.helper"]


def test_misuse_of_numba_is_caught(built):
    modules = built(
        {
            "model/a.py": "@njit(parallel=True)\ndef f(x): return x\n",
            "model/b.py": "FLAGS = {'arcp', 'nnan'}\n@njit(fastmath=FLAGS)\ndef f(x): return x\n",
            "model/c.py": "FLAGS = {'arcp', 'contract'}\n@njit(fastmath=FLAGS)\ndef f(x): return x\n",
            "model/d.py": "from numba import njit\n",
        }
    )
    assert [misuse.partition(":")[0] for misuse in misused_numba(modules)] == [
        f"twotower.model.{name}" for name in "abd"
    ]
