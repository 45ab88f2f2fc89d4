"""The table of examples/peers.py: other libraries and our own models, by one set of metrics."""

import runpy
import shutil
import sys
from pathlib import Path

import pytest

from twotower import METHODS, Dataset, Sample, TrainingJob
from twotower.data.memory.knowledge import read_history

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "peers.py"


def test_a_library_and_the_network_are_in_one_table(tiny_world, tmp_path, monkeypatch, capsys):
    pytest.importorskip("implicit", reason="needs implicit: pip install implicit")
    metrics = pytest.importorskip("sklearn.metrics")
    import scipy.sparse as sp
    from implicit.als import AlternatingLeastSquares

    world = Path(shutil.copytree(tiny_world, tmp_path / "world"))
    monkeypatch.setattr(sys, "argv", ["peers.py", str(world), "--hidden", "8", "--batch-size", "256", "--epochs", "1"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    rows = {cells[0].strip("*"): [float(cell) for cell in cells[1:]] for cells in lines[2:]}
    assert lines[0][1] == "PR-AUC" and {"implicit: ALS", "twotower: popular", "twotower: item-knn"} <= set(rows)
    assert all(0 <= value <= 1 for row in rows.values() for value in row)

    settings = {"model": {"hidden": 8}, "train": {"batch_size": 256, "epochs": 1}}
    config = METHODS["baseline"].config("default", settings, 4, 0)
    _, wanted = TrainingJob(world, config, run_path=tmp_path / "run").run()
    assert rows["twotower: one head"][:2] == pytest.approx([wanted.overall, wanted.macro()], abs=6e-5)

    dataset = Dataset.open(world)
    train, test = (getattr(Sample(dataset), name)() for name in ("train_pairs", "test_pairs"))
    labels = sp.csr_array((train.label, (train.user, train.title)), (dataset.n_users, dataset.n_titles))
    known = read_history(dataset) + labels
    model = AlternatingLeastSquares(factors=64, random_state=0)
    model.fit(sp.csr_matrix(known > 0).astype("float32"), show_progress=False)
    scores = (model.user_factors[test.user] * model.item_factors[test.title]).sum(axis=1)
    assert rows["implicit: ALS"][0] == pytest.approx(metrics.average_precision_score(test.label, scores), abs=1e-3)
