"""Random concurrent histories of a case and its ticket, many more of them than the test suite runs.

usage: python -m bench.histories [HISTORIES] [FIRST SEED]
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from histories import histories


def run(count: int, first: int) -> None:
    """All of them; the first that does not hold ends it, with its seed."""
    start = time.perf_counter()
    total = asyncio.run(histories(range(first, first + count)))
    seconds = time.perf_counter() - start
    for what, number in total.items():
        sys.stdout.write(f"{what:<12} {number:>10}\n")
    sys.stdout.write(f"both sides equal after quiet, no echo, every conflict in the ledger; {seconds:.0f} s\n")


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
