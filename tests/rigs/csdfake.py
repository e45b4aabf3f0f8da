"""What fakes of ITSM systems share: a clock that stands until it is told to go on, and fate on the way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx

from okienko.plugins.testing.csdfaults import Fault


class FakeCsd:
    """Give `answer` to respx as the side effect of a route that takes everything below the system's address."""

    error = httpx.Response(500, html="<h1>Internal Server Error</h1>")
    """How the system says that it failed."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 7, 9, 0, tzinfo=UTC)
        self.fault: Fault | None = None
        self.requests: list[httpx.Request] = []
        """Each that came in, the newest last."""
        self.always: httpx.Response | Exception | None = None
        """Every request gets this."""

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """The system's answer, or what becomes of it."""
        self.requests.append(request)
        # Others get their turn, as they would while a request is on its way; and once more on the way back.
        await asyncio.sleep(0)
        try:
            return self._fated(request)
        finally:
            await asyncio.sleep(0)

    def _fated(self, request: httpx.Request) -> httpx.Response:
        if isinstance(self.always, Exception):
            raise self.always
        if self.always is not None:
            return httpx.Response(self.always.status_code, headers=self.always.headers, content=self.always.content)
        fault = self.fault if self.writes(request) else None
        if fault is None:
            return self._dated(self.serve(request))
        self.fault = None
        if fault is Fault.BUSY:
            return httpx.Response(429, headers={"Retry-After": "0"})
        if fault is Fault.ERROR:
            return httpx.Response(500, headers=self.error.headers, content=self.error.content)
        if fault is not Fault.TIMEOUT:
            self.serve(request)
        raise httpx.ReadError("reset") if fault is Fault.RESET else httpx.ReadTimeout("no answer")

    def serve(self, request: httpx.Request) -> httpx.Response:
        """What the system does."""
        raise NotImplementedError

    def writes(self, request: httpx.Request) -> bool:
        """Whether the request would change a ticket."""
        raise NotImplementedError

    def tick(self, seconds: float = 10) -> None:
        """Time goes on."""
        self.now += timedelta(seconds=seconds)

    def _dated(self, response: httpx.Response) -> httpx.Response:
        response.headers["Date"] = format_datetime(self.now.replace(microsecond=0), usegmt=True)
        return response


def plain(status: int, text: str) -> httpx.Response:
    """Plain text."""
    return httpx.Response(status, text=text, headers={"Content-Type": "text/plain; charset=UTF-8"})


def told(status: int, body: Any) -> httpx.Response:
    """JSON."""
    return httpx.Response(status, json=body)
