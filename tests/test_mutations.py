"""The suite itself on trial: each known bug is planted in a copy of the package, and its tests must fail.

A mutation names the file, the right text, the wrong text, and the test file that must notice. The right text has to
stand in the file exactly once, so that a mutation can't silently stop mutating. The bugs of the lessons are among them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from twotower.lab.gradcheck.planted_bugs import PLANTED

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(
    bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="planted bugs are run without the JIT anyway: once is enough"
)

#: What ``gradcheck --break`` plants, in the line that it shows.
LESSONS = {bug.sentence: (bug.file, bug.right, bug.wrong, bug.tests) for bug in PLANTED.values()}
MUTATIONS = LESSONS | {
    "Adam without bias correction of the first moment": (
        "model/engine/kernels.py", "kind(lr / (1 - beta1**t))", "kind(lr)", "model/test_adam.py"
    ),
    "Adam without bias correction of the second moment": (
        "model/engine/kernels.py", "kind(1 / math.sqrt(1 - beta2**t))", "kind(1)", "model/test_adam.py"
    ),
    "the textbook's Adam without bias correction": (
        "model/reference.py", "M / (1 - beta1**t), V / (1 - beta2**t)", "M, V", "model/test_reference.py"
    ),
    "the textbook's batch-norm backward without its mean term": (
        "model/reference.py", "(dbeta + Z_hat * dgamma) / B", "(Z_hat * dgamma) / B", "model/test_reference.py"
    ),
    "the textbook's batch-norm backward that does not count duplicates": (
        "model/reference.py", "dY - counts[:, None] * (dbeta", "dY - (dbeta", "model/test_reference.py"
    ),
    "batch-norm forward that does not count duplicates": (
        "model/tower.py", "tower.norm1.observe(work.stats1, tile, Z1, self.counts[tile.rows])",
        "tower.norm1.observe(work.stats1, tile, Z1, np.ones_like(self.counts[tile.rows]))", "model/test_two_tower.py"
    ),
    "batch-norm of a group whose backward divides by all pairs": (
        "model/layers.py", "self.gamma, *sums, stats.pairs[k])", "self.gamma, *sums, stats.pairs.sum())",
        "model/test_group_batchnorm.py"
    ),
    "the textbook's batch-norm of a group whose backward divides by all pairs": (
        "model/reference.py", "*sums, tape.pairs)", "*sums, len(tape.X))", "model/test_reference.py"
    ),
    "batch-norm of a group that is scored with another group's running statistics": (
        "model/layers.py", "return group if len(self.pairs) > 1 else 0", "return 0", "model/test_group_batchnorm.py"
    ),
    "a loss averaged over all cells instead of the rows": (
        "model/reference.py", "loss += losses.sum() / B", "loss += losses.sum() / (B * model.groups)",
        "model/test_reference.py"
    ),
    "a gradient averaged over all cells instead of the rows": (
        "model/two_tower.py", "loss.tile(self.pairs, span, tile.group, batch.labels, self.score.s, B)",
        "loss.tile(self.pairs, span, tile.group, batch.labels, self.score.s, B * self.config.groups)",
        "model/test_two_tower.py"
    ),
    "tiles that send rows through another group's head": (
        "model/heads.py", "P, Q = self.P[tile.group], self.Q[tile.group]", "P, Q = self.P[0], self.Q[0]",
        "model/test_two_tower.py"
    ),
    "an absent group's gradient left over from the last batch": (
        "model/two_tower.py", "self.grads.flat[span] = 0", "pass", "model/test_two_tower.py"
    ),
    "cross-stitched heads with an absent group's gradient of the last batch": (
        "model/variants/cross_stitch.py", "self.dmixed[np.diff(batch.segments) == 0] = 0", "pass",
        "model/test_two_tower.py"
    ),
    "a gate's gradient without what the other experts lose": (
        "model/variants/experts.py", "dlogits -= np.einsum", "np.einsum", "model/test_two_tower.py"
    ),
    "the textbook's gate without what the other experts lose": (
        "model/reference.py", "g * (dg - (g * dg).sum(1, keepdims=True))", "g * dg", "model/test_reference.py"
    ),
    "a territory's offset that ignores the logit's scale": (
        "model/variants/territory_bias.py", "(self.db, pairs.ddots[:B], V)", "(self.db, pairs.dz[:B], V)",
        "model/test_two_tower.py"
    ),
    "a leaky ReLU backward": (
        "model/engine/kernels.py", "gradient = dA[i, j] if A[i, j] > bound else zero",
        "gradient = dA[i, j] if A[i, j] > bound else dA[i, j] * Z.dtype.type(0.01)", "model/test_kernels.py"
    ),
    "the textbook's leaky ReLU backward": (
        "model/reference.py", "dY = np.where(floor < A, dA, 0)", "dY = np.where(floor < A, dA, 0.01 * dA)",
        "model/test_reference.py"
    ),
    "weights on the loss that its gradient does not know": (
        "model/variants/objective.py", "dz *= self.weight[span]", "pass", "model/test_objective.py"
    ),
    "a penalty that can be escaped by small logits": (
        "model/variants/penalty.py", "(X_hat - correlation * Z_hat)", "X_hat", "model/test_objective.py"
    ),
    "log-variances without their own price": (
        "model/variants/uncertainty.py", "counts / (2 * counts.sum()) - np.array(by_group)", "-np.array(by_group)",
        "model/test_objective.py"
    ),
    "gradient surgery that moves the running statistics in every pass": (
        "model/variants/pcgrad.py", "model.running.flat[:] = running", "pass", "model/test_pcgrad.py"
    ),
    "gradient surgery that cuts where gradients agree": (
        "model/variants/pcgrad.py", "and along < 0", "and along > 0", "model/test_pcgrad.py"
    ),
    "weight decay that forgets the learning rate": (
        "model/adam.py", "np.float32(1 - self.lr * rate)", "np.float32(1 - rate)", "model/test_adam.py"
    ),
    "an average precision that ignores ties": (
        "metrics/average_precision.py", "negatives[j] >= threshold:", "negatives[j] > threshold:",
        "metrics/test_average_precision.py"
    ),
    "verdicts by p-values that are not corrected for many territories": (
        "metrics/significance.py", "adjusted[tested] = false_discovery_control(p[tested])",
        "adjusted[tested] = p[tested]", "metrics/test_significance.py"
    ),
    "a prior of offsets that is judged by the pairs it was counted on": (
        "model/title_offsets.py", "counted = folds.fold < judge if folds.ordered else ~judged",
        "counted = folds.fold >= 0", "model/test_title_offsets.py"
    ),
}  # fmt: skip


def run_tests(folder: Path, tests: str) -> subprocess.CompletedProcess:
    """Pytest on one test file of a copy, interpreted: compiling would take longer than running."""
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/{tests}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    """A copy of the package and of its tests."""
    for name in ("twotower", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_suite_catches(name, copy):
    file, right, wrong, tests = MUTATIONS[name]
    source = copy / "twotower" / file
    text = source.read_text("utf-8")
    assert text.count(right) == 1, f"{right!r} stands {text.count(right)} times in {file}"
    source.write_text(text.replace(right, wrong), "utf-8")
    result = run_tests(copy, tests)
    assert result.returncode == 1, f"{tests} did not notice:\n{result.stdout[-2000:]}{result.stderr[-2000:]}"
    assert "failed" in result.stdout and "error" not in result.stdout.splitlines()[-1], result.stdout[-2000:]


@pytest.mark.parametrize("tests", sorted({mutation[3] for mutation in MUTATIONS.values()}))
def test_without_a_mutation_the_copy_passes(tests, copy):
    """Otherwise the failures above would prove nothing."""
    result = run_tests(copy, tests)
    assert result.returncode == 0, result.stdout[-3000:]
