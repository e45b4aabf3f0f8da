"""The second decision: with the account, the sender's proof and the application, after the first answer has gone."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from core.recoverykit import ADA, JAN, NEW, NOW, OTHER, PROVED, Counter, letter
from desk import BODY_A, BODY_B
from okienko.core.actions.frozen import Step
from okienko.core.actions.machine import Risk
from okienko.core.reconcile import reconcile
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.identity import AccountFlag, Operation
from okienko.plugins.signatures import Application, Signatory
from okienko.plugins.testing import MemoryIdentity, invented_pesel
from okienko.schemas import ActionState, Decision, Person, Verdict

UNLOCK, ACTIVATE, CHANGE, BY_HAND = Step.UNLOCK, Step.ACTIVATE, Step.CHANGE_LOGIN, Step.BY_HAND


async def verdicts(counter: Counter) -> dict[str, tuple[str, ...]]:
    """Rules of the only case's decision, by verdict."""
    decision = Decision.model_validate_json(await counter.bench.value("SELECT decision::text FROM cases"))
    return {verdict.value: decision.rules(verdict) for verdict in Verdict}


async def test_a_request_that_agrees_becomes_an_action_of_low_risk(counter: Counter) -> None:
    await counter.ask()
    action = await counter.action()
    frozen = action.frozen
    assert (action.state, action.risk) == (ActionState.WAITING, Risk.LOW)
    assert (frozen.backend, frozen.account_ref) == ("memory", counter.jan.ref)
    assert (frozen.old_login, frozen.new_login, frozen.steps, frozen.must_check) == (JAN, None, (ACTIVATE,), ())
    assert await verdicts(counter) == {"met": ("A1", "A2", "A3", "A4", "A5"), "unmet": (), "unknown": ()}
    assert (await counter.case())["state"] == "registered"
    assert await counter.events() == [
        "opened", "decided", "registered", "notification_queued", "notification_sent", "assessed", "action_proposed",
    ]  # fmt: skip
    assert counter.sent() == [("registered", JAN)]


async def test_the_account_is_looked_at_after_the_answer_has_gone(counter: Counter) -> None:
    """Mail 1 fails and is tried again: until it has gone, nobody asks for an account."""
    counter.bench.identity.failures.append(AssertionError("asked"))
    counter.bench.channel.failures.extend([TransientError("relay away")] * 2)
    await counter.bench.take(letter())
    for _ in range(4):
        await counter.bench.step()
    assert len(counter.bench.identity.failures) == 1
    assert await counter.bench.value("SELECT count(*) FROM audit_entry WHERE action = 'looked_up'") == 0
    counter.bench.identity.failures.clear()
    await counter.bench.settle()
    assert len(await counter.actions()) == 1


async def test_an_answer_that_can_never_be_sent_holds_nothing_up(counter: Counter) -> None:
    counter.bench.channel.failures.append(PermanentError("550"))
    await counter.ask()
    assert "notification_failed" in await counter.events()
    assert len(await counter.actions()) == 1


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        ({AccountFlag.LOCKED}, (UNLOCK, ACTIVATE)),
        ({AccountFlag.MUST_CHANGE}, (ACTIVATE,)),
        ({AccountFlag.LOCKED, AccountFlag.MUST_CHANGE}, (UNLOCK, ACTIVATE)),
    ],
)
async def test_the_steps_follow_the_account(counter: Counter, flags: set[AccountFlag], steps: tuple[Step, ...]) -> None:
    counter.jan.flags |= flags
    await counter.ask()
    assert (await counter.action()).frozen.steps == steps


def person(given: str = "Jan", family: str = "Próbny", year: int | None = 1980) -> Person:
    return Person(given_name=given, family_name=family, birth_year=year)


