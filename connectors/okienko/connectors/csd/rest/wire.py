"""The described requests on the wire, and what a refusal means."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from okienko.connectors.csd.rest.description import DescriptionFile, ErrorRule, Request, RequestName
from okienko.connectors.csd.rest.reading import rows_of, value_of
from okienko.connectors.csd.rest.settings import RestCsdSettings
from okienko.connectors.csd.rest.templates import body_of, header_of, path_of, text_of
from okienko.plugins.csd import TicketGoneError
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError
from okienko.plugins.httpapi import Answer, Credentials, HttpApi, Limits, harmless
from okienko.plugins.pace import Pace

_LARGEST = 64 << 20
_MOST_PAGES = 10_000


class RestWire:
    """See module."""

    def __init__(self, settings: RestCsdSettings, file: DescriptionFile, pace: Pace | None) -> None:
        self._settings = settings
        self._file = file
        self._pace = pace
        self._open: HttpApi | None = None

    @property
    def _api(self) -> HttpApi:
        if self._open is None:
            s = self._settings
            assert s.url is not None  # noqa: S101  the plugin registers nothing without an address
            credentials, headers = credentials_of(s, self._file)
            self._open = HttpApi(
                s.url,
                credentials,
                ca_file=s.ca_file,
                limits=Limits(connect=s.connect_timeout, total=s.timeout, max_body=_LARGEST),
                headers=headers,
                pace=self._pace,
            )
        return self._open

    async def stop(self) -> None:
        """Close the connections; the next request opens them again."""
        api, self._open = self._open, None
        if api is not None:
            await api.close()

    async def call(
        self, name: RequestName, values: Mapping[str, Any], upload: tuple[str, bytes, str] | None = None
    ) -> Answer:
        """One request. Raises for a refusal what it means: TicketGoneError, TransientError, …"""
        request = self._file.description.requests[name]
        arguments = arguments_of(request, values)
        if request.file is not None and upload is not None:
            arguments["files"] = [
                *((key, ("", text.encode(), "text/plain; charset=utf-8")) for key, text in arguments.pop("data", {}).items()),
                (request.file, upload),
            ]  # fmt: skip
        repeatable = request.repeatable if request.repeatable is not None else request.method in ("GET", "PUT")
        path = arguments.pop("path")
        answer = await self._api.request(request.method, path, repeatable=repeatable, **arguments)
        if answer.status >= 400 or self._told_wrong(answer):
            raise self.refusal(answer, f"{request.method} {request.path} ([requests.{name}])")
        return answer

    async def json(
        self, name: RequestName, values: Mapping[str, Any], upload: tuple[str, bytes, str] | None = None
    ) -> Any:
        """The answer's body. Raises MisconfiguredError for one that is no JSON."""
        answer = await self.call(name, values, upload)
        if not answer.content:
            return None
        body = answer.json()
        if body is None and answer.content.strip() != b"null":
            raise MisconfiguredError(
                f"[requests.{name}]: {answer.kind} instead of JSON: is URL the address of the API?"
            )
        return body

    async def rows(self, name: RequestName, values: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """The rows of a list, page by page."""
        paging = self._file.description.paging
        offset, cursor = 0, None
        for number in range(_MOST_PAGES):
            rows, following = await self.page(name, values, number=number, offset=offset, cursor=cursor)
            for row in rows:
                yield row
            offset += len(rows)
            if paging is None or (paging.kind != "next" and not rows):
                return
            if paging.kind == "next":
                if not following or following == cursor:
                    return
                cursor = following
        raise PermanentError(
            f"[requests.{name}]: {_MOST_PAGES} pages and still more: does the API page as [paging] says?"
        )

    async def page(
        self, name: RequestName, values: Mapping[str, Any], *, number: int = 0, offset: int = 0, cursor: Any = None
    ) -> tuple[list[Any], Any]:
        """One page of a list, its number from 0, and the cursor of the next one where the API has those."""
        request, paging = self._file.description.requests[name], self._file.description.paging
        assert request.items is not None  # noqa: S101  the description demands it of lists
        place = {
            "page": (paging.first if paging else 1) + number, "offset": offset, "limit": paging.size if paging else None,
            "next": cursor,
        }  # fmt: skip
        body = await self.json(name, {**values, **place})
        following = value_of(paging.next, body, ("paging", "next")) if paging is not None and paging.next else None
        return rows_of(request.items, body, ("requests", name, "items")), following

    def _told_wrong(self, answer: Answer) -> bool:
        """Some systems tell of failures with 200: rules that name it look at each answer."""
        return any(answer.status in rule.status and self._fits(rule, answer) for rule in self._file.description.errors)

    def _fits(self, rule: ErrorRule, answer: Answer) -> bool:
        if rule.status and answer.status not in rule.status:
            return False
        return rule.when is None or bool(value_of(rule.when, answer.json(), ("errors",)))

    def refusal(self, answer: Answer, what: str) -> OkienkoError:
        """What the answer means: by the first rule of the file that fits, else by its status."""
        for place, rule in enumerate(self._file.description.errors):
            if self._fits(rule, answer):
                told = value_of(rule.message, answer.json(), ("errors", "message")) if rule.message else None
                text = f"{what}: {answer.status}" + (f" ({harmless(told)})" if told else "")
                text += f"; {rule.cure}" if rule.cure else f" (rule {self._file.where('errors', place)})"
                return _MEANINGS[rule.means](text)
        text = f"{what}: the system answered {answer.status}"
        if answer.status in (401, 403):
            return MisconfiguredError(f"{text}: give okienko's account this right, or renew its token")
        if answer.status == 404:
            return TicketGoneError(f"{text}: it has no such ticket")
        if answer.status >= 500 or answer.status in (408, 425):
            return TransientError(text)
        return PermanentError(f"{text}: look at its log, and at the request's line {self._file.where('requests')}")


_MEANINGS: dict[str, type[OkienkoError]] = {
    "transient": TransientError, "permanent": PermanentError, "misconfigured": MisconfiguredError, "gone": TicketGoneError,
}  # fmt: skip


def arguments_of(request: Request, values: Mapping[str, Any]) -> dict[str, Any]:
    """The request with its values, for HttpApi. Raises MisconfiguredError for a name that there is not."""
    made: dict[str, Any] = {"path": path_of(request.path, values)}
    if request.query:
        query = {key: text_of(template, values) for key, template in request.query.items()}
        made["params"] = {key: text for key, text in query.items() if text}
    if request.headers:
        made["headers"] = {key: header_of(template, values) for key, template in request.headers.items()}
    if request.form:
        made["data"] = {key: text_of(template, values) for key, template in request.form.items()}
    if request.body is not None:
        made["json"] = json.loads(json.dumps(body_of(request.body, values), default=str))
    return made


def credentials_of(s: RestCsdSettings, file: DescriptionFile) -> tuple[Credentials, dict[str, str]]:
    """Credentials and constant headers. Raises MisconfiguredError for a secret that is missing."""
    auth = file.description.auth
    where = file.where("auth", "kind")

    def need(name: str) -> str:
        value = getattr(s, name)
        if value is None:
            raise MisconfiguredError(f"{where}: authentication {auth.kind} needs the setting {name.upper()}")
        return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)

    if auth.kind == "bearer":
        need("token")
        return Credentials(token=s.token, scheme=auth.scheme), {}
    if auth.kind == "header":
        return Credentials(), {auth.header: need("token")}
    if auth.kind == "basic":
        pair = base64.b64encode(f"{need('username')}:{need('password')}".encode()).decode()
        return Credentials(), {"Authorization": f"Basic {pair}"}
    if auth.kind == "oauth2":
        need("client_secret")
        return (
            Credentials(
                token_url=auth.token_url, client_id=need("client_id"), client_secret=s.client_secret, scope=auth.scope
            ),
            {},
        )
    return Credentials(), {}
