"""A message policy: named people get no automatic answer, because a clerk telephones them."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from okienko.plugins import PluginContext, PluginSettings, hookimpl
from okienko.plugins.ports import MessageFacts, MessagePolicy, Silence, Verdicts
from okienko.schemas import InboundMessage


class VipSettings(PluginSettings):
    """`OKIENKO_VIP_…`."""

    model_config = SettingsConfigDict(env_prefix="OKIENKO_VIP_", extra="forbid", frozen=True, hide_input_in_errors=True)

    addresses: list[str] = Field(default_factory=list, description="Senders who get no automatic answer")


class Vip:
    """See MessagePolicy."""

    name = "vip"

    def __init__(self, settings: VipSettings) -> None:
        self._addresses = frozenset(address.lower() for address in settings.addresses)

    def judge(self, message: InboundMessage, facts: MessageFacts) -> Verdicts | None:
        """See MessagePolicy."""
        del facts
        if message.sender is not None and message.sender.address.lower() in self._addresses:
            return Silence("vip")
        return None


@hookimpl
def okienko_policies(ctx: PluginContext) -> Sequence[MessagePolicy]:
    """One policy, `vip`."""
    return [Vip(ctx.settings(VipSettings))]
