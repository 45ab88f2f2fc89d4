"""Output goes through links, into pipes and devices, and to terminals of every encoding."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from twotower.core.storage import try_file, write_file

TWOTOWER = [sys.executable, "-c", "from twotower.cli import main; main()"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_what_an_encoding_lacks_is_replaced(tmp_path, encoding):
    places = ["Réunion", "東京"]
    log = [f"u{i % 30},t{i % 7},{places[i % 2]},2024-01-{i % 20 + 1:02}" for i in range(600)]
    (tmp_path / "log.csv").write_text("user,title,territory,date\n" + "\n".join(log) + "\n", encoding="utf-8")
    command = [*TWOTOWER, "import", "shop", "--events", "log.csv", "--time", "date"]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    shown = result.stdout.decode(encoding)
    assert result.returncode == 0, result.stderr
    assert "??" in shown and ("Reunion" in shown or encoding != "ascii") and "Saved to shop" in shown


def test_a_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "deep").mkdir()
    link = tmp_path / "out.csv"
    link.symlink_to("deep/there.csv")
    for text in ("new", "again"):
        write_file(link, text)
        assert link.is_symlink() and (tmp_path / "deep" / "there.csv").read_text() == text
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["there.csv"]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    try_file(pipe)  # opens nothing: a reader would take it for the end
    with ThreadPoolExecutor() as pool:
        text = pool.submit(pipe.read_text)
        write_file(pipe, "a,b\n1,2\n")
        assert text.result(60) == "a,b\n1,2\n"
    assert pipe.is_fifo() and [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_the_own_output_goes_on_where_it_is(tmp_path, name):
    code = f"from twotower.core.storage import write_file; print('1'); write_file({name!r}, '2\\n'); print('3')"
    with open(tmp_path / "out", "w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "1\n2\n3\n" and [path.name for path in tmp_path.iterdir()] == ["out"]
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"1\n2\n3\n"