@pytest.mark.parametrize(
    ("prepare", "unmet", "unknown", "proposed"),
    [
        (lambda c: c.bench.identity.accounts.clear(), ("A4", "A5"), (), False),
        (lambda c: c.jan.flags.add(AccountFlag.DISABLED), (), (), False),
        (lambda c: setattr(c.jan, "person", person(year=1981)), ("A5",), (), False),
        (lambda c: setattr(c.jan, "person", person("Ewa", "Inna")), (), ("A5",), True),
        (lambda c: setattr(c.jan, "person", person(year=None)), (), ("A5",), True),
        (lambda c: setattr(c.jan, "login", OTHER), ("A4", "A5"), (), False),
    ],
    ids=["missing", "disabled", "another year", "another name", "no year", "another login"],
)
async def test_what_does_not_agree_goes_to_a_human_and_nobody_outside_hears_of_it(
    counter: Counter, prepare: Any, unmet: tuple[str, ...], unknown: tuple[str, ...], proposed: bool
) -> None:
    prepare(counter)
    case_id = await counter.ask()
    state, why = await counter.outcome(case_id)
    found = await verdicts(counter)
    assert (found["unmet"], found["unknown"]) == (unmet, unknown)
    assert state == "human_review"
    actions = await counter.actions()
    assert [a.frozen.must_check for a in actions] == ([unknown] if proposed else [])
    assert (why is None) == proposed
    assert counter.sent() == [("registered", JAN)]


@pytest.mark.parametrize(
    ("proof", "verdict"),
    [
        (None, "unknown"),
        ("mx.evil.invalid; dmarc=pass header.from=poczta.example", "unknown"),
        ("mx.okienko.invalid; dmarc=fail header.from=poczta.example", "unmet"),
        ("mx.okienko.invalid; spf=pass smtp.mailfrom=evil.invalid", "unknown"),
        (PROVED, "met"),
    ],
)
async def test_a_sender_counts_only_when_our_own_server_proves_it(
    counter: Counter, proof: str | None, verdict: str
) -> None:
    await counter.ask(letter(proof=proof))
    assert "A4" in (await verdicts(counter))[verdict]
    assert len(await counter.actions()) == (0 if verdict == "unmet" else 1)


async def test_the_replies_are_the_same_for_every_kind_of_account(counter: Counter) -> None:
    """Byte for byte but for the number, and as many: issue 3, enumeration."""
    counter.bench.build(repeat_hours="0")
    preparations = [
        lambda c: None,
        lambda c: c.jan.flags.add(AccountFlag.LOCKED),
        lambda c: c.jan.flags.add(AccountFlag.DISABLED),
        lambda c: setattr(c.jan, "person", person("Ewa", "Inna", 1990)),
        lambda c: c.bench.identity.accounts.clear(),
    ]
    for prepare in preparations:
        prepare(counter)
        await counter.ask()
    texts = {re.sub(r"ZGL\d+", "ZGL", f"{m.subject}\n{m.text}") for m in counter.bench.channel.sent}
    assert len(counter.bench.channel.sent) == len(preparations)
    assert len(texts) == 1


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_an_account_has_one_open_action_and_a_daily_cap(counter: Counter) -> None:
    counter.bench.build(repeat_hours="0")
    first = await counter.ask()
    second = await counter.ask()
    assert await counter.outcome(second) == ("human_review", "another case has an open reset action for the account")
    approvals = counter.bench.recovery.approvals
    for n in range(2):
        action = (await counter.actions())[-1]
        await approvals.refuse(action.frozen.action_id, ADA, reason="nie ta osoba", solution="Odmowa.")
        await counter.bench.settle()
        later = await counter.ask()
        expected = "the account has had 2 reset action(s) today, which is the limit" if n else None
        assert (await counter.outcome(later))[1] == expected
    await counter.bench.pass_time(NOW.replace(day=25, hour=0) - counter.bench.clock())
    assert (await counter.outcome(await counter.ask()))[1] is None
    assert first != second


async def test_two_requests_for_one_account_at_the_same_moment(counter: Counter, monkeypatch: Any) -> None:
    """Two workers look, both find no action, and one of them is the second all the same."""
    counter.bench.build(repeat_hours="0")
    await counter.bench.take(letter(), letter())
    await counter.bench.until("assess")
    ids = [one for _, one in await counter.bench.jobs()]
    assert len(ids) == 2
    both, find = asyncio.Barrier(2), counter.bench.identity.find_by_login

    async def together(login: str) -> Any:
        found = await find(login)
        await both.wait()
        return found

    monkeypatch.setattr(counter.bench.identity, "find_by_login", together)
    results = await asyncio.gather(*(counter.bench.recovery.assessing.assess([one]) for one in ids))
    assert results == [[None], [None]]
    assert len(await counter.actions()) == 1
    assert await counter.bench.value("SELECT count(*) FROM event WHERE type = 'assessed'") == 2


