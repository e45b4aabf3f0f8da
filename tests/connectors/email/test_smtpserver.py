"""The LMTP and SMTP listeners, by clients that are not ours: smtplib and bare sockets in threads."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from okienko.connectors.email.datasink import DataSink
from okienko.connectors.email.settings import EmailSettings
from okienko.connectors.email.smtpserver import Listener
from okienko.plugins.errors import TooLargeError, TransientError
from okienko.plugins.ports import RawItem

MAIL = b"From: Jan <jan@example.org>\r\nSubject: test\r\n\r\nline\r\n.dot\r\n..two\r\n"
HEAD = b"MAIL FROM:<jan@example.org>\r\nRCPT TO:<desk@example.org>\r\nDATA\r\n"


class Intake:
    """Keeps what it is given; `fault` is raised instead, `hold` waits until told."""

    def __init__(self) -> None:
        self.items: list[tuple[RawItem, bytes]] = []
        self.paths: list[Path | None] = []
        self.fault: Callable[[RawItem], Exception | None] = lambda _: None
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()

    async def accept(self, item: RawItem) -> UUID:
        self.entered.set()
        await self.release.wait()
        if error := self.fault(item):
            raise error
        self.items.append((item, item.raw.read()))
        self.paths.append(item.raw.path)
        return uuid4()


class Wire:
    """A bare client."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.file = self.socket.makefile("rb")

    def reply(self) -> str:
        while (line := self.file.readline())[3:4] == b"-":
            pass
        return line.decode().rstrip()

    def say(self, *lines: bytes) -> list[str]:
        """Send all the lines at once, then read an answer to each."""
        self.socket.sendall(b"".join(line + b"\r\n" for line in lines))
        return [self.reply() for _ in lines]

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@asynccontextmanager
async def listening(intake: Intake, spool: Path, *, lmtp: bool = True, **settings: object) -> AsyncIterator[Listener]:
    listener = Listener("127.0.0.1:0", intake.accept, EmailSettings(**settings), spool, lmtp=lmtp)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


Talk = Callable[..., Awaitable[None]]


@pytest.fixture
def intake() -> Intake:
    return Intake()


@pytest.fixture
def talk(intake: Intake, tmp_path: Path) -> Talk:
    """Runs a conversation against a fresh listener in a thread."""

    async def run(conversation: Callable[[Wire], None], *, lmtp: bool = True, **settings: object) -> None:
        async with listening(intake, tmp_path / "spool", lmtp=lmtp, **settings) as listener:

            def body() -> None:
                wire = Wire(listener.address)
                try:
                    assert wire.reply().startswith("220 ")
                    assert wire.say(b"LHLO me" if lmtp else b"EHLO me")[0].startswith("250 ")
                    conversation(wire)
                finally:
                    wire.close()

            await asyncio.to_thread(body)

    return run


async def test_smtplib_lmtp(intake: Intake, tmp_path: Path) -> None:
    """The standard library's own client delivers; leading dots survive; the envelope comes along."""
    async with listening(intake, tmp_path) as listener:
        host, _, port = listener.address.rpartition(":")

        def client() -> None:
            with smtplib.LMTP(host, int(port)) as lmtp:
                lmtp.sendmail("jan@example.org", ["desk@example.org"], MAIL, mail_options=["BODY=8BITMIME"])
                lmtp.sendmail("", ["desk@example.org"], MAIL)

        await asyncio.to_thread(client)
    (first, data), (second, report) = intake.items
    assert data == b"Return-Path: <jan@example.org>\r\n" + MAIL
    assert (first.mail_from, first.rcpt_to, first.source) == ("jan@example.org", ("desk@example.org",), "lmtp")
    assert second.mail_from == ""
    assert report.startswith(b"Return-Path: <>\r\n")


