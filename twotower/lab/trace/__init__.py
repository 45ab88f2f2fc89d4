"""One training step of a tiny network, number by number."""
