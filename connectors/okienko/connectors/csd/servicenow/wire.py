"""ServiceNow's Table and Attachment APIs as requests and answers. I/O only.

Source: the pages "Table API", "Attachment API" and "Inbound REST API rate limiting" of ServiceNow's documents (Zurich). Errors are
`{"error": {"message", "detail"}, "status": "failure"}`; a request that ran too long may send one with status 200.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, cast
from urllib.parse import quote

import httpx

from okienko.plugins.csd import NewFile, TicketGoneError
from okienko.plugins.csdparts import FileStream
from okienko.plugins.csdtexts import file_name
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.httpapi import Answer, HttpApi, harmless

PAGE = 200
Record = Mapping[str, Any]
_CHECK = "`okienko check csd` names the line of the mapping"


class ServiceNowWire:
    """The requests. All raise TransientError and MisconfiguredError; PermanentError says what ServiceNow refused."""

    def __init__(self, api: HttpApi) -> None:
        self._api = api

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def rows(self, table: str, query: str, fields: str, limit: int = PAGE) -> tuple[list[Record], httpx.Headers]:
        """Rows of an encoded query, with both value and display value of each field, and the answer's headers.

        A field that the query names and the table lacks is ignored by ServiceNow, so that more comes than was asked for.
        """
        params: dict[str, str | int] = {
            "sysparm_query": query, "sysparm_fields": fields, "sysparm_limit": limit, "sysparm_display_value": "all",
            "sysparm_exclude_reference_link": "true", "sysparm_no_count": "true",
        }  # fmt: skip
        path = f"/api/now/table/{table}"
        answer = await self._api.request("GET", path, params=params, repeatable=True)
        if answer.status == 404 and "no record" in _words(answer):
            return [], answer.headers
        found = _result(answer, f"GET {path}")
        return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else [], answer.headers

    async def create(self, table: str, values: Mapping[str, str], fields: str) -> Record:
        """A new row as it was stored. Not repeatable."""
        path = f"/api/now/table/{table}"
        answer = await self._api.request("POST", path, params=_returning(fields), json=dict(values))
        return _row(_result(answer, f"POST {path}"), f"POST {path}")

    async def update(
        self, table: str, sys_id: str, values: Mapping[str, str], fields: str, *, repeatable: bool
    ) -> Record:
        """The row after the change. Raises TicketGoneError."""
        path = f"/api/now/table/{table}/{quote(sys_id, safe='')}"
        answer = await self._api.request(
            "PATCH", path, params=_returning(fields), json=dict(values), repeatable=repeatable
        )
        return _row(_result(answer, f"PATCH {path}"), f"PATCH {path}")

    async def attachments(self, table: str, sys_id: str) -> list[Record]:
        """What is attached to a row."""
        query = f"table_name={table}^table_sys_id={sys_id}^ORDERBYsys_created_on"
        answer = await self._api.request(
            "GET", "/api/now/attachment", params={"sysparm_query": query, "sysparm_limit": 1000}, repeatable=True
        )
        found = _result(answer, "GET /api/now/attachment")
        rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        return [row for row in rows if str(row.get("table_sys_id")) == sys_id]

    async def content(self, attachment: str) -> bytes:
        """The file itself."""
        path = f"/api/now/attachment/{quote(attachment, safe='')}/file"
        answer = await self._api.request("GET", path, repeatable=True)
        if answer.status != 200:
            _refuse(answer, f"GET {path}")
        return answer.content

    async def attach(self, table: str, sys_id: str, file: NewFile) -> None:
        """Send a file as it is. Not repeatable."""
        params: dict[str, str | int] = {
            "table_name": table, "table_sys_id": sys_id, "file_name": file_name(file.filename),
        }  # fmt: skip
        kind = file.media_type if "/" in file.media_type else "application/octet-stream"
        answer = await self._api.request(
            "POST", "/api/now/attachment/file", params=params, content=cast("AsyncIterator[bytes]", FileStream(file)),
            headers={"Content-Type": kind, "Content-Length": str(file.size), "Accept": "application/json"},
        )  # fmt: skip
        stored = _row(_result(answer, "POST /api/now/attachment/file"), "POST /api/now/attachment/file")
        if str(stored.get("size_bytes")) != str(file.size):
            raise TransientError(
                f"ServiceNow stored {harmless(stored.get('size_bytes'))} octets of a file of {file.size}"
            )

    async def meta(self, table: str) -> Record | None:
        """The table's columns with their choices; None when the instance does not tell our user."""
        answer = await self._api.request("GET", f"/api/now/ui/meta/{table}", repeatable=True)
        if answer.status != 200:
            return None
        body = answer.json()
        result = body.get("result") if isinstance(body, dict) else None
        columns = result.get("columns") if isinstance(result, dict) else None
        return columns if isinstance(columns, dict) and columns else None


def _returning(fields: str) -> dict[str, str | int]:
    return {
        "sysparm_fields": fields, "sysparm_display_value": "all", "sysparm_exclude_reference_link": "true",
        "sysparm_input_display_value": "false",
    }  # fmt: skip


def _result(answer: Answer, what: str) -> Any:
    body = answer.json()
    if answer.status >= 400:
        _refuse(answer, what)
    if not isinstance(body, dict):
        raise TransientError(
            f"{what}: {answer.status} with {answer.kind}, not JSON: is the instance asleep or upgrading?"
        )
    if "error" in body:
        raise TransientError(f"{what}: ServiceNow broke off: {_said(body)}")
    return body.get("result")


def _row(found: Any, what: str) -> Record:
    if not isinstance(found, dict):
        raise TransientError(f"{what}: ServiceNow answered without the row")
    return found


def _refuse(answer: Answer, what: str) -> None:
    body = answer.json()
    said = _said(body) if isinstance(body, dict) else answer.kind
    line = f"{what}: ServiceNow refuses it ({answer.status}): {said}"
    if answer.status >= 500:
        raise TransientError(f"{what}: ServiceNow failed ({answer.status}): {said}")
    words = said.casefold()
    if answer.status == 404 and "no record" in words:
        raise TicketGoneError(f"{what}: ServiceNow does not know it (404), or hides it from our user")
    if answer.status == 404:
        # A proxy's 404 for "there is no such ticket" would make every ticket twice.
        raise MisconfiguredError(f"{what}: 404 ({said}), this is no table of ServiceNow's: correct the setting URL")
    if "unique key" in words:
        raise TransientError(f"{line}: somebody made it at the same moment")
    if "mandatory" in words or "data policy" in words:
        raise MisconfiguredError(f"{line}. Fill the field: by a line of the mapping, CLOSE_CODE or HOLD_REASON")
    if answer.status == 400 and "invalid table" in words:
        raise MisconfiguredError(f"{line}. Correct the setting TABLE")
    if answer.status == 403 and "aborted" not in words:
        raise MisconfiguredError(f"{line}. Give okienko's user the roles of docs/csd-servicenow.md")
    raise PermanentError(f"{line}; {_CHECK}")


def _words(answer: Answer) -> str:
    body = answer.json()
    return _said(body).casefold() if isinstance(body, dict) else ""


def _said(body: Mapping[str, Any]) -> str:
    error = body.get("error")
    if isinstance(error, dict):
        return harmless(f"{error.get('message')}: {error.get('detail')}", limit=300)
    return harmless(error)