async def test_pipelining(intake: Intake, talk: Talk) -> None:
    """Two whole transactions in one packet (RFC 2920): answers in order, one accept after the other."""

    def conversation(wire: Wire) -> None:
        wire.socket.sendall((HEAD + MAIL.replace(b"\r\n.", b"\r\n..") + b".\r\n") * 2 + b"QUIT\r\n")
        codes = [wire.reply()[:3] for _ in range(9)]
        assert codes == ["250", "250", "354", "250"] * 2 + ["221"]
        assert wire.file.read() == b""

    await talk(conversation)
    assert [data for _, data in intake.items] == [b"Return-Path: <jan@example.org>\r\n" + MAIL] * 2


async def test_half_close(intake: Intake, talk: Talk) -> None:
    """A client that closes its side after the dot still hears the answer."""

    def conversation(wire: Wire) -> None:
        wire.socket.sendall(HEAD + b"x\r\n.\r\nQUIT\r\n")
        wire.socket.shutdown(socket.SHUT_WR)
        assert [wire.reply()[:3] for _ in range(5)] == ["250", "250", "354", "250", "221"]

    await talk(conversation)
    assert len(intake.items) == 1


LINES = st.lists(st.sampled_from([b"", b".", b"..", b".x", b"x", b"x.\rx", b"\n.\n", b"\r", b"a\n.\nb"]), max_size=8)


@given(LINES, st.lists(st.integers(1, 9), max_size=30))
@example([b"."], [1] * 30)
@example([], [1])
def test_any_chunks(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cuts: list[int]) -> None:
    """However the network cuts it, the message is the one that was stuffed, and what follows is left alone."""
    message = b"".join(line + b"\r\n" for line in lines if line != b"\r")
    stuffed = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\nQUIT\r\n"
    sink = DataSink("", limit=1 << 20, threshold=1 << 20, spool=tmp_path_factory.getbasetemp())
    buffer = bytearray()
    done = False
    while stuffed and not done:
        cut = cuts.pop() if cuts else 1000
        buffer += stuffed[:cut]
        stuffed = stuffed[cut:]
        done = sink.feed(buffer)
    assert done
    assert sink.content().read() == b"Return-Path: <>\r\n" + message
    assert bytes(buffer) + stuffed == b"QUIT\r\n"


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r\n\x00.\r\n"])
async def test_no_smuggling(intake: Intake, talk: Talk, end: bytes) -> None:
    """Only CRLF.CRLF ends a mail: the second one hidden behind another end is text of the first."""
    hidden = b"MAIL FROM:<boss@example.org>\r\nRCPT TO:<desk@example.org>\r\nDATA\r\nSubject: fake\r\n\r\nx"

    def conversation(wire: Wire) -> None:
        wire.socket.sendall(HEAD + b"Subject: real\r\n\r\nx" + end + hidden + b"\r\n.\r\n")
        assert [wire.reply()[:3] for _ in range(4)] == ["250", "250", "354", "250"]
        assert wire.say(b"NOOP")[0].startswith("250")

    await talk(conversation)
    assert len(intake.items) == 1
    assert b"Subject: fake" in intake.items[0][1]


async def test_size(intake: Intake, talk: Talk) -> None:
    """An announced size is refused at MAIL; an unannounced one is read to its end and refused; the session goes on."""

    def conversation(wire: Wire) -> None:
        assert wire.say(b"MAIL FROM:<a@example.org> SIZE=2001")[0].startswith("552 5.3.4")
        assert [r[:3] for r in wire.say(*HEAD.splitlines())] == ["250", "250", "354"]
        wire.socket.sendall(b"x" * 70 + b"\r\n")
        for _ in range(3000):
            wire.socket.sendall(b"x" * 70 + b"\r\n")
        assert wire.say(b".")[0].startswith("552 5.3.4")
        assert [r[:3] for r in wire.say(*HEAD.splitlines())] == ["250", "250", "354"]
        assert wire.say(b"small\r\n.")[0].startswith("250 2.6.0")

    await talk(conversation, max_size=2000, spool_threshold=500)
    assert [data for _, data in intake.items] == [b"Return-Path: <jan@example.org>\r\nsmall\r\n"]


