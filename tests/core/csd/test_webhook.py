"""What the CSD posts: proved, limited, and never believed beyond "read this ticket"."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from okienko.core.csd.webhook import LARGEST, Webhook
from okienko.metrics import catalogue as metrics
from okienko.plugins.csd import Capability, TicketChange
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.testing.doubles import MemoryCsd
from okienko.schemas import CsdRef


async def post(
    desk: Any, body: bytes, headers: Any = None, *, backend: str = "memory", hook: Webhook | None = None
) -> int:
    hook = hook or Webhook(desk.engine, desk.clock, desk.csd, desk.calls)
    transport = httpx.ASGITransport(Starlette(routes=[hook.route]))
    async with httpx.AsyncClient(transport=transport, base_url="http://okienko") as client:
        answer = await client.post(f"/csd/{backend}/webhook", content=body, headers=headers or {})
    return answer.status_code


def count(result: str) -> float:
    return metrics.CSD_NOTICES.labels(result)._value.get()


@pytest.fixture
async def ref(desk: Any, mail: Any) -> CsdRef:
    """A registered case's ticket."""
    await desk.take(mail())
    await desk.settle()
    return CsdRef(backend="memory", number=await desk.value("SELECT csd_number FROM cases"))


async def test_a_notice_makes_the_ticket_be_read(desk: Any, ref: CsdRef) -> None:
    desk.csd.system.edit(ref, TicketChange(subject="Nowy"))
    notice = desk.csd.system.webhook([ref, ref, CsdRef(backend="memory", number="ZGL777")])
    taken, unknown = count("taken"), count("unknown")
    for _ in range(2):
        assert await post(desk, notice.body, notice.headers) == 202
    assert [kind for kind, _ in await desk.jobs()] == ["sync"]
    assert (count("taken"), count("unknown")) == (taken + 2, unknown + 2)
    await desk.settle()
    assert await desk.value("SELECT subject FROM cases") == "Nowy"


async def test_forged_notices_are_refused_counted_and_audited_once_a_minute(desk: Any, ref: CsdRef) -> None:
    notice = desk.csd.system.webhook([ref])
    hook = Webhook(desk.engine, desk.clock, desk.csd, desk.calls)
    forged = count("forged")
    for headers in ({}, {"x-memory-signature": "sha256=00"}, notice.headers | {"x-memory-signature": "ą".encode()}):
        assert await post(desk, notice.body, headers, hook=hook) == 401
    assert count("forged") == forged + 3
    assert await desk.value("SELECT count(*) FROM audit_entry WHERE action = 'notice_forged'") == 1
    assert await desk.jobs() == []


@pytest.mark.parametrize("body", [b"", b"[", b'{"tickets": 7}', json.dumps({"tickets": [{}]}).encode()])
async def test_what_cannot_be_read_is_said(desk: Any, body: bytes) -> None:
    signed = desk.csd.system.signed(body)
    assert await post(desk, signed.body, signed.headers) == 400


async def test_limits_and_strangers(desk: Any, ref: CsdRef) -> None:
    notice = desk.csd.system.webhook([ref])
    assert await post(desk, b"x" * (LARGEST + 1), notice.headers) == 413
    assert await post(desk, notice.body, notice.headers, backend="rt") == 404
    deaf = MemoryCsd(capabilities=frozenset(Capability) - {Capability.WEBHOOK}, system=desk.csd.system)
    assert await post(desk, notice.body, notice.headers, hook=Webhook(desk.engine, desk.clock, deaf, desk.calls)) == 404


async def test_a_webhook_without_its_secret_is_put_off(desk: Any, ref: CsdRef) -> None:
    class Unset(MemoryCsd):
        def notified(self, request: Any) -> Any:
            raise MisconfiguredError("no secret is set: set OKIENKO_CSD_X_SECRET")

    notice = desk.csd.system.webhook([ref])
    assert (
        await post(desk, notice.body, notice.headers, hook=Webhook(desk.engine, desk.clock, Unset(), desk.calls)) == 503
    )
