"""The mailbox against a real Dovecot, and against servers that break."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from okienko.connectors.email import imap
from okienko.connectors.email.imap import Mailbox
from okienko.connectors.email.imapthread import run_mailbox
from okienko.connectors.email.settings import EmailSettings
from okienko.plugins.errors import TooLargeError, TransientError
from okienko.plugins.ports import RawItem, Severity
from rigs.dovecot import PASSWORD, USER, Dovecot, dovecot


class Intake:
    """Keeps what it is given; `fault` decides what is raised instead."""

    def __init__(self) -> None:
        self.items: list[tuple[str | None, bytes]] = []
        self.tries = 0
        self.fault: Callable[[bytes], Exception | None] = lambda _: None
        self.changed = asyncio.Event()

    async def accept(self, item: RawItem) -> UUID:
        data = item.raw.read()
        self.tries += 1
        self.changed.set()
        if error := self.fault(data):
            raise error
        self.items.append((item.external_id, data))
        return uuid4()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until something is true that becomes so by mails."""
        async with asyncio.timeout(20):
            while not done():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Dovecot]:
    with dovecot() as running:
        yield running


@pytest.fixture
def server(shared_server: Dovecot) -> Dovecot:
    """The server with empty folders."""
    with shared_server.client() as client:
        for folder in ("INBOX", "Processed", "Failed"):
            status, data = client.select(folder)
            if status == "OK" and data[0] != b"0":
                client.store("1:*", "+FLAGS", "\\Deleted")
                client.expunge()
    return shared_server


@pytest.fixture
def intake() -> Intake:
    return Intake()


def settings_for(server: Dovecot, **more: object) -> EmailSettings:
    given: dict[str, object] = {
        "imap_host": "localhost",
        "imap_port": server.imaps,
        "imap_ca": server.ca,
        "imap_user": USER,
        "imap_password": PASSWORD,
    }
    return EmailSettings(**(given | more))


@asynccontextmanager
async def reading(settings: EmailSettings, intake: Intake, spool: Path) -> AsyncIterator[None]:
    task = asyncio.create_task(run_mailbox(settings, intake, spool))
    try:
        yield
    finally:
        task.cancel()
        # Every wait can be interrupted: the task ends long before any time limit of a wait.
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for thread in [t for t in threading.enumerate() if t.name == "okienko-imap"]:
            await asyncio.to_thread(thread.join, 1)
            assert not thread.is_alive()


async def count_becomes(server: Dovecot, folder: str, number: int) -> None:
    async with asyncio.timeout(20):
        while await asyncio.to_thread(server.count, folder) != number:  # noqa: ASYNC110  it changes in another process
            await asyncio.sleep(0.05)


@pytest.mark.needs_dovecot
async def test_catch_up_and_idle(server: Dovecot, intake: Intake, tmp_path: Path) -> None:
    """What lay there comes first, what arrives during IDLE follows, each once, and all lie in Processed in the end."""
    for number in range(60):
        server.append(b"Subject: %d\r\n\r\nx\r\n" % number)
    async with reading(settings_for(server), intake, tmp_path):
        await intake.until(lambda: len(intake.items) == 60)
        await count_becomes(server, "Processed", 60)
        await asyncio.to_thread(server.append, b"Subject: pushed\r\n\r\nx\r\n")
        await intake.until(lambda: len(intake.items) == 61)
        await count_becomes(server, "Processed", 61)
    assert len({external for external, _ in intake.items}) == 61
    assert intake.items[-1][1] == b"Subject: pushed\r\n\r\nx\r\n"
    assert server.count("INBOX") == 0


@pytest.mark.needs_dovecot
@pytest.mark.parametrize("tls", ["starttls", "none"])
async def test_other_transports(server: Dovecot, intake: Intake, tmp_path: Path, tls: str) -> None:
    """STARTTLS, and plain text on this machine."""
    server.append(b"Subject: x\r\n\r\nx\r\n")
    async with reading(settings_for(server, imap_tls=tls, imap_port=server.imap), intake, tmp_path):
        await count_becomes(server, "Processed", 1)