async def test_spool(intake: Intake, talk: Talk, tmp_path: Path) -> None:
    """A large mail comes in a file, whole, and the file is gone afterwards."""
    body = b"".join(b"%08d ordinary line\r\n.%d\r\n" % (n, n) for n in range(20000))

    def conversation(wire: Wire) -> None:
        wire.say(*HEAD.splitlines())
        wire.socket.sendall(body.replace(b"\r\n.", b"\r\n.."))
        assert wire.say(b".")[0].startswith("250 2.6.0")

    await talk(conversation, spool_threshold=1000)
    assert intake.items[0][1] == b"Return-Path: <jan@example.org>\r\n" + body
    assert intake.paths[0] is not None
    assert list((tmp_path / "spool").iterdir()) == []


async def test_spool_is_left_clean_by_who_hangs_up(intake: Intake, tmp_path: Path) -> None:
    """A connection lost in the middle of a large mail leaves no file and no envelope."""
    async with listening(intake, tmp_path / "spool", spool_threshold=10) as listener:
        reader, writer = await asyncio.open_connection(*listener.address.split(":"))
        await reader.readline()
        writer.write(b"LHLO me\r\n" + HEAD + b"x" * 5000)
        async with asyncio.timeout(10):
            while not (await reader.readline()).startswith(b"354"):
                pass
            while not list((tmp_path / "spool").glob("*")):  # noqa: ASYNC110  a folder has no event to wait for
                await asyncio.sleep(0.01)
            writer.transport.abort()
            while list((tmp_path / "spool").glob("*")):  # noqa: ASYNC110  as above
                await asyncio.sleep(0.01)
    assert intake.items == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (TransientError("postgres at 10.0.0.7 is gone"), "451 4.3.0"),
        (RuntimeError("secret detail"), "451 4.3.0"),
        (TooLargeError("big"), "552 5.3.4"),
    ],
)
async def test_faults_per_recipient(intake: Intake, talk: Talk, fault: Exception, code: str) -> None:
    """LMTP answers for each recipient by its mailbox, and no answer tells why."""
    intake.fault = lambda item: fault if item.mailbox == "bad" else None

    def conversation(wire: Wire) -> None:
        commands = [b"MAIL FROM:<>", b"RCPT TO:<a@x.pl>", b"RCPT TO:<B@x.pl>", b"RCPT TO:<c@x.pl>", b"DATA"]
        assert [r[:3] for r in wire.say(*commands)] == ["250", "250", "250", "250", "354"]
        wire.socket.sendall(b"x\r\n.\r\n")
        replies = [wire.reply() for _ in range(3)]
        assert [r[:9] for r in replies] == ["250 2.6.0", code, "250 2.6.0"]
        assert "postgres" not in str(replies)
        assert "secret" not in str(replies)

    await talk(conversation, mailboxes={"a@x.pl": "good", "b@X.pl": "bad", "c@x.pl": "good"})
    assert [(item.mailbox, item.rcpt_to) for item, _ in intake.items] == [("good", ("a@x.pl", "c@x.pl"))]


async def test_smtp_answers_once(intake: Intake, talk: Talk) -> None:
    """In SMTP one mailbox that failed for now makes the client come again."""
    intake.fault = lambda item: TransientError("no") if item.mailbox == "bad" else None

    def conversation(wire: Wire) -> None:
        assert wire.say(b"LHLO me")[0].startswith("500")
        wire.say(b"MAIL FROM:<>", b"RCPT TO:<a@x.pl>", b"RCPT TO:<b@x.pl>", b"DATA")
        assert wire.say(b"x\r\n.")[0].startswith("451 4.3.0")
        assert wire.say(b"NOOP")[0] == "250 2.0.0 OK"

    await talk(conversation, lmtp=False, mailboxes={"a@x.pl": "good", "b@x.pl": "bad"})


async def test_accept_time_limit(intake: Intake, talk: Talk) -> None:
    """A store that hangs is a store that cannot take it now."""
    intake.release.clear()

    def conversation(wire: Wire) -> None:
        wire.say(*HEAD.splitlines())
        assert wire.say(b"x\r\n.")[0].startswith("451 4.3.0")

    await talk(conversation, accept_timeout=0.05)


