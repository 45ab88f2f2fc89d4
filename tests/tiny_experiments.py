"""Experiments on the tiny world that take a moment."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from twotower.cli import cli

SMALL = ("--hidden", "8", "--batch-size", "128", "--epochs", "1", "--groups", "2", "--rank", "2")
FEW = (*SMALL, "--seeds", "2", "--replicates", "20", "--min-positives", "3", "--no-html")
THREE = "baseline,upsampled,mtl"


def run(world: Path, out: Path, *options: Any, methods: str = THREE) -> Result:
    """``twotower experiment`` with settings that are quick."""
    given = ["experiment", str(world), "--out", str(out), "--methods", methods, *FEW, *map(str, options)]
    return CliRunner().invoke(cli, given)


def run_tiny(world: Path, out: Path, *options: Any, methods: str = THREE) -> dict[str, Any]:
    """The record of an experiment that went well."""
    result = run(world, out, *options, methods=methods)
    assert result.exit_code == 0, result.output
    return json.loads((out / "experiment.json").read_text("utf-8"))
