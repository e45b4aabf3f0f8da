"""What the vendors' doubles share: an HTTP server behind respx, whose requests go wrong by order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

import httpx

from okienko.plugins.testing.csdfaults import Fault

Handler = Callable[[httpx.Request], httpx.Response]


class Vendor:
    """Subclasses answer requests; `faults` come before the writing ones."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 25, 1, 0, tzinfo=UTC)
        self.faults: deque[Fault] = deque()
        self.answers: deque[httpx.Response] = deque()
        """Given instead of what the next requests would get; nothing is done then."""
        self.requests: list[httpx.Request] = []
        self.chance: Random | None = None
        """A third of the writing requests goes wrong, in one of `kinds`."""
        self.kinds: list[Fault] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        """The vendor's answer."""
        raise NotImplementedError

    def writes(self, request: httpx.Request) -> bool:
        """Whether the request changes something."""
        return request.method != "GET"

    def tick(self, seconds: float = 1.0) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """For respx's side_effect. Other tasks get their turn, as they would while a request is on its way."""
        await asyncio.sleep(0)
        self.requests.append(request)
        if self.answers:
            return self.answers.popleft()
        fault = self.faults.popleft() if self.faults and self.writes(request) else None
        if fault is None and self.chance is not None and self.writes(request) and self.chance.random() < 1 / 3:
            fault = self.chance.choice(self.kinds)
        if fault is Fault.BUSY:
            return httpx.Response(429, headers={"Retry-After": "0"}, json={"error": {"message": "Rate limit exceeded"}})
        if fault is Fault.ERROR:
            return httpx.Response(500, json={"error": {"message": "Internal", "detail": ""}, "status": "failure"})
        if fault is Fault.TIMEOUT:
            raise httpx.ReadTimeout("late", request=request)
        answer = self.handle(request)
        answer.headers["Date"] = format_datetime(self.now, usegmt=True)
        if fault is Fault.LOST_ANSWER:
            raise httpx.ReadTimeout("late", request=request)
        if fault is Fault.RESET:
            raise httpx.ReadError("reset", request=request)
        return answer
