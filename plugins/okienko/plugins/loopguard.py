"""Policy: what machines send is not answered, and our own mail does not come in twice (RFC 3834)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from okienko.plugins.context import PluginContext
from okienko.plugins.hookspecs import hookimpl
from okienko.plugins.ports import MessageFacts, MessagePolicy, Silence, Suppress, Verdicts
from okienko.plugins.settings import PluginSettings
from okienko.schemas import AutoKind, InboundMessage

_MACHINES = ("noreply", "no-reply", "donotreply", "do-not-reply", "mailer-daemon", "postmaster", "bounce")


class LoopguardSettings(PluginSettings):
    """`OKIENKO_LOOPGUARD_…`."""

    model_config = SettingsConfigDict(env_prefix="OKIENKO_LOOPGUARD_", extra="forbid", frozen=True)

    answers_per_day: int = Field(
        default=20, ge=1, description="Automatic answers to one address in 24 hours; later mails are cased without one"
    )


class Loopguard:
    """See MessagePolicy. It never loses a person's mail: what might be one is cased, only the answer is left out."""

    name = "loopguard"

    def __init__(self, settings: LoopguardSettings) -> None:
        self._settings = settings

    def judge(self, message: InboundMessage, facts: MessageFacts) -> Verdicts | None:
        """See MessagePolicy."""
        if facts.is_ours:
            return Suppress("own_message")
        if message.auto is AutoKind.DELIVERY_REPORT:
            return Suppress("delivery_report", _case(facts))
        if message.auto is AutoKind.AUTO_REPLIED:
            return Suppress("auto_reply", _case(facts))
        if message.suppress_auto_response:
            return Silence("asked_for_none" if message.auto is AutoKind.HUMAN else "machine")
        if message.sender is None:
            return Silence("no_sender")
        if message.sender.address.lower().startswith(_MACHINES):
            return Silence("machine")
        if facts.answers_today >= self._settings.answers_per_day:
            # Autoresponders that set no header are stopped by this alone.
            return Silence("answer_cap")
        return None


def _case(facts: MessageFacts) -> UUID | None:
    for links in (facts.by_report, facts.by_number, facts.by_reference):
        if links:
            return links[0].case_id
    return None


@hookimpl
def okienko_policies(ctx: PluginContext) -> Sequence[MessagePolicy]:
    """One policy, `loopguard`."""
    return [Loopguard(ctx.settings(LoopguardSettings))]
