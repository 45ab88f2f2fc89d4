"""``twotower recommend`` as it is typed."""

import csv
import io

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_runs import MTL, failing_line, train

from twotower.cli import cli
from twotower.data.dataset import Dataset


@pytest.fixture(scope="module")
def run(tiny_world, tmp_path_factory) -> str:
    return str(train(tiny_world, tmp_path_factory.mktemp("runs") / "mtl", MTL).path)


def recommend(*arguments) -> list[dict[str, str]]:
    """The lines of the CSV that a command prints."""
    result = CliRunner().invoke(cli, ["recommend", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_each_user_gets_the_top_titles_in_order(run, tiny_world):
    rows = recommend(run, "--top", 3, "--day", 0)
    assert list(rows[0]) == ["user", "rank", "title", "score"]
    by_user: dict[str, list] = {}
    for row in rows:
        by_user.setdefault(row["user"], []).append((int(row["rank"]), float(row["score"])))
    assert list(by_user) == [str(user) for user in range(300)]
    assert sum(map(len, by_user.values())) >= 890, "few have watched nearly all"
    for ranked in by_user.values():
        assert [rank for rank, _ in ranked] == [1, 2, 3][: len(ranked)]
        assert [score for _, score in ranked] == sorted((score for _, score in ranked), reverse=True)
    assert {row["title"] for row in rows} <= set(Dataset.open(tiny_world).title_ids)


def test_ten_titles_unless_told(run):
    assert max(int(row["rank"]) for row in recommend(run)) == 10


def test_a_name_that_ends_so_means_parquet(run, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("twotower.serving.recommend.WRITE_ROWS", 100)  # several row groups
    path = tmp_path / "best.parquet"
    assert CliRunner().invoke(cli, ["recommend", run, "--top", "2", "--out", str(path)]).exit_code == 0
    table = parquet.read_table(path)
    assert [str(kind) for kind in table.schema.types] == ["int64", "int32", "string", "float"]
    wanted = recommend(run, "--top", 2)
    assert [{name: str(value) for name, value in row.items() if name != "score"} for row in table.to_pylist()] == [
        {name: row[name] for name in ("user", "rank", "title")} for row in wanted
    ]
    assert table["score"].to_numpy().tolist() == [np.float32(row["score"]) for row in wanted]
    line = failing_line("recommend", run, "--out", tmp_path / "none" / "best.parquet")
    assert line.endswith("best.parquet: cannot write (No such file or directory)")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert failing_line("recommend", run, "--out", path).endswith("pip install 'twotower[parquet]'")


def test_territory_chooses_users(run, tiny_world):
    data = Dataset.open(tiny_world)
    code, other = data.territories.code[1], data.territories.code[4]
    users = {int(row["user"]) for row in recommend(run, "--top", 1, "--territory", code)}
    assert users == set(np.flatnonzero(data.user_territory == 1).tolist())
    more = {int(row["user"]) for row in recommend(run, "--top", 1, "--territory", code, "--territory", other)}
    assert more == users | set(np.flatnonzero(data.user_territory == 4).tolist())


def test_users_come_from_a_file(run, tmp_path):
    (tmp_path / "users.txt").write_text("44\n2\n")
    rows = recommend(run, "--day", 0, "--top", 2, "--users", tmp_path / "users.txt")
    assert [row["user"] for row in rows] == ["44", "44", "2", "2"]


def test_the_day_changes_what_is_recommended(run):
    assert recommend(run, "--day", 0) != recommend(run)


def test_a_file_holds_what_would_be_printed(run, tmp_path):
    result = CliRunner().invoke(cli, ["recommend", run, "--day", "0", "--top", "2", "--out", str(tmp_path / "out.csv")])
    assert result.exit_code == 0, result.output
    rows = recommend(run, "--day", 0, "--top", 2)
    assert result.stdout.startswith(f"{len(rows)} recommendations for 300 users saved to {tmp_path / 'out.csv'}")
    assert "scoring users" in result.stderr
    with open(tmp_path / "out.csv", newline="") as file:
        assert list(csv.DictReader(file)) == rows
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_dataset_that_was_moved_or_grew_is_named(run, own_world):
    assert recommend(run, own_world, "--top", 1) == recommend(run, "--top", 1)


def test_faults_are_one_line_and_leave_nothing(run, own_world, tmp_path):
    out = tmp_path / "out.csv"
    assert "none: no such run" in failing_line("recommend", tmp_path / "none")
    assert "no such directory" in failing_line("recommend", run, tmp_path / "none")
    assert "--territory: unknown territory" in failing_line("recommend", run, "--territory", "Atlantis", "--out", out)
    assert "--day 99" in failing_line("recommend", run, "--day", 99, "--out", out)
    assert "cannot write" in failing_line("recommend", run, "--out", tmp_path / "no" / "out.csv")
    assert "Invalid value for '--top'" in failing_line("recommend", run, "--top", 0)
    (own_world / "user_territory.npy").unlink()
    assert "user_territory.npy: missing" in failing_line("recommend", run, own_world, "--out", out)
    assert not out.exists() and not list(tmp_path.glob(".*"))
