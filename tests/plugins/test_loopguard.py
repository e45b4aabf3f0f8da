"""The policy `loopguard`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from okienko.plugins.context import PluginContext
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.loopguard import Loopguard, LoopguardSettings, okienko_policies
from okienko.plugins.ports import CaseLink, MessageFacts, Silence, Suppress
from okienko.plugins.testing.conformance.policy import PolicyConformance
from okienko.schemas import Address, AutoKind, CaseState, InboundMessage

ONE, TWO, THREE = (CaseLink(UUID(int=n), None, CaseState.REGISTERED, None) for n in (1, 2, 3))
GUARD = Loopguard(LoopguardSettings())


def message(address: str | None = "jan@poczta.example", **more: Any) -> InboundMessage:
    return InboundMessage(sender=Address(address=address) if address else None, **more)


class TestConformance(PolicyConformance):
    @pytest.fixture
    def backend(self) -> Loopguard:
        return GUARD


def test_a_person_passes() -> None:
    assert GUARD.judge(message(), MessageFacts(answers_today=19, by_reference=(ONE,))) is None


def test_our_own_mail_is_suppressed() -> None:
    assert GUARD.judge(message(), MessageFacts(is_ours=True)) == Suppress("own_message")


@pytest.mark.parametrize(
    ("auto", "facts", "reason", "case"),
    [
        (AutoKind.DELIVERY_REPORT, MessageFacts(), "delivery_report", None),
        (AutoKind.DELIVERY_REPORT, MessageFacts(by_report=(ONE,), by_reference=(TWO,)), "delivery_report", ONE),
        (AutoKind.DELIVERY_REPORT, MessageFacts(by_reference=(TWO,)), "delivery_report", TWO),
        (AutoKind.AUTO_REPLIED, MessageFacts(), "auto_reply", None),
        (AutoKind.AUTO_REPLIED, MessageFacts(by_reference=(TWO,), by_number=(THREE,)), "auto_reply", TWO),
        (AutoKind.AUTO_REPLIED, MessageFacts(by_number=(THREE,)), "auto_reply", THREE),
    ],
)
def test_reports_and_auto_replies_are_suppressed(
    auto: AutoKind, facts: MessageFacts, reason: str, case: CaseLink | None
) -> None:
    assert GUARD.judge(message(None, auto=auto), facts) == Suppress(reason, case.case_id if case else None)


@pytest.mark.parametrize(
    "quiet",
    [
        message(auto=AutoKind.AUTO_GENERATED),
        message(auto=AutoKind.BULK),
        message(suppress_auto_response=True),
        message(None),
        *map(
            message,
            [
                "noreply@x.example", "no-reply@x.example", "NoReply@x.example", "system.no-reply@x.example",
                "no_reply+1@x.example", "do-not-reply@x.example", "donotreply@x.example", "mailer-daemon@x.example",
                "MAILER-DAEMON@x.example", "postmaster@x.example", "bounces+12@x.example",
            ],
        ),
    ],
)  # fmt: skip
def test_machines_are_cased_but_not_answered(quiet: InboundMessage) -> None:
    assert isinstance(GUARD.judge(quiet, MessageFacts()), Silence)


@pytest.mark.parametrize("address", ["postmasterski@x.example", "noreplyson@x.example", "jan@no-reply.example"])
def test_people_with_such_names_are_answered(address: str) -> None:
    assert GUARD.judge(message(address), MessageFacts()) is None


def test_the_cap_is_a_setting(tmp_path: Path) -> None:
    (policy,) = okienko_policies(PluginContext(tmp_path, {"OKIENKO_LOOPGUARD_ANSWERS_PER_DAY": "2"}))
    assert policy.judge(message(), MessageFacts(answers_today=1)) is None
    assert policy.judge(message(), MessageFacts(answers_today=2)) == Silence("answer_cap")
    assert GUARD.judge(message(), MessageFacts(answers_today=20)) == Silence("answer_cap")
    with pytest.raises(MisconfiguredError, match="OKIENKO_LOOPGUARD_ANSWERS_PER_DAY"):
        okienko_policies(PluginContext(tmp_path, {"OKIENKO_LOOPGUARD_ANSWERS_PER_DAY": "0"}))