# --- once -------------------------------------------------------------------------------------------------------------


async def test_a_case_is_assessed_once(counter: Counter) -> None:
    case_id = await counter.ask()
    for _ in range(2):
        assert await counter.bench.recovery.assessing.assess([case_id]) == [None]
    assert (await counter.events()).count("assessed") == 1
    assert len(await counter.actions()) == 1


async def test_a_lost_assessment_is_found(counter: Counter) -> None:
    await counter.bench.take(letter())
    await counter.bench.until("assess")
    await counter.bench.rows("DELETE FROM pgqueuer RETURNING 1")
    assert await reconcile(counter.bench.engine) == 1
    assert await reconcile(counter.bench.engine) == 0
    await counter.bench.settle()
    assert len(await counter.actions()) == 1
    await counter.bench.rows("DELETE FROM pgqueuer RETURNING 1")
    assert await reconcile(counter.bench.engine) == 1, "its expiry"


async def test_a_backend_that_is_away_is_asked_again(counter: Counter) -> None:
    await counter.bench.recovery.identity.ready()
    counter.bench.identity.failures.extend([TransientError("away")] * 3)
    await counter.ask()
    assert len(await counter.actions()) == 1
    assert await counter.bench.value("SELECT count(*) FROM audit_entry WHERE action = 'looked_up'") == 4


