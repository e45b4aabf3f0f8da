"""SCIM over HTTP: requests, error bodies and lists. Knows the protocol, not the accounts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from okienko.connectors.identity.scim.mapping import ERROR, LIST, SEARCH, Resource, as_bool, lookup
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.httpapi import Answer, HttpApi, harmless
from okienko.plugins.identity import AccountGoneError, LoginTakenError, StaleError

MEDIA = "application/scim+json"


class ScimRefusedError(PermanentError):
    """The server understood and refused (400 and the like)."""

    def __init__(self, message: str, scim_type: str, detail: str) -> None:
        super().__init__(message)
        self.scim_type = scim_type
        self.detail = detail
        """The server's words, made harmless."""


class ScimChangedError(StaleError):
    """The resource is not of the version that was read (412): look again before deciding that it is stale."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the ServiceProviderConfig says (RFC 7643, section 5)."""

    patch: bool = False
    filter: bool = False
    etag: bool = False
    change_password: bool = False


class ScimWire:
    """One SCIM service."""

    def __init__(self, api: HttpApi, *, page_size: int, max_accounts: int) -> None:
        self._api = api
        self._page_size = page_size
        self._max_accounts = max_accounts
        self._search_by_post = True

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def abilities(self) -> Abilities:
        """Read the ServiceProviderConfig. Raises MisconfiguredError when there is none."""
        body = await self._read("/ServiceProviderConfig")
        if body is None or not isinstance(lookup(body, "filter"), Mapping):
            raise MisconfiguredError(
                f"{self._api.base_url}/ServiceProviderConfig is none: does the setting URL end where /Users begins?"
            )

        def supported(name: str) -> bool:
            return as_bool(lookup(body, f"{name}.supported")) is True

        return Abilities(supported("patch"), supported("filter"), supported("etag"), supported("changePassword"))

    async def knows_path(self, path: str) -> bool | None:
        """Whether the server's schemas have the attribute; None when it does not publish them."""
        schema, _, names = path.rpartition(":")
        body = await self._read("/Schemas")
        schemas = lookup(body, "Resources") if body is not None else None
        if not isinstance(schemas, list):
            return None
        wanted, first = schema.casefold(), names.split(".")[0].casefold()
        for one in schemas:
            name = str(lookup(one, "id") or "").casefold()
            if name == wanted or (not wanted and name.endswith(":core:2.0:user")):
                attributes = lookup(one, "attributes")
                known = attributes if isinstance(attributes, list) else []
                return any(str(lookup(a, "name")).casefold() == first for a in known if isinstance(a, Mapping))
        return False

    async def probe(self) -> None:
        """Ask for one account, whichever: our token and our right to read are seen."""
        await self._page(None, 1, count=1)

    async def user(self, ref: str) -> tuple[Resource, str | None] | None:
        """One user with its ETag, or None. An id that would lead elsewhere finds nothing."""
        if not ref or ref in (".", ".."):
            return None
        answer = await self._api.request("GET", f"/Users/{quote(ref, safe='')}", headers=_ACCEPT, repeatable=True)
        if answer.status == 404:
            return None
        body = _body(answer, "reading an account")
        if body is None or lookup(body, "id") != ref:
            raise PermanentError("the SCIM server answered with another account than the one asked for")
        return body, answer.headers.get("etag")

    async def patch(self, ref: str, body: Mapping[str, Any], version: str | None, hidden: str = "") -> None:
        """Change one user: all operations or none; no error repeats `hidden`.

        Raises ScimRefusedError, ScimChangedError, LoginTakenError, AccountGoneError.
        """
        headers = _ACCEPT | {"Content-Type": MEDIA} | ({"If-Match": version} if version else {})
        path = f"/Users/{quote(ref, safe='')}"
        answer = await self._api.request("PATCH", path, json=body, headers=headers)
        if answer.status == 404:
            raise AccountGoneError("the account is not there any more; nothing was changed")
        if answer.status != 204:
            _body(answer, "changing an account", hidden)

    async def users(self, expression: str | None) -> AsyncIterator[Resource]:
        """Every user that the server lists for the filter; it may list others as well, so look at each.

        Raises MisconfiguredError when there are more than the cap, or when the server does not page.
        """
        seen: set[str] = set()
        start = 1
        while True:
            body = await self._page(expression, start)
            total = lookup(body, "totalResults")
            page = lookup(body, "Resources")
            page = [one for one in page if isinstance(one, Mapping)] if isinstance(page, list) else []
            if not isinstance(total, int) or total < 0:
                raise PermanentError("the SCIM server's list has no totalResults")
            if total > self._max_accounts:
                raise MisconfiguredError(
                    f"the SCIM server lists {total} accounts instead of the wanted one; okienko reads at most "
                    f"{self._max_accounts}: make the server filter, or raise MAX_ACCOUNTS"
                )
            fresh = [one for one in page if str(lookup(one, "id")) not in seen]
            for one in fresh:
                seen.add(str(lookup(one, "id")))
                yield one
            if len(seen) >= total:
                return
            if not fresh:
                raise MisconfiguredError(
                    f"the SCIM server speaks of {total} accounts and gave only {len(seen)}: "
                    "it does not page as RFC 7644, section 3.4.2.4 says, so an account could be overlooked"
                )
            start += len(page)

    async def _page(self, expression: str | None, start: int, count: int | None = None) -> Resource:
        asked: dict[str, Any] = {"startIndex": start, "count": count or self._page_size}
        by_post = expression is not None and self._search_by_post
        if expression is not None:
            asked["filter"] = expression
        if by_post:
            # Logins and PESELs do not belong in addresses, which servers log (RFC 7644, section 7.5.2).
            body = await self._post_search(asked)
            if body is not None:
                return body
        answer = await self._api.request("GET", "/Users", params=asked, headers=_ACCEPT, repeatable=True)
        found = _list(_body(answer, "listing accounts"))
        if found is None:
            raise MisconfiguredError("GET /Users is no SCIM list: check the setting URL")
        if by_post:
            # GET works where POST did not: the server has no such search.
            self._search_by_post = False
        return found

    async def _post_search(self, asked: Mapping[str, Any]) -> Resource | None:
        """POST /Users/.search, which changes nothing; None when the server does not offer it."""
        answer = await self._api.request(
            "POST", "/Users/.search",
            json={"schemas": [SEARCH], **asked}, headers=_ACCEPT | {"Content-Type": MEDIA}, repeatable=True,
        )  # fmt: skip
        if answer.status in (400, 403, 404, 405, 415, 500, 501):
            return None
        return _list(_body(answer, "searching accounts"))

    async def _read(self, path: str) -> Resource | None:
        answer = await self._api.request("GET", path, headers=_ACCEPT, repeatable=True)
        return None if answer.status == 404 else _body(answer, f"reading {path}")


