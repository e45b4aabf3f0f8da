"""Policy: a message that belongs to a case goes there, by the case's number or by the mails it answers (RFC 5322, 3.6.4)."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.plugins.context import PluginContext
from okienko.plugins.hookspecs import hookimpl
from okienko.plugins.ports import CaseLink, Merge, MessageFacts, MessagePolicy, Verdicts
from okienko.schemas import InboundMessage


class Threading:
    """See MessagePolicy. A stranger's mail may join a case, marked as such; answers still go to the requester alone."""

    name = "threading"

    def judge(self, message: InboundMessage, facts: MessageFacts) -> Verdicts | None:
        """See MessagePolicy."""
        numbered = {link.case_id: link for link in facts.by_number}
        if len(numbered) > 1:
            # Two cases are named: a person has to say which is meant.
            return None
        if numbered:
            return _merge(message, next(iter(numbered.values())), "number")
        if facts.by_reference:
            return _merge(message, facts.by_reference[0], "reference")
        return None


def _merge(message: InboundMessage, link: CaseLink, reason: str) -> Merge:
    sender = message.sender.address.casefold() if message.sender else None
    return Merge(link.case_id, reason, sender_differs=sender != (link.requester or "").casefold())


@hookimpl
def okienko_policies(ctx: PluginContext) -> Sequence[MessagePolicy]:
    """One policy, `threading`."""
    del ctx  # it has no settings
    return [Threading()]
