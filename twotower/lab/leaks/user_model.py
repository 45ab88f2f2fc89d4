"""A user's own model under test: a Python function that returns gradients (docs/how-to/own-model.md).

    gradients(user_features, title_features, group, labels, n_groups, seed) -> {name: array with leading axis n_groups}

Every error is one line that names the user's file and, where there is one, its line number.
"""

import runpy
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.batches import PairBatch
from twotower.lab.leaks.detector import DRAWS, Gradients, check_model
from twotower.lab.leaks.record import INPUTS, TITLES, Input, LeakRecord
from twotower.lab.subject import Subject
from twotower.model import reference


class UserModel:
    """A user's function as a model under test. Nothing can be frozen in it: every change is a leak."""

    allowed: Mapping[Input, tuple[str, ...]] = dict.fromkeys(INPUTS, ())

    def __init__(self, name: str, subject: Subject):
        """``name`` is FILE.py:FUNCTION. Errors: InputError for whatever is wrong with either."""
        self.file, self.function = load_function(name)
        self.name, self.K, self.seed = name, subject.model.config.groups, subject.config.train.seed
        self.members = subject.trainer.members
        self.before: Gradients = {}  # all groups' gradients for the unperturbed batch
        self.nan_error = ""  # of the function given NaN, if any

    def reference(self, batch: PairBatch, k: int) -> Gradients:
        """Errors: InputError where gradients are not finite, or two calls differ."""
        first, again = self.call(batch), self.call(batch)
        for name, value in first.items():
            bad = np.argwhere(~np.isfinite(value))
            if len(bad):
                where = ", ".join(map(str, bad[0]))
                raise self.error(f"{name}[{where}] is {value[tuple(bad[0])]}, expected finite gradients")
            if name not in again or not np.array_equal(value, again[name]):
                raise self.error(f"two calls with the same seed differ in {name}; draw all random numbers from seed")
        self.before = first
        return {name: value[k] for name, value in first.items()}

    def gradients(self, batch: PairBatch, k: int, frozen: Collection[str] = ()) -> Gradients:
        """The gradients of group ``k`` for a perturbed batch; names and shapes must be those of the reference."""
        try:
            after = self.call(batch)
        except InputError as error:
            if not np.isfinite(batch.labels).all() or not np.isfinite(batch.user_features).all():
                self.nan_error = str(error)  # a function may check its input
                return {name: value[k] for name, value in self.before.items()}
            raise
        for name in sorted(self.before.keys() | after.keys()):
            shapes = [of[name].shape if name in of else "nothing" for of in (self.before, after)]
            if shapes[0] != shapes[1]:
                raise self.error(f"{name} was {shapes[0]} and is {shapes[1]} where other groups' rows changed")
        return {name: value[k] for name, value in after.items()}

    def accepts_nan(self, which: Input) -> bool:
        return which != TITLES

    def call(self, batch: PairBatch) -> Gradients:
        """The function's gradients for a batch with one row per pair; everything but their values is checked."""
        rows = reference.expand(batch)
        group = self.members[batch.user_rows][batch.pair_user].astype(np.int64)
        with located_errors(self.file), np.errstate(all="ignore"):
            result = self.function(rows.user_features, rows.title_features, group, rows.labels, self.K, self.seed)
        if not isinstance(result, dict) or not result:
            kind = "an empty dict" if result == {} else type(result).__name__
            raise self.error(f"returned {kind}, expected a dict of gradients by name")
        return {str(name): self._array(str(name), value) for name, value in result.items()}

    def _array(self, name: str, value: Any) -> np.ndarray:
        with located_errors(self.file, f"the gradient {name} is no array: "):
            array = np.array(value)  # a copy: the function may reuse its buffers
        if array.dtype.kind not in "fiu":
            raise self.error(f"{name} is {array.dtype} {array.shape}, expected numbers with leading axis {self.K}")
        if array.ndim == 0 or len(array) != self.K:
            raise self.error(f"{name} is {array.shape}, expected leading axis {self.K}: a part for each group")
        return array

    def error(self, what: str) -> InputError:
        return InputError(f"{self.name}: {what}")


def find_leaks_in(name: str, subject: Subject, draws: int = DRAWS, progress: Progress = silent) -> LeakRecord:
    """The record of a user's own function on a subject's batch; ``name`` is FILE.py:FUNCTION."""
    model = UserModel(name, subject)
    record = check_model(model, subject, draws, progress)
    record.model = name
    if model.nan_error:
        record.notes.append(f"Not tested with NaN: {model.nan_error}")
    return record


def load_function(name: str) -> tuple[Path, Callable[..., Any]]:
    """The file and the function of FILE.py:FUNCTION. Errors: InputError for a missing file or name.

    The file may import modules beside it, as with ``python FILE.py``.
    """
    text, colon, attribute = name.rpartition(":")
    if not colon or not text or not attribute:
        raise InputError(f"{name}: expected FILE.py:NAME, a Python file and a function in it")
    path, module = Path(text), f"own_model_{Path(text).stem}"
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected FILE.py:NAME")
    if path.suffix != ".py":
        raise InputError(f"{path}: not a Python file (.py)")
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with located_errors(path):
            names = runpy.run_path(str(path), run_name=module)
    finally:
        sys.path.pop(0)
    function = names.get(attribute)
    if not callable(function):
        own = [n for n, value in names.items() if callable(value) and value.__module__ == module]
        available = f"its functions are {', '.join(own)}" if own else "it has none"
        raise InputError(f"{path}: no function {attribute!r}; {available}")
    return path, function


@contextmanager
def located_errors(path: Path, what: str = "") -> Iterator[None]:
    """Turn errors raised in a user's file into one line with its line number; send what it prints to stderr."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too, which would end the command
        message = f"{type(error).__name__}: {error}".strip().removesuffix(":")
        raise InputError(f"{path}{_line(path, error)}: {what}{message}") from error


def _line(path: Path, error: BaseException) -> str:
    """`` line 12``, the innermost one in that file, if any."""
    if isinstance(error, SyntaxError) and error.lineno and str(error.filename) == str(path):
        return f" line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    return f" line {lines[-1]}" if lines else ""
