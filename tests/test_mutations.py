"""The suite itself on trial: each known bug is planted in the package, and the test named beside it must fail.

A mutation names the file, the right text, the wrong text, and the test that must notice. The right text must occur in
the file exactly once, so that a mutation cannot silently stop mutating. The bugs of ``gradcheck --break`` are included.
"""

from pathlib import Path

import pytest
from planting import Planter

from twotower.lab.gradcheck.planted_bugs import PLANTED

ROOT = Path(__file__).parent.parent

#: The test that catches each bug of ``gradcheck --break``.
CATCHES = {
    "batchnorm-mean": "model/test_kernels.py::test_a_kernel_has_the_values_of_the_textbook[batchnorm_backward-float32]",
    "duplicates": "model/test_kernels.py::test_a_kernel_has_the_values_of_the_textbook[batchnorm_backward-float32]",
    "unmasked": "model/test_reference.py::test_an_absent_group_has_gradient_exactly_zero",
    "adam-bias": "model/test_adam.py::test_the_first_step_has_the_length_of_the_learning_rate",
    "relu-gate": "model/test_kernels.py::test_a_kernel_has_the_values_of_the_textbook[relu_backward-float32]",
    "other-rows": "model/test_two_tower.py::test_unique_rows_do_not_change_gradients",
}
LESSONS = {bug.sentence: (bug.file, bug.right, bug.wrong, CATCHES[name]) for name, bug in PLANTED.items()}
MUTATIONS = LESSONS | {
    "Adam without bias correction of the first moment": (
        "model/engine/kernels.py",
        "kind(lr / (1 - beta1**t))",
        "kind(lr)",
        "model/test_adam.py::test_the_first_step_has_the_length_of_the_learning_rate",
    ),
    "Adam without bias correction of the second moment": (
        "model/engine/kernels.py",
        "kind(1 / math.sqrt(1 - beta2**t))",
        "kind(1)",
        "model/test_adam.py::test_the_first_step_has_the_length_of_the_learning_rate",
    ),
    "the textbook's Adam without bias correction": (
        "model/reference.py",
        "M / (1 - beta1**t), V / (1 - beta2**t)",
        "M, V",
        "model/test_reference.py::test_adam_by_hand",
    ),
    "the textbook's batch-norm backward without its mean term": (
        "model/reference.py",
        "(dbeta + Z_hat * dgamma) / B",
        "(Z_hat * dgamma) / B",
        "model/test_reference.py::test_batchnorm_with_counts",
    ),
    "the textbook's batch-norm backward that does not count duplicates": (
        "model/reference.py",
        "dY - counts[:, None] * (dbeta",
        "dY - (dbeta",
        "model/test_reference.py::test_batchnorm_with_counts",
    ),
    "batch-norm forward that does not count duplicates": (
        "model/tower.py",
        "tower.norm1.observe(work.stats1, tile, Z1, self.counts[tile.rows])",
        "tower.norm1.observe(work.stats1, tile, Z1, np.ones_like(self.counts[tile.rows]))",
        "model/test_two_tower.py::test_unique_rows_do_not_change_gradients",
    ),
    "batch-norm of a group whose backward divides by all pairs": (
        "model/layers.py",
        "self.gamma, *sums, stats.pairs[k])",
        "self.gamma, *sums, stats.pairs.sum())",
        "model/test_two_tower.py::test_gradients_over_many_tiles_and_chunks[group-linear-plain]",
    ),
    "the textbook's batch-norm of a group whose backward divides by all pairs": (
        "model/reference.py",
        "*sums, tape.pairs)",
        "*sums, len(tape.X))",
        "model/test_reference.py::test_the_whole_model_with_moments_of_each_group",
    ),
    "batch-norm of a group that is scored with another group's running statistics": (
        "model/layers.py",
        "return group if len(self.pairs) > 1 else 0",
        "return 0",
        "model/test_group_batchnorm.py::test_evaluation_uses_the_running_statistics_of_the_users_group",
    ),
    "a loss averaged over all cells instead of the rows": (
        "model/reference.py",
        "loss += losses.sum() / B",
        "loss += losses.sum() / (B * model.groups)",
        "model/test_reference.py::test_the_loss_is_a_mean_over_pairs_and_not_over_cells",
    ),
    "a gradient averaged over all cells instead of the rows": (
        "model/two_tower.py",
        "loss.tile(self.pairs, span, tile.group, batch.labels, self.score.s, B)",
        "loss.tile(self.pairs, span, tile.group, batch.labels, self.score.s, B * self.config.groups)",
        "model/test_two_tower.py::test_gradients_over_many_tiles_and_chunks[all-linear-plain]",
    ),
    "tiles that send rows through another group's head": (
        "model/heads.py",
        "P, Q = self.P[tile.group], self.Q[tile.group]",
        "P, Q = self.P[0], self.Q[0]",
        "model/test_two_tower.py::test_gradients_over_many_tiles_and_chunks[all-linear-lowrank]",
    ),
    "an absent group's gradient left over from the last batch": (
        "model/two_tower.py",
        "self.grads.flat[span] = 0",
        "pass",
        "model/test_two_tower.py::test_a_group_that_is_absent_now_leaves_nothing_of_an_earlier_batch[plain]",
    ),
    "cross-stitched heads with an absent group's gradient of the last batch": (
        "model/variants/cross_stitch.py",
        "self.dmixed[np.diff(batch.segments) == 0] = 0",
        "pass",
        "model/test_two_tower.py::test_a_group_that_is_absent_now_leaves_nothing_of_an_earlier_batch[cross-stitch]",
    ),
    "a gate's gradient without what the other experts lose": (
        "model/variants/experts.py",
        "dlogits -= np.einsum",
        "np.einsum",
        "model/test_two_tower.py::test_gradients_over_many_tiles_and_chunks[all-linear-mmoe]",
    ),
    "the textbook's gate without what the other experts lose": (
        "model/reference_variants.py",
        "g * (dg - (g * dg).sum(1, keepdims=True))",
        "g * dg",
        "model/test_reference.py::test_the_whole_model",
    ),
    "a territory's offset that ignores the logit's scale": (
        "model/variants/territory_bias.py",
        "(self.db, pairs.ddots[:B], V)",
        "(self.db, pairs.dz[:B], V)",
        "model/test_two_tower.py::test_gradients_of_the_offsets_of_territories[plain]",
    ),
    "units of memory that pass gradients where they are 0": (
        "model/engine/kernels.py",
        "h[j] = dz[i] * v[j] if h[j] > zero else zero",
        "h[j] = dz[i] * v[j]",
        "model/test_kernels.py::test_a_kernel_has_the_values_of_the_textbook[memory_score_backward-float32]",
    ),
    "another group's pairs in what a group adds to memory": (
        "model/memory.py",
        "outputs = self.dw[k], self.dA[k], self.dv[k]",
        "outputs = self.dw[0], self.dA[k], self.dv[k]",
        "model/test_two_tower.py::test_gradients_of_memory_over_many_tiles_and_chunks",
    ),
    "a dated training pair that knows its own day's labels": (
        "data/memory/memory.py",
        "known.pairs.take(block < number)",
        "known.pairs.take(block <= number)",
        "data/test_memory.py::test_where_there_are_days_a_pair_knows_the_labels_of_earlier_days_alone",
    ),
    "a title's offset in a cell that forgets what it has left over everywhere": (
        "model/title_offsets.py",
        "r = left_over(n, e, shape) if shape[0] > 1 else 1.0",
        "r = 1.0",
        "model/test_title_offsets.py::test_what_a_title_has_left_over_everywhere_is_no_preference_of_a_cell",
    ),
    "CVaR of the best groups": (
        "model/variants/robust.py",
        "np.argsort(-losses[present]",
        "np.argsort(losses[present]",
        "model/test_robust.py::test_the_fast_model_equals_the_textbook[cvar-absent0]",
    ),
    "a leaky ReLU backward": (
        "model/engine/kernels.py",
        "gradient = dA[i, j] if A[i, j] > bound else zero",
        "gradient = dA[i, j] if A[i, j] > bound else dA[i, j] * Z.dtype.type(0.01)",
        "model/test_kernels.py::test_a_kernel_has_the_values_of_the_textbook[relu_backward-float32]",
    ),
    "the textbook's leaky ReLU backward": (
        "model/reference.py",
        "dY = np.where(floor < A, dA, 0)",
        "dY = np.where(floor < A, dA, 0.01 * dA)",
        "model/test_reference.py::test_batchnorm_with_counts",
    ),
    "weights on the loss that its gradient does not know": (
        "model/variants/objective.py",
        "dz *= self.weight[span]",
        "pass",
        "model/test_objective.py::test_the_fast_model_equals_the_textbook[all]",
    ),
    "a penalty that can be escaped by small logits": (
        "model/variants/penalty.py",
        "(X_hat - correlation * Z_hat)",
        "X_hat",
        "model/test_objective.py::test_the_penaltys_gradient",
    ),
    "log-variances without their own price": (
        "model/variants/uncertainty.py",
        "counts / (2 * counts.sum()) - np.array(by_group)",
        "-np.array(by_group)",
        "model/test_objective.py::test_the_step_of_the_log_variances_follows_the_textbook",
    ),
    "gradient surgery that moves the running statistics in every pass": (
        "model/variants/pcgrad.py",
        "model.running.flat[:] = running",
        "pass",
        "model/test_pcgrad.py::test_without_projection_it_is_the_plain_gradient",
    ),
    "gradient surgery that cuts where gradients agree": (
        "model/variants/pcgrad.py",
        "and along < 0",
        "and along > 0",
        "model/test_pcgrad.py::test_gradients_that_agree_are_summed",
    ),
    "weight decay that forgets the learning rate": (
        "model/adam.py",
        "np.float32(1 - self.lr * rate)",
        "np.float32(1 - rate)",
        "model/test_adam.py::test_decay_shrinks_what_it_is_asked_to_and_no_moment_sees_it",
    ),
    "an average precision that ignores ties": (
        "metrics/average_precision.py",
        "negatives[j] >= threshold:",
        "negatives[j] > threshold:",
        "metrics/test_average_precision.py::test_values_worked_out_by_hand",
    ),
    "verdicts by p-values that are not corrected for many territories": (
        "metrics/significance.py",
        "adjusted[tested] = false_discovery_control(p[tested])",
        "adjusted[tested] = p[tested]",
        "metrics/test_significance.py::test_what_is_better_alone_is_undecided_among_many_without_a_difference",
    ),
    "a prior of offsets that is judged by the pairs it was counted on": (
        "model/title_offsets.py",
        "counted = folds.fold < fold if folds.ordered else ~held_out",
        "counted = folds.fold >= 0",
        "model/test_title_offsets.py::test_what_does_not_last_is_not_learned_by_a_territory",
    ),
}