async def test_commands(intake: Intake, talk: Talk) -> None:
    """Sequence, syntax and limits."""

    def conversation(wire: Wire) -> None:
        for command, code in (
            (b"EHLO me", "500"),
            (b"LHLO", "501"),
            (b"RCPT TO:<a@x.pl>", "503 5.5.1"),
            (b"DATA", "503 5.5.1"),
            (b"MAIL FROM:a@x.pl", "501 5.5.4"),
            (b"MAIL FROM:<a@x.pl> AUTH=<>", "555 5.5.4"),
            (b"MAIL FROM:<a\x01@x.pl>", "501"),
            (b"mail from: <\"a b\"@x.pl> BODY=8BITMIME SMTPUTF8 SIZE=10", "250"),
            (b"MAIL FROM:<b@x.pl>", "503"),
            (b"DATA", "503 5.5.1"),
            (b"RCPT TO:<>", "501"),
            (b"RCPT TO:<nobody@x.pl>", "550 5.1.1"),
            (b"RCPT TO:<@relay:\xc5\xbc@x.pl>", "250"),
            (b"RCPT TO:<a@x.pl>", "250"),
            (b"RCPT TO:<a@x.pl>", "452 4.5.3"),
            (b"RSET", "250"),
            (b"DATA", "503"),
            (b"VRFY a", "252"),
            (b"STARTTLS", "500"),
            (b"NOOP", "250"),
            (b"NO\rOP", "500 5.5.2"),
        ):  # fmt: skip
            assert wire.say(command)[0].startswith(code), command
        wire.socket.sendall(b"NOOP\n")
        assert wire.reply().startswith("500 5.5.2")
        wire.socket.sendall(b"N" * 5000)
        assert wire.reply().startswith("500 5.5.6")

    await talk(conversation, mailboxes={"ż@x.pl": "d", "a@x.pl": "d"}, max_recipients=2)


async def test_bad_commands_and_silence(talk: Talk) -> None:
    """Nonsense and silence both end in 421."""

    def nonsense(wire: Wire) -> None:
        assert wire.say(b"X", b"X", b"X")[2].startswith("500")
        assert wire.reply().startswith("421 4.7.0")

    def silence(wire: Wire) -> None:
        assert wire.reply().startswith("421 4.4.2")

    await talk(nonsense, max_bad_commands=2)
    await talk(silence, idle_timeout=0.1)


async def test_a_message_that_drips_for_ever(intake: Intake, talk: Talk) -> None:
    """Each octet is in time, the whole is not: the place is wanted back."""

    def drip(wire: Wire) -> None:
        assert wire.say(b"LHLO x")[0].startswith("250")
        wire.say(*HEAD.split(b"\r\n")[:3])
        wire.socket.settimeout(0.02)
        heard = b""
        for _ in range(500):
            wire.socket.sendall(b"x")
            try:
                heard = wire.socket.recv(100)
                break
            except TimeoutError:
                continue
        assert heard.startswith(b"421 4.4.2")

    await talk(drip, idle_timeout=0.3, message_timeout=0.5)
    assert intake.items == []


async def test_connection_limit(intake: Intake, tmp_path: Path) -> None:
    """The one too many is told to come later; a place that gets free is given again."""
    async with listening(intake, tmp_path, max_connections=1) as listener:

        def client() -> None:
            first = Wire(listener.address)
            assert first.reply().startswith("220")
            second = Wire(listener.address)
            assert second.reply().startswith("421 4.3.2")
            second.close()
            assert first.say(b"QUIT")[0].startswith("221")
            first.file.read()
            first.close()
            third = Wire(listener.address)
            assert third.reply().startswith("220")
            third.close()

        await asyncio.to_thread(client)


