"""Numbers for people: true minus signs, powers of ten in sentences, and no straight apostrophe among them."""

import math
import re

import numpy as np
import pytest
from lab_records import shown_by
from subjects import stirred_subject

from twotower.core.formatting import decimal, in_words, is_number, minus, signed, visible
from twotower.lab.attribution.inspection import inspect
from twotower.lab.attribution.tables import print_inspection


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        (4e-7, ".0e", "4\u00a0×\u00a010⁻⁷"),
        (-1.25e-12, ".2e", "−1.25\u00a0×\u00a010⁻¹²"),
        (1e-8, "g", "10⁻⁸"),
        (3e20, ".0e", "3\u00a0×\u00a010²⁰"),
        (-0.25, ".2g", "−0.25"),
        (0.001, "g", "0.001"),
    ],
)
def test_a_number_in_a_sentence(value, form, expected):
    assert in_words(value, form) == expected


def test_a_number_in_a_table():
    assert minus("-1.0e-05") == "−1.0e−05"


def test_an_inspection_for_people_has_one_way_of_writing(tiny_world):
    record = inspect(stirred_subject(tiny_world))
    record.conflict[0].cosine[1] = record.conflict[1].cosine[0] = -0.25
    text = shown_by(print_inspection, record)
    assert "−0.25" in text and not re.findall(r"-\d|\d%|\w'", text)
    assert not [sentence for sentence in record.summary if re.search(r"\de[-−]\d", sentence)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.234, "+1.23"), (-1.235, "−1.24"), (0.001, "0.00"), (-0.001, "0.00"), (1234.5, "+1,234.50")],
)
def test_differences_carry_their_sign(value, expected):
    assert signed(value) == expected


def test_small_numbers_do_not_read_as_nothing():
    assert decimal(0.00012, 3) == "1.2e−04" and decimal(0, 3) == "0.000" and decimal(0.1234) == "0.1234"


def test_what_is_a_number():
    assert [is_number(value) for value in (1, 0.5, np.float32(1), np.int64(1))] == [True] * 4
    assert [is_number(value) for value in (None, math.nan, True, "1")] == [False] * 4


def test_texts_from_outside_cannot_control_a_terminal():
    assert visible("a\x1b[2J\x9b\nb\u202ec\u2028") == r"a\x1b[2J\x9b\nb\u202ec\u2028"
    kept = "Côte d’Ivoire 日本 \u200fعربى 👩\u200d👩"
    assert visible(kept) == kept
