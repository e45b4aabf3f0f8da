"""The four service requests of rule S2, from the raw mail to the changed account, with every step on a real database."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from core.recoverykit import ADA, BEA, HOUR, JAN, NEW, NEW_PASSWORD, OTHER, PROVED, Counter, letter
from core.test_assessing import verdicts
from okienko.core import desk
from okienko.core.actions.approvals import Actor
from okienko.core.actions.frozen import Step
from okienko.core.actions.machine import ActionRefusedError, Risk
from okienko.core.actions.store import TamperedError
from okienko.core.cli.actions import describe
from okienko.core.reconcile import reconcile
from okienko.plugins.errors import TransientError
from okienko.plugins.identity import AccountFlag, Operation
from okienko.plugins.signatures import Application, Signatory
from okienko.plugins.testing import MemoryIdentity, invented_pesel
from okienko.schemas import ActionState, Person

UNLOCK = ("NOWE odblokowanie konta", "Proszę o odblokowanie konta, trzykrotnie podałem złe hasło.")
CHANGE = ("NOWE zmiana loginu", "Proszę o zmianę adresu e-mail, nie pamiętam hasła podstawowego.")
CHANGE_ALL = ("NOWE zmiana loginu", "Proszę o zmianę adresu e-mail, nie pamiętam żadnego z haseł, także awaryjnego.")
CONFLICT = ("NOWE nie mogę założyć konta", "Nie mogę założyć konta: mój numer PESEL istnieje już w systemie.")
DOCUMENT = b"%PDF wniosek"
ATTACHED = [("wniosek.pdf", DOCUMENT)]


def service(request: tuple[str, str], sender: str = JAN, *, more: str = "", **other: Any) -> bytes:
    """A mail with NOWE in its subject."""
    return letter(f"{request[1]} {more}", sender, subject=request[0], **other)


def conflict(counter: Counter, *, more: str = "", **other: Any) -> Any:
    """A statement signed with Jan's own number, sent from the address of the account that is to be."""
    other.setdefault("application", Application(given_name="Jan", family_name="Próbny", new_login=NEW))
    counter.signs(DOCUMENT, **other)
    return counter.ask(service(CONFLICT, NEW, more=more, attachments=ATTACHED))


# --- unlock -------------------------------------------------------------------------------------------------------------


async def test_a_locked_account_is_unlocked_and_nothing_else(counter: Counter) -> None:
    counter.jan.flags |= {AccountFlag.LOCKED, AccountFlag.MUST_CHANGE}
    await counter.ask(service(UNLOCK))
    action = await counter.action()
    assert (action.risk, action.frozen.steps, action.frozen.must_check) == (Risk.LOW, (Step.UNLOCK,), ())
    assert await verdicts(counter) == {"met": ("C3", "S2", "A4", "U1"), "unmet": (), "unknown": ()}
    assert (await counter.approve(ADA)).state is ActionState.READY
    await counter.bench.settle()
    assert counter.jan.flags == {AccountFlag.MUST_CHANGE}
    assert (await counter.case())["state"] == "closed"
    assert counter.sent() == [("registered", JAN), ("closed", JAN)], "no third mail: no password was lost"
    closed = counter.bench.channel.sent[-1].text
    assert "Odblokowaliśmy konto" in closed
    assert "We unlocked the PUESC account" in closed


@pytest.mark.parametrize(
    ("prepare", "rule"),
    [
        (lambda c: None, "U1"),
        (lambda c: c.jan.flags.update({AccountFlag.LOCKED, AccountFlag.DISABLED}), "U1"),
        (lambda c: c.bench.identity.accounts.clear(), "A4"),
    ],
    ids=["not locked", "disabled", "missing"],
)
async def test_where_there_is_nothing_to_unlock_a_human_looks(counter: Counter, prepare: Any, rule: str) -> None:
    prepare(counter)
    case_id = await counter.ask(service(UNLOCK))
    assert rule in (await verdicts(counter))["unmet"]
    assert await counter.outcome(case_id) == ("human_review", "a rule is not met")
    assert await counter.actions() == []
    assert AccountFlag.LOCKED not in counter.jan.flags or AccountFlag.DISABLED in counter.jan.flags


