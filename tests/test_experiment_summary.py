"""What an experiment says in plain words."""

from typing import Any

import pytest
from made_up_experiments import made_up_record

from twotower.experiment.summary import offset_sentences


def with_priors(*priors: float | None, level: str = "territory") -> dict[str, Any]:
    """A made-up record, one run of ours for each prior; None is an infinite one."""
    record = made_up_record()
    ours = next(method for method in record["methods"] if method["name"] == record["ours"])
    ours["title_offsets"] = [{"level": level, "prior": 5.0, "cell_prior": prior} for prior in priors]
    return record


@pytest.mark.parametrize(
    ("priors", "words"),
    [
        ((None, None), ["In 2 of 2 runs of mtl, offsets of titles by territories predict nothing, and are 0."]),
        ((5.0, 5.0), ["In 2 of 2 runs", "5 pseudo-positives draw"]),
        ((10.0, None, 5.0), ["In 1 of 3 runs of mtl", "In 2 of 3 runs", "5 to 10 pseudo-positives draw"]),
    ],
)
def test_it_says_whether_what_territories_seem_to_like_predicts_anything(priors, words):
    told = " ".join(offset_sentences(with_priors(*priors)))
    assert all(word in told for word in words)
    assert ("predict nothing" in told) == (None in priors)


def test_it_says_nothing_of_offsets_where_titles_have_but_one():
    assert offset_sentences(made_up_record()) == []  # a record that is older than the choice
    record = made_up_record()
    for method in record["methods"]:
        method["title_offsets"] = [{"level": "title", "prior": 5.0}] * 2
    assert offset_sentences(record) == []
