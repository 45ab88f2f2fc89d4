"""How many examples Hypothesis tries: the tests say how many they want, and the profile scales it."""

import os
from typing import Any

from hypothesis import Phase, settings

#: Profile → share of the examples that a test asks for.
SHARES = {"dev": 1.0, "ci": 1.0, "thorough": 10.0, "mutations": 0.25}
DEFAULT = 100  # examples of a test that asks for no number

#: `dev` explores. `ci`, the default under CI, tries the same examples each time, so that a change is judged by what it
#: does. `thorough` is for a change of the maths. `mutations` only needs to see a test fail, not the smallest example.
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev")


def examples(number: int, **options: Any) -> settings:
    """The settings of a test: about ``number`` examples, scaled by the profile."""
    return settings(max_examples=max(5, round(number * SHARES[PROFILE])), **options)


def load_profile() -> None:
    """Make the profile that of every test. No deadline: a first call compiles its kernel."""
    same_each_time = PROFILE in ("ci", "mutations")
    phases = [Phase.explicit, Phase.generate] if PROFILE == "mutations" else list(Phase)
    share = examples(DEFAULT, deadline=None, print_blob=True, derandomize=same_each_time, phases=phases)
    settings.register_profile(PROFILE, share)
    settings.load_profile(PROFILE)
