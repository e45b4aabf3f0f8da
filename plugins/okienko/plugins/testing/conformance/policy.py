"""Checks of the port MessagePolicy."""

# ruff: noqa: S101  assertions are the checks

from __future__ import annotations

import copy
from itertools import product
from typing import get_args
from uuid import UUID

import pytest

from okienko.plugins.ports import CaseLink, MessageFacts, MessagePolicy, Verdicts
from okienko.schemas import Address, AutoKind, CaseState, InboundMessage

_JAN = "jan.kowalski@example.org"
_LINK = CaseLink(UUID(int=1), "ZGL000000001", CaseState.REGISTERED, _JAN)
_CLOSED = CaseLink(UUID(int=2), None, CaseState.CLOSED, None)

MESSAGES = (
    InboundMessage(),
    InboundMessage(message_id="1@example.org", subject="Hasło", sender=Address(address=_JAN), text="Proszę o reset."),
    InboundMessage(
        subject="Re: ZGL000000001", sender=Address(address="ewa@example.com"), in_reply_to=("1@example.org",)
    ),
    *(InboundMessage(auto=auto, suppress_auto_response=True, sender=Address(address=_JAN)) for auto in AutoKind),
    InboundMessage(subject="🙂" * 2000, text="x" * 100_000, reported_message_ids=("2@example.org",)),
)
"""Messages of every sort, the emptiest among them."""

FACTS = tuple(
    MessageFacts(is_ours=ours, by_reference=reference, by_number=number, by_report=report, answers_today=answers)
    for ours, reference, number, report, answers in product(
        (False, True), ((), (_LINK, _CLOSED)), ((), (_LINK,)), ((), (_CLOSED,)), (0, 10_000)
    )
)
"""Everything that the store may know, in combination."""


class PolicyConformance:
    """Subclass it as `Test…` and give it a fixture `backend`: the policy."""

    @pytest.fixture
    def backend(self) -> MessagePolicy:
        """The object to check."""
        raise NotImplementedError("override the fixture `backend`")

    def test_port(self, backend: MessagePolicy) -> None:
        """It has every member of the port, and a name."""
        assert isinstance(backend, MessagePolicy)
        assert backend.name

    def test_always_answers(self, backend: MessagePolicy) -> None:
        """It has a verdict or None for any message and any facts; it never raises."""
        for message, facts in product(MESSAGES, FACTS):
            verdict = backend.judge(message, facts)
            assert verdict is None or isinstance(verdict, get_args(Verdicts))

    def test_merges_into_known_cases_only(self, backend: MessagePolicy) -> None:
        """A verdict speaks of cases that stand in the facts."""
        for message, facts in product(MESSAGES, FACTS):
            case_id = getattr(backend.judge(message, facts), "case_id", None)
            links = (*facts.by_reference, *facts.by_number, *facts.by_report)
            assert case_id is None or case_id in {link.case_id for link in links}

    def test_pure(self, backend: MessagePolicy) -> None:
        """The same question has the same answer, in any order, and the question stays as it was."""
        questions = list(product(MESSAGES, FACTS))
        before = copy.deepcopy(questions)
        forward = [backend.judge(*question) for question in questions]
        backward = [backend.judge(*question) for question in reversed(questions)]
        assert forward == backward[::-1]
        assert questions == before

    def test_reasons_are_few(self, backend: MessagePolicy) -> None:
        """A reason is the value of a metric's label: one of a small set, never a text about this message."""
        verdicts = [backend.judge(message, facts) for message, facts in product(MESSAGES, FACTS)]
        reasons = {verdict.reason for verdict in verdicts if verdict is not None}
        assert len(reasons) <= 20
        assert all(reason and reason == reason.strip() and len(reason) <= 40 for reason in reasons)
