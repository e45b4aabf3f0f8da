"""Jira's REST API as requests and answers. I/O only.

Source: "The Jira Cloud platform REST API" (v3), "Jira Data Center REST API" (v2) and "Rate limiting". Errors are
`{"errorMessages": […], "errors": {field: message}}`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast
from urllib.parse import quote

from okienko.plugins.csd import NewFile, TicketGoneError
from okienko.plugins.csdparts import MultipartFile, date_of
from okienko.plugins.errors import MisconfiguredError, PermanentError, TooLargeError, TransientError
from okienko.plugins.httpapi import Answer, HttpApi, harmless
from okienko.plugins.pace import Pace

PAGE = 100
_STEP = 80
"""Data Center counts rows: what changes while we leaf through moves rows to the end, so that pages overlap."""
Record = Mapping[str, Any]
_RIGHTS = "give okienko's account the permissions of docs/csd-jira-sm.md in the project"
_REFUSED_LOGIN = ("AUTHENTICATED_FAILED", "AUTHENTICATION_DENIED")


class JiraRefusedError(PermanentError):
    """400: `fields` are those that Jira complains of."""

    def __init__(self, message: str, fields: Mapping[str, str], words: str) -> None:
        super().__init__(message)
        self.fields = fields
        self.words = words


class JiraWire:
    """The requests. All raise TransientError and MisconfiguredError; PermanentError says what Jira refused."""

    def __init__(self, api: HttpApi, *, cloud: bool, pace: Pace) -> None:
        self._api = api
        self._cloud = cloud
        self._pace = pace
        self._base = "/rest/api/3" if cloud else "/rest/api/2"

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def clock(self) -> datetime | None:
        """Jira's own time."""
        answer = await self._ask("GET", "/serverInfo", repeatable=True)
        self._refuse(answer, "GET /serverInfo")
        return date_of(answer.headers)

    async def read(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """Metadata; None when it is not there (404)."""
        answer = await self._ask("GET", path, params=params, repeatable=True)
        if answer.status == 404:
            return None
        self._refuse(answer, f"GET {path}")
        return answer.json()

    async def search(self, jql: str, fields: Sequence[str], most: int | None = None) -> AsyncIterator[Record]:
        """Issues of a query. The index of the Cloud shows changes late, by seconds or minutes."""
        body: dict[str, Any] = {"jql": jql, "fields": list(fields), "maxResults": min(most or PAGE, PAGE)}
        path = "/search/jql" if self._cloud else "/search"
        start, seen = 0, 0
        while True:
            answer = await self._ask("POST", path, json=body, repeatable=True)
            self._refuse(answer, f"POST {path}")
            page = _record(answer, f"POST {path}")
            issues = _records(page.get("issues"), f"POST {path}")
            for issue in issues:
                yield issue
                seen += 1
                if most is not None and seen >= most:
                    return
            if self._cloud:
                token = page.get("nextPageToken")
                if not token or page.get("isLast") is True:
                    return
                body["nextPageToken"] = token
            else:
                total = page.get("total")
                if not issues or not isinstance(total, int) or start + len(issues) >= total:
                    return
                start += min(_STEP, len(issues))
                body["startAt"] = start

    async def fetch(self, keys: Sequence[str], fields: Sequence[str]) -> list[Record]:
        """Issues by key, past the index (Cloud). Those that are not there are left out. Raises TransientError for one that is late."""
        body = {"issueIdsOrKeys": list(keys), "fields": list(fields)}
        answer = await self._ask("POST", "/issue/bulkfetch", json=body, repeatable=True)
        self._refuse(answer, "POST /issue/bulkfetch")
        page = _record(answer, "POST /issue/bulkfetch")
        if page.get("issueErrors"):
            raise TransientError("POST /issue/bulkfetch: Jira could not give some of the issues now")
        return _records(page.get("issues"), "POST /issue/bulkfetch")

    async def issue(self, key: str, fields: Sequence[str]) -> Record | None:
        """An issue by id or key, None when there is none or it is not ours to see."""
        path = f"/issue/{quote(key, safe='')}"
        answer = await self._ask("GET", path, params={"fields": ",".join(fields)}, repeatable=True)
        if answer.status == 404 and _is_jira(answer):
            return None
        self._refuse(answer, f"GET {path}")
        return _record(answer, f"GET {path}")

    async def create(self, body: Mapping[str, Any]) -> Record:
        """A new issue's id and key. Not repeatable."""
        answer = await self._ask("POST", "/issue", json=dict(body))
        if answer.status == 404:
            raise MisconfiguredError("POST /issue: 404: correct the setting URL, or the project of the mapping")
        self._refuse(answer, "POST /issue")
        made = _record(answer, "POST /issue")
        if not made.get("id") or not made.get("key"):
            raise TransientError("POST /issue: Jira answered without the new issue")
        return made

    async def update(self, issue: str, fields: Mapping[str, Any], *, repeatable: bool) -> None:
        """Write fields."""
        await self._do("PUT", f"/issue/{issue}", json={"fields": dict(fields)}, repeatable=repeatable)

    async def comments(self, issue: str) -> list[Record]:
        """All of them, oldest first."""
        return await self._pages(f"/issue/{issue}/comment", "comments", {"orderBy": "created", "expand": "properties"})

    async def comment(self, issue: str, body: object, *, public: bool) -> None:
        """A comment; `sd.public.comment` says whether the customer sees it. Not repeatable."""
        values = {"body": body, "properties": [{"key": "sd.public.comment", "value": {"internal": not public}}]}
        await self._do("POST", f"/issue/{issue}/comment", json=values)

    async def moves(self, issue: str) -> list[str]:
        """The states that the issue was brought to, by name."""
        if self._cloud:
            entries = await self._pages(f"/issue/{issue}/changelog", "values", {})
        else:
            found = await self.read(f"/issue/{issue}", {"fields": "status", "expand": "changelog"})
            log = found.get("changelog") if isinstance(found, dict) else None
            entries = _records(log.get("histories") if isinstance(log, dict) else None, f"GET /issue/{issue}")
        items = [item for one in entries for item in one.get("items") or () if isinstance(item, dict)]
        return [str(item.get("toString") or "") for item in items if item.get("field") == "status"]

    async def transitions(self, issue: str) -> list[Record]:
        """Where it can go from here, with the fields of the screens."""
        found = await self.read(f"/issue/{issue}/transitions", {"expand": "transitions.fields"})
        if found is None:
            raise TicketGoneError(f"Jira has no issue {issue}, or does not show it to our account")
        return _records(found.get("transitions") if isinstance(found, dict) else None, "transitions")

    async def move(self, issue: str, transition: str, fields: Mapping[str, Any]) -> None:
        """Bring it to another state. Not repeatable: from there the same transition may lead on."""
        body: dict[str, Any] = {"transition": {"id": transition}}
        await self._do("POST", f"/issue/{issue}/transitions", json=body | ({"fields": dict(fields)} if fields else {}))

    async def attach(self, issue: str, name: str, file: NewFile) -> None:
        """Send a file. Not repeatable."""
        body = MultipartFile("file", name, file)
        await self._do(
            "POST", f"/issue/{issue}/attachments", content=cast("AsyncIterator[bytes]", body),
            headers={**body.headers, "X-Atlassian-Token": "no-check"},
        )  # fmt: skip

    async def content(self, attachment: Record) -> bytes | None:
        """The file itself, None when it is not to be had."""
        number, name = str(attachment.get("id")), str(attachment.get("filename"))
        if self._cloud:
            path, params = f"{self._base}/attachment/content/{quote(number)}", {"redirect": "false"}
        else:
            path, params = f"/secure/attachment/{quote(number)}/{quote(name, safe='')}", {}
        answer = await self._api.request("GET", path, params=params, repeatable=True)
        return answer.content if answer.status == 200 else None

    async def link(self, kind: str, one: str, other: str) -> None:
        """Relate two issues."""
        values = {"type": {"name": kind}, "outwardIssue": {"id": other}, "inwardIssue": {"id": one}}
        await self._do("POST", "/issueLink", json=values)

    async def _pages(self, path: str, name: str, params: Mapping[str, str | int]) -> list[Record]:
        found: list[Record] = []
        while True:
            page = await self.read(path, {**params, "startAt": len(found), "maxResults": PAGE})
            if not isinstance(page, dict):
                raise TicketGoneError(f"GET {path}: Jira has no such issue")
            some = _records(page.get(name), f"GET {path}")
            found += some
            total = page.get("total")
            if not some or not isinstance(total, int) or len(found) >= total:
                return found

    async def _do(self, method: str, path: str, **arguments: Any) -> None:
        answer = await self._ask(method, path, **arguments)
        self._refuse(answer, f"{method} {path}")

    async def _ask(self, method: str, path: str, **arguments: Any) -> Answer:
        answer = await self._api.request(method, self._base + path, **arguments)
        # Less than a fifth of the quota is left: everyone goes slower before Jira refuses.
        if answer.headers.get("x-ratelimit-nearlimit", "").casefold() == "true":
            await self._pace.hold(2.0)
        # Jira serves a caller whose login failed as a guest: nothing is found then, and that would be believed.
        if answer.headers.get("x-seraph-loginreason", "").upper() in _REFUSED_LOGIN:
            raise MisconfiguredError(
                f"{method} {path}: Jira does not accept our login and answers as to a guest: renew TOKEN, see USER, or sign in once "
                "by hand when a captcha is asked for"
            )
        return answer

    def _refuse(self, answer: Answer, what: str) -> None:
        if answer.status < 300:
            return
        body = answer.json()
        body = body if isinstance(body, dict) else {}
        errors = body.get("errors")
        fields = {str(k): harmless(v) for k, v in errors.items()} if isinstance(errors, dict) else {}
        said = body.get("errorMessages")
        words = "; ".join([harmless(one) for one in said] if isinstance(said, list) else [])
        words = "; ".join(filter(None, [words, *(f"{name}: {text}" for name, text in fields.items())])) or answer.kind
        line = f"{what}: Jira refuses it ({answer.status}): {words}"
        if answer.status >= 500:
            raise TransientError(f"{what}: Jira failed ({answer.status})")
        if answer.status == 409:
            raise TransientError(f"{line}; somebody else was writing")
        if answer.status == 413:
            raise TooLargeError(f"{line}: raise the size limit of attachments in Jira")
        if answer.status == 403:
            raise MisconfiguredError(f"{line}: {_RIGHTS}")
        if answer.status == 404 and not _is_jira(answer):
            raise MisconfiguredError(f"{what}: 404 ({answer.kind}), this is no Jira: correct the setting URL")
        if answer.status == 404:
            raise TicketGoneError(f"{line}; it is not there, or hidden from our account")
        raise JiraRefusedError(line, fields, words)


def _is_jira(answer: Answer) -> bool:
    body = answer.json()
    return isinstance(body, dict) and "errorMessages" in body


def _record(answer: Answer, what: str) -> Record:
    body = answer.json()
    if not isinstance(body, dict):
        raise TransientError(f"{what}: Jira answered {answer.status} with {answer.kind}, not with a JSON object")
    return body


def _records(found: object, what: str) -> list[Record]:
    if not isinstance(found, list):
        raise TransientError(f"{what}: Jira answered without a list")
    return [one for one in found if isinstance(one, dict)]
