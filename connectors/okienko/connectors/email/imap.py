"""A mailbox read over IMAP (RFC 3501, 2177, 6851): all that lies in the folder is taken in, and moved only once it is stored.

IMAPClient works in a thread of its own. What is still in the folder has not been taken in, however long we were away; taking
a mail in twice after a crash gives the same envelope, because UIDVALIDITY and UID are its external id.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import imapclient
import structlog
from imapclient.exceptions import IMAPClientError, LoginError
from tenacity import RetryCallState, Retrying, retry_if_not_exception_type, wait_random_exponential

from okienko.connectors.email.settings import EmailSettings
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.ports import Finding, RawItem, Severity
from okienko.plugins.raw import CHUNK, RawContent
from okienko.schemas import ChannelName

log = structlog.get_logger(__name__)

BATCH_COUNT = 50
BATCH_OCTETS = 8 << 20
_BROKEN = (IMAPClientError, OSError, EOFError)


class Mailbox:
    """One IMAP folder. `run` blocks its thread until `stop`."""

    def __init__(
        self, settings: EmailSettings, accept: Callable[[list[RawItem]], list[UUID | BaseException]], spool: Path
    ) -> None:
        self._settings = settings
        self._accept = accept
        self._spool = spool
        self._stop = threading.Event()
        self.source = f"imap:{settings.imap_user}@{settings.imap_host}/{settings.imap_folder}"

    def stop(self) -> None:
        """Ask `run` to return; it does within a second or the time limit of one command."""
        self._stop.set()

    def run(self) -> None:
        """Read for ever; a broken connection is made again with patience (at most a minute between attempts)."""

        def patience(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            log.warning(
                "mailbox unreachable", action="imap_retry", source=self.source, attempt=state.attempt_number,
                error=type(error).__name__, problem=str(error) if isinstance(error, MisconfiguredError) else "",
            )  # fmt: skip

        while not self._stop.is_set():
            retrying = Retrying(
                wait=wait_random_exponential(multiplier=0.5, max=60),
                sleep=self._pause,
                retry=retry_if_not_exception_type(SystemExit),
                stop=lambda _: self._stop.is_set(),
                before_sleep=patience,
                reraise=True,
            )
            with contextlib.suppress(Exception):
                # Only a stop ends the retrying; the last error was logged.
                retrying(self._session)

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def check(self) -> Finding:
        """Log in and look at the folder."""
        try:
            with self._connected() as client:
                status = client.folder_status(self._settings.imap_folder, ["MESSAGES"])
        except MisconfiguredError as error:
            return Finding("email imap", Severity.ERROR, str(error), "see OKIENKO_EMAIL_IMAP_…")
        except _BROKEN as error:
            return Finding(
                "email imap", Severity.ERROR, f"{self.source}: {error}", "check host, port, folder and the network"
            )
        return Finding("email imap", Severity.OK, f"{self.source}: {status[b'MESSAGES']} mails wait")

    def _session(self) -> None:
        with self._connected() as client:
            for folder in (self._settings.imap_processed, self._settings.imap_failed):
                if not client.folder_exists(folder):
                    client.create_folder(folder)
            selected = client.select_folder(self._settings.imap_folder)
            validity = int(selected[b"UIDVALIDITY"])
            log.info("mailbox open", action="imap_open", source=self.source)
            can_idle = client.has_capability("IDLE")
            while not self._stop.is_set():
                if not self._take_in(client, validity):
                    self._wait(client, can_idle=can_idle)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        s = self._settings
        context = ssl.create_default_context(cafile=str(s.imap_ca) if s.imap_ca else None)
        try:
            client = imapclient.IMAPClient(
                s.imap_host,
                s.imap_port,
                ssl=s.imap_tls == "tls",
                ssl_context=context if s.imap_tls == "tls" else None,
                timeout=s.imap_timeout,
            )
        except ssl.SSLCertVerificationError as error:
            raise MisconfiguredError(
                f"{s.imap_host} shows a certificate that is not trusted: set OKIENKO_EMAIL_IMAP_CA"
            ) from error
        try:
            if s.imap_tls == "starttls":
                client.starttls(context)
            try:
                if s.imap_token_path:
                    client.oauth2_login(s.imap_user, s.imap_token_path.read_text(encoding="ascii").strip())
                else:
                    client.login(s.imap_user, s.imap_password.get_secret_value() if s.imap_password else "")
            except LoginError:
                raise MisconfiguredError(
                    f"{s.imap_host} refused the login {s.imap_user}: check password or token; it is tried again"
                ) from None
            yield client
        finally:
            with contextlib.suppress(*_BROKEN):
                client.logout()

    def _take_in(self, client: Any, validity: int) -> bool:
        """One batch of what lies in the folder. Returns whether anything was there and could be dealt with."""
        uids = sorted(client.search(["NOT", "DELETED"]))
        if not uids:
            return False
        sizes = client.fetch(uids[:BATCH_COUNT], ["RFC822.SIZE"])
        batch: list[int] = []
        total = 0
        for uid in uids[:BATCH_COUNT]:
            size = int(sizes.get(uid, {}).get(b"RFC822.SIZE", 0))
            if batch and total + size > BATCH_OCTETS:
                break
            batch.append(uid)
            total += size
        with contextlib.ExitStack() as stack:
            items = self._items(client, batch, sizes, validity, stack)
            results = self._accept([item for _, item in items])
        stored = [uid for (uid, _), result in zip(items, results, strict=True) if isinstance(result, UUID)]
        refused = [uid for (uid, _), r in zip(items, results, strict=True) if isinstance(r, PermanentError)]
        self._move(client, stored, self._settings.imap_processed)
        self._move(client, refused, self._settings.imap_failed)
        for result in results:
            if isinstance(result, TransientError):
                # The rest stays where it is; try again after a while.
                self._stop.wait(5)
                return True
            if isinstance(result, BaseException) and not isinstance(result, PermanentError):
                raise result
        return bool(stored or refused)

    def _items(
        self, client: Any, batch: list[int], sizes: Any, validity: int, stack: contextlib.ExitStack
    ) -> list[tuple[int, RawItem]]:
        small = [uid for uid in batch if int(sizes.get(uid, {}).get(b"RFC822.SIZE", 0)) <= 4 * CHUNK]
        bodies = client.fetch(small, ["BODY.PEEK[]"]) if small else {}
        items = []
        for uid in batch:
            if uid in bodies and b"BODY[]" in bodies[uid]:
                raw = RawContent(bodies.pop(uid)[b"BODY[]"])
            elif uid not in small:
                raw = self._large(client, uid, stack)
            else:
                continue  # another client took it away between the two commands
            item = RawItem(
                ChannelName.EMAIL, "email", self.source, raw,
                mailbox=self._settings.imap_mailbox, external_id=f"{validity}:{uid}",
            )  # fmt: skip
            items.append((uid, item))
        return items

    def _large(self, client: Any, uid: int, stack: contextlib.ExitStack) -> RawContent:
        """A large mail piece by piece into a file (partial fetch, RFC 3501 section 6.4.5)."""
        self._spool.mkdir(parents=True, exist_ok=True)
        file = stack.enter_context(tempfile.NamedTemporaryFile(dir=self._spool, prefix="imap-"))
        offset = 0
        while True:
            answer = client.fetch([uid], [f"BODY.PEEK[]<{offset}.{CHUNK}>"]).get(uid, {})
            piece = next((value for key, value in answer.items() if key.startswith(b"BODY[]")), b"")
            if not piece:
                break
            file.write(piece)
            offset += len(piece)
        file.flush()
        return RawContent(path=Path(file.name))

    def _move(self, client: Any, uids: list[int], folder: str) -> None:
        if not uids:
            return
        if client.has_capability("MOVE"):
            client.move(uids, folder)
            return
        client.copy(uids, folder)
        client.delete_messages(uids)
        if client.has_capability("UIDPLUS"):
            client.uid_expunge(uids)

    def _wait(self, client: Any, *, can_idle: bool) -> None:
        """Until something may have come. Looking again is cheap; missing the end of a connection is not.

        IMAPClient's idle_check returns at once and for ever when the server closed silently; only idle_done raises.
        """
        if not can_idle:
            self._stop.wait(30)
            client.noop()
            return
        client.idle()
        try:
            waited = 0.0
            while waited < self._settings.imap_idle_seconds and not self._stop.is_set():
                if client.idle_check(timeout=1):
                    break
                waited += 1
        finally:
            client.idle_done()
        client.noop()


async def run_mailbox(settings: EmailSettings, accept: Callable[[RawItem], Any], spool: Path) -> None:
    """Run a Mailbox in its own thread until cancelled."""
    loop = asyncio.get_running_loop()

    async def gather(items: list[RawItem]) -> list[UUID | BaseException]:
        results: list[UUID | BaseException] = await asyncio.gather(
            *(accept(item) for item in items), return_exceptions=True
        )
        return results

    def hand_over(items: list[RawItem]) -> list[UUID | BaseException]:
        results: list[UUID | BaseException] = asyncio.run_coroutine_threadsafe(gather(items), loop).result()
        return results

    mailbox = Mailbox(settings, hand_over, spool)
    done = asyncio.Event()

    def body() -> None:
        try:
            mailbox.run()
        finally:
            loop.call_soon_threadsafe(done.set)

    thread = threading.Thread(target=body, name="okienko-imap", daemon=True)
    thread.start()
    try:
        await done.wait()
    finally:
        mailbox.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(done.wait()), 10)
