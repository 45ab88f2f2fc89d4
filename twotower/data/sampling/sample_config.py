"""The settings of a sample, checked once."""

import math
from dataclasses import dataclass
from typing import Any

from twotower.core.errors import InputError
from twotower.data.sampling.quotas import QUOTAS

NEGATIVES = ("own", "population")
AUTO = "auto"


@dataclass(frozen=True)
class SampleConfig:
    """What to draw. Whole numbers of users are numbers, fractions are shares. Errors: InputError."""

    random_users: int | float = 0.3  # N, or a share of the users that are not test users
    active_users: int | float = 0.5  # M, or how many to a random user, as far as there are so many
    test_users: int | float = 0.3  # a number, or a share of all users
    window: int = 60  # days: active is who has a first stream on the last so many days of training
    quota: str = "adaptive"  # proportional, equal, adaptive: see quotas.py
    alpha: float | str = 8.0  # negatives a positive; auto: users over mean daily first-time streamers
    negatives: str = "own"  # own: of the positive's user; population: of all users drawn, at random
    dev_users: bool = False  # judge on users that are neither training nor test users, to choose settings by
    seed: int = 0

    def __post_init__(self) -> None:
        for name, largest in (("random_users", 1.0), ("active_users", math.inf), ("test_users", 1.0)):
            value = getattr(self, name)
            ok = _is_number(value) and 0 <= value < math.inf and (isinstance(value, int) or value <= largest)
            _require(ok, name, value, "a number of users, or a share such as 0.3")
        _require(self.test_users > 0, "test_users", self.test_users, "some")
        some = self.random_users > 0 or (self.active_users > 0 and isinstance(self.active_users, int))
        _require(some, "random_users", self.random_users, "some, or a number of active_users")
        _require(isinstance(self.window, int) and self.window >= 1, "window", self.window, "at least 1 day")
        _require(self.quota in QUOTAS, "quota", self.quota, f"one of {', '.join(QUOTAS)}")
        number = _is_number(self.alpha) and 0 < float(self.alpha) < math.inf
        _require(number or self.alpha == AUTO, "alpha", self.alpha, f"a number above 0, or {AUTO!r}")
        _require(self.negatives in NEGATIVES, "negatives", self.negatives, f"one of {', '.join(NEGATIVES)}")
        _require(isinstance(self.seed, int) and self.seed >= 0, "seed", self.seed, "a whole number >= 0")
        _require(isinstance(self.dev_users, bool), "dev_users", self.dev_users, "true or false")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(ok: bool, name: str, value: Any, expected: str) -> None:
    if not ok:
        raise InputError(f"{name} = {value!r}: expected {expected}")
