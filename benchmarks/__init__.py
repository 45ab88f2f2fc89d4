"""Benchmarks: each checks the answer, then times, against named peers in the same process."""