async def test_only_the_login_itself_asks_for_its_unlocking(counter: Counter) -> None:
    counter.jan.flags.add(AccountFlag.LOCKED)
    for other in (
        service(UNLOCK, OTHER, more=f"Mój login: {JAN}"),
        service(UNLOCK, proof="mx.okienko.invalid; dmarc=fail header.from=poczta.example"),
    ):
        assert (await counter.outcome(await counter.ask(other)))[0] == "human_review"
    assert await counter.actions() == []
    await counter.ask(service(UNLOCK, proof=None))
    assert (await counter.action()).frozen.must_check == ("A4",), "a human checks what nobody proves"


async def test_without_the_word_in_the_subject_nothing_is_looked_up(counter: Counter) -> None:
    counter.jan.flags.add(AccountFlag.LOCKED)
    await counter.ask(service(("odblokowanie konta", UNLOCK[1])))
    assert counter.sent() == [("unmet", JAN)]
    assert await counter.bench.value("SELECT count(*) FROM audit_entry WHERE action = 'looked_up'") == 0
    assert await counter.actions() == []


@pytest.mark.parametrize("request_", [UNLOCK, CHANGE, CHANGE_ALL, CONFLICT])
async def test_the_replies_are_the_same_for_every_kind_of_account(counter: Counter, request_: tuple[str, str]) -> None:
    preparations = [
        lambda c: None,
        lambda c: c.jan.flags.add(AccountFlag.LOCKED),
        lambda c: c.jan.flags.add(AccountFlag.DISABLED),
        lambda c: setattr(c.jan, "person", Person(given_name="Ewa", family_name="Inna")),
        lambda c: c.bench.identity.accounts.clear(),
    ]
    for prepare in preparations:
        prepare(counter)
        await counter.ask(service(request_))
    texts = {re.sub(r"ZGL\d+", "ZGL", f"{m.subject}\n{m.text}") for m in counter.bench.channel.sent}
    assert len(counter.bench.channel.sent) == len(preparations)
    assert len(texts) == 1


async def test_a_lost_assessment_of_a_service_request_is_found(counter: Counter) -> None:
    counter.jan.flags.add(AccountFlag.LOCKED)
    await counter.bench.take(
        service(UNLOCK), service(("konto", UNLOCK[1])), letter("Jak zmienić adres?", subject="NOWE")
    )
    await counter.bench.until("assess")
    await counter.bench.rows("DELETE FROM pgqueuer RETURNING 1")
    assert await reconcile(counter.bench.engine) == 1
    await counter.bench.settle()
    assert len(await counter.actions()) == 1


async def test_by_hand_where_no_backend_unlocks(counter: Counter) -> None:
    counter.bench.build(identity=MemoryIdentity(()))
    await counter.ask(service(UNLOCK))
    frozen = (await counter.action()).frozen
    assert (frozen.steps, frozen.must_check, frozen.old_login) == ((Step.BY_HAND,), ("A4", "U1"), JAN)


# --- change of the login e-mail -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [CHANGE, CHANGE_ALL])
async def test_a_change_of_e_mail_is_procedure_b_with_another_subject(
    counter: Counter, request_: tuple[str, str]
) -> None:
    counter.signs(DOCUMENT)
    await counter.ask(service(request_, NEW, attachments=ATTACHED))
    assert (await verdicts(counter))["met"] == ("C3", "S2", "B3", "B4", "B5", "B6", "B7")
    action = await counter.action()
    assert (action.risk, action.frozen.steps) == (Risk.HIGH, (Step.CHANGE_LOGIN, Step.ACTIVATE))
    assert (action.frozen.old_login, action.frozen.new_login) == (JAN, NEW)
    assert (await counter.approve(ADA)).state is ActionState.WAITING
    assert (await counter.approve(BEA)).state is ActionState.COOLING
    await counter.bench.pass_time(2 * HOUR)
    await counter.bench.settle()
    assert counter.jan.login == NEW
    assert [kind for kind, _ in counter.sent()] == ["registered", "login_change", "closed", "activation"]
    assert counter.bench.channel.sent[-1].subject == "PUESC: Zmiana adresu email"
    assert "PUESC: Zmiana adresu email" in counter.bench.channel.sent[0].text
    await counter.bench.recovery.activation.set_password(
        counter.link("activation"), SecretStr(NEW_PASSWORD), origin="test"
    )
    assert counter.bench.identity.sign_in(NEW, NEW_PASSWORD)


