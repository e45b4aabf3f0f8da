"""One run: limits of this machine, then okienko's numbers beside them.

usage: python -m bench [MAILS]
"""

from __future__ import annotations

import asyncio
import email
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg

from okienko.core import logs
from okienko.core.cli.intake import until_idle
from okienko.core.ledger import read_ledger
from okienko.core.service import Service, open_service, working
from okienko.core.worker import connect_arguments
from okienko.plugins.ports import RawItem
from okienko.plugins.raw import RawContent
from okienko.schemas import ChannelName

BODY = (
    "Dzień dobry, {tag},\r\nnie mogę wysłać zgłoszenia celnego, system pokazuje błąd numer {n}.\r\nProszę o pomoc.\r\n"
    * 5
)


def ordinary_mail(n: int, tag: str) -> bytes:
    """An ordinary ticket of about 1 KB."""
    return (
        f"From: Nadawca Zmyślony <nadawca{n}@poczta.example>\r\nTo: helpdesk@okienko.invalid\r\n"
        f"Subject: =?utf-8?q?NOWE_b=C5=82=C4=85d_{n}?=\r\nMessage-ID: <{tag}.{n}@poczta.example>\r\n"
        f"Date: Mon, 23 Nov 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: 8bit\r\n\r\n{BODY.format(n=n, tag=tag)}"
    ).encode()


def memory() -> float:
    """Resident memory of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


@asynccontextmanager
async def fresh_service(port: int) -> AsyncIterator[Service]:
    """A service in a new home folder, listening for LMTP on `port`."""
    with tempfile.TemporaryDirectory(prefix="okb-", dir="/tmp") as home:
        Path(home).chmod(0o755)  # noqa: ASYNC240  once
        environ = {"OKIENKO_HOME": home, "OKIENKO_EMAIL_LMTP_LISTEN": f"127.0.0.1:{port}"}
        async with open_service(
            {**environ, **({"OKIENKO_DATABASE_URL": u} if (u := os.environ.get("BENCH_DATABASE_URL")) else {})}
        ) as s:
            yield s


async def commits(service: Service) -> float:
    """Durable commits a second over one connection: one small row each."""
    connection = await asyncpg.connect(**connect_arguments(service.engine))
    await connection.execute("CREATE TABLE IF NOT EXISTS bench_commit (n int)")
    start = time.perf_counter()
    for n in range(500):
        await connection.execute("INSERT INTO bench_commit VALUES ($1)", n)
    elapsed = time.perf_counter() - start
    await connection.execute("DROP TABLE bench_commit")
    await connection.close()
    return 500 / elapsed


def parses(mails: list[bytes]) -> float:
    """Mails a second that the standard library's parser alone reads (compat32)."""
    start = time.perf_counter()
    for mail in mails[:500]:
        email.message_from_bytes(mail)
    return min(500, len(mails)) / (time.perf_counter() - start)


async def lmtp_client(port: int, mails: list[bytes]) -> None:
    """Deliver over one connection, commands pipelined within a transaction."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    writer.write(b"LHLO bench\r\n")
    while not (await reader.readline()).startswith(b"250 "):
        pass
    for mail in mails:
        writer.write(b"MAIL FROM:<nadawca@poczta.example>\r\nRCPT TO:<helpdesk@okienko.invalid>\r\nDATA\r\n")
        for _ in range(3):
            await reader.readline()
        writer.write(mail + b"\r\n.\r\n")
        answer = await reader.readline()
        assert answer.startswith(b"250"), answer
    writer.write(b"QUIT\r\n")
    writer.close()


async def run(count: int) -> None:
    """All numbers."""
    started = time.perf_counter()
    port = 23000 + os.getpid() % 20000
    async with fresh_service(port) as service:
        print(
            f"start to ready (first start, new database): {time.perf_counter() - started:.2f} s; memory {memory():.0f} MB"
        )
        limit = await commits(service)
        mails = [ordinary_mail(n, uuid4().hex[:8]) for n in range(count)]
        parse_limit = parses(mails)
        print(f"limits: {limit:.0f} single commits/s, {parse_limit:.0f} stdlib parses/s")
        channel = service.plugins.channels["email"]
        listening = asyncio.create_task(channel.run(service.intake))
        await asyncio.sleep(0.2)
        start = time.perf_counter()
        await asyncio.gather(*(lmtp_client(port, mails[part::50]) for part in range(50)))
        rate = count / (time.perf_counter() - start)
        print(
            f"LMTP, durably accepted: {rate:.0f}/s = {rate / limit:.2f} of single commits (client in the same process)"
        )
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        async with working(service.worker):
            start = time.perf_counter()
            await until_idle(service)
            rate = count / (time.perf_counter() - start)
            print(f"accepted to registered and answered: {rate:.0f}/s = {rate / parse_limit:.3f} of stdlib parses")
            more = [ordinary_mail(n, uuid4().hex[:8]) for n in range(count)]
            start = time.perf_counter()
            items = [RawItem(ChannelName.EMAIL, "email", "bench", RawContent(mail)) for mail in more]
            await asyncio.gather(*(service.intake.accept(item) for item in items))
            await until_idle(service)
            rate = count / (time.perf_counter() - start)
            ledger = await read_ledger(service.engine)
            assert ledger.balance == 0
            assert ledger.cases == {("ticket", "registered"): 2 * count}
            print(f"raw mail to registered and answered: {rate:.0f}/s; memory {memory():.0f} MB")


def main() -> None:
    """Run with the faster loop where it is installed, as the service does."""
    logs.configure("WARNING")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    try:
        import uvloop
    except ImportError:
        asyncio.run(run(count))
    else:
        uvloop.run(run(count))


main()
