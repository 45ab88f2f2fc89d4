"""Numbers for people: true minus signs, powers of ten in sentences, and no straight apostrophe among them."""

import re

import pytest
from subjects import stirred_subject
from test_inspect_command import shown

from twotower.core.formatting import in_words, minus
from twotower.lab.attribution.inspection import inspect


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
    record["conflict"]["cosine"][0][1] = record["conflict"]["cosine"][1][0] = -0.25
    text = shown(record)
    assert "−0.25" in text and not re.findall(r"-\d|\d%|\w'", text)
    assert not [sentence for sentence in record["summary"] if re.search(r"\de[-−]\d", sentence)]