@pytest.mark.parametrize(
    ("mail", "changes", "rule"),
    [
        (service(CHANGE), {}, "B3"),
        (service(CHANGE, NEW, more=f"Login {JAN}, nowy {NEW}"), {}, "B3"),
        (service(CHANGE, NEW, attachments=[("x.pdf", b"%PDF nic")]), {}, "B4"),
        (service(CHANGE, NEW, attachments=ATTACHED), {"valid": False}, "B4"),
        (service(CHANGE, OTHER, attachments=ATTACHED), {}, "B6"),
        (service(CHANGE, NEW, attachments=ATTACHED), {"signatory": Signatory(given_names="Jan", family_name="Próbny", pesel=invented_pesel())}, "B5"),
        (service(CHANGE, NEW, attachments=ATTACHED), {"application": Application(given_name="Jan", family_name="Próbny", old_login=OTHER, new_login=NEW)}, "B7"),
    ],
    ids=["the login asks", "typed only", "not signed", "bad signature", "another sender", "another PESEL", "no account"],
)  # fmt: skip
async def test_there_is_no_easier_way_to_another_login(
    counter: Counter, mail: bytes, changes: dict[str, Any], rule: str
) -> None:
    counter.signs(DOCUMENT, **changes)
    case_id = await counter.ask(mail)
    assert rule in (await verdicts(counter))["unmet"]
    assert (await counter.outcome(case_id))[0] == "human_review"
    assert await counter.actions() == []
    assert [kind for kind, _ in counter.sent()] == ["registered"], "registered as any request"
    assert counter.jan.login == JAN


async def test_the_year_of_birth_is_the_signatory_s_and_not_a_typed_one(counter: Counter) -> None:
    """The account is of 1980 and has no number: a certificate that tells no year leaves it to a human."""
    counter.jan.person = Person(given_name="Jan", family_name="Próbny", birth_year=1980)
    for number, (born, expected) in enumerate([(None, "unmet"), (1981, "unmet"), (1980, "met")]):
        document = b"%PDF " + bytes([65 + number])
        counter.signs(document, signatory=Signatory(given_names="Jan", family_name="Próbny", birth_year=born))
        case_id = await counter.ask(service(CHANGE, NEW, more="ur. 1980", attachments=[("w.pdf", document)]))
        rules = json.loads(
            await counter.bench.value(
                "SELECT data->>'rules' FROM event WHERE case_id = $1 AND type = 'assessed'", case_id
            )
        )
        assert rules["B7"] == expected, born


# --- a PESEL conflict ---------------------------------------------------------------------------------------------------


async def test_a_signed_number_is_released_by_two_people(counter: Counter) -> None:
    await conflict(counter)
    assert await verdicts(counter) == {
        "met": ("C3", "S2", "B4", "B6", "P1", "P2", "P3"), "unmet": (), "unknown": (),
    }  # fmt: skip
    action = await counter.action()
    assert (action.risk, action.frozen.steps, action.frozen.must_check) == (Risk.HIGH, (Step.RELEASE_PESEL,), ())
    assert (action.frozen.account_ref, action.frozen.old_login, action.frozen.new_login) == (counter.jan.ref, JAN, None)
    assert (await counter.approve(ADA)).state is ActionState.WAITING
    with pytest.raises(ActionRefusedError):
        await counter.approve(ADA)
    await counter.bench.settle()
    assert counter.jan.person.pesel == counter.pesel
    assert (await counter.approve(BEA)).state is ActionState.READY
    await counter.bench.settle()
    assert counter.jan.person.pesel is None
    assert counter.jan.login == JAN
    assert counter.sent() == [("registered", NEW), ("closed", NEW)]
    assert "Mogą Państwo założyć konto" in counter.bench.channel.sent[-1].text
    assert (await counter.action()).state is ActionState.DONE
    looked = await counter.bench.rows("SELECT data::text AS data FROM audit_entry WHERE action = 'looked_up'")
    assert [json.loads(row["data"])["operation"] for row in looked] == ["find_by_pesel"]


async def test_nobody_who_gains_by_it_approves(counter: Counter) -> None:
    await conflict(counter)
    action = await counter.action()
    for address in (NEW.upper(), JAN):
        with pytest.raises(ActionRefusedError, match="your own account"):
            await counter.approve(Actor("x", also_known_as=(address,)))
    assert (await counter.action()).approvals == action.approvals == ()


