"""What both APIs of GLPI share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from okienko.connectors.csd.glpi import mapping as words
from okienko.connectors.csd.glpi.settings import GlpiCsdSettings
from okienko.plugins.context import utc_now
from okienko.plugins.csd import Capability, NewFile, RawTicket, Registration, RemoteFile, Ticket, WebhookRequest
from okienko.plugins.csdmapping import MappingFile
from okienko.plugins.errors import MisconfiguredError, PermanentError
from okienko.plugins.httpapi import Answer, Credentials, HttpApi, Limits
from okienko.plugins.pace import Pace
from okienko.schemas import CsdRef

_LARGEST = 64 << 20
_REMEMBERED = 2000


class GlpiRefusedError(PermanentError):
    """GLPI refused; `code` is its own, such as ERROR_GLPI_ADD."""

    def __init__(self, what: str, code: str, text: str) -> None:
        super().__init__(f"{what}: GLPI refused with {code}: {text}")
        self.code = code


class GlpiSystem:
    """Settings, connection, and the names of categories."""

    path = ""
    own_sessions = False

    def __init__(self, settings: GlpiCsdSettings, file: MappingFile, pace: Pace | None) -> None:
        self.settings = settings
        self.file = file
        self.mapping = file.mapping
        self.zone = ZoneInfo(settings.time_zone)
        self._pace = pace
        self._open: HttpApi | None = None
        self._categories: dict[str, int] = {}
        self._known: OrderedDict[tuple[str, str], Any] = OrderedDict()
        c = Capability
        always = {c.PUBLIC_NOTES, c.SUBJECT, c.QUEUE, c.ASSIGNEE, c.CHANGES, c.REMOVAL, c.PREVIEW} | self.more()
        self.capabilities = self.mapping.declared(always, webhook=settings.webhook_secret is not None)

    def more(self) -> set[Capability]:
        """Capabilities that only one of the APIs has."""
        return set()

    def credentials(self) -> Credentials:
        """How to sign in, where HTTP itself does."""
        return Credentials()

    def headers(self) -> Mapping[str, str]:
        """Headers of every request."""
        return {}

    @property
    def api(self) -> HttpApi:
        """The connection, opened when it is first needed."""
        if self._open is None:
            s = self.settings
            self._open = HttpApi(
                f"{s.url}{self.path}",
                self.credentials(),
                ca_file=s.ca_file,
                limits=Limits(connect=s.connect_timeout, total=s.timeout, max_body=_LARGEST),
                headers={"Accept-Language": "en", **self.headers()},
                pace=self._pace,
                own_sessions=self.own_sessions,
            )
        return self._open

    async def stop(self) -> None:
        """See TicketSystem."""
        api, self._open = self._open, None
        if api is not None:
            await api.close()

    async def categories(self) -> dict[str, int]:
        """Ids by full name, e.g. `Konta > Hasła`."""
        raise NotImplementedError

    async def category_id(self, name: str, where: str = "") -> int:
        """Raises MisconfiguredError for a category that GLPI does not have."""
        if name not in self._categories:
            self._categories = await self.categories()
        if name not in self._categories:
            line = f" ({where})" if where else ""
            raise MisconfiguredError(
                f"GLPI has no category {name!r}{line}: `okienko check csd` lists those that it has"
            )
        return self._categories[name]

    async def category_name(self, number: int) -> str | None:
        """None for none."""
        if not number:
            return None
        for fresh in (False, True):
            if fresh:
                self._categories = await self.categories()
            for name, known in self._categories.items():
                if known == number:
                    return name
        return str(number)

    def category_of(self, registration: Registration) -> tuple[str | None, str]:
        """Category of a new ticket, with its line in the mapping."""
        return self.mapping.queue_for(registration), self.file.where("queues")

    def preview(self, registration: Registration) -> RawTicket:
        """See TicketSystem. Both APIs are sent the same; GLPI gives the first state itself."""
        return words.preview_of(registration, self.file)

    def remember(self, kind: str, key: object, value: Any) -> Any:
        """Keep what does not change, the newest ones."""
        self._known[kind, str(key)] = value
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return value

    def remembered(self, kind: str, key: object) -> Any:
        """None when it is not known."""
        return self._known.get((kind, str(key)))

    def notified(self, request: WebhookRequest) -> tuple[CsdRef, ...]:
        """See TicketSystem."""
        secret = self.settings.webhook_secret
        assert secret is not None  # noqa: S101  the capability is there only with it
        return words.notified(request, secret.get_secret_value())

    async def digest(self, ticket: Ticket, file: RemoteFile) -> str | None:
        """See TicketSystem; `read` has told it already."""
        del ticket
        return file.sha256

    async def add_file(self, ticket: Ticket, file: NewFile, filename: str) -> None:
        """See TicketSystem."""
        del ticket
        raise PermanentError(f"the API of GLPI {self.settings.api} takes no file: {filename} ({file.size} B)")

    async def link(self, ticket: Ticket, other: Ticket) -> None:
        """See TicketSystem."""
        raise PermanentError(
            f"the API of GLPI {self.settings.api} cannot relate {ticket.ref.number} to {other.ref.number}"
        )

    # --- the wire -----------------------------------------------------------------------------------------------------

    async def _item(self, path: str) -> dict[str, Any] | None:
        try:
            row, _ = await self._call("GET", path, repeatable=True)
        except GlpiRefusedError as refused:
            if refused.code == "ERROR_ITEM_NOT_FOUND":
                return None
            raise
        return row if isinstance(row, dict) else None

    async def _list(self, path: str, query: dict[str, str]) -> AsyncGenerator[dict[str, Any], None]:
        start, more = 0, True
        while more:
            rows, more = await self._page(path, query, start)
            for row in rows:
                yield row
            start += len(rows)

    async def _page(self, path: str, query: dict[str, str], start: int) -> tuple[list[dict[str, Any]], bool]:
        """Rows, and whether there are more."""
        raise NotImplementedError

    async def _call(self, method: str, path: str, **arguments: Any) -> tuple[Any, Answer]:
        """The answer's value, and the answer. Raises GlpiRefusedError."""
        raise NotImplementedError


def date_of(headers: httpx.Headers) -> datetime:
    """The server's own time of an answer; without one ours, a minute early to be safe."""
    try:
        return parsedate_to_datetime(headers["date"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return utc_now() - timedelta(seconds=60)
