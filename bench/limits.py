"""What this machine can do at the most, measured in the same run."""

from __future__ import annotations

import email
import email.policy
import time
from pathlib import Path

import asyncpg

COMMITS = 1000


async def commits(home: Path) -> float:
    """Durable commits of one small row a second, one connection, on the bundled PostgreSQL in `home`."""
    connection = await asyncpg.connect(host=str(home / "postgres"), user="okienko", database="okienko")
    await connection.execute("CREATE TABLE bench_commit (n int)")
    start = time.perf_counter()
    for n in range(COMMITS):
        await connection.execute("INSERT INTO bench_commit VALUES ($1)", n)
    elapsed = time.perf_counter() - start
    await connection.execute("DROP TABLE bench_commit")
    await connection.close()
    return COMMITS / elapsed


def parses(mails: list[bytes], policy: email.policy.Policy[email.message.Message]) -> float:
    """Mails a second that the standard library's parser reads, subject and body decoded."""
    chosen = mails[:500]
    start = time.perf_counter()
    for mail in chosen:
        message = email.message_from_bytes(mail, policy=policy)
        str(message["Subject"])
        message.get_payload(decode=True)
    return len(chosen) / (time.perf_counter() - start)