@pytest.mark.needs_dovecot
async def test_large_mail_in_pieces(server: Dovecot, intake: Intake, tmp_path: Path) -> None:
    """A mail of several pieces is the same octets, and its file is gone afterwards."""
    mail = b"Subject: large\r\n\r\n" + os.urandom(64).hex().encode() * 50_000 + b"\r\n"
    server.append(mail)
    async with reading(settings_for(server), intake, tmp_path):
        await count_becomes(server, "Processed", 1)
    assert intake.items[0][1] == mail
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240  one look at a local folder


@pytest.mark.needs_dovecot
async def test_poison_and_transient(server: Dovecot, intake: Intake, tmp_path: Path) -> None:
    """One that can never be stored goes to Failed, one that cannot now stays and is tried again, the rest goes on."""
    times: list[bytes] = []

    def fault(data: bytes) -> Exception | None:
        times.append(data)
        if b"poison" in data:
            return TooLargeError("no")
        if b"later" in data and times.count(data) < 3:
            return TransientError("not now")
        if b"odd" in data and times.count(data) < 2:
            return RuntimeError("a bug")
        return None

    intake.fault = fault
    for subject in (b"poison", b"later", b"odd", b"good"):
        server.append(b"Subject: %s\r\n\r\nx\r\n" % subject)
    server.append(b"Subject: over the limit\r\n\r\n" + b"x" * 2000)
    async with reading(settings_for(server, max_size=1000), intake, tmp_path):
        await count_becomes(server, "Failed", 2)
        await count_becomes(server, "Processed", 3)
    assert server.count("INBOX") == 0


@pytest.mark.needs_dovecot
async def test_a_folder_made_anew(server: Dovecot, intake: Intake, tmp_path: Path) -> None:
    """Under another UIDVALIDITY the same UID is another mail, even when the folder goes away under our eyes.

    Dovecot goes on showing the old one, in IDLE and after it; selecting it again is what tells.
    """
    with server.client() as client:
        client.create("Desk")
        client.append("Desk", "", None, b"Subject: one\r\n\r\nx\r\n")
    async with reading(settings_for(server, imap_folder="Desk", imap_idle_seconds=0.5), intake, tmp_path):
        await intake.until(lambda: len(intake.items) == 1)
        await count_becomes(server, "Processed", 1)
        with server.client() as client:
            client.delete("Desk")
            client.create("Desk")
            client.append("Desk", "", None, b"Subject: two\r\n\r\nx\r\n")
        await intake.until(lambda: len(intake.items) == 2)
        await count_becomes(server, "Processed", 2)
    (first, _), (second, data) = intake.items
    assert first
    assert second
    assert first != second
    assert b"two" in data
    with server.client() as client:
        client.delete("Desk")


def test_a_server_that_tells_no_size_is_not_asked_again_at_once(tmp_path: Path) -> None:
    """The mail waits with a pause; nothing is fetched, nothing spins."""

    class Mute:
        asked = 0

        def uids(self) -> list[int]:
            return [7]

        def sizes(self, uids: list[int]) -> dict[int, int]:
            self.asked += 1
            return {}

        def bodies(self, uids: list[int]) -> dict[int, bytes]:
            return {}

        def move(self, uids: list[int], folder: str) -> None:
            assert uids == []

    settings = EmailSettings(imap_host="localhost", imap_user="u", imap_password="p")
    mailbox, server = Mailbox(settings, lambda _: [], tmp_path), Mute()
    try:
        mailbox._take_in(server)  # type: ignore[arg-type]  # a double
        assert not mailbox._take_in(server)  # type: ignore[arg-type]  # a double
        assert server.asked == 1
        assert mailbox._until_due()
    finally:
        mailbox._stop.close()