@pytest.mark.parametrize(
    ("changes", "more", "unmet", "unknown", "proposed"),
    [
        ({"valid": False}, "", ("B4",), ("B6", "P1", "P2", "P3"), False),
        ({"signatory": Signatory(given_names="Jan", family_name="Próbny")}, "", (), ("P1", "P2", "P3"), False),
        ({"signatory": Signatory(given_names="Jan", family_name="Próbny", pesel=invented_pesel())}, "", ("P2",), ("P3",), False),
        ({"application": Application(new_login=OTHER)}, "", ("B6",), (), False),
        ({"application": Application()}, "", (), ("B6",), True),
        ({"application": Application(new_login=NEW, pesel=invented_pesel())}, "", ("P1",), (), False),
        ({}, f"Numer: {invented_pesel().reveal()}", ("P1",), (), False),
        ({}, "Telefon 00483348320, sprawa 12345678901", (), (), True),
    ],
    ids=["not valid", "no number", "nobody carries it", "another sender", "no address", "another in the application", "another in the mail", "no number in the mail"],
)  # fmt: skip
async def test_what_a_release_needs(
    counter: Counter,
    changes: dict[str, Any],
    more: str,
    unmet: tuple[str, ...],
    unknown: tuple[str, ...],
    proposed: bool,
) -> None:
    case_id = await conflict(counter, more=more, **changes)
    found = await verdicts(counter)
    assert (found["unmet"], found["unknown"]) == (unmet, unknown)
    actions = await counter.actions()
    assert [a.frozen.must_check for a in actions] == ([unknown] if proposed else [])
    assert (await counter.outcome(case_id))[0] == ("registered" if proposed and not unknown else "human_review")


async def test_a_number_that_is_only_typed_is_never_looked_up(counter: Counter) -> None:
    counter.signs(DOCUMENT)
    await counter.ask(service(CONFLICT, more=f"Mój PESEL: {counter.pesel.reveal()}"))
    await counter.ask(service(CONFLICT, attachments=[("pesel.pdf", counter.pesel.reveal().encode())]))
    assert await counter.actions() == []
    assert await counter.bench.value("SELECT count(*) FROM audit_entry WHERE action = 'looked_up'") == 0


async def test_another_name_on_the_account_must_be_checked(counter: Counter) -> None:
    """A married name, or a stranger whose number somebody mistyped: people tell them apart."""
    counter.jan.person = Person(given_name="Ewa", family_name="Inna", pesel=counter.pesel)
    await conflict(counter)
    action = await counter.action()
    assert (action.frozen.steps, action.frozen.must_check) == ((Step.RELEASE_PESEL,), ("P3",))
    assert (await counter.case())["state"] == "human_review"


async def report(counter: Counter) -> dict[str, Any]:
    (action,) = await desk.list_actions(counter.bench.engine, counter.bench.seals, everything=True)
    shown: dict[str, Any] = action["report"]
    return shown


async def test_what_people_see_of_the_report(counter: Counter) -> None:
    counter.jan.flags.add(AccountFlag.LOCKED)
    await conflict(counter)
    assert await report(counter) == {
        "pesel": counter.pesel.masked,
        "accounts": [
            {
                "ref": counter.jan.ref, "login": JAN, "flags": ["locked"], "unknown_flags": [], "holder_agrees": True,
                "suggestion": "release_from",
            }
        ],
    }  # fmt: skip
    shown = await desk.show_action(counter.bench.engine, counter.bench.seals, (await counter.action()).frozen.action_id)
    lines = list(describe(shown | {"approvals_wanted": 2}))
    assert f"  PESEL     {counter.pesel.masked} is carried by:" in lines
    assert f"    {JAN} (account {counter.jan.ref}; locked; the applicant's name): release from" in lines


