"""Whom a command is for: users of a file, of territories, and of territories that a run has no head for."""

import numpy as np
import pytest
from sealing import reseal

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.serving.users import choose_users, users_from_file


@pytest.fixture(scope="module")
def data(tiny_world) -> Dataset:
    return Dataset.open(tiny_world)


def write_ids(world, ids):
    (world / "users.csv").write_text("user\n" + "".join(f"{name}\n" for name in ids))
    return Dataset.open(reseal(world, add=["users.csv"]))


def test_users_come_from_a_file_in_its_order_and_once(own_world, tmp_path):
    data = write_ids(own_world, [f"u{i}" for i in range(300)])
    file = tmp_path / "users.csv"
    file.write_text('\ufeffuser,rank\nu7,1\nu3,1\n\n"u7",2\n u250 \n', encoding="utf-8")
    assert users_from_file(data, file).rows.tolist() == [7, 3, 250]
    assert choose_users(data, file=file).rows.tolist() == [7, 3, 250]


def test_users_without_ids_are_numbers(data, tmp_path):
    file = tmp_path / "users.txt"
    file.write_text("12\n0\n")
    assert users_from_file(data, file).rows.tolist() == [12, 0]


def test_a_user_called_user_is_a_user(own_world, tmp_path):
    data = write_ids(own_world, ["user", *range(1, 300)])
    (tmp_path / "users.txt").write_text("user\n17\n")
    assert users_from_file(data, tmp_path / "users.txt").rows.tolist() == [0, 17]


def test_users_of_a_territory_are_those_who_live_there(data, tmp_path):
    code, name = data.territories.code[1], data.territories.name[2]
    both = choose_users(data, [code, name])
    assert both.rows.tolist() == np.flatnonzero(np.isin(data.user_territory, [1, 2])).tolist()
    (tmp_path / "users.txt").write_text("\n".join(map(str, range(100))))
    few = choose_users(data, [code], tmp_path / "users.txt")
    assert few.rows.tolist() == np.flatnonzero(data.user_territory[:100] == 1).tolist()


def test_unknown_users_are_named_by_file_and_line(data, tmp_path):
    file = tmp_path / "users.txt"
    file.write_text("user\n5\n300\n")
    chosen = users_from_file(data, file)
    assert chosen.rows.tolist() == [5] and "1 of 2 users" in chosen.notes[0] and "'300' on line 3" in chosen.notes[0]
    file.write_text("user\n\n300\nx\n")
    with pytest.raises(InputError, match=r"users\.txt line 3: no user '300' in .*tiny"):
        users_from_file(data, file)
    with pytest.raises(InputError, match=r"nowhere\.txt: not readable \(No such file"):
        users_from_file(data, tmp_path / "nowhere.txt")
    file.write_bytes(b"\xff\xfe5")
    with pytest.raises(InputError, match=r"users\.txt: not readable \('utf-8' codec"):
        users_from_file(data, file)


def test_nobody_to_recommend_to_is_told(data, tmp_path):
    file = tmp_path / "users.txt"
    file.write_text("user\n")
    with pytest.raises(InputError, match=r"users\.txt: no users, expected"):
        choose_users(data, file=file)
    file.write_text(str(int(np.argmax(data.user_territory == 0))))
    with pytest.raises(InputError, match=rf"users\.txt: no users in {data.territories.code[1]}, expected"):
        choose_users(data, [data.territories.code[1]], file)
    with pytest.raises(InputError, match="unknown territory 'Atlantis'"):
        choose_users(data, ["Atlantis"])
