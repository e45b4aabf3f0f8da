"""Policy: what machines send is not answered, and our own mail does not come in twice (RFC 3834)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from uuid import UUID

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from okienko.plugins.context import PluginContext
from okienko.plugins.hookspecs import hookimpl
from okienko.plugins.ports import CaseLink, MessageFacts, MessagePolicy, Silence, Suppress, Verdicts
from okienko.plugins.settings import PluginSettings
from okienko.schemas import AutoKind, InboundMessage

_MACHINE = re.compile(
    r"(?:.*[._+-])?(?:no[._-]?reply|do[._-]?not[._-]?reply|mailer-daemon|postmaster)(?:[._+-].*)?@|bounces?[+-].*@",
    re.IGNORECASE,
)


class LoopguardSettings(PluginSettings):
    """`OKIENKO_LOOPGUARD_…`."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_LOOPGUARD_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    answers_per_day: int = Field(
        default=20, ge=1, description="Automatic answers to one address in 24 hours; later mails are cased without one"
    )


class Loopguard:
    """See MessagePolicy. It never loses a person's mail: what might be one is cased, only the answer is left out."""

    name = "loopguard"

    def __init__(self, settings: LoopguardSettings) -> None:
        self._answers_per_day = settings.answers_per_day

    def judge(self, message: InboundMessage, facts: MessageFacts) -> Verdicts | None:
        """See MessagePolicy."""
        if facts.is_ours:
            return Suppress("own_message")
        if message.auto is AutoKind.DELIVERY_REPORT:
            return Suppress("delivery_report", _first(facts.by_report, facts.by_reference))
        if message.auto is AutoKind.AUTO_REPLIED:
            return Suppress("auto_reply", _first(facts.by_reference, facts.by_number))
        if (silent := _unanswered(message)) is not None:
            return Silence(silent)
        if facts.answers_today >= self._answers_per_day:
            # Autoresponders that set no header are stopped by this alone.
            return Silence("answer_cap")
        return None


def _unanswered(message: InboundMessage) -> str | None:
    """Why this sender gets no automatic answer, or None."""
    if message.auto in (AutoKind.AUTO_GENERATED, AutoKind.BULK):
        return "machine"
    if message.suppress_auto_response:
        return "asked_for_none"
    if message.sender is None or not message.sender.address:
        return "no_sender"
    return "machine" if _MACHINE.match(message.sender.address) else None


def _first(*groups: tuple[CaseLink, ...]) -> UUID | None:
    return next((link.case_id for links in groups for link in links), None)


@hookimpl
def okienko_policies(ctx: PluginContext) -> Sequence[MessagePolicy]:
    """One policy, `loopguard`."""
    return [Loopguard(ctx.settings(LoopguardSettings))]
