"""The other side of a real RT for the kit: people at its interface, and fate on the way to it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import httpx

from okienko.connectors.csd.rt.client import RtCsd
from okienko.plugins.csd import TicketChange, WebhookRequest
from okienko.plugins.csdmapping import load_mapping
from okienko.plugins.testing.conformance import CsdWorkshop
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, TicketStatus
from rigs.rt5 import MAPPING, Rt5

WRITES = ("/ticket", "/tickets/bulk")


class Way(httpx.AsyncBaseTransport):
    """Between the connector and RT: requests really go there, and some answers do not come back."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.fault: Fault | None = None
        self.changed: Callable[[httpx.Request], dict[str, Any] | bytes | None] = lambda _request: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if (content := self.changed(request)) is not None:
            kind = {"json": content} if isinstance(content, dict) else {"content": content}
            headers = {k: v for k, v in request.headers.items() if k not in ("content-length", "content-type")}
            kept = {} if isinstance(content, dict) else {"content-type": request.headers["content-type"]}
            request = httpx.Request(
                request.method, request.url, headers=headers | kept, extensions=request.extensions, **kind
            )
        fault = self.fault if self.writes(request) else None
        if fault is None:
            return await self._inner.handle_async_request(request)
        self.fault = None
        if fault is Fault.BUSY:
            return httpx.Response(429, headers={"Retry-After": "0"}, request=request)
        if fault is Fault.ERROR:
            return httpx.Response(500, text="<html>", request=request)
        if fault is not Fault.TIMEOUT:
            await (await self._inner.handle_async_request(request)).aread()
        raise httpx.ReadError("reset") if fault is Fault.RESET else httpx.ReadTimeout("no answer")

    def writes(self, request: httpx.Request) -> bool:
        """Whether the request changes something in RT."""
        path = request.url.path.removeprefix("/REST/2.0")
        reads = request.method == "GET" or path.endswith(("/tickets", "/attachments", "/history"))
        return not reads and path.startswith(WRITES)

    async def aclose(self) -> None:
        await self._inner.aclose()


class RtHands(CsdWorkshop):
    """See CsdWorkshop."""

    states: ClassVar = {
        "new": TicketStatus.OPEN, "open": TicketStatus.OPEN, "stalled": TicketStatus.PENDING,
        "resolved": TicketStatus.CLOSED, "rejected": TicketStatus.CLOSED,
    }  # fmt: skip
    signs_body = True

    def __init__(self, rt: Rt5, backend: RtCsd) -> None:
        self._rt = rt
        self._backend = backend

    async def ask(self, user: str, method: str, path: str, **arguments: Any) -> Any:
        """RT's answer to somebody."""
        async with httpx.AsyncClient(
            base_url=f"{self._rt.url}/REST/2.0", headers=self._rt.as_user(user), timeout=60
        ) as c:
            answer = await c.request(method, path, **arguments)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def edit(self, ref: CsdRef, change: TicketChange) -> None:
        priority = load_mapping(MAPPING).mapping.priority_out(change.priority) if change.priority else None
        values = {"Subject": change.subject, "Priority": priority, "Queue": change.queue, "Owner": change.assignee}
        await self.ask("root", "PUT", f"/ticket/{ref.number}", json={k: v for k, v in values.items() if v is not None})

    async def note(self, ref: CsdRef, text: str, *, public: bool = False) -> None:
        body = {"Content": text, "ContentType": "text/plain"}
        await self.ask("zofia", "POST", f"/ticket/{ref.number}/{'correspond' if public else 'comment'}", json=body)

    async def attach(self, ref: CsdRef, filename: str, content: bytes) -> None:
        data = {"JSON": json.dumps({"Content": "plik", "ContentType": "text/plain"})}
        files = {"Attachments": (filename, content, "application/octet-stream")}
        await self.ask("zofia", "POST", f"/ticket/{ref.number}/comment", data=data, files=files)

    async def set_state(self, ref: CsdRef, raw: str) -> None:
        await self.ask("root", "PUT", f"/ticket/{ref.number}", json={"Status": raw})

    async def merge(self, ref: CsdRef, into: CsdRef) -> None:
        await self.ask("root", "PUT", f"/ticket/{ref.number}", json={"MergeInto": int(into.number)})

    async def remove(self, ref: CsdRef) -> None:
        await self.ask("root", "DELETE", f"/ticket/{ref.number}")

    async def copy(self, ref: CsdRef) -> CsdRef:
        ticket = await self.ask("root", "GET", f"/ticket/{ref.number}")
        fields = {one["name"]: one["values"][0] for one in ticket["CustomFields"] if one["values"]}
        body = {"Queue": ticket["Queue"]["id"], "Subject": ticket["Subject"], "CustomFields": fields}
        made = await self.ask("root", "POST", "/ticket", json=body)
        return CsdRef(backend="rt", number=str(made["id"]))

    async def tickets_of(self, correlation_id: UUID) -> list[CsdRef]:
        query = {"query": f"'CF.{{OkienkoID}}' = '{correlation_id}'", "per_page": "100"}
        items = (await self.ask("root", "POST", "/tickets", data=query))["items"]
        return [CsdRef(backend="rt", number=str(item["id"])) for item in items]

    async def order(self, fault: Fault) -> None:
        self._way().fault = fault

    async def ignore_filter(self) -> None:
        def everything(request: httpx.Request) -> bytes | None:
            if request.url.path != "/REST/2.0/tickets":
                return None
            form = parse_qsl(request.content.decode())
            return urlencode(
                [("query", "id > 0") if name == "query" else (name, value) for name, value in form]
            ).encode()

        self._way().changed = everything

    async def ignore_state(self) -> None:
        way = self._way()

        def stateless(request: httpx.Request) -> dict[str, Any] | None:
            if not way.writes(request) or b'"Status"' not in request.content:
                return None
            way.changed = lambda _request: None
            return {name: value for name, value in json.loads(request.content).items() if name != "Status"}

        way.changed = stateless

    async def tick(self) -> None:
        # RT tells whole seconds; a ticket is told until its second is surely over.
        await asyncio.sleep(3.2)

    async def webhook(self, *refs: CsdRef) -> WebhookRequest:
        return await self.signed(json.dumps({"tickets": [int(ref.number) for ref in refs]}).encode())

    async def signed(self, body: bytes) -> WebhookRequest:
        mac = hmac.new(self._rt.webhook_secret.encode(), body, hashlib.sha256).hexdigest()
        return WebhookRequest({"x-okienko-signature": f"sha256={mac}"}, body)

    def _way(self) -> Way:
        client = self._backend._wire._api._client
        if not isinstance(client._transport, Way):
            client._transport = Way(client._transport)
        return client._transport
