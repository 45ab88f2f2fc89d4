"""Two-tower recommenders for many territories: multi-task heads, masked gradients, no deep-learning framework."""

__version__ = "0.1.0"
