"""An LMTP client that delivers as fast as the server answers."""

from __future__ import annotations

import asyncio

CONNECTIONS = 50


async def deliver(port: int, mails: list[bytes]) -> None:
    """Deliver all mails over `CONNECTIONS` connections at once; returns when each has its 250."""
    await asyncio.gather(*(_one_connection(port, mails[part::CONNECTIONS]) for part in range(CONNECTIONS)))


async def _one_connection(port: int, mails: list[bytes]) -> None:
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
    await writer.drain()
    writer.close()