@pytest.mark.parametrize("case", ["two accounts", "own account", "disabled", "cannot"])
async def test_what_okienko_does_not_do_by_itself_people_do_with_the_report(counter: Counter, case: str) -> None:
    suggestions = {JAN: "release_from"}
    sender = NEW
    if case == "two accounts":
        counter.account(OTHER, Person(given_name="Ewa", family_name="Inna", pesel=counter.pesel))
        suggestions = {OTHER: "release_from", JAN: "merge_into"}
    elif case == "own account":
        sender, suggestions = JAN, {JAN: "merge_into"}
    elif case == "disabled":
        counter.jan.flags.add(AccountFlag.DISABLED)
    else:
        finding = MemoryIdentity({Operation.FIND_BY_LOGIN, Operation.FIND_BY_PESEL})
        finding.accounts = counter.bench.identity.accounts
        counter.signs(DOCUMENT)
        counter.bench.build(identity=finding)
    application = Application(given_name="Jan", family_name="Próbny", new_login=sender)
    if case != "cannot":
        counter.signs(DOCUMENT, application=application)
    await counter.ask(service(CONFLICT, sender, attachments=ATTACHED))
    action = await counter.action()
    assert (action.frozen.steps, action.risk) == ((Step.BY_HAND,), Risk.HIGH)
    assert {one["login"]: one["suggestion"] for one in (await report(counter))["accounts"]} == suggestions


async def release(counter: Counter) -> UUID:
    await conflict(counter)
    await counter.approve(ADA, BEA)
    return (await counter.action()).frozen.action_id


async def test_another_number_on_the_account_is_never_taken_away(counter: Counter) -> None:
    await release(counter)
    other = invented_pesel()
    counter.jan.person = counter.jan.person.model_copy(update={"pesel": other})
    await counter.bench.settle()
    action = await counter.action()
    assert action.state is ActionState.FAILED
    assert other.reveal() not in str(action.reason)
    assert counter.jan.person.pesel == other
    assert (await counter.case())["state"] == "human_review"


async def test_a_stale_release_changes_nothing(counter: Counter) -> None:
    await release(counter)
    counter.jan.login = OTHER
    await counter.bench.settle()
    assert (await counter.action()).state is ActionState.FAILED
    assert counter.jan.person.pesel == counter.pesel


async def test_a_lost_answer_is_no_second_release(counter: Counter) -> None:
    await release(counter)
    counter.bench.identity.failures_after.append(TransientError("the answer got lost"))
    await counter.bench.settle()
    assert (await counter.action()).state is ActionState.DONE
    assert counter.jan.person.pesel is None


async def test_a_number_that_stays_is_noticed(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    await release(counter)

    async def lies(*_: Any) -> Any:
        from okienko.plugins.identity import Done

        return Done(changed=True, fields=("pesel",))

    monkeypatch.setattr(counter.bench.identity, "release_pesel", lies)
    await counter.bench.settle()
    action = await counter.action()
    assert (action.state, "still carries" in str(action.reason)) == (ActionState.FAILED, True)


@pytest.mark.parametrize(
    "tamper",
    [
        "UPDATE reset_action SET report = replace(report, 'release_from', 'merge_into')",
        "UPDATE reset_action SET risk = 'low'",
    ],
)
async def test_the_report_is_part_of_what_is_approved(counter: Counter, tamper: str) -> None:
    await conflict(counter)
    action = await counter.action()
    await counter.bench.rows(f"{tamper} RETURNING 1")
    with pytest.raises(TamperedError):
        await counter.bench.recovery.approvals.approve(
            action.frozen.action_id,
            ADA,
            digest=action.frozen.digest,
            decision=action.frozen.decision_sha256,
            checked=(),
        )
    assert counter.jan.person.pesel == counter.pesel


async def test_a_report_expires_with_its_action(counter: Counter) -> None:
    await conflict(counter)
    await counter.bench.pass_time(timedelta(hours=72))
    await counter.bench.settle()
    assert (await counter.action()).state is ActionState.EXPIRED


async def test_no_personal_number_reaches_the_store(counter: Counter) -> None:
    await release(counter)
    await counter.bench.settle()
    tables = await counter.bench.rows(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    for table in tables:
        for row in await counter.bench.rows(f'SELECT t::text AS text FROM "{table["name"]}" t'):
            assert counter.pesel.reveal() not in row["text"], table["name"]


def test_every_request_is_told_apart() -> None:
    from desk import PACK
    from okienko.connectors.email import parse
    from okienko.plugins.raw import RawContent

    found = [PACK.classify(parse.parse_message(RawContent(service(r)))) for r in (UNLOCK, CHANGE, CHANGE_ALL, CONFLICT)]
    kinds = [c.procedure.value for c in found if c.procedure]
    assert kinds == ["unlock", "email_change", "email_change_no_passwords", "pesel_conflict"]
    assert [c.login for c in found] == [JAN, None, None, None]
    assert PROVED
