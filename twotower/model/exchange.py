"""What a network asks of the others that hold the other shards of the same batch; alone, nothing.

S shards of a batch each go through a network of their own with common parameters. Sums over the whole batch, batch-norm
moments and counts of pairs, are made on each from what all of them bring, in the order of the shards: a function of S
alone, wherever the shards are.
"""

from typing import Protocol

from twotower.model.parameters import Floats


class Exchange(Protocol):
    """One shard's place among the shards."""

    shards: int  # S

    def gather(self, own: Floats) -> Floats:
        """What each shard brings, (S, …) in the order of the shards; all bring arrays of one shape."""
        ...


class Alone:
    """The exchange of a network that sees the whole batch."""

    shards = 1

    def gather(self, own: Floats) -> Floats:
        return own[None]
