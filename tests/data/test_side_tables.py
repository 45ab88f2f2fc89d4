"""Tables of users and titles: a row for each, or several to be joined."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.data.ingest.blocks import CsvFormat
from twotower.data.ingest.side_tables import MAX_REPEATS, read_side_table


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "titles.csv").write_text(text, encoding="utf-8")
        return tmp_path / "titles.csv"

    return write


def fault_of(path, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        read_side_table(path, *args, **kwargs)
    return str(caught.value).removeprefix(str(path))


def test_columns_are_kept_by_id(write):
    table = read_side_table(write("film,genre,year\nf1,pop,1999\n f2 ,,2001\n"), "film")
    assert table.row == {"f1": 0, "f2": 1}
    assert table.columns == {"genre": ["pop", ""], "year": ["1999", "2001"]}


def test_columns_are_given_in_the_order_of_ids_and_empty_for_those_not_listed(write):
    table = read_side_table(write("film,genre\nf1,pop\nf2,rock\n"), "film")
    assert table.column("genre", ["f2", "f9", "f1"]) == ["rock", "", "pop"]
    assert table.rows(["f2", "f9"]).tolist() == [1, -1]


def test_a_second_row_of_an_id_is_refused_with_its_line(write):
    path = write("film,tag\nf1,pop\nf2,rock\nf1,indie\n")
    assert fault_of(path, "film") == ", line 4, column 'film': 'f1' occurs a second time, with other values"


def test_a_missing_id_is_refused_with_its_line_even_where_rows_are_joined(write):
    path = write("film,tag\nf1,pop\nnan,rock\n")
    fault = "'nan' is not an id (like 1 of 2 rows: check it)"
    assert fault_of(path, "film", join=True) == f", line 3, column 'film': {fault}"


def test_a_missing_column_is_refused(write):
    path = write("film,tag\nf1,pop\n")
    assert fault_of(path, "title") == ": no column 'title'; it has 'film', 'tag'"
    assert fault_of(path, "film", weight="n") == ": no column 'n'; it has 'film', 'tag'"


def test_rows_of_one_id_are_joined_as_a_list(write):
    table = read_side_table(
        write("film,tag,mood\nf1,indie  rock,sad\nf2,pop,\nf1,indie,NaN\nf1,,sad\n"), "film", join=True
    )
    assert table.columns == {"tag": ["indie rock|indie", "pop"], "mood": ["sad|sad", ""]}


def test_a_weight_repeats_a_value_so_many_times(write):
    table = read_side_table(write("film,tag,n\nf1,indie,3\nf2,pop,1\nf1,rock,1\nf1,jazz,0\n"), "film", weight="n")
    assert table.columns == {"tag": ["indie|indie|indie|rock", "pop"]}


def test_great_and_fractional_weights_keep_their_proportions_and_none_is_lost(write):
    path = write("film,tag,n\nf1,indie,1000000\nf1,rock,500000\nf1,jazz,1\nf2,pop,0.2\nf2,rock,0.1\nf3,pop,2\n")
    tags = read_side_table(path, "film", weight="n").columns["tag"]
    counts = [{word: text.split("|").count(word) for word in dict.fromkeys(text.split("|"))} for text in tags]
    half = MAX_REPEATS // 2
    assert counts == [{"indie": MAX_REPEATS, "rock": half, "jazz": 1}, {"pop": MAX_REPEATS, "rock": half}, {"pop": 2}]


@pytest.mark.parametrize("weight", ["many", "", "-1", "inf", "nan"])
def test_a_weight_is_a_number_from_0_up(write, weight):
    path = write(f"film,tag,n\nf1,pop,1\nf1,rock,{weight}\n")
    fault = f", line 3, column 'n': {weight!r} is not a weight, expected a number from 0 up"
    assert fault_of(path, "film", weight="n") == fault


def test_the_format_of_the_file_can_be_told(write):
    table = read_side_table(write("f1:pop\n"), "1", CsvFormat(separator=":", header=False))
    assert table.columns == {"2": ["pop"]}


@examples(50)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, MAX_REPEATS)), min_size=1, max_size=20))
def test_small_whole_weights_are_taken_as_they_are(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("listings") / "titles.csv"
    path.write_text("film,tag,n\n" + "".join(f"{film},tag{film},{n}\n" for film, n in rows))
    table = read_side_table(path, "film", weight="n")
    for film, row in table.row.items():
        total = sum(n for name, n in rows if name == film)
        assert table.columns["tag"][row].split("|").count(f"tag{film}") == total
