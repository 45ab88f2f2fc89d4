"""What a day comes in: a query, tables of users and titles, vectors of one's own; and where new territories go."""

import csv
from pathlib import Path

import duckdb
import numpy as np
import pytest
from daily_logs import TRAINED_DAYS, bits, day_rows, name_of, run_command, succeed, write_days, write_log

from twotower.core.storage import read_record
from twotower.daily.growth import with_groups
from twotower.data.countries import Place
from twotower.data.territories import Territories
from twotower.training.days import current_day, dataset_of_day, day_path, served

D12, D13 = TRAINED_DAYS, TRAINED_DAYS + 1
SMALL = "--hidden", 8, "--batch-size", 128, "--epochs", 1, "--threads", 2, "--no-memory"
GENRES = ("drama", "crime", "comedy")


def test_a_query_takes_in_what_a_file_does(copied, tmp_path):
    of_file, of_query = copied("of-file"), copied("of-query")
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
        connection.execute("CREATE TABLE log (user VARCHAR, title VARCHAR, territory VARCHAR, time TIMESTAMP)")
        connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", [*day_rows(D12), *day_rows(D13)])
    for day in (D12, D13):
        query = f"SELECT * FROM log WHERE CAST(time AS DATE) = '{name_of(day)}'"
        succeed("update", of_file, "--events", write_days(tmp_path / "day.csv", day))
        succeed("update", of_query, "--sql", query, "--database", tmp_path / "shop.duckdb")
        assert bits(day_path(of_query, name_of(day))) == bits(day_path(of_file, name_of(day)))
    nothing = run_command("update", of_query, "--sql", "SELECT * FROM log WHERE user = '?'", "--database",
                          tmp_path / "shop.duckdb")  # fmt: skip
    assert nothing.exit_code == 2 and "no events" in nothing.stderr and current_day(of_query) == name_of(D13)


