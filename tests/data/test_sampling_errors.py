"""What cannot be drawn is said in a line, and leaves nothing behind."""

from dataclasses import replace

import numpy as np
import pytest
from sealing import reseal
from toy_logs import BASE, Log, random_log

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.sampling.sampler import sample


@pytest.fixture(scope="module")
def log() -> Log:
    return random_log()


@pytest.fixture(scope="module")
def dataset(log, tmp_path_factory) -> Dataset:
    return log.write(tmp_path_factory.mktemp("sampling") / "log")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"random_users": -1}, "random_users = -1: expected a number of users such as 5000, or a share such as 30%"),
        ({"random_users": "150%"}, "random_users = '150%'"),
        ({"random_users": "-1%"}, "random_users = '-1%'"),
        ({"random_users": 0.3}, "random_users = 0.3: expected a number of users"),
        ({"active_users": 1.0}, "active_users = 1.0: expected a number of users"),
        ({"active_users": "half"}, "active_users = 'half'"),
        ({"active_users": None}, "active_users = None"),
        ({"random_users": True}, "random_users = True"),
        ({"active_users": "nan%"}, "active_users = 'nan%'"),
        ({"test_users": "101%"}, "test_users = '101%'"),
        ({"test_users": 0}, "test_users = 0: expected some"),
        ({"random_users": 0, "active_users": 0}, "random_users = 0: expected some"),
        ({"random_users": 0, "active_users": "50%"}, "random_users = 0: expected some"),
        ({"window": 0}, "window = 0: expected at least 1"),
        ({"quota": "fair"}, "quota = 'fair': expected one of proportional, equal, adaptive"),
        ({"alpha": 0.0}, "alpha = 0.0: expected a number above 0, or 'auto'"),
        ({"alpha": "many"}, "alpha = 'many'"),
        ({"alpha": float("inf")}, "alpha = inf"),
        ({"negatives": "any"}, "negatives = 'any': expected one of own, population"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_wrong_options_are_named(wrong, message):
    with pytest.raises(InputError) as error:
        replace(BASE, **wrong)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"test_users": 200}, "--test-users 200: expected fewer than the 200 users"),
        ({"random_users": 151}, "--random-users 151: expected at most the 150 of the 200 users"),
        (
            {"active_users": 111},
            "--active-users 111: only 91 other users have a first stream in the last 60 training days",
        ),
    ],
)
def test_more_users_than_there_are_is_refused(dataset, asked, message):
    with pytest.raises(InputError, match=message.split(": only ")[0]) as error:
        sample(dataset, replace(BASE, **asked), name="too-many")
    assert str(error.value).startswith(message.split("91")[0])
    assert not list(dataset.path.glob("samples/*too-many*"))


@pytest.mark.parametrize(
    ("negatives", "there"),
    [
        ("own", "25 titles; expected at most 25"),
        ("population", "25 titles for each of 60 users; expected at most 1,500"),
    ],
)
def test_more_negatives_than_there_are_titles_are_refused(dataset, negatives, there):
    with pytest.raises(InputError) as error:
        sample(dataset, replace(BASE, alpha=1e9, negatives=negatives), name="too-many")
    assert str(error.value) == f"--alpha 1e+09 negatives per positive: {dataset.path} has {there}"
    assert not list(dataset.path.glob("samples/*too-many*"))
    sample(dataset, replace(BASE, alpha=25.0, negatives=negatives), overwrite=True)


def test_a_share_of_active_users_takes_no_more_than_there_are(dataset):
    summary = sample(dataset, replace(BASE, active_users="5000%"), overwrite=True)
    assert 20 < summary.active.users.sum() < 110


@pytest.mark.parametrize(("split", "last", "days"), [("train", 10, "0–9"), ("test", 13, "10–12")])
def test_no_positive_at_all_is_an_error_that_names_users_and_days(log, tmp_path, split, last, days):
    silenced = (log.day >= last - (10 if split == "train" else 3)) & (log.day < last)
    day = np.where(silenced, -1, log.day)
    dataset = replace(log, day=day).write(tmp_path / "log")
    users = 50 if split == "test" else 40
    with pytest.raises(InputError) as error:
        sample(dataset, replace(BASE, active_users=0))
    expected = f"the {users} {split} users have no first stream in any of the 4 territories on days {days}"
    assert expected in str(error.value)
    assert dataset.samples() == [] and not list(dataset.path.glob("samples/.*"))


def test_a_log_without_first_streams_has_no_automatic_alpha(log, tmp_path):
    dataset = replace(log, day=np.where(log.day < 10, -1, log.day)).write(tmp_path / "log")
    with pytest.raises(InputError, match="no first stream on days 0–9, so --alpha auto has no value"):
        sample(dataset, replace(BASE, alpha="auto", active_users=0))


def test_a_user_without_a_territory_is_named(log, tmp_path):
    territory = log.user_territory.copy()
    dataset = replace(log, user_territory=territory).write(tmp_path / "log")
    np.save(dataset.path / "user_territory.npy", np.where(np.arange(200) == 7, 9, territory).astype(np.int16))
    with pytest.raises(InputError, match=r"user_territory\.npy: row 7 holds 9, expected 0 to 3"):
        sample(Dataset.open(reseal(dataset.path)), BASE)


def test_a_sample_is_not_replaced_unasked(dataset):
    sample(dataset, BASE, overwrite=True)
    with pytest.raises(InputError, match="exists already"):
        sample(dataset, BASE)