_ACCEPT = {"Accept": f"{MEDIA}, application/json"}


def _list(body: Resource | None) -> Resource | None:
    """`body` when it is a list; an answer to `.search` that is none comes from a server that took `.search` for an id."""
    schemas = lookup(body, "schemas") if body is not None else None
    named = isinstance(schemas, list) and any(str(s).casefold() == LIST.casefold() for s in schemas)
    return body if named or (body is not None and lookup(body, "totalResults") is not None) else None


def _body(answer: Answer, what: str, hidden: str = "") -> Resource | None:
    """The body of a success; else the error that fits (RFC 7644, section 3.12). None for an empty success."""
    parsed = answer.json()
    body = parsed if isinstance(parsed, dict) else None
    status, schemas = answer.status, lookup(body, "schemas") if body is not None else None
    if 200 <= status < 300 and isinstance(schemas, list) and ERROR in schemas:
        # Some servers put their errors into a success.
        status = _status(lookup(body or {}, "status"))
    if 200 <= status < 300:
        if body is None and answer.content.strip():
            raise MisconfiguredError(
                f"{what}: the answer is {answer.kind} and no SCIM: check the setting URL, and whether a proxy asks to log in"
            )
        return body
    scim_type = harmless(lookup(body, "scimType") or "", hidden) if body is not None else ""
    detail = harmless(lookup(body, "detail") or "", hidden) if body is not None else ""
    told = f"{what}: {status} {scim_type} {detail}".rstrip()
    if status == 403:
        raise MisconfiguredError(f"{told}: our client lacks the right; grant it read and write of users")
    if status == 404:
        raise MisconfiguredError(f"{told}: no such endpoint; check the setting URL")
    if status == 409:
        if not scim_type or scim_type.casefold() == "uniqueness":
            raise LoginTakenError(f"{what}: another account has that login; nothing was changed")
        raise PermanentError(told)
    if status in (412, 428):
        raise ScimChangedError(f"{what}: the account was changed meanwhile; nothing was changed")
    if status >= 500 and status != 501:
        # Also HTML that calls itself SCIM: a crash of the server.
        raise TransientError(f"{what}: the server failed with {status} ({answer.kind})")
    raise ScimRefusedError(told, scim_type, detail)


def _status(text: Any) -> int:
    return int(text) if str(text).isascii() and str(text).isdigit() and len(str(text)) == 3 else 500