async def test_a_backend_that_is_away_when_the_service_starts(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it came up it does not know what it can do: nobody may take that for "nothing" and do the work by hand."""
    identity, away = counter.bench.identity, [TransientError("away")] * 3
    starts = []

    async def start() -> None:
        starts.append(1)
        if away:
            identity.operations = frozenset()
            raise away.pop()
        identity.operations = frozenset(Operation)

    monkeypatch.setattr(identity, "start", start)
    await counter.ask()
    await counter.ask(letter(BODY_A, OTHER))
    assert [a.frozen.steps for a in await counter.actions()] == [(ACTIVATE,)]
    assert counter.sent() == [("registered", JAN), ("registered", OTHER)]
    assert len(starts) == 4


# --- by hand ----------------------------------------------------------------------------------------------------------


async def test_without_a_backend_that_changes_anything_a_person_does_it(counter: Counter) -> None:
    """`find` alone: the rules are decided, the work is a person's. Nothing at all: the rules are theirs as well."""
    finding = MemoryIdentity({Operation.FIND_BY_LOGIN})
    finding.accounts = counter.bench.identity.accounts
    counter.bench.build(identity=finding)
    await counter.ask()
    action = await counter.action()
    assert (action.frozen.steps, action.frozen.must_check, action.risk) == ((BY_HAND,), (), Risk.LOW)
    await counter.bench.recovery.approvals.refuse(action.frozen.action_id, ADA, reason="x", solution="x")
    counter.bench.build(identity=MemoryIdentity(()))
    await counter.ask()
    action = (await counter.actions())[-1]
    assert (action.frozen.steps, action.frozen.must_check) == ((BY_HAND,), ("A4", "A5"))
    assert (action.frozen.account_ref, action.frozen.old_login) == (None, JAN)


async def test_a_change_of_login_by_hand_is_a_high_risk(counter: Counter) -> None:
    counter.bench.build(identity=MemoryIdentity(()))
    await counter.ask(letter(f"{BODY_B}, login {JAN}", NEW, attachments=[("wniosek.pdf", b"%PDF")]))
    action = await counter.action()
    assert (action.risk, action.frozen.steps, action.frozen.old_login, action.frozen.new_login) == (
        Risk.HIGH, (BY_HAND,), JAN, NEW,
    )  # fmt: skip
    assert action.frozen.must_check == ("B4", "B5", "B6", "B7")


# --- procedure B --------------------------------------------------------------------------------------------------------


async def test_a_signed_application_becomes_an_action_of_high_risk(counter: Counter) -> None:
    counter.jan.flags.add(AccountFlag.LOCKED)
    counter.signs()
    await counter.ask_for_new_login()
    assert await verdicts(counter) == {"met": tuple(f"B{n}" for n in range(1, 8)), "unmet": (), "unknown": ()}
    action = await counter.action()
    assert (action.risk, action.frozen.steps) == (Risk.HIGH, (CHANGE, UNLOCK, ACTIVATE))
    assert (action.frozen.old_login, action.frozen.new_login) == (JAN, NEW)
    assert action.subject_names == {JAN, NEW}


@pytest.mark.parametrize(
    ("changes", "unmet", "unknown"),
    [
        ({"valid": False}, ("B4",), ("B3", "B5", "B6", "B7")),
        ({"signatory": Signatory(given_names="Jan", family_name="Próbny", pesel=invented_pesel())}, ("B5",), ()),
        ({"signatory": Signatory(given_names="Jan", family_name="Próbny")}, (), ("B5",)),
        ({"signatory": Signatory(given_names="Ewa", family_name="Inna", pesel=invented_pesel())}, ("B5",), ()),
        ({"application": Application(given_name="Jan", family_name="Próbny", old_login=JAN, new_login=OTHER)}, ("B6",), ()),
        ({"application": Application(given_name="Jan", family_name="Próbny", old_login=OTHER, new_login=NEW)}, ("B5", "B7"), ()),
        ({"application": Application(given_name="Jan", family_name="Próbny", old_login=JAN)}, (), ("B3", "B6", "B7")),
    ],
    ids=["invalid", "another PESEL", "no PESEL", "another person", "another sender", "another's login", "new login unread"],
)  # fmt: skip
async def test_an_application_that_does_not_count(
    counter: Counter, changes: dict[str, Any], unmet: tuple[str, ...], unknown: tuple[str, ...]
) -> None:
    ewa = Person(given_name="Ewa", family_name="Inna", birth_year=1990, pesel=invented_pesel())
    counter.signs(**changes)
    if "another's login":
        old = changes.get("application")
        if old is not None and old.old_login == OTHER:
            counter.account(OTHER, ewa)
    await counter.ask_for_new_login()
    found = await verdicts(counter)
    assert (found["unmet"], found["unknown"]) == (unmet, unknown)
    assert len(await counter.actions()) == (0 if unmet else 1)
    assert (await counter.case())["state"] == "human_review"
    assert [kind for kind, _ in counter.sent()] == ["registered"]


async def test_a_new_login_that_is_taken(counter: Counter) -> None:
    counter.signs()
    counter.account(NEW, person("Ewa", "Inna"))
    await counter.ask_for_new_login()
    assert (await verdicts(counter))["unmet"] == ("B7",)
    assert await counter.actions() == []


async def test_the_login_in_the_signed_application_counts_and_not_the_one_in_the_mail(counter: Counter) -> None:
    counter.account(OTHER, person("Ewa", "Inna", 1990))
    counter.signs()
    await counter.ask(letter(f"{BODY_B}, login {OTHER}", NEW, attachments=[("wniosek.pdf", b"%PDF wniosek")]))
    assert (await counter.action()).frozen.account_ref == counter.jan.ref


async def test_the_signed_document_is_found_among_others(counter: Counter) -> None:
    verifier = counter.signs()
    many = [(f"{n}.pdf", f"%PDF {n}".encode()) for n in range(5)]
    await counter.ask(letter(BODY_B, NEW, attachments=[*many, ("wniosek.pdf", b"%PDF wniosek")]))
    assert (await verdicts(counter))["unknown"] == ()
    assert len(verifier.seen) == 6


async def test_a_mail_with_hundreds_of_documents_costs_little(counter: Counter) -> None:
    verifier = counter.signs()
    many = [(f"{n}.pdf", f"%PDF {n}".encode()) for n in range(50)]
    await counter.ask(letter(BODY_B, NEW, attachments=[*many, ("wniosek.pdf", b"%PDF wniosek")]))
    assert len(verifier.seen) == 10
    assert "B4" in (await verdicts(counter))["unmet"]


async def test_no_personal_number_reaches_the_store(counter: Counter) -> None:
    counter.signs()
    await counter.ask_for_new_login()
    await counter.ask(letter(BODY_A))
    tables = await counter.bench.rows(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    for table in tables:
        for row in await counter.bench.rows(f'SELECT t::text AS text FROM "{table["name"]}" t'):
            assert counter.pesel.reveal() not in row["text"], table["name"]
