"""Figures in the documentation: blocks that a benchmark writes from its committed JSON.

A block stands between <!-- MARK: NAME --> and <!-- end -->; the rest of the page is written by hand.
"""

import re
from collections.abc import Mapping


def block(mark: str) -> re.Pattern[str]:
    """The blocks of one benchmark: head, name, and what ends them."""
    return re.compile(rf"(<!-- {mark}: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, mark: str, blocks: Mapping[str, str]) -> str:
    """The page with its blocks written anew. Errors: KeyError for a block that nobody knows."""
    return block(mark).sub(lambda match: f"{match[1]}{blocks[match[2]]}\n{match[3]}", page)


def names(page: str, mark: str) -> list[str]:
    """Of the blocks, in their order."""
    return [name for _, name, _ in block(mark).findall(page)]


def table(heads: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A Markdown table; the first ``left`` columns are flush left, the others flush right."""
    rule = "|" + "---|" * left + "---:|" * (len(heads) - left)
    return "\n".join(["| " + " | ".join(heads) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows)])
