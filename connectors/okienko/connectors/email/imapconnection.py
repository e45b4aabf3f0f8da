"""One IMAP connection: the commands that a Mailbox needs, and a wait that neither spins nor sleeps through the end."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from types import TracebackType
from typing import Any

import imapclient
from imapclient.exceptions import IMAPClientError, LoginError

from okienko.connectors.email.settings import EmailSettings
from okienko.plugins.errors import MisconfiguredError

BROKEN = (IMAPClientError, OSError, EOFError)
"""What IMAPClient raises when a command or the connection fails."""


class StopSignal:
    """An event that also wakes a thread which waits for a socket."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reader, self._writer = socket.socketpair()

    def set(self) -> None:
        """Stop."""
        self._event.set()
        with contextlib.suppress(OSError):  # the thread has ended and closed it
            self._writer.send(b"x")

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than until the stop."""
        self._event.wait(seconds)

    def wait_for(self, other: socket.socket, seconds: float) -> None:
        """Until the socket has something to read, the stop, or the time limit."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ)
            selector.register(other, selectors.EVENT_READ)
            selector.select(seconds)

    def close(self) -> None:
        """Free the sockets."""
        self._reader.close()
        self._writer.close()


class Connection:
    """A logged-in connection, made on entering and closed on leaving."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._client: Any = None

    def __enter__(self) -> Connection:
        s = self._settings
        try:
            context = ssl.create_default_context(cafile=str(s.imap_ca) if s.imap_ca else None)
        except OSError as error:
            raise MisconfiguredError(f"OKIENKO_EMAIL_IMAP_CA cannot be read: {error.strerror or error}") from None
        implicit = s.imap_tls == "tls"
        try:
            self._client = imapclient.IMAPClient(
                s.imap_host,
                s.imap_port,
                ssl=implicit,
                ssl_context=context if implicit else None,
                timeout=s.imap_timeout,
            )
            if s.imap_tls == "starttls":
                self._client.starttls(context)
            self._login()
        except ssl.SSLCertVerificationError as error:
            self._shutdown()
            raise MisconfiguredError(
                f"{s.imap_host} shows a certificate that is not trusted ({error.verify_message}): "
                "set OKIENKO_EMAIL_IMAP_CA or OKIENKO_EMAIL_IMAP_HOST"
            ) from None
        except BaseException:
            self._shutdown()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            with contextlib.suppress(*BROKEN):
                self._client.logout()
                return
        self._shutdown()

    def _login(self) -> None:
        s = self._settings
        try:
            if s.imap_token_file is not None:
                try:
                    token = s.imap_token_file.read_text(encoding="ascii").strip()
                except (OSError, UnicodeDecodeError):
                    raise MisconfiguredError(
                        f"OKIENKO_EMAIL_IMAP_TOKEN_FILE: no token can be read from {s.imap_token_file}"
                    ) from None
                self._client.oauth2_login(s.imap_user, token)
            else:
                self._client.login(s.imap_user, s.imap_password.get_secret_value() if s.imap_password else "")
        except LoginError:
            # What the server says may repeat what we sent.
            raise MisconfiguredError(
                f"{s.imap_host} refused the login {s.imap_user}: check the password or token; it is tried again"
            ) from None

    def _shutdown(self) -> None:
        if self._client is not None:
            with contextlib.suppress(*BROKEN):
                self._client.shutdown()

    def count(self, folder: str) -> int:
        """How many mails lie in the folder."""
        return int(self._client.folder_status(folder, ["MESSAGES"])[b"MESSAGES"])

    def open(self) -> int:
        """Make the two folders that mails move to, select the one that is read; its UIDVALIDITY."""
        for folder in (self._settings.imap_processed, self._settings.imap_failed):
            if not self._client.folder_exists(folder):
                self._client.create_folder(folder)
        return self.select()

    def select(self) -> int:
        """Select the folder that is read; its UIDVALIDITY. Raises when it is not there."""
        return int(self._client.select_folder(self._settings.imap_folder)[b"UIDVALIDITY"])

    def uids(self) -> list[int]:
        """All mails of the folder, oldest first."""
        return sorted(self._client.search(["NOT", "DELETED"]))

    def sizes(self, uids: list[int]) -> dict[int, int]:
        """Octets of each mail that is still there."""
        answer = self._client.fetch(uids, ["RFC822.SIZE"])
        return {uid: int(answer[uid][b"RFC822.SIZE"]) for uid in uids if b"RFC822.SIZE" in answer.get(uid, {})}

    def bodies(self, uids: list[int]) -> dict[int, bytes]:
        """The mails whole, without marking them as seen."""
        if not uids:
            return {}
        answer = self._client.fetch(uids, ["BODY.PEEK[]"])
        return {uid: answer[uid][b"BODY[]"] for uid in uids if answer.get(uid, {}).get(b"BODY[]") is not None}

    def piece(self, uid: int, offset: int, size: int) -> bytes:
        """A part of a mail (RFC 3501, section 6.4.5), empty after its end."""
        answer = self._client.fetch([uid], [f"BODY.PEEK[]<{offset}.{size}>"]).get(uid, {})
        return next((value or b"" for key, value in answer.items() if key.startswith(b"BODY[]")), b"")

    def move(self, uids: list[int], folder: str) -> None:
        """Move (RFC 6851), or copy and delete where the server cannot; never expunge what somebody else deleted."""
        if not uids:
            return
        if self._client.has_capability("MOVE"):
            self._client.move(uids, folder)
            return
        self._client.copy(uids, folder)
        self._client.delete_messages(uids)
        if self._client.has_capability("UIDPLUS"):
            self._client.uid_expunge(uids)

    def wait(self, stop: StopSignal, seconds: float | None) -> None:
        """Until something may have come, at most `seconds`. Looking again is cheap; missing a dead connection is not.

        IMAPClient's idle_check answers at once and for ever when the server closed silently, and only idle_done raises.
        So the socket is watched here, one IDLE is always ended by its DONE, and NOOP shows whether anybody is there.
        """
        s = self._settings
        if not self._client.has_capability("IDLE"):
            stop.wait(s.imap_poll_seconds if seconds is None else min(seconds, s.imap_poll_seconds))
            self._client.noop()
            return
        limit = s.imap_idle_seconds if seconds is None else min(seconds, s.imap_idle_seconds)
        self._client.idle()
        if not self._has_read_ahead():
            stop.wait_for(self._client.socket(), limit)
        self._client.idle_done()
        if not stop.is_set():
            self._client.noop()

    def _has_read_ahead(self) -> bool:
        """Whether news came in the same packet as the answer to IDLE: the socket itself would not show it any more."""
        # imaplib keeps its buffered reader in `file`, from Python 3.14 on in `_file`.
        imap = self._client._imap  # noqa: SLF001  IMAPClient has no public way to it
        reader = vars(imap).get("_file") or vars(imap).get("file")
        if reader is None:
            return False
        connection = self._client.socket()
        timeout = connection.gettimeout()
        connection.setblocking(False)
        try:
            return bool(reader.peek(1))
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        finally:
            connection.settimeout(timeout)
