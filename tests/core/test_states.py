"""A directory through any order of changes, kills and damage is in the state before a change or after it."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from benchmarks.faults.children import killed_before
from twotower.core import storage
from twotower.core.errors import InputError
from twotower.core.locks import remove
from twotower.core.manifest import MANIFEST, Files, read_manifest
from twotower.core.staging import StagedDirectory, clear_leftovers

CONTENTS = st.dictionaries(st.sampled_from(["a", "b", "day-1/c"]), st.binary(max_size=20), min_size=1)


class Directory(RuleBasedStateMachine):
    """``self.state``: the files that the directory must hold, None before there is one."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path, self.state = self.folder / "set", None

    def teardown(self):
        remove(self.folder)

    def read(self):
        if not self.path.exists():
            return None
        files = Files(self.path, read_manifest(self.path, "set"))
        return {name: files.path(name).read_bytes() for name in files.facts}

    @rule(files=CONTENTS, whole=st.booleans(), dies=st.none() | st.integers(1, 30))
    def change(self, files, whole, dies):
        """All files are replaced, or some; the process may be killed before one of its operations."""
        whole = whole or self.state is None

        def write():
            with StagedDirectory(self.path, overwrite=True) as staged:
                for name, content in files.items():
                    (staged.path / name).parent.mkdir(exist_ok=True)
                    (staged.path / name).write_bytes(content)
                staged.commit({"kind": "set"}) if whole else staged.update("set", lambda manifest: None)

        after = files if whole else {**self.state, **files}
        if dies is None:
            write()
        elif killed_before(dies, write):
            assert self.read() in (self.state, after)
            after = self.read()
        self.state = after

    @precondition(lambda self: self.state is not None)
    @rule(which=st.integers(0, 3), at=st.integers(0, 400), bit=st.integers(0, 7))
    def damage(self, which, at, bit):
        """A flipped bit is refused, or was in a file that nobody reads."""
        facts = Files(self.path, read_manifest(self.path, "set")).facts
        named = [self.path / MANIFEST, *(self.path / facts[name].get("path", name) for name in sorted(facts))]
        path = named[which % len(named)]
        content = path.read_bytes()
        if content:
            at %= len(content)
            path.write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
            with pytest.raises(InputError):
                self.read()
            path.write_bytes(content)

    @precondition(lambda self: self.state is not None)
    @rule()
    def next_command(self):
        """Whoever opens it next removes what dead processes left."""
        clear_leftovers(self.path)
        facts = Files(self.path, read_manifest(self.path, "set")).facts
        wanted = {MANIFEST, *(facts[name].get("path", name) for name in facts)}
        assert {p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file()} == wanted
        assert [path.name for path in self.folder.iterdir()] == ["set"]

    @invariant()
    def holds_what_it_must(self):
        assert self.read() == self.state


def test_a_directory_is_never_between_two_states(monkeypatch):
    monkeypatch.setattr(storage, "DURABLE", False)
    run_state_machine_as_test(Directory, settings=settings(max_examples=12, stateful_step_count=10, deadline=None))
