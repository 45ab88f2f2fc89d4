"""Text → counts of words."""

import re
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from twotower.data.features.svd import count_matrix

MIN_TEXTS = 2  # a word that only one text has relates it to no other

_WORD = re.compile(r"\w+")


def count_words(
    texts: Sequence[str], min_texts: int = MIN_TEXTS, words: list[str] | None = None
) -> tuple[sparse.csr_matrix, list[str]]:
    """How often each text (n) has each word (m), as (n, m) counts, and the words in alphabetical order.

    Case is ignored; words in fewer than ``min_texts`` texts are left out, or, with ``words``, all others. Items of
    several words, as in ``indie rock|dream pop``, are not kept together: on Last.fm's tags that made no difference.
    """
    code: dict[str, int] = {}
    row: list[int] = []
    column: list[int] = []
    for i, text in enumerate(texts):
        found = _WORD.findall(text.casefold())
        row += [i] * len(found)
        column += [code.setdefault(word, len(code)) for word in found]
    for known in words or ():
        code.setdefault(known, len(code))
    counts = count_matrix(row, column, (len(texts), len(code)))
    if words is None:
        often = np.bincount(counts.indices, minlength=len(code)) >= min_texts
        words = sorted(word for word, i in code.items() if often[i])
    return counts[:, [code[word] for word in words]], words