async def test_stop_lets_a_transaction_end(intake: Intake, tmp_path: Path) -> None:
    """What is being stored is stored and answered; who is idle hears 421."""
    intake.release.clear()
    listener = Listener("127.0.0.1:0", intake.accept, EmailSettings(), tmp_path, lmtp=True)
    await listener.start()
    busy, idle = await asyncio.to_thread(Wire, listener.address), await asyncio.to_thread(Wire, listener.address)
    assert (await asyncio.to_thread(idle.reply)).startswith("220")
    busy.socket.sendall(b"LHLO me\r\n" + HEAD + b"x\r\n.\r\n")
    await asyncio.wait_for(intake.entered.wait(), 10)
    stopping = asyncio.create_task(listener.stop())
    assert (await asyncio.to_thread(idle.reply)).startswith("421 4.3.2")
    intake.release.set()
    await stopping
    replies = [await asyncio.to_thread(busy.reply) for _ in range(7)]
    assert [r[:3] for r in replies] == ["220", "250", "250", "250", "354", "250", "421"]
    assert len(intake.items) == 1
    busy.close()
    idle.close()


async def test_backpressure(intake: Intake, tmp_path: Path) -> None:
    """While a transaction is stored its client cannot fill our memory; afterwards everything is answered."""
    intake.release.clear()
    async with listening(intake, tmp_path) as listener:
        reader, writer = await asyncio.open_connection(*listener.address.split(":"))
        writer.write(b"LHLO me\r\n" + HEAD + b"x\r\n.\r\n")
        await asyncio.wait_for(intake.entered.wait(), 10)
        writer.write(b"NOOP\r\n" * 4_000_000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.drain(), 0.5)
        assert listener._desk is not None
        (session,) = listener._desk.sessions
        assert len(session._buffer) < 2 << 20
        intake.release.set()
        async with asyncio.timeout(30):
            while not (await reader.readline()).startswith(b"250 2.6.0"):
                pass
        writer.transport.abort()


async def test_unix_socket(intake: Intake, tmp_path: Path) -> None:
    """A socket in the file system, removed at the end."""
    path = tmp_path / "lmtp"
    listener = Listener(f"unix:{path}", intake.accept, EmailSettings(), tmp_path / "spool", lmtp=True)
    await listener.start()

    def client() -> None:
        with smtplib.LMTP(str(path)) as lmtp:
            lmtp.sendmail("a@x.pl", ["b@x.pl"], MAIL)

    await asyncio.to_thread(client)
    await listener.stop()
    assert len(intake.items) == 1
    assert not path.exists()


async def test_starttls(intake: Intake, tmp_path: Path) -> None:
    """smtplib upgrades; what is injected before the handshake is forgotten (RFC 3207, section 6)."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    context = ssl.create_default_context(cafile=str(cert))
    async with listening(intake, tmp_path, lmtp=False, smtp_tls_cert=cert, smtp_tls_key=key) as listener:
        host, _, port = listener.address.rpartition(":")

        def client() -> None:
            with smtplib.SMTP(host, int(port), local_hostname="me") as smtp:
                smtp._host = "localhost"  # type: ignore[attr-defined]
                smtp.starttls(context=context)
                smtp.sendmail("a@x.pl", ["b@x.pl"], MAIL)
                assert not smtp.has_extn("starttls")

        def injector() -> None:
            wire = Wire(listener.address)
            wire.reply()
            wire.say(b"EHLO me")
            wire.socket.sendall(b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@x.pl>\r\n")
            assert wire.reply().startswith("220 2.0.0")
            with context.wrap_socket(wire.socket, server_hostname="localhost") as secured:
                secured.sendall(b"NOOP\r\n")
                assert secured.recv(100) == b"250 2.0.0 OK\r\n"
                secured.sendall(b"MAIL FROM:<a@x.pl>\r\n")
                assert secured.recv(100).startswith(b"503")
            wire.close()

        await asyncio.to_thread(client)
        await asyncio.to_thread(injector)
    assert len(intake.items) == 1


async def test_forged_return_path(intake: Intake, talk: Talk) -> None:
    """The envelope's sender stands on top, whatever the message says of itself."""

    def conversation(wire: Wire) -> None:
        for front in (b"Return-Path: <>", b"return-path: <jan@example.org>"):
            wire.say(*HEAD.splitlines())
            wire.say(front + b"\r\nSubject: x\r\n\r\n.")

    await talk(conversation)
    assert intake.items[0][1].startswith(b"Return-Path: <jan@example.org>\r\nReturn-Path: <>\r\n")
    assert intake.items[1][1].startswith(b"return-path: <jan@example.org>\r\nSubject")