def table(path: Path, columns: list[str], rows: list[tuple]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


@pytest.fixture
def described(tmp_path) -> Path:
    """The run of a shop whose users and titles come in tables; the territory is in that of users."""
    rows = [row for day in range(TRAINED_DAYS) for row in day_rows(day)]
    home = {user: code for user, _, code, _ in rows}
    age = [(user, "young" if int(user[1:]) % 2 else "old", code) for user, code in sorted(home.items())]
    users = table(tmp_path / "users.csv", ["user", "age", "territory"], age)
    of_titles = [(f"t{i}", GENRES[i % 3]) for i in range(60)]
    titles = table(tmp_path / "titles.csv", ["title", "genre"], of_titles)
    log = table(tmp_path / "log.csv", ["user", "title", "time"], [(u, t, when) for u, t, _, when in rows])
    shop = tmp_path / "shop"
    succeed("import", shop, "--events", log, "--users", users, "--titles", titles, "--time", "time",
            "--train-days", 6, "--test-days", 2)  # fmt: skip
    succeed("embed", shop, "--user-dims", 6, "--profile", "age", "--categorical", "genre")
    succeed("train", shop, *SMALL, "--run", tmp_path / "run")
    return tmp_path / "run"


def test_tables_of_a_day_describe_what_is_new(described, tmp_path):
    day = [(user, title, when) for user, title, _, when in day_rows(D12)]
    log = table(tmp_path / "day.csv", ["user", "title", "time"], [*day, ("nina", "fresh", day[0][2]),
                                                                  ("nina", "t0", day[0][2])])  # fmt: skip
    refused = run_command("update", described, "--events", log)
    assert refused.exit_code == 2 and "no territory for 1 new user, such as 'nina' (--users" in refused.stderr
    users = table(tmp_path / "new-users.csv", ["user", "age", "territory"], [("nina", "young", "PL")])
    titles = table(tmp_path / "new-titles.csv", ["title", "genre"], [("fresh", "crime")])
    succeed("update", described, "--events", log, "--users", users, "--titles", titles)
    dataset = dataset_of_day(described, name_of(D12))
    nina = dataset.user_ids.index("nina")
    assert dataset.user_columns["age"][nina] == "young"
    assert dataset.territories.code[dataset.user_territory[nina]] == "PL"
    assert dataset.titles["genre"][-1] == "crime"
    start = next(part.start for part in parts_of(dataset, "titles") if part.name == "genre")
    vectors = dataset.title_vectors[:, start : start + 3]
    crime = next(row for row in range(60) if dataset.titles["genre"][row] == "crime")
    np.testing.assert_array_equal(vectors[-1], vectors[crime])


def parts_of(dataset, side):
    """Parts of a basis with the column at which each begins."""
    from types import SimpleNamespace

    from twotower.data.features.projection import basis_of

    found, start = [], 0
    for part in getattr(basis_of(dataset.base), side):
        found.append(SimpleNamespace(name=part.name, start=start))
        start += part.width
    return found


@pytest.fixture
def with_vectors(shop, tmp_path) -> Path:
    """The run of a shop whose vectors were made elsewhere: a user's number and its square, a title's likewise."""
    log = write_days(tmp_path / "log.csv", *range(TRAINED_DAYS))
    own = tmp_path / "own"
    succeed("import", own, "--events", log, "--time", "time", "--train-days", 6, "--test-days", 2)
    succeed("embed", own, "--user-vectors", vectors(tmp_path / "u.csv", "user", [f"u{i}" for i in range(120)]),
            "--title-vectors", vectors(tmp_path / "t.csv", "title", [f"t{i}" for i in range(60)]))  # fmt: skip
    succeed("train", own, *SMALL, "--run", tmp_path / "run")
    return tmp_path / "run"


def vectors(path: Path, what: str, ids: list[str]) -> Path:
    return table(path, [what, "a", "b"], [(name, int(name[1:]) / 100, (int(name[1:]) / 100) ** 2) for name in ids])


def test_own_vectors_come_with_the_day(with_vectors, tmp_path):
    run, when = with_vectors, day_rows(D12)[0][3]
    log = write_log(tmp_path / "day.csv", [*day_rows(D12), ("u777", "t1", "DE", when), ("u1", "t888", "DE", when)])
    of_users = vectors(tmp_path / "day-u.csv", "user", ["u777"])
    of_titles = vectors(tmp_path / "day-t.csv", "title", ["t888"])
    for given, missing in (((), "t888"), (("--title-vectors", of_titles), "u777")):
        refused = run_command("update", run, "--events", log, *given)
        assert refused.exit_code == 2 and f"such as '{missing}'" in refused.stderr and "-vectors)" in refused.stderr
    both = "--user-vectors", of_users, "--title-vectors", of_titles
    two_days = write_days(tmp_path / "two.csv", D12, D13)
    assert "give one day at a time" in run_command("update", run, "--events", two_days, *both).stderr
    wide = table(tmp_path / "wide.csv", ["title", "a", "b", "c"], [("t888", 1, 2, 3)])
    assert "3 dimensions, expected" in run_command("update", run, "--events", log, "--user-vectors", of_users,
                                                    "--title-vectors", wide).stderr  # fmt: skip
    assert current_day(run) is None
    succeed("update", run, "--events", log, *both)
    dataset = dataset_of_day(run, name_of(D12))
    made = dataset.vectors_of(np.array([dataset.user_ids.index("u777"), dataset.user_ids.index("u5")]))
    assert any(np.allclose(made[:, i : i + 2], [[7.77, 7.77**2], [0.05, 0.05**2]]) for i in range(made.shape[1] - 1))
    last = dataset.title_vectors[-1]
    assert any(np.allclose(last[i : i + 2], [8.88, 8.88**2]) for i in range(len(last) - 1))


def test_a_new_territory_joins_the_nearest_group_or_the_smallest():
    known = Territories(code=["DE", "JP", "BR"], name=["", "", ""], latitude=np.array([51.0, 36.0, -10.0]),
                        longitude=np.array([9.0, 138.0, -55.0]), users=np.array([50, 5, 20]),
                        group=np.array([0, 1, 2], np.int16))  # fmt: skip
    places = [Place("AT", "Austria", 47.5, 14.5), Place("KR", "Korea", 36.0, 128.0), Place("UY", "", -33.0, -56.0),
              Place("X1", "somewhere", float("nan"), float("nan"))]  # fmt: skip
    assert with_groups(known, places)["group"] == ["0", "1", "2", "1"]


def test_users_of_one_day_are_not_scored_with_titles_of_another(run, shop, tmp_path):
    succeed("update", run, "--events", write_days(tmp_path / "all.csv", D12, D13))
    for command in ("recommend", "export"):
        refused = run_command(command, run, shop / "shop", "--out", tmp_path / "no")
        assert refused.exit_code == 2 and "vectors are not those" in refused.stderr
    succeed("export", day_path(run, name_of(D12)), "--out", tmp_path / "of-12")
    succeed("export", run, "--out", tmp_path / "of-13")
    first, second = (read_record(tmp_path / name / "manifest.json") for name in ("of-12", "of-13"))
    assert first["vectors"] != second["vectors"] and first["run"] == second["run"] == "run"
    assert [facts[key] for facts in (first, second) for key in ("model_day", "data_day")] == [
        name_of(D12)] * 2 + [name_of(D13)] * 2  # fmt: skip
    assert served(run)[0] == day_path(run, name_of(D13))
