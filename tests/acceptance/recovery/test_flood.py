"""A flood of requests through the real program, two processes of it: one case, one registration, one answer, nothing lost."""

from __future__ import annotations

import asyncio
import re
import signal
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import default
from typing import Any

import asyncpg
import pytest

from acceptance.recovery.letters import address, letter, letter_a
from acceptance.recovery.stage import environment
from acceptance.service import OKIENKO, Installation, free_port, installation
from corpus import PHRASE_B

REPEATS = 500
STRANGERS = 25


@pytest.mark.timeout(240)
async def test_a_flood_is_one_case_and_one_notice(database_url: str) -> None:
    port, second_web = free_port(), free_port()
    jan, holder = address(), address("stary")
    flood = [letter_a(jan) for _ in range(REPEATS)]
    spoofed = [letter_a(jan, results="") for _ in range(3)]
    document = ("wniosek.pdf", b"%PDF-1.7 bez podpisu")
    text = f"{PHRASE_B} Jana Próbnego, rok urodzenia 1980. Stary adres: {holder}"
    strangers = [letter(address("obcy"), text, document, results="") for _ in range(STRANGERS)]
    mails = [*flood[:250], *strangers, *spoofed, *flood[250:]]
    with installation() as place:
        place.environ |= environment(database_url, place.home, {}) | {"OKIENKO_EMAIL_LMTP_LISTEN": f"127.0.0.1:{port}"}
        await asyncio.to_thread(place.run, "db", "upgrade")
        with place.serving(), _second_worker(place, second_web):
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda n: _deliver(port, mails[n::4]), range(4)))
            connection = await asyncpg.connect(database_url.replace("postgresql+asyncpg", "postgresql"))
            try:
                await _all_done(connection, place)
                shares = [_repeats(place.get("/metrics")[1]), await asyncio.to_thread(_metrics, second_web)]
                await _look(connection, jan, holder)
            finally:
                await connection.close()
        told = [message_from_bytes(file.read_bytes(), policy=default) for file in (place.home / "outbox").glob("*.eml")]
    assert sum(shares) == REPEATS - 1 + 2, shares
    to = [str(mail["To"]) for mail in told]
    assert sum(jan in one for one in to) == 2, "one for the proved request, one for the spoofed one"
    assert len(told) == 2 + STRANGERS
    assert not any(holder in one for one in to)


@contextmanager
def _second_worker(place: Installation, web: int) -> Iterator[None]:
    """In the same home: the two share their keys and the outbox, as replicas do."""
    environ = place.environ | {"OKIENKO_WEB_LISTEN": f"127.0.0.1:{web}"}
    with (place.home / "second.log").open("ab") as log:
        process = subprocess.Popen([OKIENKO, "serve", "--role", "worker"], env=environ, stdout=log, stderr=log)
    try:
        place.until(lambda: _listens(web))
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _deliver(port: int, mails: list[bytes]) -> None:
    with smtplib.LMTP("127.0.0.1", port, local_hostname="localhost", timeout=60) as lmtp:
        for mail in mails:
            lmtp.sendmail("ktos@poczta.example", ["helpdesk@okienko.invalid"], mail)


def _repeats(metrics: str) -> float:
    found = re.search(r'(?m)^okienko_limits_reached_total\{limit="repeat"\} (\S+)$', metrics)
    return float(found[1]) if found else 0


def _metrics(port: int) -> float:
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return _repeats(answer.read().decode())


async def _all_done(connection: Any, place: Installation) -> None:
    sql = "SELECT count(*) FROM pgqueuer WHERE status = 'picked' OR (status = 'queued' AND execute_after <= now())"
    async with asyncio.timeout(120):
        while place.metric("okienko_mail_balance") != 0 or await connection.fetchval(sql):  # noqa: ASYNC110  another process does the work
            await asyncio.sleep(0.2)


async def _look(connection: Any, jan: str, holder: str) -> None:
    """What the database says when all is done."""
    received = REPEATS + 3 + STRANGERS
    outcomes = dict(await connection.fetch("SELECT outcome, count(*) FROM envelope GROUP BY 1"))
    assert outcomes == {"cased": 2 + STRANGERS, "merged": received - 2 - STRANGERS}
    sql = "SELECT repeats FROM cases WHERE requester_address = $1 ORDER BY repeats"
    assert [row["repeats"] for row in await connection.fetch(sql, jan)] == [2, REPEATS - 1]
    assert await connection.fetchval("SELECT count(DISTINCT csd_number) FROM cases") == 2 + STRANGERS
    assert await connection.fetchval("SELECT count(*) FROM notification") == 2 + STRANGERS
    # A claim by each of the strangers: one open action, and the others beside it.
    (action,) = await connection.fetch("SELECT id FROM reset_action WHERE old_login = $1", holder)
    held = await connection.fetchval("SELECT count(*) FROM cases WHERE held_by = $1", action["id"])
    assert held == STRANGERS - 1
    limited = await connection.fetch(
        "SELECT data->>'limit' AS name, count(*) AS n FROM event WHERE type = 'limited' GROUP BY 1"
    )
    counts = {row["name"]: row["n"] for row in limited}
    # And, when it came second, the spoofed request beside the proved one.
    assert counts["account_open"] in (STRANGERS - 1, STRANGERS)
    assert 2 <= counts["repeat"] <= 4, "the first, the tenth, the hundredth of one, the first of the other"
    audited = await connection.fetchval("SELECT count(*) FROM audit_entry WHERE action = 'limited'")
    assert audited == sum(counts.values())