@pytest.fixture(scope="module")
def planter():
    """The process that runs tests with a mutation."""
    planter = Planter()
    yield planter
    planter.close()


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_caught(name, planter):
    """By a failing assertion: a mutation that crashes would prove nothing."""
    file, right, wrong, test = MUTATIONS[name]
    assert (ROOT / "twotower" / file).read_text("utf-8").count(right) == 1, f"{right!r} is not once in {file}"
    outcome = planter.run([f"tests/{test}"], file, right, wrong)
    assert outcome.exit_code == pytest.ExitCode.TESTS_FAILED, f"{test} did not notice:\n{outcome.output}"
    assert set(outcome.failed) == {"AssertionError"}, f"{outcome.failed}\n{outcome.output}"


def test_without_a_mutation_the_same_tests_pass(planter):
    """Otherwise the failures above would prove nothing."""
    outcome = planter.run(sorted({f"tests/{mutation[3]}" for mutation in MUTATIONS.values()}))
    assert outcome.exit_code == pytest.ExitCode.OK and not outcome.failed, outcome.output


def test_a_mutation_whose_text_is_gone_fails(planter):
    outcome = planter.run(["tests/model/test_adam.py"], "model/adam.py", "nobody writes this", "pass")
    assert outcome.exit_code != pytest.ExitCode.TESTS_FAILED and "stands 0 times" in outcome.output
