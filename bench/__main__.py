"""One run: the limits of this machine, then okienko's numbers beside them.

usage: python -m bench [MAILS]

The client, `okienko serve` and PostgreSQL (fsync on) are processes of their own and share the machine's cores.
"""

from __future__ import annotations

import asyncio
import email.policy
import sys
import time
from uuid import uuid4

from bench import limits
from bench.lmtp import deliver
from bench.mails import series
from bench.program import Program, memory, program

PEERS = {"django-helpdesk": 42.9, "Roundup in-process": 12.0, "Znuny in-process": 8.1, "RT 5 mail gateway": 4.7}
"""Mails to tickets a second, measured once on this class of machine (see docs/benchmarks.md)."""


def say(what: str, value: str, beside: str = "") -> None:
    """One line of the result."""
    sys.stdout.write(f"{what:<58} {value:>12}  {beside}\n")
    sys.stdout.flush()


def run(count: int) -> None:
    """All numbers."""
    with program() as place:
        with place.serving("web") as (process, seconds):
            say("first start to ready, new database", f"{seconds:.2f} s")
            commits = asyncio.run(limits.commits(place.home))
            say("limit: single commits, one connection", f"{commits:.0f}/s")
            mails = series(count, uuid4().hex[:8])
            fast = limits.parses(mails, email.policy.compat32)
            slow = limits.parses(mails, email.policy.default)
            say("limit: stdlib parser, compat32 / default", f"{fast:.0f}/s", f"default {slow:.0f}/s")
            start = time.perf_counter()
            asyncio.run(deliver(place.lmtp, mails))
            rate = count / (time.perf_counter() - start)
            say(
                "mails durably accepted over LMTP, one process",
                f"{rate:.0f}/s",
                f"{rate / commits:.2f} of single commits",
            )
            say("memory of that process", f"{memory(process.pid):.0f} MB")
        with place.serving("all") as (process, seconds):
            say("later start to ready", f"{seconds:.2f} s")
            drain(place, count)
            say("memory after the backlog", f"{memory(process.pid):.0f} MB")
        with place.serving("all") as (process, _):
            say("memory, idle", f"{memory(process.pid):.0f} MB")
            start = time.perf_counter()
            asyncio.run(deliver(place.lmtp, series(count, uuid4().hex[:8])))
            drain(place, 2 * count)
            rate = count / (time.perf_counter() - start)
            say(
                "raw mail over LMTP to registered, answered; one process",
                f"{rate:.0f}/s",
                f"{rate / slow:.2f} of policy.default parses",
            )
            say("memory under that load", f"{memory(process.pid):.0f} MB")
            assert place.metric("okienko_mail_balance ") == 0
            for peer, theirs in PEERS.items():
                say(f"  beside {peer}", f"{theirs}/s", f"okienko does {rate / theirs:.0f} times as many")


def drain(place: Program, cases: int) -> None:
    """Wait until every case is registered and every answer sent."""
    while place.metric('okienko_cases{kind="ticket",state="registered"}') < cases or place.metric(
        "okienko_queue_depth"
    ):
        time.sleep(0.05)


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