@pytest.mark.needs_dovecot
async def test_crash_before_move(
    server: Dovecot, intake: Intake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the connection dies between storing and moving, the mail comes again under the same external id."""
    broken: list[int] = []
    move = imap.Connection.move

    def failing(self: imap.Connection, uids: list[int], folder: str) -> None:
        if uids and not broken:
            broken.append(1)
            raise ConnectionResetError("gone")
        move(self, uids, folder)

    monkeypatch.setattr(imap.Connection, "move", failing)
    server.append(b"Subject: x\r\n\r\nx\r\n")
    async with reading(settings_for(server), intake, tmp_path):
        await count_becomes(server, "Processed", 1)
    assert len(intake.items) == 2
    assert intake.items[0] == intake.items[1]


@pytest.mark.needs_dovecot
async def test_server_without_move_and_idle(intake: Intake, tmp_path: Path) -> None:
    """Copied and expunged, and polled."""
    with dovecot("IMAP4rev1 LITERAL+ UIDPLUS") as server:
        server.append(b"Subject: one\r\n\r\nx\r\n")
        async with reading(settings_for(server, imap_poll_seconds=0.1), intake, tmp_path):
            await count_becomes(server, "Processed", 1)
            await asyncio.to_thread(server.append, b"Subject: two\r\n\r\nx\r\n")
            await count_becomes(server, "Processed", 2)
        assert server.count("INBOX") == 0


@pytest.mark.needs_dovecot
def test_check(server: Dovecot, tmp_path: Path) -> None:
    """What `okienko check` says of a good mailbox and of wrong settings."""

    def check(**more: object) -> tuple[Severity, str]:
        finding = Mailbox(settings_for(server, **more), lambda _: [], tmp_path).check()
        assert finding.severity is Severity.OK or finding.cure
        return finding.severity, finding.message

    server.append(b"Subject: x\r\n\r\nx\r\n")
    assert check()[0] is Severity.OK
    assert "1 mails wait" in check()[1]
    for wrong, word in (
        ({"imap_password": "wrong-one"}, "refused the login"),
        ({"imap_folder": "Nowhere"}, "Nowhere"),
        ({"imap_ca": None}, "not trusted"),
        ({"imap_ca": tmp_path / "none"}, "OKIENKO_EMAIL_IMAP_CA"),
        ({"imap_token_file": tmp_path / "none"}, "no token"),
    ):
        severity, message = check(**wrong)
        assert severity is Severity.ERROR
        assert word in message
        assert "wrong-one" not in message


class BreakingServer:
    """Speaks enough IMAP to get to IDLE and closes there, silently or with BYE."""

    def __init__(self, last_words: bytes) -> None:
        self._last_words = last_words
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.idles: list[float] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        client.sendall(b"* OK [CAPABILITY IMAP4rev1 IDLE MOVE] ready\r\n")
        with client.makefile("rb") as lines:
            for line in lines:
                tag, verb, *_ = line.split()
                if verb == b"IDLE":
                    self.idles.append(time.monotonic())
                    client.sendall(b"+ idling\r\n" + self._last_words)
                    return
                extra = {
                    b"CAPABILITY": b"* CAPABILITY IMAP4rev1 IDLE MOVE\r\n",
                    b"LIST": b'* LIST () "/" any\r\n',
                    b"SELECT": b"* 0 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n",
                    b"UID": b"* SEARCH\r\n",
                }.get(verb, b"")
                client.sendall(extra + tag + b" OK done\r\n")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.mark.parametrize("last_words", [b"", b"* BYE overloaded\r\n"])
async def test_connection_dies_in_idle(intake: Intake, tmp_path: Path, last_words: bytes) -> None:
    """It is noticed at once, the connection is made again, and nothing spins."""
    server = BreakingServer(last_words)
    settings = EmailSettings(
        imap_host="127.0.0.1", imap_port=server.port, imap_tls="none", imap_user="u", imap_password="p"
    )
    try:
        async with reading(settings, intake, tmp_path), asyncio.timeout(20):
            while len(server.idles) < 3:  # noqa: ASYNC110  the double lives in a thread
                await asyncio.sleep(0.01)
    finally:
        await asyncio.to_thread(server.close)
    gaps = [after - before for before, after in zip(server.idles, server.idles[1:], strict=False)]
    assert min(gaps) >= 0.1


async def test_unreachable_stops_at_once(intake: Intake, tmp_path: Path) -> None:
    """A server that is not there is tried again without end, and a stop does not wait for the pause."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    settings = EmailSettings(imap_host="127.0.0.1", imap_port=port, imap_tls="none", imap_user="u", imap_password="p")
    async with reading(settings, intake, tmp_path):
        await asyncio.sleep(0.2)
    assert intake.items == []
