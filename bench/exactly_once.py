"""Exactly once, whatever fails: mails become tickets in a CSD that fails half of its requests, while workers are killed.

usage: python -m bench.exactly_once [--cases 10000] [--workers 3] [--every 4] [--seed 1]

Everything is real and a process of its own: PostgreSQL, `okienko serve --role web` that takes the mails in by LMTP, workers that die of
SIGKILL every few seconds and are started again, and the CSD (bench.flaky_csd). At the end the CSD's own store is compared with the
cases, one by one. Exits with 1 when a ticket is double, missing or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from bench.lmtp import deliver
from bench.mails import series
from bench.program import OKIENKO, Program, free_port, program

ROOT = Path(__file__).resolve().parents[1]
_METADATA = "Metadata-Version: 2.1\nName: okienko-flaky\nVersion: 1\n"


@dataclass
class Workers:
    """Worker processes that are killed and replaced."""

    place: Program
    count: int
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    kills: int = 0

    def fill(self) -> None:
        """Start as many as are missing."""
        self.running = [process for process in self.running if process.poll() is None]
        while len(self.running) < self.count:
            environ = self.place.environ | {"OKIENKO_WEB_LISTEN": f"127.0.0.1:{free_port()}"}
            self.running.append(subprocess.Popen([str(OKIENKO), "serve", "--role", "worker"], env=environ))

    def kill(self, rng: random.Random) -> None:
        """Kill one; a new one is started at once."""
        victim = rng.choice(self.running)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        self.kills += 1
        self.fill()

    def end(self) -> None:
        """End all."""
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(60)


@dataclass
class Result:
    """What was found at the end."""

    cases: int = 0
    tickets: int = 0
    doubles: int = 0
    missing: int = 0
    wrong: int = 0
    """Cases whose number is not that of their ticket, or whose ticket has another time."""
    answers: Counter[str] = field(default_factory=Counter)
    happened: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Each case has its one ticket, and each person one answer with its number."""
        return (self.doubles, self.missing, self.wrong) == (0, 0, 0) and self.tickets == self.cases == self.answers[
            "registered"
        ]


def install(folder: Path) -> None:
    """Make the connector an installed plugin for whoever has the folder in PYTHONPATH."""
    info = folder / "okienko_flaky-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(_METADATA)
    (info / "entry_points.txt").write_text("[okienko]\nflaky = bench.flaky_connector\n")


async def asked(place: Program, sql: str) -> list[Any]:
    """Rows from okienko's database."""
    connection = await asyncpg.connect(host=str(place.home / "postgres"), user="okienko", database="okienko")
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


def run(cases: int, *, workers: int, every: float, seed: int, patience: float = 1800) -> Result:
    """The whole run; workers die as long as there is work."""
    rng = random.Random(seed)
    with program() as place:
        port, store = free_port(), place.home / "csd.sqlite"
        install(place.home / "plugin")
        place.environ |= {
            "PYTHONPATH": os.pathsep.join([str(place.home / "plugin"), str(ROOT)]), "OKIENKO_CSD": "flaky",
            "OKIENKO_FLAKY_URL": f"http://127.0.0.1:{port}", "OKIENKO_CSD_DOUBT_SECONDS": "4", "OKIENKO_LOG_LEVEL": "ERROR",
            "OKIENKO_LOG_FORMAT": "console",
        }  # fmt: skip
        csd = subprocess.Popen([sys.executable, "-m", "bench.flaky_csd", str(port), str(store), str(seed)], cwd=ROOT)
        crew = Workers(place, workers)
        try:
            with place.serving("web"):
                started = time.monotonic()
                crew.fill()
                asyncio.run(deliver(place.lmtp, series(cases, f"once{seed}")))
                _kill_until_done(place, crew, rng, every=every, end=started + patience, cases=cases)
                crew.end()
                result = asyncio.run(_compare(place, store))
                result.kills, result.seconds = crew.kills, time.monotonic() - started
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/happened", timeout=30) as answer:
                    result.happened = json.load(answer)
                return result
        finally:
            crew.end()
            csd.kill()
            csd.wait()


def _kill_until_done(
    place: Program, crew: Workers, rng: random.Random, *, every: float, end: float, cases: int
) -> None:
    told = -1
    while time.monotonic() < end:
        time.sleep(every * rng.uniform(0.5, 1.5))
        (row,) = asyncio.run(asked(place, "SELECT count(*) FILTER (WHERE state = 'registered') AS done FROM cases"))
        (open_,) = asyncio.run(asked(place, "SELECT count(*) AS n FROM notification WHERE state = 'queued'"))
        if row["done"] == cases and open_["n"] == 0:
            return
        if row["done"] // 1000 != told:
            told = row["done"] // 1000
            sys.stdout.write(f"{row['done']} of {cases} registered, {crew.kills} kills\n")
            sys.stdout.flush()
        crew.kill(rng)
    raise TimeoutError("the run did not come to its end")


async def _compare(place: Program, store: Path) -> Result:
    cases = await asked(place, "SELECT id::text, csd_number, opened_at FROM cases ORDER BY seq")
    told = await asked(
        place,
        "SELECT kind, count(*) AS n, count(DISTINCT case_id) AS people FROM notification WHERE state = 'sent' GROUP BY kind",
    )
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        tickets = db.execute("SELECT correlation_id, number, opened_at FROM ticket ORDER BY id").fetchall()
    of_case: dict[str, tuple[str, str]] = {}
    for correlation_id, number, opened_at in tickets:
        of_case.setdefault(correlation_id, (number, opened_at))
    result = Result(cases=len(cases), tickets=len(tickets), doubles=len(tickets) - len(of_case))
    for case in cases:
        found = of_case.get(case["id"])
        if found is None:
            result.missing += 1
        elif found[0] != case["csd_number"] or datetime.fromisoformat(found[1]) != case["opened_at"]:
            result.wrong += 1
    result.answers = Counter({row["kind"]: row["n"] for row in told if row["n"] == row["people"]})
    return result


def report(result: Result) -> None:
    """The summary."""
    requests = sum(result.happened.values())
    for what, value in (
        ("cases", result.cases), ("tickets in the CSD", result.tickets), ("doubles", result.doubles), ("missing", result.missing),
        ("wrong number or time", result.wrong), ("answers with the CSD's number", result.answers["registered"]),
        ("answers with okienko's own number before", result.answers["received"]), ("workers killed", result.kills),
        ("seconds", round(result.seconds)), ("requests", requests),
    ):  # fmt: skip
        sys.stdout.write(f"{what:<42} {value:>8}\n")
    for what, count in sorted(result.happened.items()):
        sys.stdout.write(f"  {what:<40} {count:>8}  {count / requests:6.1%}\n")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between kills, about")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        result = run(arguments.cases, workers=arguments.workers, every=arguments.every, seed=arguments.seed)
        report(result)
        return 0 if result.good else 1
    return 130


if __name__ == "__main__":
    sys.exit(main())
