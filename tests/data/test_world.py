"""The settings of a world and its territories."""

from dataclasses import fields

import numpy as np
import pytest

from twotower.core.errors import InputError
from twotower.data.synthetic.world import MAJOR_MARKETS, WorldConfig, make_territories


def territories(seed=0, **settings):
    return make_territories(WorldConfig(**settings), np.random.default_rng(seed))


def test_users_of_territories_span_five_orders_of_magnitude_and_sixteen_are_major():
    table = territories(users=3_000_000)
    assert len(table) == 200 and table.users.sum() == 3_000_000
    assert 4.9 < np.log10(table.users[0] / table.users[-1]) < 5.1
    majors = table.users[:16]
    assert 2 < np.log10(majors[0] / majors[15]) < 2.2  # the paper's Table 1: from order 1M to order 10k
    assert majors.sum() > 0.9 * table.users.sum()


def test_the_major_markets_come_first_and_every_territory_has_a_user():
    table = territories(users=1000)
    assert tuple(table.code[:16]) == MAJOR_MARKETS and len(set(table.code)) == 200
    assert (np.diff(table.users) <= 0).all() and table.users.min() >= 1
    assert np.isfinite(table.latitude).all() and (table.group == -1).all()


@pytest.mark.parametrize(("users", "count"), [(2, 2), (50, 3), (16, 16), (17, 17), (200, 200), (1000, 20)])
def test_all_users_live_somewhere_in_the_smallest_worlds_too(users, count):
    of_territory = territories(users=users, territories=count, groups=1).users
    assert len(of_territory) == count and of_territory.sum() == users and of_territory.min() >= 1


def test_large_countries_tend_to_be_larger_markets_but_another_seed_has_others():
    codes = territories(seed=1).code
    assert codes.index("CN") < 50 < codes.index("IS")
    assert codes != territories(seed=2).code and codes == territories(seed=1).code


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"users": 100}, "users = 100: expected at least territories = 200"),
        ({"users": 1000.0}, "users = 1000.0: expected a whole number"),
        ({"users": True}, "users = True: expected a whole number"),
        ({"titles": 1}, "titles = 1: expected at least 2"),
        ({"territories": 1}, "territories = 1: expected at least 2"),
        ({"territories": 300}, "territories = 300: expected from 2 to 246"),
        ({"groups": 0}, "groups = 0: expected at least 1"),
        ({"territories": 20, "groups": 21}, "groups = 21: expected 1 to 20 territories"),
        ({"shift": 1.5}, "shift = 1.5: expected from 0 to 1"),
        ({"shift": float("nan")}, "shift = nan: expected a number"),
        ({"shift": "much"}, "shift = 'much': expected a number"),
        ({"taste": -1.0}, "taste = -1.0: expected at least 0"),
        ({"taste": float("inf")}, "taste = inf: expected a number"),
        ({"local": 1.0}, "local = 1.0: expected from 0 to below 1"),
        ({"regional": -0.1}, "regional = -0.1: expected from 0 to below 1"),
        ({"local": 0.6, "regional": 0.4}, "local = 0.6: expected with regional, to leave a global title"),
        ({"streams": 0.0}, "streams = 0.0: expected above 0"),
        ({"noise": -1}, "noise = -1.0: expected at least 0"),
        ({"history_days": -1}, "history_days = -1: expected at least 0"),
        ({"train_days": 0}, "train_days = 0: expected at least 1"),
        ({"test_days": -1}, "test_days = -1: expected at least 0"),
        ({"user_dim": 0}, "user_dim = 0: expected at least 1"),
        ({"title_dim": 0}, "title_dim = 0: expected at least 1"),
        ({"seed": -1}, "seed = -1: expected at least 0"),
    ],
)
def test_a_bad_setting_is_named_with_what_was_expected(settings, message):
    with pytest.raises(InputError) as error:
        WorldConfig(**settings)
    assert str(error.value).startswith(message)


def test_the_table_of_bad_settings_leaves_none_out():
    marks = test_a_bad_setting_is_named_with_what_was_expected.pytestmark
    tried = {name for settings, _ in marks[0].args[1] for name in settings}
    assert tried == {field.name for field in fields(WorldConfig)}


def test_a_whole_number_may_stand_for_a_fraction_and_means_the_same():
    config = WorldConfig(shift=1, noise=3)
    assert config == WorldConfig(shift=1.0, noise=3.0) and isinstance(config.shift, float)


def test_titles_are_divided_into_kinds_without_rest():
    config = WorldConfig(titles=7, local=0.5, regional=0.15)
    assert (config.n_global, config.n_regional, config.n_local) == (2, 1, 4)
