"""Write the table of docs/explanation/faults.md from the committed record.

python -m benchmarks.faults.page
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.faults.__main__ import RECORD
from benchmarks.page import filled, table

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "faults.md"
MARK = "faults"
WORDS = {
    "kill": "killed before an operation on files",
    "torn": "killed when half of a write is done",
    "random": "killed at a random instant",
    "full": "the disk is full from an operation on",
    "io": "an operation fails (EIO)",
    "vanish": "all directories are removed before an operation",
    "tmpfs": "disks with more and more room",
    "readonly": "a disk that cannot be written",
    "writers": "two commands at once, of every pair",
    "containers": "the same, with equal process ids",
    "stopped": "given beside one that holds a lock and is stopped",
    "clock": "the clock goes back a minute at each look",
    "damage": "bits flipped and files cut",
    "forged": "the same, with a manifest that fits",
    "soak": "commands in one process, others killed beside them",
}


def rows(record: dict[str, Any]) -> list[list[str]]:
    """Fault, commands, how many were tried, and what came of them."""
    found = []
    for kind, words in WORDS.items():
        if kind in record:
            outcomes = {name: counts for name, counts in record[kind]["outcomes"].items() if name != "memory_mib"}
            total = sum(map(Counter, outcomes.values()), Counter[str]())
            text = ", ".join(f"{count:,} {outcome}" for outcome, count in total.most_common())
            step = record[kind]["every"]
            words += f" (one in {step}, fewer of the slow commands)" if step > 1 else ""
            commands = "–" if kind in outcomes else str(len(outcomes))
            found.append([words, commands, f"{total.total():,}", text])
    return found


def page(text: str, record: dict[str, Any]) -> str:
    columns = ["fault", "commands", "tried", "afterwards"]
    return filled(text, MARK, {"table": table(columns, rows(record))})


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8"), json.loads(RECORD.read_text("utf-8"))), "utf-8")
