"""Words are counted; what relates no two texts is left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.data.features.text import count_words


def counted(texts, **options):
    counts, words = count_words(texts, **options)
    return [dict(zip(words, row, strict=True)) for row in counts.toarray().astype(int).tolist()]


def test_words_are_counted_whatever_their_case_and_what_stands_between_them():
    assert counted(["Indie rock|indie pop", "INDIE-ROCK, pop!"]) == [
        {"indie": 2, "pop": 1, "rock": 1},
        {"indie": 1, "pop": 1, "rock": 1},
    ]


def test_words_of_one_text_alone_are_left_out_however_often_it_has_them():
    assert counted(["a b b b", "a c"]) == [{"a": 1}, {"a": 1}]
    assert counted(["a b", "a c"], min_texts=1) == [{"a": 1, "b": 1, "c": 0}, {"a": 1, "b": 0, "c": 1}]


@pytest.mark.parametrize("texts", [[], [""], ["", "a", "b"]])
def test_without_a_word_in_common_there_are_no_words(texts):
    counts, words = count_words(texts)
    assert counts.shape == (len(texts), 0)
    assert words == []


def test_words_of_every_script_count():
    assert counted(["Żółw кот 42", "żółw КОТ 42"])[0] == {"42": 1, "żółw": 1, "кот": 1}


@examples(50)
@given(st.lists(st.lists(st.sampled_from(["ab", "cd", "ef"]), max_size=6), min_size=1, max_size=6))
def test_counts_are_those_of_counting(texts):
    counts, words = count_words([" ".join(text) for text in texts], min_texts=1)
    assert words == sorted({word for text in texts for word in text})
    assert counts.toarray().tolist() == [[text.count(word) for word in words] for text in texts]
