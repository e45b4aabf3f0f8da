"""An SMTP relay that keeps what it gets: aiosmtpd, which is not ours, on a port that can be closed and opened again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from socket import create_server

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class Sink:
    """`mails` are those acknowledged, in order. `open` and `close` as the relay comes and goes."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        with create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._controller: Controller | None = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd's name
        """Keep the mail."""
        assert isinstance(envelope.content, bytes)
        self.mails.append(envelope.content)
        return "250 2.0.0 OK"

    def open(self) -> None:
        """Listen."""
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ident="sink")
        self._controller.start()

    def close(self) -> None:
        """Listen no more."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None


@contextmanager
def smtp_sink(*, opened: bool = True) -> Iterator[Sink]:
    """A relay; `opened` False: it is down until `open`."""
    sink = Sink()
    if opened:
        sink.open()
    try:
        yield sink
    finally:
        sink.close()
