"""The connector to `bench.flaky_csd`: as small as a plugin of one's own for a system without an idempotency key can be."""

# ruff: noqa: ARG002  what the run does not need only says that it cannot be done

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pydantic_settings import SettingsConfigDict

from okienko.plugins.context import PluginContext
from okienko.plugins.csd import CsdBackend, CsdBase, Registration, Ticket
from okienko.plugins.csdonce import OnceOnly
from okienko.plugins.errors import TransientError
from okienko.plugins.findings import Finding
from okienko.plugins.hookspecs import hookimpl
from okienko.plugins.httpapi import Answer, Credentials, HttpApi, Limits
from okienko.plugins.settings import PluginSettings
from okienko.schemas import CsdRef


class FlakySettings(PluginSettings):
    """`OKIENKO_FLAKY_…`."""

    model_config = SettingsConfigDict(env_prefix="OKIENKO_FLAKY_", extra="forbid", frozen=True)

    url: str
    timeout: float = 0.3


class FlakyConnector(CsdBase):
    """See CsdBackend; what the run does not need is left out."""

    name = "flaky"

    def __init__(self, settings: FlakySettings, context: PluginContext) -> None:
        self._api = HttpApi(
            settings.url,
            Credentials(),
            limits=Limits(connect=5, total=settings.timeout),
            pace=context.pace("csd flaky"),
        )
        self._once = OnceOnly(self.find, self._create_one, at_once=10)

    async def start(self) -> None:
        """See CsdBackend."""

    async def find(self, correlation_ids: Sequence[UUID]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        ids = [str(i) for i in correlation_ids]
        answer = _checked(await self._api.request("POST", "/search", json={"ids": ids}, repeatable=True))
        found: dict[UUID, CsdRef] = {}
        for correlation_id, number in answer.json():
            found.setdefault(UUID(correlation_id), CsdRef(backend=self.name, number=number))
        return found

    async def create(self, registrations: Sequence[Registration]) -> dict[UUID, CsdRef]:
        """See CsdBackend."""
        return await self._once.create(registrations)

    async def _create_one(self, registration: Registration) -> CsdRef:
        body = {
            "id": str(registration.correlation_id), "subject": registration.subject,
            "opened_at": registration.opened_at.isoformat(),
        }  # fmt: skip
        answer = _checked(await self._api.request("POST", "/tickets", json=body))
        return CsdRef(backend=self.name, number=answer.json()["number"])

    async def get(self, ref: CsdRef) -> Ticket | None:
        """See CsdBackend."""
        raise self._cannot("read tickets")

    async def comment(self, ref: CsdRef, key: str, text: str, *, public: bool = False) -> None:
        """See CsdBackend."""
        raise self._cannot("take notes")

    async def close(self, ref: CsdRef, solution: str) -> None:
        """See CsdBackend."""
        raise self._cannot("close tickets")

    async def reopen(self, ref: CsdRef, reason: str) -> None:
        """See CsdBackend."""
        raise self._cannot("reopen tickets")

    async def check(self) -> list[Finding]:
        """See CsdBackend."""
        return []


def _checked(answer: Answer) -> Answer:
    if answer.status != 200:
        raise TransientError(f"the CSD failed with {answer.status}")
    return answer


@hookimpl
def okienko_csd_backends(ctx: PluginContext) -> Sequence[CsdBackend]:
    """One backend."""
    return [FlakyConnector(ctx.settings(FlakySettings), ctx)]
