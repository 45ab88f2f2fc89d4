"""No encoding of the terminal ends a command."""

import os
import subprocess
import sys

import pytest

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
