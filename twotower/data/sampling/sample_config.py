"""The settings of a sample, validated once."""

import math
from dataclasses import dataclass
from typing import Any

from twotower.core.settings import require, setting, validate
from twotower.data.sampling.quotas import QUOTAS

NEGATIVES = ("own", "population")
AUTO = "auto"
USERS = "a number of users such as 5000, or a share such as 30%"


@dataclass(frozen=True)
class SampleConfig:
    """Which users, positives and negatives to sample. Users: 5000, or a share such as "30%". Errors: InputError."""

    random_users: int | str = setting("30%", "Random training users: a number, or a share of all but the test users.")
    active_users: int | str = setting(
        "50%", "Extra active users: a number, or a percentage of the random users; fewer where there are not enough."
    )
    test_users: int | str = setting("30%", "Test users: a number, or a share of all users.")
    window: int = setting(60, "Users with a first stream in the last DAYS training days are active.", low=1)
    quota: str = setting(
        "adaptive",
        "Active users per territory; adaptive: territories with the fewest positives are filled up first.",
        choices=QUOTAS,
    )
    alpha: float | str = setting(
        8.0, "Negatives per positive; auto = users / mean daily first-time streamers, as in the paper."
    )
    negatives: str = setting(
        "own",
        "Sample negatives for the positive's own user, or for all sampled users of the territory.",
        choices=NEGATIVES,
    )
    dev_users: bool = setting(
        False, "Evaluate on development users, who are neither training nor test users: for choosing settings."
    )
    seed: int = setting(0, "The same seed gives the same sample.", low=0)

    def __post_init__(self) -> None:
        validate(self)
        for name, largest in (("random_users", 1.0), ("active_users", math.inf), ("test_users", 1.0)):
            amount = users_of(getattr(self, name))
            ok = amount is not None and 0 <= amount < math.inf and (isinstance(amount, int) or amount <= largest)
            self._require(name, ok, USERS)
            if isinstance(amount, float):
                object.__setattr__(self, name, f"{100 * amount:.12g}%")  # written in one way: samples are compared
        self._require("test_users", users_of(self.test_users) != 0, "some")
        active = users_of(self.active_users)
        some = users_of(self.random_users) != 0 or (active != 0 and isinstance(active, int))
        self._require("random_users", some, "some, or a number of active_users")
        number = isinstance(self.alpha, int | float) and not isinstance(self.alpha, bool) and 0 < self.alpha < math.inf
        self._require("alpha", number or self.alpha == AUTO, f"a number above 0, or {AUTO!r}")

    def _require(self, name: str, ok: bool, expected: str) -> None:
        require(ok, name, getattr(self, name), expected)


def users_of(amount: Any) -> int | float | None:
    """``5000`` → 5000 users, ``"30%"`` → a share of 0.3; None for what is neither.

    A bare 0.3 is neither: beside 1, one user, 1.0 would be all of them.
    """
    if isinstance(amount, int) and not isinstance(amount, bool):
        return amount
    try:
        return float(amount[:-1]) / 100 if amount.endswith("%") else int(amount)
    except (AttributeError, ValueError):
        return None
