"""Faults on purpose: kills, full and failing disks, damaged files, several writers, on a tiny world.

Every command runs in a child of one warm process; ``python -m benchmarks.faults --help`` lists the kinds of faults.
"""
