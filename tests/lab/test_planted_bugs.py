"""Known bugs in the running program: planted for as long as a context lasts, in the line that the table names."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import twotower
from twotower.core.config import ModelConfig
from twotower.core.errors import InputError
from twotower.lab.gradcheck.planted_bugs import PLANTED, known_bug, planted, require_possible
from twotower.model import reference
from twotower.model.engine import kernels

PACKAGE = Path(twotower.__file__).parent
MTL = ModelConfig(hidden=8, groups=2, head="lowrank", rank=2)


@pytest.mark.parametrize("bug", PLANTED.values(), ids=PLANTED)
def test_the_right_text_stands_once_in_its_file_and_in_its_function(bug):
    assert (PACKAGE / bug.file).read_text("utf-8").count(bug.right) == 1
    assert bug.source()[0].count(bug.right) == 1


@pytest.mark.parametrize("bug", PLANTED.values(), ids=PLANTED)
def test_the_line_that_is_shown_is_that_of_the_file(bug):
    facts = bug.facts()
    lines = (PACKAGE / bug.file).read_text("utf-8").splitlines()
    assert lines[facts.line - 1].strip() == facts.right != facts.wrong
    assert bug.right in facts.right and bug.wrong in facts.wrong


@pytest.mark.parametrize("bug", PLANTED.values(), ids=PLANTED)
def test_a_bug_is_there_while_it_is_planted_and_gone_afterwards(bug):
    holder, name = bug.place()
    before = vars(holder)[name]
    with pytest.raises(ZeroDivisionError), planted(bug):
        assert vars(holder)[name] is not before
        raise ZeroDivisionError
    assert vars(holder)[name] is before


def test_no_bug_changes_nothing():
    before = {name: value for name, value in vars(kernels).items() if callable(value)}
    with planted(None):
        assert all(vars(kernels)[name] is value for name, value in before.items())


def test_a_planted_kernel_computes_the_wrong_formula_and_is_compiled_as_the_right_one(rng):
    Z, dY = rng.standard_normal((2, 6, 3)).astype(np.float32)
    counts = np.array([1, 2, 3, 1, 1, 2], np.float32)
    mean, rstd, gamma, dgamma, dbeta = rng.uniform(0.5, 1, (5, 3)).astype(np.float32)
    arguments = dY, Z, counts, mean, rstd, gamma, dgamma, dbeta, 10
    right, wrong = np.empty_like(Z), np.empty_like(Z)
    kernels.batchnorm_backward(right, *arguments)
    with planted(PLANTED["duplicates"]):
        kernels.batchnorm_backward(wrong, *arguments)
        options = getattr(kernels.batchnorm_backward, "targetoptions", None)
    np.testing.assert_allclose(right, reference.batchnorm_backward(*arguments), rtol=1e-5, atol=1e-6)
    ones = (*arguments[:2], np.ones(6), *arguments[3:])
    np.testing.assert_allclose(wrong, reference.batchnorm_backward(*ones), rtol=1e-5, atol=1e-6)
    if options is not None:
        assert options["nogil"] and options["fastmath"] == kernels.FAST_SUMS


def test_a_text_that_no_longer_stands_there_is_told(monkeypatch):
    bug = dataclasses.replace(PLANTED["relu-gate"], right="if A[i, j] is open")
    with pytest.raises(ValueError, match=r"occurs 0 times in twotower\.model\.engine\.kernels\.relu_backward"):
        bug.wrong_function()


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"--break speed: expected one of batchnorm-mean, duplicates"):
        known_bug("speed")


def test_where_nothing_is_masked_the_mask_cannot_be_lost():
    with pytest.raises(InputError, match="single group"):
        require_possible(known_bug("unmasked"), dataclasses.replace(MTL, groups=1))
    require_possible(known_bug("unmasked"), MTL)
    require_possible(known_bug("duplicates"), dataclasses.replace(MTL, groups=1))


def test_every_bug_explains_itself():
    for bug in PLANTED.values():
        assert len(bug.why) > 200 and len(set(bug.maths)) == 2
