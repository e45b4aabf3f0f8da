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
    verdict = Threading().judge(InboundMessage(sender=sender), MessageFacts(by_number=(ONE,)))
    assert verdict == Merge(ONE.case_id, "number", sender_differs=True)


def test_it_comes_in_by_the_hook(tmp_path: Path) -> None:
    assert [policy.name for policy in okienko_policies(PluginContext(tmp_path, {}))] == ["threading"]
