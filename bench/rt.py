"""Registering in a real Request Tracker 5: what RT does by itself, then okienko, then RT again; one run, the same connections.

usage: PYTHONPATH=tests python -m bench.rt [TICKETS [CONNECTIONS [BCRYPT_COST]]]

RT, its PostgreSQL, okienko, okienko's PostgreSQL and the client share the machine's cores. RT hashes the token of every request with
12 rounds of bcrypt unless it is set otherwise; so does this run.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any
from uuid import uuid4

import httpx

from bench.__main__ import say
from bench.lmtp import deliver
from bench.mails import BODY, series
from bench.program import Program, program
from rigs.rt5 import MAPPING, Rt5, rt5

BULK = 5
"""Tickets in one request where RT is asked so; okienko's default too."""


def body(n: int) -> dict[str, Any]:
    """The ticket that okienko makes of mail `n`, made by hand."""
    address = f"plain{n}.{uuid4().hex[:6]}@poczta.example"
    return {
        "Queue": "Helpdesk", "Subject": f"NOWE błąd {n}", "Content": BODY.format(n=n, tag="plain"), "ContentType": "text/plain",
        "Requestor": f'"Nadawca Zmyślony" <{address}>', "Priority": 30, "Starts": "2026-11-23T09:00:00Z",
        "CustomFields": {"OkienkoID": str(uuid4()), "Kanal": "email", "Numer okienka": f"ZGL{n:09}"},
    }  # fmt: skip


async def plain(rt: Rt5, count: int, connections: int, bulk: int = 1) -> float:
    """Tickets a second by RT's own API and nothing else."""
    waiting = [[body(n) for n in range(at, min(at + bulk, count))] for at in range(0, count, bulk)]
    limits = httpx.Limits(max_connections=connections)
    start = time.perf_counter()
    async with httpx.AsyncClient(
        base_url=f"{rt.url}/REST/2.0", headers=rt.as_user("okienko"), limits=limits, timeout=120
    ) as c:

        async def worker() -> None:
            while waiting:
                tickets = waiting.pop()
                answer = await (
                    c.post("/ticket", json=tickets[0]) if bulk == 1 else c.post("/tickets/bulk", json=tickets)
                )
                assert answer.status_code == 201, answer.text

        await asyncio.gather(*(worker() for _ in range(connections)))
    return count / (time.perf_counter() - start)


def through_okienko(rt: Rt5, place: Program, count: int) -> float:
    """Tickets a second from a backlog of mail: registered in RT, looked up before and after, numbers in the database, answers out."""
    with place.serving("web"):
        asyncio.run(deliver(place.lmtp, series(count, uuid4().hex[:8])))
    before = tickets(rt)
    with place.serving("all"):
        # The first ticket marks that okienko has read its mail and is at RT.
        first, began = before, time.perf_counter()
        while (now := tickets(rt)) < before + count:
            if first == before and now > before:
                first, began = now, time.perf_counter()
            # Each look is a process of psql.
            time.sleep(0.25)
        elapsed = time.perf_counter() - began
        while place.metric('okienko_cases{kind="ticket",state="registered"}') < count:
            time.sleep(0.05)
    return (count - (first - before)) / elapsed


def tickets(rt: Rt5) -> int:
    """Tickets in RT's database."""
    return int(rt.sql("SELECT count(*) FROM tickets"))


def run(count: int, connections: int, cost: int) -> None:
    """All numbers."""
    with rt5(workers=connections, bcrypt_cost=cost) as rt, program() as place:
        place.environ |= {
            "OKIENKO_CSD": "rt",
            "OKIENKO_CSD_RT_URL": rt.url,
            "OKIENKO_CSD_RT_TOKEN": rt.token,
            "OKIENKO_CSD_RT_MAPPING": str(MAPPING),
            "OKIENKO_CSD_RT_CONNECTIONS": str(connections),
            "OKIENKO_CSD_RT_BULK": str(BULK),
            # As docs/csd-rt.md says: what RT makes well within OKIENKO_PLUGIN_TIMEOUT.
            "OKIENKO_BATCH_SIZE": str(connections * BULK),
        }
        asyncio.run(plain(rt, 4 * connections, connections))  # warm
        say("tickets, connections, bcrypt rounds of RT", f"{count}, {connections}, {cost}")
        before = asyncio.run(plain(rt, count, connections))
        say("RT by itself, a request for each ticket", f"{before:.1f}/s")
        together = asyncio.run(plain(rt, count, connections, BULK))
        say(f"RT by itself, {BULK} tickets in a request", f"{together:.1f}/s")
        ours = through_okienko(rt, place, count)
        after = asyncio.run(plain(rt, count, connections))
        say("RT by itself, a request for each ticket, again", f"{after:.1f}/s")
        mean = 2 / (1 / before + 1 / after)
        say("okienko through rt, from a backlog of mail", f"{ours:.1f}/s", f"{ours / mean:.2f} of RT by itself")
        say("", "", f"{ours / together:.2f} of RT by itself with {BULK} tickets in a request")


if __name__ == "__main__":
    chosen = [int(word) for word in sys.argv[1:]]
    run(*(chosen + [200, 4, 12][len(chosen) :]))
