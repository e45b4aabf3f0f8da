"""A CSD that fails half of its requests: a process of its own with a lasting store, as simple-minded as real ones.

usage: python -m bench.flaky_csd PORT DATABASE SEED

`POST /tickets` makes a ticket for each request, also for a repeated one. In 30 % of all requests the work is done and no answer comes;
in 20 % there is 429, 500, or the connection is reset, before the work or after it.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import Any

SILENT = 0.30
BUSY, BROKEN, RESET = 0.07, 0.06, 0.07
_TABLE = """
CREATE TABLE IF NOT EXISTS ticket (
    id INTEGER PRIMARY KEY AUTOINCREMENT, correlation_id TEXT NOT NULL, number TEXT NOT NULL, subject TEXT NOT NULL, opened_at TEXT NOT NULL
)
"""
_HUNG = 2.0
"""Seconds after which a request that gets no answer is hung up on; the client is long gone by then."""


class FlakyCsd:
    """The system and its server."""

    def __init__(self, path: Path, seed: int) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(_TABLE)
        self._db.execute("CREATE INDEX IF NOT EXISTS by_correlation ON ticket (correlation_id)")
        self._rng = random.Random(seed)
        self.happened: Counter[str] = Counter()

    async def serve(self, port: int) -> None:
        """Answer until cancelled."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", port)
        async with server:
            await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1].decode()
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
                )
                if not await self._request(path, await reader.readexactly(length), writer):
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async def _request(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection can be used again."""
        if path == "/happened":
            _send(writer, 200, dict(self.happened))
            return True
        fault = self._fault()
        self.happened[f"{path} {fault}"] += 1
        if fault in ("busy", "broken"):
            _send(writer, 429 if fault == "busy" else 500, {"error": fault})
            return True
        if fault == "reset before":
            writer.transport.abort()
            return False
        answer = self._work(path, json.loads(body))
        if fault == "reset after":
            writer.transport.abort()
            return False
        if fault == "silent":
            await asyncio.sleep(_HUNG)
            return False
        _send(writer, 200, answer)
        return True

    def _fault(self) -> str:
        drawn = self._rng.random()
        for name, rate in (
            ("silent", SILENT),
            ("busy", BUSY),
            ("broken", BROKEN),
            ("reset before", RESET / 2),
            ("reset after", RESET / 2),
        ):
            drawn -= rate
            if drawn < 0:
                return name
        return "ok"

    def _work(self, path: str, body: Any) -> Any:
        if path == "/search":
            marks = ",".join("?" * len(body["ids"]))
            sql = f"SELECT correlation_id, number FROM ticket WHERE correlation_id IN ({marks}) ORDER BY id"  # noqa: S608  marks only
            return [list(row) for row in self._db.execute(sql, body["ids"])]
        cursor = self._db.execute(
            "INSERT INTO ticket (correlation_id, number, subject, opened_at) "
            "SELECT ?, 'T' || (coalesce(max(id), 0) + 1), ?, ? FROM ticket",
            (body["id"], body["subject"], body["opened_at"]),
        )
        return {"number": f"T{cursor.lastrowid}"}


def _send(writer: asyncio.StreamWriter, status: int, body: Any) -> None:
    text = json.dumps(body).encode()
    writer.write(
        b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(text), text)
    )


if __name__ == "__main__":
    asyncio.run(FlakyCsd(Path(sys.argv[2]), int(sys.argv[3])).serve(int(sys.argv[1])))
