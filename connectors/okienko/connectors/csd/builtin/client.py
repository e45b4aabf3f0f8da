"""The register, a small CSD in the service's own database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.connectors.csd.builtin import files, statements, tables
from okienko.connectors.csd.builtin.mapping import columns, is_transient, preview_of, ticket_of
from okienko.connectors.csd.builtin.settings import BuiltinCsdSettings
from okienko.plugins.csd import (
    Capability,
    Changes,
    CsdBase,
    NewFile,
    RawTicket,
    Ticket,
    TicketChange,
    TicketChangedError,
    TicketGoneError,
)
from okienko.plugins.csdnotes import mark_of
from okienko.plugins.csdtexts import storable
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TooLargeError, TransientError
from okienko.plugins.ports import Finding, Registration, Severity
from okienko.schemas import CsdRef


class BuiltinCsd(CsdBase):
    """See CsdBackend. Creating the same correlation id twice, even at once from two machines, gives one ticket.

    Every call raises TransientError when the database is away or busy, PermanentError when it refuses the statement,
    and MisconfiguredError when there is no database.
    """

    name = "builtin"
    capabilities = frozenset(Capability) - {Capability.WEBHOOK, Capability.REMOVAL}

    def __init__(self, settings: BuiltinCsdSettings, engine: AsyncEngine | None, now: Callable[[], datetime]) -> None:
        self._settings = settings
        # Each call is a single statement, atomic by itself: without BEGIN and COMMIT it is one round trip, not three.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT") if engine is not None else None
        self._transactions = engine
        self._now = now

    async def start(self) -> None:
        """See CsdBackend."""
        engine = self._transactions
        if engine is None:
            raise _no_database()
        try:
            async with engine.begin() as connection:
                await tables.prepare(connection)
        except (SQLAlchemyError, OSError) as error:
            raise _translated(error) from error

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        if not correlation_ids:
            return {}
        return self._refs(await self._run(statements.FIND, ids=list(correlation_ids)))

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        if not registrations:
            return {}
        batch = columns(registrations)
        settings = self._settings
        rows = await self._run(
            statements.CREATE, prefix=settings.prefix, digits=settings.digits, now=self._now(), **batch
        )
        refs = self._refs(rows)
        missing = [key for key in batch["ids"] if key not in refs]
        # A ticket that someone else put in while we tried is seen only by a new statement.
        return refs | await self.find(missing)

    def preview(self, registration: Registration) -> RawTicket:
        """See CsdBackend."""
        return preview_of(registration)

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend."""
        rows = await self._run(statements.GET, number=storable(ref.number))
        return ticket_of(self.name, rows) if rows else None

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend."""
        await self._change(statements.COMMENT, ref, key=_key(key), text=storable(text), public=public)

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend."""
        await self._change(statements.CLOSE, ref, solution=storable(solution))

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend. The reason becomes a note."""
        await self._change(statements.REOPEN, ref, reason=storable(reason))

    async def change(self, ref: CsdRef, change: TicketChange, *, version: str | None = None) -> None:
        """See CsdBackend. Compared and written in one statement. Any queue and any assignee are taken: here they are words."""
        if version is not None and not (version.isascii() and version.isdigit() and len(version) < 19):
            raise TicketChangedError(f"ticket {ref.number} never had a version {version!r}: read it again")
        texts = {"subject": change.subject, "queue": change.queue, "assignee": change.assignee}
        rows = await self._change(
            statements.CHANGE, ref, version=int(version) if version is not None else None,
            status=change.status.value if change.status else None,
            priority=change.priority.value if change.priority else None,
            **{name: storable(text) if text is not None else None for name, text in texts.items()},
        )  # fmt: skip
        if not rows[0][0]:
            raise TicketChangedError(f"ticket {ref.number} has changed since it was read: read it again")

    async def link(self, ref: CsdRef, other: CsdRef) -> None:
        """See CsdBackend."""
        if not await self._run(statements.LINK, number=storable(ref.number), other=storable(other.number)):
            raise _gone(f"{ref.number} or {other.number}")

    async def attach(self, ref: CsdRef, file: NewFile) -> None:
        """See CsdBackend. Raises TooLargeError over the setting MAX_FILE, PermanentError when the content is not as announced."""
        if file.size > self._settings.max_file:
            raise TooLargeError(
                f"a file of {file.size} octets for ticket {ref.number} is over OKIENKO_CSD_BUILTIN_MAX_FILE "
                f"({self._settings.max_file}): raise it, or hand the file over in another way"
            )
        if self._transactions is None:
            raise _no_database()
        number = storable(ref.number)
        try:
            async with self._transactions.begin() as connection:
                if await files.store(connection, number, file, self._now()):
                    return
                known = await connection.scalar(statements.EXISTS, {"number": number})
        except (SQLAlchemyError, OSError) as error:
            raise _translated(error) from error
        if not known:
            raise _gone(ref.number)

    async def content(self, ref: CsdRef, file_id: str) -> AsyncIterator[bytes]:
        """The content of a file that `get` names, piece by piece; nothing when there is none (any more)."""
        place = 0
        while rows := await self._run(
            statements.READ_CHUNK, number=storable(ref.number), file=int(file_id), place=place
        ):
            yield rows[0][0]
            place += 1

    async def changes(self, cursor: str | None, *, limit: int = 100) -> Changes:
        """See CsdBackend. The cursor is the number of a change, not a time."""
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
            raise PermanentError(f"{cursor[:40]!r} is no cursor of the register: begin anew without one")
        if self._transactions is None:
            raise _no_database()
        try:
            async with self._transactions.begin() as connection:
                await connection.execute(statements.GATE)
                if cursor is None:
                    return Changes((), str(await connection.scalar(statements.LATEST)))
                asked = {"cursor": int(cursor), "limit": limit + 1}
                rows = (await connection.execute(statements.SINCE, asked)).all()
        except (SQLAlchemyError, OSError) as error:
            raise _translated(error) from error
        told = rows[:limit]
        refs = tuple(CsdRef(backend=self.name, number=row.number) for row in told)
        return Changes(refs, str(told[-1].changed) if told else cursor, len(rows) > limit)

    async def erase(self, ref: CsdRef) -> None:
        """See CsdBackend."""
        await self._change(statements.ERASE, ref, erased=statements.ERASED)

    async def check(self) -> list[Finding]:
        """Count what is in the register."""
        try:
            rows = await self._run(statements.COUNT)
        except OkienkoError as error:
            cure = "see that the database runs and that its user may create the schema csd_builtin"
            return [Finding("csd builtin", Severity.ERROR, str(error), cure)]
        return [Finding("csd builtin", Severity.OK, f"{rows[0][0]} tickets in the register")]

    def _refs(self, rows: Sequence[Row[Any]]) -> dict[UUID, CsdRef]:
        return {key: CsdRef(backend=self.name, number=number) for key, number in map(tuple, rows)}

    async def _change(self, statement: TextClause, ref: CsdRef, **values: Any) -> Sequence[Row[Any]]:
        rows = await self._run(statement, number=storable(ref.number), now=self._now(), **values)
        if not rows:
            raise _gone(ref.number)
        return rows

    async def _run(self, statement: TextClause, **values: Any) -> Sequence[Row[Any]]:
        if self._engine is None:
            raise _no_database()
        try:
            async with self._engine.connect() as connection:
                return (await connection.execute(statement, values)).all()
        except (SQLAlchemyError, OSError) as error:
            raise _translated(error) from error


def _key(key: str) -> str:
    """A note's key as it can be stored; one that cannot is told apart from others all the same."""
    return key if key == storable(key) else f"{storable(key)} {mark_of(key)}"


def _gone(number: str) -> TicketGoneError:
    return TicketGoneError(f"the register has no ticket {number}: another CSD made it, or someone removed it")


def _no_database() -> MisconfiguredError:
    return MisconfiguredError(
        "the built-in register needs the service's database: start it with one, or set OKIENKO_CSD"
    )


def _translated(error: Exception) -> OkienkoError:
    # The texts name no values: SQLAlchemy's own message quotes what was to be stored.
    if is_transient(error):
        return TransientError(f"the register's database does not answer now ({type(error).__name__})")
    state = getattr(getattr(error, "orig", None), "sqlstate", "unknown")
    return PermanentError(f"the register's database refused the statement (SQLSTATE {state})")
