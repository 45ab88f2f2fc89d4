"""The house keeps its shape: imports point one way, and known dangers stay outside."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "twotower"
SOURCES = sorted(PACKAGE.rglob("*.py"))

#: The floors of the house, from the ground up: a room imports rooms of lower floors alone, none of its own floor.
FLOORS = [
    {"core"},
    {"data", "metrics", "model"},
    {"report", "training"},
    {"serving"},
    {"experiments", "lab"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
JIT_MAKERS = {"njit", "jit", "vectorize", "guvectorize", "intrinsic", "overload", "generated_jit", "cfunc"}


def module_of(path: Path) -> str:
    """``twotower.model.engine.kernels`` of its file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


MODULES = {module_of(path) for path in SOURCES}


def imports_of(path: Path) -> dict[str, str]:
    """Local name → dotted origin of all that a file imports, in functions too; relative imports resolved."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    origins = {}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                origins[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                origins[alias.asname or alias.name] = f"{base}.{alias.name}"
    return origins


def modules_of(path: Path) -> set[str]:
    """The modules of the project that a file imports: ``twotower.model.engine.kernels``, not the names in it."""
    found = set()
    for origin in imports_of(path).values():
        if origin.startswith("twotower."):
            found.add(origin if origin in MODULES else origin.rpartition(".")[0])
    return found


def room_of(module: str) -> str:
    """``model`` of ``twotower.model.engine.kernels``; ``front door`` for the package itself, with its public names."""
    return module.split(".")[1] if "." in module else "front door"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_point_one_way(path):
    room = room_of(module_of(path))
    if room == "front door":
        return  # public names may come from anywhere; those inside may take only the version from it
    assert room in FLOOR, f"{room} is a new room: give it a floor here and in docs/explanation/architecture.md"
    foreign = {
        module
        for module in modules_of(path)
        if room_of(module) != room and FLOOR.get(room_of(module), len(FLOORS)) >= FLOOR[room]
    }
    assert not foreign, f"{module_of(path)} may not import {', '.join(sorted(foreign))}"


def test_the_textbook_is_not_on_the_training_path():
    textbook = {"twotower.model.reference", "twotower.model.reference_variants"}
    readers = {module_of(path) for path in SOURCES if textbook & modules_of(path)}
    readers = {module for module in readers if room_of(module) != "lab"}
    assert readers <= {"twotower.model.finite_differences", "twotower.model.reference"}


def test_commands_are_imported_by_nobody_below():
    readers = {module_of(p) for p in SOURCES if any(m.startswith("twotower.cli") for m in modules_of(p))}
    assert all(reader.startswith("twotower.cli") for reader in readers)


def test_no_deep_learning_framework_is_imported():
    frameworks = {"torch", "tensorflow", "jax", "keras"}
    for path in SOURCES:
        assert not frameworks & {origin.split(".")[0] for origin in imports_of(path).values()}, path


def test_no_file_is_a_drawer_for_anything():
    drawers = {"utils", "util", "helpers", "misc", "common"}
    assert not drawers & {path.stem for path in SOURCES}


@pytest.mark.parametrize("folder", ["twotower", "tests", "benchmarks", "examples", "docs"])
def test_a_file_fits_in_a_head(folder):
    long = [path for path in (ROOT / folder).rglob("*.py") if len(path.read_text("utf-8").splitlines()) > 400]
    assert not long, "over 400 lines: one file, one noun"


def test_every_module_says_what_it_is():
    assert all(ast.get_docstring(tree_of(path)) for path in SOURCES)


# ---------------------------------------------------------------- what numba must not be asked


def is_jit(node: ast.expr, aliases: set[str]) -> bool:
    """Whether a decorator (``njit``, ``nb.njit(...)``, or a name bound to one) compiles its function."""
    if isinstance(node, ast.Call):
        return is_jit(node.func, aliases) or any(is_jit(argument, aliases) for argument in node.args)
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in JIT_MAKERS | aliases


def jitted_functions(path: Path) -> dict[str, ast.FunctionDef]:
    """The compiled functions of a file, by name; also those under a shared ``kernel = njit(...)``."""
    tree = tree_of(path)
    aliases = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and is_jit(node.value, set())
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return {
        node.name: node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any(is_jit(d, aliases) for d in node.decorator_list)
    }


JITTED = {module_of(path): jitted_functions(path) for path in SOURCES}


def foreign_kernels_called(path: Path) -> set[str]:
    """Compiled functions of other files that the compiled functions of this file call."""
    origins = imports_of(path)
    called = set()
    for function in JITTED[module_of(path)].values():
        for node in ast.walk(function):
            if isinstance(node, ast.Name):
                origin = origins.get(node.id, "")
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                origin = f"{origins.get(node.value.id, '')}.{node.attr}"
            else:
                continue
            module, _, name = origin.rpartition(".")
            if name in JITTED.get(module, {}):
                called.add(origin)
    return called


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_compiled_functions_that_call_each_other_live_in_one_file(path):
    # numba's cache watches one file: a caller would keep the old code of a helper edited elsewhere
    assert not foreign_kernels_called(path)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_kernels_are_kept_where_the_house_keeps_them(path):
    # njit straight from numba would lie beside the source, and fail where that is read-only
    origins = set(imports_of(path).values())
    assert module_of(path) == "twotower.core.jit" or not origins & {"numba.njit", "numba.jit", "numba.vectorize"}, (
        "take njit from twotower.core.jit"
    )


def jit_options(path: Path) -> list[ast.keyword]:
    calls = (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))
    return [keyword for call in calls if is_jit(call.func, set()) for keyword in call.keywords]


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_threads_come_from_tiles_never_from_numba(path):
    assert not [option for option in jit_options(path) if option.arg == "parallel"]
    assert "prange" not in {name.rpartition(".")[2] for name in imports_of(path).values()}


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_fast_math_keeps_nan_and_infinity(path):
    constants = {
        target.id: node.value
        for node in tree_of(path).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for option in jit_options(path):
        if option.arg == "fastmath":
            value = constants.get(option.value.id) if isinstance(option.value, ast.Name) else option.value
            flags = {n.value for n in ast.walk(value) if isinstance(n, ast.Constant)} if value else {True}
            assert not flags & {True, "fast", "nnan", "ninf"}, "it would assume that NaN never comes"


# ---------------------------------------------------------------- the tests of these tests


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A house of one's own, to build badly."""

    def build(files: dict[str, str]):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        paths = sorted(tmp_path.rglob("*.py"))
        monkeypatch.setitem(globals(), "ROOT", tmp_path)
        monkeypatch.setitem(globals(), "MODULES", {module_of(path) for path in paths})
        monkeypatch.setitem(globals(), "JITTED", {module_of(path): jitted_functions(path) for path in paths})
        return tmp_path

    return build


