"""The settings of a synthetic world, its territories and how many users live in each."""

from dataclasses import dataclass, replace

import numpy as np

from twotower.core.settings import require, setting, validate
from twotower.data.countries import load_countries
from twotower.data.territories import MAJORS, Territories, look_up

#: Largest first; four groups on the globe get four each: America, Asia and Oceania, and twice Europe.
MAJOR_MARKETS = (
    *("US", "IN", "GB", "DE", "JP", "BR", "FR", "MX"),
    *("IT", "CA", "ES", "AU", "KR", "NL", "PL", "TR"),
)
MAJOR_SPREAD = 120.0  # users of the largest over those of the smallest major: Table 1 goes from 1M down to 10k
WORLD_SPREAD = 1e5  # users of the largest over those of the smallest
MINOR_GAP = 1.25  # smallest major over largest minor
POPULATION_JITTER = 0.7  # of log population: a large country is not always a large market


@dataclass(frozen=True)
class WorldConfig:
    """The settings of a world; docs/explanation/world.md has their maths."""

    users: int = setting(60_000, "Number of users, over all territories.", low=2)
    titles: int = setting(300, "Number of titles, of all kinds.", low=2)
    territories: int = setting(200, "Number of territories: 16 major ones, then the largest other countries.", low=2)
    groups: int = setting(4, "Number of groups of territories, each with its own taste.", low=1)
    shift: float = setting(0.5, "How far the groups' tastes differ, from 0 (not at all) to 1 (fully).", low=0, high=1)
    taste: float = setting(1.0, "Strength of a user's own taste: standard deviation of log-affinity, in nats.", low=0)
    local: float = setting(0.5, "Share of titles available in one territory only.", low=0, below=1)
    regional: float = setting(0.15, "Share of titles available in one region.", low=0, below=1)
    streams: float = setting(0.15, "First streams per user per day, while every title is still new.", above=0)
    noise: float = setting(10.0, "First streams after which a user vector holds half of the user's taste.", low=0)
    history_days: int = setting(60, "Days before the first training day.", low=0)
    train_days: int = setting(60, "Training days.", low=1)
    test_days: int = setting(3, "Test days, after the training days; 0: evaluate test users on training days.", low=0)
    user_dim: int = setting(512, "Width of the user vectors.", low=1)
    title_dim: int = setting(768, "Width of the text part of the title vectors; categories add to it.", low=1)
    seed: int = setting(0, "The same seed and settings give the same world, byte for byte.", low=0)

    def __post_init__(self) -> None:
        validate(self)
        most = sum(country.population_millions > 0 for country in load_countries())
        for ok, name, expected in (
            (self.territories <= most, "territories", f"from 2 to {most}"),
            (self.users >= self.territories, "users", f"at least territories = {self.territories}"),
            (self.groups <= self.territories, "groups", f"1 to {self.territories} territories"),
            (self.n_global >= 1, "local", "with regional, to leave a global title or more"),
        ):
            require(ok, name, getattr(self, name), expected)

    @property
    def n_local(self) -> int:
        return round(self.titles * self.local)

    @property
    def n_regional(self) -> int:
        return round(self.titles * self.regional)

    @property
    def n_global(self) -> int:
        return self.titles - self.n_local - self.n_regional

    @property
    def end_day(self) -> int:
        """The first day after the log."""
        return self.train_days + self.test_days


def make_territories(config: WorldConfig, rng: np.random.Generator) -> Territories:
    """The territories of a world, most users first: the major markets, then by jittered population.

    Audiences fall geometrically with rank, from 1 to 1/120 over the 16 majors and on to 1/100,000 over all;
    but each territory has a user at least, so that the last ones are larger than that in a small world.
    """
    countries = {country.code: country for country in load_countries() if country.population_millions > 0}
    jitter = np.exp(POPULATION_JITTER * rng.standard_normal(len(countries)))
    size = {c: countries[c].population_millions * j for c, j in zip(countries, jitter, strict=True)}
    by_size = sorted(countries.keys() - set(MAJOR_MARKETS), key=lambda code: (-size[code], code))
    table = look_up([*MAJOR_MARKETS, *by_size][: config.territories])
    return replace(table, users=_users_by_territory(config.users, config.territories))


def _users_by_territory(users: int, territories: int) -> np.ndarray:
    """Users of each territory by rank: (C,) int64, descending, at least 1, and ``users`` in all."""
    majors = np.geomspace(1, 1 / MAJOR_SPREAD, MAJORS)
    minors = np.geomspace(majors[-1] / MINOR_GAP, 1 / WORLD_SPREAD, max(territories - MAJORS, 1))
    weight = np.concatenate([majors, minors])[:territories]
    of_territory = 1 + np.floor((users - territories) * weight / weight.sum()).astype(np.int64)
    of_territory[0] += users - of_territory.sum()
    return of_territory
