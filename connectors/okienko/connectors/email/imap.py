"""A mailbox read over IMAP (RFC 3501, 2177, 6851): all that lies in the folder is taken in, and moved only once it is stored.

IMAPClient works in a thread of its own. What is still in the folder has not been taken in, however long we were away; taking
a mail in twice after a crash gives the same envelope, because UIDVALIDITY and UID are its external id.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import structlog
from tenacity import RetryCallState, Retrying, wait_random_exponential

from okienko.connectors.email.imapconnection import BROKEN, Connection, StopSignal
from okienko.connectors.email.settings import EmailSettings
from okienko.plugins.errors import MisconfiguredError, PermanentError, TooLargeError
from okienko.plugins.ports import Finding, RawItem, Severity
from okienko.plugins.raw import CHUNK, RawContent
from okienko.schemas import ChannelName

log = structlog.get_logger(__name__)

BATCH_COUNT = 50
BATCH_OCTETS = 8 << 20
LARGE = 4 << 20
"""Octets above which a mail is fetched in pieces."""
LONGEST_PAUSE = 60.0
"""Seconds; pauses grow up to it."""

HandOver = Callable[[list[RawItem]], list[BaseException | None]]
"""Has the items stored; for each None, or why it was not."""


class Mailbox:
    """One IMAP folder. `run` blocks its thread until `stop`."""

    def __init__(self, settings: EmailSettings, hand_over: HandOver, spool: Path) -> None:
        self._settings = settings
        self._hand_over = hand_over
        self._spool = spool
        self._stop = StopSignal()
        self._deferred: dict[int, tuple[int, float]] = {}
        """UID -> how often it could not be stored, and when (monotonic) to try again."""
        self._validity = 0
        self.source = f"imap:{settings.imap_user}@{settings.imap_host}/{settings.imap_folder}"
        self.idling = threading.Event()
        """Everything that could be taken in was, and the connection waits for more."""

    def stop(self) -> None:
        """Ask `run` to return; it does at once from any wait, or within the time limit of one command."""
        self._stop.set()

    def run(self) -> None:
        """Read until stopped. A connection that cannot be made is tried again with growing, jittered pauses."""
        try:
            while not self._stop.is_set():
                Retrying(
                    wait=wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE),
                    sleep=self._stop.wait,
                    stop=lambda _: self._stop.is_set(),
                    retry_error_callback=lambda _: None,
                    before_sleep=self._note,
                )(self._session)
                # One that worked and broke is made again soon, with the pauses starting from the shortest.
                self._stop.wait(random.uniform(0.1, 1.0))  # noqa: S311  jitter, not cryptography
        finally:
            self._stop.close()

    def check(self) -> Finding:
        """Log in and look at the folder."""
        cure = "check OKIENKO_EMAIL_IMAP_HOST, _PORT, _TLS, _FOLDER and the network"
        try:
            with Connection(self._settings) as connection:
                waiting = connection.count(self._settings.imap_folder)
        except MisconfiguredError as error:
            return Finding("email imap", Severity.ERROR, str(error), "set OKIENKO_EMAIL_IMAP_… as the message says")
        except BROKEN as error:
            return Finding("email imap", Severity.ERROR, f"{self.source}: {error}", cure)
        finally:
            self._stop.close()
        return Finding("email imap", Severity.OK, f"{self.source}: {waiting} mails wait")

    def _note(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        level = log.error if isinstance(error, MisconfiguredError) else log.warning
        level(
            "mailbox unreachable", action="imap_retry", source=self.source, attempt=state.attempt_number,
            error=type(error).__name__, problem=str(error),
        )  # fmt: skip

    def _session(self) -> None:
        """One connection. Returns when it breaks after having worked; raises when it never did."""
        worked = False
        try:
            with Connection(self._settings) as connection:
                self._selected(connection.open())
                log.info("mailbox open", action="imap_open", source=self.source)
                while not self._stop.is_set():
                    if not self._take_in(connection):
                        worked = True
                        self.idling.set()
                        connection.wait(self._stop, self._until_due())
                        self.idling.clear()
                        if not self._stop.is_set():
                            # A folder made anew under our eyes is otherwise seen by everybody but us: the server goes on
                            # showing the old one.
                            self._selected(connection.select())
        except BROKEN as error:
            self.idling.clear()
            if not worked:
                raise
            log.warning("mailbox connection lost", action="imap_lost", source=self.source, error=type(error).__name__)

    def _selected(self, validity: int) -> None:
        if validity != self._validity:
            # UIDs of another validity are other mails (RFC 3501, section 2.3.1.1).
            self._validity = validity
            self._deferred.clear()

    def _until_due(self) -> float | None:
        """Seconds until a deferred mail is to be tried again."""
        if not self._deferred:
            return None
        return max(0.0, min(due for _, due in self._deferred.values()) - time.monotonic())

    def _take_in(self, connection: Connection) -> bool:
        """One batch of what lies in the folder. False when there is nothing to do now."""
        now = time.monotonic()
        present = connection.uids()
        if self._deferred:
            self._deferred = {uid: self._deferred[uid] for uid in present if uid in self._deferred}
        ready = [uid for uid in present if uid not in self._deferred or self._deferred[uid][1] <= now]
        if not ready:
            return False
        sizes = connection.sizes(ready[:BATCH_COUNT])
        for uid in ready[:BATCH_COUNT]:
            if uid not in sizes:
                # Gone since we looked, or a server that cannot say: without a pause we would ask it again at once, for ever.
                self._defer(uid, LookupError("the server gave no size"))
        batch: list[int] = []
        total = 0
        for uid, size in sizes.items():
            if batch and total + size > BATCH_OCTETS:
                break
            batch.append(uid)
            total += size
        with ExitStack() as stack:
            results = self._store(connection, batch, sizes, stack)
        stored = [uid for uid, error in results.items() if error is None]
        refused = [uid for uid, error in results.items() if isinstance(error, PermanentError)]
        connection.move(stored, self._settings.imap_processed)
        connection.move(refused, self._settings.imap_failed)
        for uid, error in results.items():
            if uid in refused:
                log.error("mail refused", action="imap_refuse", source=self.source, uid=uid, problem=str(error))
                self._deferred.pop(uid, None)
            elif error is None:
                self._deferred.pop(uid, None)
            else:
                self._defer(uid, error)
        if len(self._deferred) >= BATCH_COUNT and not stored and not refused:
            # It is the store that does not work, not this mail or that: fetch no more for a while.
            self._stop.wait(min(self._until_due() or 1.0, LONGEST_PAUSE))
        return True

    def _defer(self, uid: int, error: BaseException) -> None:
        times = self._deferred.get(uid, (0, 0.0))[0] + 1
        pause = min(LONGEST_PAUSE, 0.5 * 2 ** min(times, 10)) * random.uniform(0.5, 1.0)  # noqa: S311  jitter
        self._deferred[uid] = (times, time.monotonic() + pause)
        log.warning(
            "mail deferred", action="defer", source=self.source, uid=uid, times=times, error=type(error).__name__
        )

    def _store(
        self, connection: Connection, batch: list[int], sizes: Mapping[int, int], stack: ExitStack
    ) -> dict[int, BaseException | None]:
        """Fetch and hand over; what vanished in between is left out, what the server shows no body of is deferred."""
        results: dict[int, BaseException | None] = {}
        limit = self._settings.max_size
        for uid in batch:
            if sizes[uid] > limit:
                results[uid] = TooLargeError(f"{sizes[uid]} octets are over OKIENKO_EMAIL_MAX_SIZE={limit}")
        bodies: dict[int, RawContent] = {}
        wanted = [uid for uid in batch if uid not in results]
        for uid, body in connection.bodies([uid for uid in wanted if sizes[uid] <= LARGE]).items():
            bodies[uid] = RawContent(body)
        for uid in wanted:
            if sizes[uid] > LARGE:
                bodies[uid] = self._large(connection, uid, stack)
            elif uid not in bodies:
                results[uid] = LookupError("the server gave no body")
        items = [self._item(uid, raw) for uid, raw in bodies.items()]
        results.update(zip(bodies, self._hand_over(items) if items else [], strict=True))
        return results

    def _item(self, uid: int, raw: RawContent) -> RawItem:
        return RawItem(
            ChannelName.EMAIL, "email", self.source, raw,
            mailbox=self._settings.imap_mailbox, external_id=f"{self._validity}:{uid}",
        )  # fmt: skip

    def _large(self, connection: Connection, uid: int, stack: ExitStack) -> RawContent:
        """A large mail piece by piece into a file."""
        self._spool.mkdir(parents=True, exist_ok=True)
        # Closed before it is read, because Windows lets nobody else open it earlier; the stack removes it.
        file = tempfile.NamedTemporaryFile(dir=self._spool, prefix="mail-", delete=False)
        path = Path(file.name)
        stack.callback(path.unlink, missing_ok=True)
        with file:
            offset = 0
            while piece := connection.piece(uid, offset, CHUNK):
                file.write(piece)
                offset += len(piece)
        return RawContent(path=path)