def test_an_import_upwards_is_caught(house):
    root = house({"twotower/model/a.py": "def f():\n    from twotower.data import b\n", "twotower/data/b.py": ""})
    with pytest.raises(AssertionError, match=r"twotower\.model\.a may not import twotower\.data\.b"):
        test_imports_point_one_way(root / "twotower/model/a.py")


def test_a_relative_import_is_caught_too(house):
    root = house({"twotower/model/a.py": "from ..data import b\n", "twotower/data/b.py": ""})
    with pytest.raises(AssertionError):
        test_imports_point_one_way(root / "twotower/model/a.py")


@pytest.mark.parametrize(
    "caller",
    [
        "from twotower.model.a import helper\n@njit(cache=True)\ndef f(x): return helper(x)\n",
        "from twotower.model import a\nkernel = nb.njit(nogil=True)\n@kernel\ndef f(x): return a.helper(x)\n",
    ],
)
def test_a_compiled_call_across_files_is_caught(house, caller):
    root = house({"twotower/model/a.py": "@njit\ndef helper(x): return x\n", "twotower/model/b.py": caller})
    with pytest.raises(AssertionError):
        test_compiled_functions_that_call_each_other_live_in_one_file(root / "twotower/model/b.py")


def test_parallel_and_careless_fast_math_are_caught(house):
    root = house(
        {
            "twotower/model/a.py": "@njit(parallel=True)\ndef f(x): return x\n",
            "twotower/model/b.py": "FLAGS = {'arcp', 'nnan'}\n@njit(fastmath=FLAGS)\ndef f(x): return x\n",
            "twotower/model/c.py": "FLAGS = {'arcp', 'contract'}\n@njit(fastmath=FLAGS)\ndef f(x): return x\n",
        }
    )
    with pytest.raises(AssertionError):
        test_threads_come_from_tiles_never_from_numba(root / "twotower/model/a.py")
    with pytest.raises(AssertionError):
        test_fast_math_keeps_nan_and_infinity(root / "twotower/model/b.py")
    test_fast_math_keeps_nan_and_infinity(root / "twotower/model/c.py")
