"""Policy: a message that belongs to a case goes there, by the case's number or by the mails it answers (RFC 5322, 3.6.4)."""

from __future__ import annotations

from collections.abc import Sequence

from okienko.plugins.context import PluginContext
from okienko.plugins.hookspecs import hookimpl
from okienko.plugins.ports import CaseLink, Merge, MessageFacts, MessagePolicy, Verdicts
from okienko.schemas import InboundMessage


class Threading:
    """See MessagePolicy.

    A reference is as good as unguessable, so a stranger's answer to a case's mail joins the case, marked as such; answers
    still go to the requester alone. A number is easily guessed: it counts only in the requester's own mail. A stranger's
    mail that names one opens a case of its own, where the named case is on record for a person to join the two.
    """

    name = "threading"

    def judge(self, message: InboundMessage, facts: MessageFacts) -> Verdicts | None:
        """See MessagePolicy."""
        numbered = {link.case_id: link for link in facts.by_number if _own(message, link)}
        if len(numbered) > 1:
            # Two cases are named: a person has to say which is meant.
            return None
        if numbered:
            return Merge(next(iter(numbered)), "number")
        if facts.by_reference:
            link = facts.by_reference[0]
            return Merge(link.case_id, "reference", sender_differs=not _own(message, link))
        return None


def _own(message: InboundMessage, link: CaseLink) -> bool:
    """Whether the sender is, by its own word, the case's requester."""
    if message.sender is None or link.requester is None:
        return False
    return message.sender.address.casefold() == link.requester.casefold()


@hookimpl
def okienko_policies(ctx: PluginContext) -> Sequence[MessagePolicy]:
    """One policy, `threading`."""
    del ctx  # it has no settings
    return [Threading()]
