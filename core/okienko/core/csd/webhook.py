"""`POST /csd/{backend}/webhook`: the CSD tells which tickets have changed. What it says is read from the ticket, never believed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.log import record
from okienko.core.calls import Calls
from okienko.core.csd.news import take
from okienko.core.database import raw_connection, transaction
from okienko.metrics import catalogue as metrics
from okienko.plugins.csd import Capability, CsdBackend, ForgedNoticeError, WebhookRequest
from okienko.plugins.errors import PermanentError, TransientError

log = structlog.get_logger(__name__)

LARGEST = 1 << 20
"""Octets of a notice."""
MOST = 1000
"""Tickets of one notice."""
_AUDIT_EVERY = timedelta(minutes=1)
"""Forged notices are counted one by one, and audited at most so often: nobody outside may fill the audit."""


class Clock(Protocol):
    """UTC now."""

    def __call__(self) -> datetime:
        """The time."""
        ...


class Webhook:
    """The route of one backend."""

    def __init__(self, engine: AsyncEngine, now: Clock, csd: CsdBackend, calls: Calls) -> None:
        self._engine = engine
        self._now = now
        self._csd = csd
        self._calls = calls
        self._audited_at: datetime | None = None

    @property
    def route(self) -> Route:
        """For the web shell, before the pages."""
        return Route("/csd/{backend}/webhook", self.answer, methods=["POST"])

    async def answer(self, request: Request) -> Response:
        """202 taken; 401 forged; 400 unreadable; 404 no such backend, or it posts no webhooks; 413 too large; 503 not now."""
        csd = self._csd
        if request.path_params["backend"] != csd.name or Capability.WEBHOOK not in csd.capabilities:
            return PlainTextResponse("no such webhook\n", 404)
        body = await _limited(request)
        if body is None:
            return self._said("too_large", 413)
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            refs = self._calls.ask(csd, lambda: csd.notified(WebhookRequest(headers, body)))
            unknown = await take(self._engine, csd.name, refs[:MOST])
        except ForgedNoticeError as error:
            await self._audit(request, error)
            return self._said("forged", 401)
        except TransientError as error:
            # What is not taken now the sender repeats, or the poll finds.
            log.warning("notice not taken", action="csd_notice", problem=str(error))
            return self._said("put_off", 503)
        except PermanentError as error:
            log.warning("notice not readable", action="csd_notice", problem=str(error))
            return self._said("unreadable", 400)
        except Exception as error:  # a plugin's defect; its text may quote the notice
            log.error("notice not readable", action="csd_notice", error=type(error).__name__, exc_info=error)  # noqa: TRY400
            return self._said("unreadable", 400)
        if unknown:
            metrics.CSD_NOTICES.labels("unknown").inc(unknown)
        return self._said("taken", 202)

    def _said(self, result: str, status: int) -> Response:
        metrics.CSD_NOTICES.labels(result).inc()
        return PlainTextResponse(f"{result}\n", status)

    async def _audit(self, request: Request, error: ForgedNoticeError) -> None:
        client = request.client.host if request.client else "?"
        log.warning("forged notice", action="csd_notice", client=client, problem=str(error))
        now = self._now()
        if self._audited_at is not None and now - self._audited_at < _AUDIT_EVERY:
            return
        self._audited_at = now
        try:
            async with transaction(self._engine) as connection:
                entry = NewEntry(
                    AuditAction.NOTICE_FORGED, now, "?", subject=f"webhook of {self._csd.name}",
                    reason="the sender could not prove itself", origin=f"web:{client}",
                )  # fmt: skip
                record(await raw_connection(connection), [entry])
        except TransientError as away:
            self._audited_at = None
            log.error("forged notice not audited", action="csd_notice", problem=str(away))  # noqa: TRY400  the message says all


async def _limited(request: Request) -> bytes | None:
    """The body, or None when it is too large; never more than the limit is held."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST:
            return None
    return bytes(body)
