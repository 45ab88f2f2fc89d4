"""A user's own model before the leak detector: a Python function that returns gradients (docs/how-to/own-model.md).

    gradients(user_features, title_features, group, labels, n_groups, seed) -> {name: array with leading axis n_groups}

What is wrong with it is told in one line that names its file and, where there is one, the line of it.
"""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.batches import Batch
from twotower.lab.leaks.leaks import DRAWS, Own, record_of
from twotower.lab.leaks.perturbation import KINDS, LABELS, USERS
from twotower.lab.subject import Subject
from twotower.model import reference


class OwnModel:
    """A function as a suspect. Nothing can be held still in it: whatever foreign rows change is a leak."""

    allowed: Mapping[str, tuple[str, ...]] = dict.fromkeys(KINDS, ())
    towers: tuple[str, ...] = ()

    def __init__(self, name: str, subject: Subject):
        """``name`` is FILE.py:FUNCTION. Errors: InputError for everything that is wrong with either."""
        self.file, self.function = load_function(name)
        self.name, self.K, self.seed = name, subject.model.config.groups, subject.config.train.seed
        self.members = subject.trainer.members
        self.before: dict[str, np.ndarray] = {}  # all groups' gradients for the batch as it is
        self.refusal = ""  # what the function said to NaN, if it did

    def remember(self, batch: Batch, k: int) -> Own:
        """Errors: InputError where gradients are not finite, or two calls differ."""
        first, again = self.gradients(batch), self.gradients(batch)
        for name, value in first.items():
            bad = np.argwhere(~np.isfinite(value))
            if len(bad):
                where = ", ".join(map(str, bad[0]))
                raise self.fault(f"{name}[{where}] is {value[tuple(bad[0])]}, expected finite gradients")
            if name not in again or not np.array_equal(value, again[name]):
                raise self.fault(f"two calls with the same seed differ in {name}; draw all random numbers from seed")
        self.before = first
        return {name: value[k] for name, value in first.items()}

    def own(self, batch: Batch, k: int, held: Collection[str] = ()) -> Own:
        """The gradients of group ``k`` for a disturbed batch, of the same names and shapes as before."""
        try:
            after = self.gradients(batch)
        except InputError as error:
            if not np.isfinite(batch.labels).all() or not np.isfinite(batch.user_features).all():
                self.refusal = str(error)  # it looks at its input, as it may
                return {name: value[k] for name, value in self.before.items()}
            raise
        for name in sorted(self.before.keys() | after.keys()):
            shapes = [found[name].shape if name in found else "nothing" for found in (self.before, after)]
            if shapes[0] != shapes[1]:
                raise self.fault(f"{name} was {shapes[0]} and is {shapes[1]} where other groups' rows changed")
        return {name: value[k] for name, value in after.items()}

    def takes_nan(self, what: str) -> bool:
        return what in (LABELS, USERS)

    def gradients(self, batch: Batch) -> dict[str, np.ndarray]:
        """What the function says to a batch with a row a pair, checked for everything but its values."""
        rows = reference.expand(batch)
        group = self.members[batch.user_rows][batch.pair_user].astype(np.int64)
        given = rows.user_features, rows.title_features, group, rows.labels, self.K, self.seed
        with blamed(self.file), np.errstate(all="ignore"):
            found = self.function(*given)
        if not isinstance(found, dict) or not found:
            raise self.fault(f"returned {_kind(found)}, expected a dict of gradients by name")
        return {str(name): self._array(str(name), value) for name, value in found.items()}

    def _array(self, name: str, value: Any) -> np.ndarray:
        with blamed(self.file, f"the gradient {name} is no array: "):
            array = np.array(value)  # a copy: the function may use its buffers again
        if array.dtype.kind not in "fiu":
            raise self.fault(f"{name} is {array.dtype} {array.shape}, expected numbers with leading axis {self.K}")
        if array.ndim == 0 or len(array) != self.K:
            raise self.fault(f"{name} is {array.shape}, expected leading axis {self.K}: a part for each group")
        return array

    def fault(self, what: str) -> InputError:
        return InputError(f"{self.name}: {what}")


def find_leaks_of(name: str, subject: Subject, draws: int = DRAWS, progress: Progress = silent) -> dict[str, Any]:
    """The record of a user's own function on a subject's batch; ``name`` is FILE.py:FUNCTION."""
    suspect = OwnModel(name, subject)
    notes: list[str] = []
    record = record_of(suspect, subject, draws, {"model": name, "batchnorm": None, "shared": []}, notes, progress)
    if suspect.refusal:
        notes.append(f"Not tried with NaN: {suspect.refusal}")
    return record


def load_function(name: str) -> tuple[Path, Callable[..., Any]]:
    """The file and the function of FILE.py:FUNCTION. Errors: InputError for a file or a name that is not there."""
    text, colon, attribute = name.rpartition(":")
    if not colon or not text or not attribute:
        raise InputError(f"{name}: expected FILE.py:NAME, a Python file and a function in it")
    path = Path(text)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected FILE.py:NAME")
    module = load_module(path)
    function = getattr(module, attribute, None)
    if not callable(function):
        own = [n for n, value in vars(module).items() if callable(value) and value.__module__ == module.__name__]
        there = f"its functions are {', '.join(own)}" if own else "it has none"
        raise InputError(f"{path}: no function {attribute!r}; {there}")
    return path, function


def load_module(path: Path) -> ModuleType:
    """The module in a file, which may import its neighbours, as with ``python FILE.py``."""
    spec = importlib.util.spec_from_file_location(f"own_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with blamed(path):
            spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


@contextmanager
def blamed(path: Path, what: str = "") -> Iterator[None]:
    """What a user's file raises becomes one line with the line of the file; what it prints goes to stderr."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a script that ends itself is a fault, not the end
        said = f"{type(error).__name__}: {error}".strip().removesuffix(":")
        raise InputError(f"{path}{_line(path, error)}: {what}{said}") from error


def _line(path: Path, error: BaseException) -> str:
    """`` line 12``, the innermost one of that file, if any."""
    if isinstance(error, SyntaxError) and error.lineno and str(error.filename) == str(path):
        return f" line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    return f" line {lines[-1]}" if lines else ""


def _kind(value: object) -> str:
    return "an empty dict" if value == {} else type(value).__name__
