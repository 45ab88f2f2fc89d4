"""Commands as processes: signals end them cleanly, and no encoding of the terminal is their end."""

import os
import signal
import subprocess
import sys
import time

import pytest

TWOTOWER = [sys.executable, "-c", "from twotower.cli import main; main()"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_cleans_up_and_is_one_line(tmp_path, number, status):
    command = [*TWOTOWER, "simulate", "world", "--users", "200000"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(600):
            if any(tmp_path.iterdir()):
                break
            time.sleep(0.1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == status and not list(tmp_path.iterdir())
    assert errors.splitlines()[-1] == f"twotower: stopped by {number.name}" and "Traceback" not in errors


def test_nohup_is_respected(tmp_path):
    code = "import signal; from twotower.cli.process import stop_on_signals as s; s(); print(signal.getsignal(1) == 1)"
    answer = subprocess.run(["nohup", sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert answer.stdout == "True\n"


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
