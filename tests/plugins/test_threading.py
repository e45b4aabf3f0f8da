"""The policy `threading`."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from okienko.plugins.context import PluginContext
from okienko.plugins.ports import CaseLink, Merge, MessageFacts
from okienko.plugins.testing.conformance.policy import PolicyConformance
from okienko.plugins.threading import Threading, okienko_policies
from okienko.schemas import Address, CaseState, InboundMessage

JAN = "jan@poczta.example"
ONE = CaseLink(UUID(int=1), "ZGL000000001", CaseState.REGISTERED, JAN)
TWO = CaseLink(UUID(int=2), "ZGL000000002", CaseState.CLOSED, JAN)
MESSAGE = InboundMessage(subject="Re: ZGL000000001", sender=Address(address="Jan@poczta.example"))


class TestConformance(PolicyConformance):
    @pytest.fixture
    def backend(self) -> Threading:
        return Threading()


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (MessageFacts(), None),
        (MessageFacts(by_number=(ONE,)), Merge(ONE.case_id, "number")),
        (MessageFacts(by_number=(ONE, ONE)), Merge(ONE.case_id, "number")),
        (MessageFacts(by_number=(ONE,), by_reference=(TWO,)), Merge(ONE.case_id, "number")),
        (MessageFacts(by_reference=(TWO, ONE)), Merge(TWO.case_id, "reference")),
        (MessageFacts(by_number=(ONE, TWO)), None),
        (MessageFacts(by_number=(ONE, TWO), by_reference=(ONE,)), None),
    ],
)
def test_which_case(facts: MessageFacts, verdict: Merge | None) -> None:
    assert Threading().judge(MESSAGE, facts) == verdict


@pytest.mark.parametrize("sender", [None, Address(address="ewa@poczta.example")])
def test_a_stranger_is_marked(sender: Address | None) -> None:
    verdict = Threading().judge(InboundMessage(sender=sender), MessageFacts(by_reference=(ONE,)))
    assert verdict == Merge(ONE.case_id, "reference", sender_differs=True)


@pytest.mark.parametrize("sender", [None, Address(address="ewa@poczta.example")])
def test_a_strangers_number_opens_no_door(sender: Address | None) -> None:
    """Numbers run in sequence: whoever guesses one must not write into the case or have it reopened."""
    message = InboundMessage(sender=sender, subject="ZGL000000001")
    assert Threading().judge(message, MessageFacts(by_number=(ONE,))) is None
    nobody = CaseLink(UUID(int=3), "ZGL000000003", CaseState.REGISTERED, None)
    assert Threading().judge(message, MessageFacts(by_number=(nobody,))) is None
    assert Threading().judge(message, MessageFacts(by_number=(ONE,), by_reference=(TWO,))) == Merge(
        TWO.case_id, "reference", sender_differs=True
    )


def test_it_comes_in_by_the_hook(tmp_path: Path) -> None:
    assert [policy.name for policy in okienko_policies(PluginContext(tmp_path, {}))] == ["threading"]
