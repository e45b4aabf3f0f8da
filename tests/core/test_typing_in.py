"""Typing what a signed application says: beside that very document, once, sealed, audited, and decided anew."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.recoverykit import ADA, BEA, JAN, NEW, OTHER, Counter, letter
from desk import BODY_B
from okienko.core.actions.approvals import Actor
from okienko.core.actions.machine import ActionRefusedError
from okienko.core.applications import SEALED_AS, fetch
from okienko.core.audit.erasure import erase
from okienko.core.audit.vault import Erased
from okienko.core.database import raw_connection, transaction
from okienko.core.reconcile import reconcile
from okienko.core.typeddata import Wrong
from okienko.core.typing_in import Refusal, TypingRefusedError
from okienko.plugins.errors import PermanentError
from okienko.plugins.signatures import Application, Signatory
from okienko.plugins.testing import invented_pesel
from okienko.schemas import ActionState, Decision, Person, Verdict

CLEO = Actor("oidc:https://idp.example:Cleo", ("cleo@urzad.example",), "192.0.2.9")
DAN = Actor("dan", origin="test")
ALL = {"given_name": "Jan", "family_name": "Próbny", "old_login": JAN, "new_login": NEW}


async def scanned(counter: Counter, application: Application | None = None) -> UUID:
    """A request whose application is a scan: validly signed, and nothing (or only so much) can be read."""
    counter.signs(application=application or Application(pesel=counter.pesel))
    return await counter.ask(letter(f"{BODY_B}, login {JAN}", NEW, attachments=[("wniosek.pdf", b"%PDF wniosek")]))


async def row(counter: Counter, case_id: UUID) -> Any:
    async with transaction(counter.bench.engine) as connection:
        return await fetch(await raw_connection(connection), case_id)


async def types(counter: Counter, case_id: UUID, actor: Actor = CLEO, *, settle: bool = True, **changes: Any) -> None:
    found = await row(counter, case_id)
    given = {"sha256": found.sha256, "revision": found.revision, "values": ALL} | changes
    await counter.bench.recovery.typing.type(case_id, actor, **given)
    if settle:
        await counter.bench.settle()


async def refused(counter: Counter, case_id: UUID, why: Refusal, **changes: Any) -> TypingRefusedError:
    before = await counter.bench.rows("SELECT * FROM signed_application")
    with pytest.raises(TypingRefusedError) as caught:
        await types(counter, case_id, **changes)
    assert caught.value.why is why
    assert await counter.bench.rows("SELECT * FROM signed_application") == before
    return caught.value


async def decision(counter: Counter) -> Decision:
    return Decision.model_validate_json(await counter.bench.value("SELECT decision::text FROM cases"))


async def test_what_is_typed_is_decided_and_its_typist_does_not_approve(counter: Counter) -> None:
    case_id = await scanned(counter)
    before = await counter.action()
    assert before.frozen.must_check == ("B3", "B5", "B6", "B7")
    await counter.bench.recovery.approvals.approve(
        before.frozen.action_id,
        ADA,
        digest=before.frozen.digest,
        decision=before.frozen.decision_sha256,
        checked=before.frozen.must_check,
    )

    await types(counter, case_id)
    old, new = await counter.actions_of(case_id)
    assert (old.state, old.frozen) == (ActionState.SUPERSEDED, before.frozen)
    assert old.reason is not None
    assert "decided anew" in old.reason
    assert (new.state, new.approvals, new.frozen.must_check) == (ActionState.WAITING, (), ())
    assert (new.frozen.old_login, new.frozen.new_login, new.frozen.account_ref) == (JAN, NEW, counter.jan.ref)
    results = {result.rule: result for result in (await decision(counter)).results}
    assert {result.verdict for result in results.values()} == {Verdict.MET}
    assert results["B3"].evidence == (
        "typed by an administrator beside the document: given name, family name, lost e-mail, new e-mail"
    )
    assert (await counter.case())["state"] == "registered"

    approvals = counter.bench.recovery.approvals
    seen = {"digest": new.frozen.digest, "decision": new.frozen.decision_sha256}
    for typist in (CLEO, Actor(CLEO.who.upper()), Actor("local:cleo", CLEO.also_known_as)):
        with pytest.raises(ActionRefusedError, match="you handled this case"):
            await approvals.approve(new.frozen.action_id, typist, **seen, checked=())
    with pytest.raises(ActionRefusedError, match="superseded"):
        await approvals.approve(
            old.frozen.action_id,
            BEA,
            digest=old.frozen.digest,
            decision=old.frozen.decision_sha256,
            checked=old.frozen.must_check,
        )
    await approvals.approve(new.frozen.action_id, ADA, **seen, checked=())
    assert (await approvals.approve(new.frozen.action_id, BEA, **seen, checked=())).state is ActionState.COOLING


async def test_a_case_without_an_action_gets_its_first(counter: Counter) -> None:
    """Nothing says which account it is for, until somebody types it."""
    counter.signs(application=Application())
    case_id = await counter.ask_for_new_login()
    assert await counter.outcome(case_id) == ("human_review", "no login is known that the action could be for")
    await types(counter, case_id)
    assert (await counter.action()).frozen.account_ref == counter.jan.ref


async def test_it_is_on_the_record_without_the_values(counter: Counter) -> None:
    case_id = await scanned(counter)
    await types(counter, case_id)
    entries = await counter.bench.rows(
        "SELECT actor, data::text AS data, personal FROM audit_entry WHERE action = 'application_typed'"
    )
    (entry,) = entries
    assert entry["actor"] == CLEO.who
    assert json.loads(entry["data"]) == {
        "fields": list(ALL), "document": (await row(counter, case_id)).sha256, "revision": 1, "origin": "192.0.2.9",
    }  # fmt: skip
    events = await counter.events()
    at = events.index("application_typed")
    assert events[at : at + 4] == ["application_typed", "action_ended", "assessed", "action_proposed"]
    told = await counter.bench.value("SELECT string_agg(data::text, '') FROM event WHERE type <> 'notification_queued'")
    assert not [value for value in ("Próbny", JAN, NEW) if value in told]
    async with transaction(counter.bench.engine) as connection:
        raw = await raw_connection(connection)
        sealed = await raw.fetchval("SELECT typed FROM signed_application")
        assert b"Jan" not in sealed
        assert json.loads(await counter.bench.vault.open(raw, case_id, SEALED_AS, sealed)) == ALL
        assert json.loads(await counter.bench.vault.open(raw, case_id, "audit", entry["personal"])) == ALL


async def test_what_was_read_is_never_typed_over(counter: Counter) -> None:
    case_id = await scanned(counter, Application(given_name="Jan", family_name="Próbny", old_login=JAN))
    assert (await row(counter, case_id)).missing == ("new_login",)
    wrong = (await refused(counter, case_id, Refusal.INVALID)).wrong
    assert wrong == dict.fromkeys(("given_name", "family_name", "old_login"), Wrong.READ)
    await types(counter, case_id, values={"new_login": NEW})
    results = {result.rule: result for result in (await decision(counter)).results}
    assert (
        results["B3"].evidence == "typed by an administrator beside the document: new e-mail; the rest was read from it"
    )
    assert (await counter.actions_of(case_id))[-1].frozen.new_login == NEW


async def test_what_can_be_read_by_now_counts_and_not_what_was_typed(counter: Counter) -> None:
    """A newer okienko reads more than the one that asked for the typing."""
    case_id = await scanned(counter)
    await types(counter, case_id, settle=False, values=ALL | {"new_login": OTHER})
    counter.signs(application=Application(given_name="Jan", family_name="Próbny", new_login=NEW))
    await counter.bench.settle()
    action = (await counter.actions_of(case_id))[-1]
    assert (action.frozen.old_login, action.frozen.new_login) == (JAN, NEW)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"given_name": " "}, {"given_name": Wrong.EMPTY}),
        ({"given_name": "J4n"}, {"given_name": Wrong.NAME}),
        ({"family_name": "<b>Próbny</b>"}, {"family_name": Wrong.NAME}),
        ({"family_name": "Próbny " * 20}, {"family_name": Wrong.NAME}),
        ({"old_login": "jan"}, {"old_login": Wrong.ADDRESS}),
        ({"new_login": "Jan <jan@poczta.example>"}, {"new_login": Wrong.ADDRESS}),
        ({"new_login": "jan@poczta"}, {"new_login": Wrong.ADDRESS}),
        ({"new_login": "jan@poczta.example\nBcc: x@y.example"}, {"new_login": Wrong.ADDRESS}),
        ({"new_login": JAN.upper()}, {"new_login": Wrong.SAME}),
    ],
)
async def test_what_is_no_name_or_address(counter: Counter, changes: dict[str, str], wrong: dict[str, Wrong]) -> None:
    case_id = await scanned(counter)
    assert (await refused(counter, case_id, Refusal.INVALID, values=ALL | changes)).wrong == wrong
    assert (await counter.action()).state is ActionState.WAITING


async def test_names_and_addresses_as_people_have_them(counter: Counter) -> None:
    case_id = await scanned(counter)
    values = {
        "given_name": " Anna  Maria ", "family_name": "Nowak-d’Arc", "old_login": "a+b.c@żółw.example", "new_login": NEW,
    }  # fmt: skip
    await types(counter, case_id, values=values)
    found = await row(counter, case_id)
    async with transaction(counter.bench.engine) as connection:
        typed = await found.typed(await raw_connection(connection), counter.bench.vault)
    assert not isinstance(typed, Erased)
    assert (typed.given_name, typed.family_name, typed.old_login) == ("Anna Maria", "Nowak-d’Arc", "a+b.c@żółw.example")


async def test_of_two_who_type_at_once_one_wins_and_the_other_hears_of_it(counter: Counter) -> None:
    case_id = await scanned(counter)
    found = await row(counter, case_id)
    typing = counter.bench.recovery.typing

    async def one(actor: Actor) -> str:
        try:
            await typing.type(case_id, actor, sha256=found.sha256, revision=found.revision, values=ALL)
        except TypingRefusedError as error:
            return error.why.value
        return "won"

    results = await asyncio.gather(*(one(actor) for actor in (ADA, BEA, CLEO, DAN)))
    assert sorted(results) == ["taken", "taken", "taken", "won"]
    await counter.bench.settle()
    assert (await row(counter, case_id)).revision == 1
    assert len(await counter.actions_of(case_id)) == 2


async def test_beside_another_document_or_an_older_state_nothing_is_taken(counter: Counter) -> None:
    case_id = await scanned(counter)
    await refused(counter, case_id, Refusal.DOCUMENT, sha256="0" * 64)
    await refused(counter, case_id, Refusal.TAKEN, revision=1)
    with pytest.raises(PermanentError, match="no application"):
        await counter.bench.recovery.typing.type(UUID(int=1), CLEO, sha256="", revision=0, values=ALL)


async def test_a_case_that_people_have_decided_is_not_typed(counter: Counter) -> None:
    case_id = await scanned(counter)
    approvals = counter.bench.recovery.approvals
    action = await counter.action()
    for person in (ADA, BEA):
        await approvals.approve(
            action.frozen.action_id,
            person,
            digest=action.frozen.digest,
            decision=action.frozen.decision_sha256,
            checked=action.frozen.must_check,
        )
    await refused(counter, case_id, Refusal.DECIDED)
    assert (await counter.action()).state is ActionState.COOLING
    await approvals.refuse(action.frozen.action_id, ADA, reason="x", solution="Odmowa.")
    await refused(counter, case_id, Refusal.DECIDED)
    await counter.bench.settle()
    await refused(counter, case_id, Refusal.CLOSED)


async def test_a_mistake_is_typed_again_and_both_typists_stay_out(counter: Counter) -> None:
    case_id = await scanned(counter)
    await types(counter, case_id, values=ALL | {"old_login": "jna@poczta.example"})
    assert "B7" in (await decision(counter)).rules(Verdict.UNMET)
    assert [a.state for a in await counter.actions_of(case_id)] == [ActionState.SUPERSEDED]
    assert (await counter.case())["state"] == "human_review"
    await types(counter, case_id, DAN)
    action = (await counter.actions_of(case_id))[-1]
    assert (action.state, action.frozen.account_ref) == (ActionState.WAITING, counter.jan.ref)
    assert {CLEO.who.lower(), DAN.who} <= action.handlers
    assert (await counter.events()).count("assessed") == 3


async def test_what_was_superseded_is_not_counted_against_the_account(counter: Counter) -> None:
    case_id = await scanned(counter)
    for _ in range(4):
        await types(counter, case_id)
    assert [a.state for a in await counter.actions_of(case_id)][-1] is ActionState.WAITING


async def test_an_assessment_that_was_overtaken_settles_nothing(counter: Counter, monkeypatch: Any) -> None:
    case_id = await scanned(counter)
    find, late = counter.bench.identity.find_by_login, [True]

    async def slow(login: str) -> Any:
        if late and late.pop():
            await types(counter, case_id, DAN, settle=False)
        return await find(login)

    await types(counter, case_id, settle=False, values=ALL | {"new_login": OTHER})
    monkeypatch.setattr(counter.bench.identity, "find_by_login", slow)
    await counter.bench.settle()
    found = await row(counter, case_id)
    assert (found.revision, found.state) == (2, "assessed")
    assert [a.frozen.new_login for a in await counter.actions_of(case_id) if a.state is ActionState.WAITING] == [NEW]


async def test_a_lost_assessment_of_what_was_typed_is_found(counter: Counter) -> None:
    case_id = await scanned(counter)
    await types(counter, case_id, settle=False)
    await counter.bench.rows("DELETE FROM pgqueuer WHERE entrypoint = 'assess' RETURNING 1")
    assert await reconcile(counter.bench.engine) == 1
    await counter.bench.settle()
    assert [a.state for a in await counter.actions_of(case_id)] == [ActionState.SUPERSEDED, ActionState.WAITING]
    assert await reconcile(counter.bench.engine) == 0


async def test_an_application_that_was_read_or_does_not_count_waits_for_no_typist(counter: Counter) -> None:
    counter.signs()
    await counter.ask_for_new_login()
    counter.signs(b"%PDF zly", valid=False, application=Application())
    await counter.ask_for_new_login(b"%PDF zly")
    assert await counter.bench.rows("SELECT * FROM signed_application") == []


async def test_somebody_elses_signature_is_not_mended_by_typing(counter: Counter) -> None:
    ewa = Signatory(given_names="Ewa", family_name="Inna", pesel=invented_pesel())
    counter.account(OTHER, Person(given_name="Ewa", family_name="Inna", birth_year=1990))
    counter.signs(application=Application(), signatory=ewa)
    case_id = await counter.ask_for_new_login()
    await types(counter, case_id)
    assert (await decision(counter)).rules(Verdict.UNMET) == ("B5",)
    assert [a.state for a in await counter.actions_of(case_id) if a.is_open] == []


async def test_erasure_takes_what_was_typed_along(counter: Counter) -> None:
    case_id = await scanned(counter)
    await types(counter, case_id)
    sealed = await counter.bench.value("SELECT typed FROM signed_application")
    action = (await counter.actions_of(case_id))[-1]
    await counter.bench.recovery.approvals.refuse(action.frozen.action_id, ADA, reason="x", solution="Odmowa.")
    await counter.bench.settle()
    engine: AsyncEngine = counter.bench.engine
    await erase(engine, counter.bench.vault, str(case_id), reason="art. 17", who="iod", now=counter.bench.clock())
    found = await row(counter, case_id)
    assert (found.sealed, found.sha256) == (None, "")
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        assert isinstance(await counter.bench.vault.open(raw, case_id, SEALED_AS, sealed), Erased)
