"""Numbers in sentences."""

from twotower.data.logs.wording import counted


def test_a_number_agrees_with_its_noun():
    assert [counted(n, "user") for n in (0, 1, 2, 2905)] == ["0 users", "1 user", "2 users", "2,905 users"]
    assert [counted(n, "territory", "territories") for n in (1, 2)] == ["1 territory", "2 territories"]
