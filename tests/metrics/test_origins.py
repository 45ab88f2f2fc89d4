"""Miscalibration by country of origin: the definition, and the figure in evaluate, compare and experiment."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
from click.testing import CliRunner

from twotower.cli import cli
from twotower.metrics.origins import FIGURES, miscalibration, origin_profiles, origin_shares


def test_lists_are_compared_with_histories_in_bits():
    shares = origin_shares(["FR", "DE", "FR|DE", "", "FR|FR|DE"])
    np.testing.assert_allclose(shares, [[0, 1], [1, 0], [0.5, 0.5], [0, 0], [1 / 3, 2 / 3]])
    watched_by, watched = np.array([0, 0, 1, 2, 3, 4, 4]), np.array([0, 1, 0, 0, 3, 0, 2])
    profiles = origin_profiles(watched_by, watched, 6, shares)  # 3 watched what nobody knows the origin of, 5 nothing
    np.testing.assert_allclose(profiles[[0, 1, 4]], [[0.5, 0.5], [0, 1], [0.25, 0.75]])
    top = np.array([[2, -1], [0, 3], [1, -1], [0, 1], [0, 1], [0, 1]])
    entropy = [-sum(p * np.log2(p) for p in shares) for shares in ((0.375, 0.625), (0.25, 0.75), (0.5, 0.5))]
    wanted = [0, 0, 1, np.nan, entropy[0] - (entropy[1] + entropy[2]) / 2, np.nan]
    np.testing.assert_allclose(miscalibration(top, profiles, shares), wanted, atol=1e-12)


def run(*arguments):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """An experiment on a shop whose titles have countries."""
    folder = tmp_path_factory.mktemp("origins")
    rng = np.random.default_rng(0)
    events = {(u, int(t)) for u in range(300) for t in (rng.geometric(0.08, 14) - 1 + 20 * (u % 2)) % 40}
    log = "\n".join(f"u{u},t{t},{'FR' if u % 2 else 'DE'}" for u, t in sorted(events))
    (folder / "log.csv").write_text(f"user,title,territory\n{log}\n")
    titles = "\n".join(f"t{t},{'FR' if t < 20 else 'DE|US'}" for t in range(40))
    (folder / "titles.csv").write_text(f"title,made\n{titles}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("import", "shop", "--events", "log.csv", "--titles", "titles.csv", "--title-country", "made")
        run("embed", "shop", "--user-dims", 8, "--text-dims", 8)
        run("experiment", "shop", "--methods", "baseline,upsampled", "--seeds", 1, "--groups", 2, "--hidden", 8,
            "--epochs", 1, "--batch-size", 256, "--replicates", 20, "--min-positives", 1)  # fmt: skip
    return Path(folder)


def test_evaluate_compare_and_experiment_agree(shop):
    experiment = shop / "experiments" / "shop"
    record = json.loads((experiment / "experiment.json").read_text())
    runs = [experiment / "runs" / f"{method}-0" for method in ("upsampled", "baseline")]
    compared = json.loads(run("compare", *runs, "--json"))["rankings"]
    for method, path in zip(("upsampled", "baseline"), runs, strict=True):
        alone = json.loads(run("evaluate", path, "--json"))["ranking"]["overall"]
        assert list(alone) == list(FIGURES) and 0 < alone["miscalibration"]["mean"] < 1
        for name, found in alone.items():
            assert compared[method]["overall"][name]["mean"] == pytest.approx(found["mean"]), name
            assert record["rankings"][method]["overall"][name]["mean"] == pytest.approx(found["mean"], abs=1e-6), name
    assert "JS origin@10" in run("evaluate", runs[0]) and "JS origin@10" in run("compare", *runs)


def test_a_column_that_titles_lack_is_one_line(shop, tmp_path):
    log, options = shop / "log.csv", ("--titles", shop / "titles.csv", "--title-country", "country")
    line = tiny_runs.failing_line("import", tmp_path / "new", "--events", log, *options)
    assert line == "--title-country country: no such column of titles; they have 'made'"
    line = tiny_runs.failing_line("import", tmp_path / "new", "--events", log, "--title-country", "made")
    assert line.endswith("give --titles or --title-info") and not (tmp_path / "new").exists()
