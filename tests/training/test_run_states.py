"""A run through any order of kills, damage and resumptions ends with the same weights and scores."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tiny_runs import small_config

from benchmarks.faults.children import killed_before
from twotower.core.errors import InputError
from twotower.core.locks import remove
from twotower.core.progress import silent
from twotower.training.job import TrainingJob, resume
from twotower.training.run import RUN, RunReader

pytestmark = pytest.mark.slow


def begin(world: Path, path: Path) -> None:
    """Train with a checkpoint after every step."""
    TrainingJob(world, small_config(epochs=2), run_path=path, checkpoint_every=0).run(silent)


def said(run: RunReader) -> list[bytes]:
    """What must be the same after all."""
    return [run.weights_path.read_bytes(), run.scores.tobytes(), str(run.overall).encode()]


def machine(world: Path, wanted: list[bytes]) -> type[RuleBasedStateMachine]:
    class Run(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.folder = Path(tempfile.mkdtemp())
            self.path = self.folder / "run"

        def teardown(self):
            remove(self.folder)

        def go_on(self):
            """What someone would do who finds the run as it is."""
            if not (self.path / "plan.json").exists():
                remove(self.path)
                begin(world, self.path)
            elif not (self.path / RUN).exists():
                resume(self.path, silent, checkpoint_every=0)

        @rule(before=st.integers(1, 120))
        def killed(self, before):
            killed_before(before, self.go_on)

        @rule(which=st.integers(0, 20), at=st.integers(0, 1 << 20), bit=st.integers(0, 7))
        def damaged(self, which, at, bit):
            """A flipped bit in a copy is refused, or is harmless: what is made from it is the same."""
            files = [path for path in sorted(self.path.rglob("*")) if path.is_file() and path.stat().st_size]
            if not files:
                return
            kept, name = self.path, files[which % len(files)].relative_to(self.path)
            self.path = Path(shutil.copytree(kept, self.folder / "damaged", copy_function=shutil.copy2))
            content = bytearray((self.path / name).read_bytes())
            content[at % len(content)] ^= 1 << bit
            (self.path / name).write_bytes(content)
            try:
                self.go_on()
                assert said(RunReader(self.path)) == wanted, name
            except InputError:
                pass
            finally:
                remove(self.path)
                self.path = kept

        @invariant()
        def a_finished_run_says_what_it_must(self):
            if (self.path / RUN).exists():
                assert said(RunReader(self.path)) == wanted
            elif self.path.exists():
                with pytest.raises(InputError):
                    RunReader(self.path)

    return Run


def test_a_run_is_unfinished_or_right(tiny_world, tmp_path):
    begin(tiny_world, tmp_path / "whole")
    wanted = said(RunReader(tmp_path / "whole"))
    run_state_machine_as_test(
        machine(tiny_world, wanted), settings=settings(max_examples=8, stateful_step_count=8, deadline=None)
    )
