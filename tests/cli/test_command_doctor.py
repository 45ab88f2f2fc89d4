"""``twotower doctor``: facts about the machine, and a thorough look at a dataset."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_runs import failing_line

from twotower.cli import cli
from twotower.core import jit
from twotower.data.dataset_writer import write_vectors
from twotower.model.engine import gemm


def run(*arguments: str):
    return CliRunner().invoke(cli, ["doctor", *map(str, arguments)])


def failed(*arguments) -> str:
    return failing_line("doctor", *arguments)


def test_it_says_what_the_machine_is_and_which_kernels_run():
    result = run()
    assert result.exit_code == 0
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in result.stdout.splitlines())
    assert {"twotower", "python", "cpu", "cores", "numpy", "numba", "blas"} <= facts.keys()
    assert facts["gemm"] == gemm.PATH and facts["gemm agrees"] == "True"


def test_the_facts_are_json_for_machines():
    facts = json.loads(run("--json").stdout)
    assert facts["gemm"] == gemm.PATH and facts["gemm_agrees"] is True and facts["cores"] >= 1


def test_it_says_where_compiled_kernels_are_kept_and_how_many(tmp_path, monkeypatch):
    directory = tmp_path / "kernels"
    monkeypatch.setattr(jit, "cache_directory", lambda: directory)
    monkeypatch.setattr(jit, "wanted_directories", lambda: [directory])
    (directory / "nn.gemm-0").mkdir(parents=True)
    for name, size in (("pack.nbc", 2**20), ("pack.nbi", 2**20), ("matmul.nbc", 2**19)):
        (directory / "nn.gemm-0" / name).write_bytes(b"x" * size)
    facts = json.loads(run("--json").stdout)
    assert facts["kernel_cache"] == str(directory) and facts["cache_lasts"] is True
    assert facts["kernels_kept"] == 2 and facts["cache_mib"] == 1.5
    monkeypatch.setattr(jit, "wanted_directories", list)
    assert json.loads(run("--json").stdout)["cache_lasts"] is False


def test_a_dataset_is_looked_at_in_whole(tiny_world):
    result = run(tiny_world, "--json")
    facts = json.loads(result.stdout)
    assert (facts["users"], facts["titles"], facts["territories"]) == (300, 30, 6)
    assert facts["sample_default"]["train_pairs"] > 0
    stages = ("multiplying matrices", "checksums of", "checking vectors")
    assert all(stage in result.stderr for stage in stages)
    shown = run(tiny_world).stdout
    assert f"sample default  {facts['sample_default']['train_pairs']:,} train pairs, " in shown


def flip(path, byte=-1):
    """Another value of the same size."""
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "name", ["users.npy", "titles.csv", "events/day-0002/title.npy", "truth/user_taste.npy", "launch_day.npy"]
)
def test_a_single_flipped_bit_is_found(own_world, name):
    flip(own_world / name)
    assert f"{name}: contents differ from the checksum in manifest.json" in failed(own_world)


def test_a_flipped_bit_of_a_sample_is_found(own_world):
    flip(own_world / "samples" / "default" / "test" / "day-0008" / "label.npy")
    assert "test/day-0008/label.npy: contents differ from the checksum in manifest.json" in failed(own_world)


def test_vectors_that_are_not_finite_are_found_whoever_wrote_them(own_world):
    vectors = np.zeros((300, 4), np.float32)
    vectors[[7, 9]] = np.nan
    write_vectors(own_world, user_vectors=vectors)  # with its checksum
    assert failed(own_world).endswith("users.npy: 2 of 300 rows hold NaN or infinity, the first is row 7")


def test_an_incomplete_or_absent_dataset_is_named(own_world, tmp_path):
    assert failed(tmp_path / "nowhere").endswith("no such directory; expected a dataset; twotower import makes one")
    (own_world / "titles.csv").unlink()
    assert "titles.csv: missing (named in manifest.json)" in failed(own_world)


def test_a_wrong_product_is_an_error(monkeypatch):
    monkeypatch.setattr(gemm, "self_check", lambda: False)
    result = run()
    assert result.exit_code == 1
    assert f"the {gemm.PATH} matrix product differs from float64" in result.stderr
    assert "gemm agrees" in result.stdout, "the facts are still told"


@pytest.mark.parametrize("path, advice", [("avx2", "NUMBA_CPU_NAME=generic"), ("numpy", "BLAS is faulty")])
def test_the_advice_depends_on_the_path(path, advice, monkeypatch):
    monkeypatch.setattr(gemm, "self_check", lambda: False)
    monkeypatch.setattr(gemm, "PATH", path)
    assert advice in run().stderr
