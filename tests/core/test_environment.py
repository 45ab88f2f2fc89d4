"""Facts about the machine: plain, true, and never in the way."""

import json
import os

import numpy as np
import pytest

from twotower.core import environment
from twotower.core.environment import blas_in_use, cpu_name, environment_facts, usable_cores, version_of


def test_the_facts_are_plain_json_with_the_versions_in_use():
    facts = environment_facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["numpy"] == np.__version__


def test_the_cores_are_those_this_process_may_use():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system cannot bind a process to cores")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert usable_cores() == len(before)


def test_a_package_that_is_not_there_has_no_version():
    assert version_of("no-such-package-anywhere") is None


def test_a_system_that_does_not_name_its_processor_is_no_error(monkeypatch):
    class Absent:
        def __init__(self, path): ...

        def read_text(self):
            raise OSError

    monkeypatch.setattr(environment, "Path", Absent)
    assert isinstance(cpu_name(), str)


def test_the_blas_is_named_with_its_version(monkeypatch):
    assert "unknown" != blas_in_use() != ""
    library = {"user_api": "blas", "internal_api": "openblas", "version": "0.3.1", "architecture": None}
    others = {"user_api": "openmp", "internal_api": "openmp"}
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [others, library])
    assert blas_in_use() == "openblas 0.3.1"
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [others])
    assert blas_in_use() == "unknown"
