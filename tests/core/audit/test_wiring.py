"""The service itself: what it audits on a message's way, and erasing the person again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.audit.ledgerkit import START, intruder, raw_transaction
from okienko.core import desk, parking
from okienko.core.actions import store
from okienko.core.actions.approvals import Actor
from okienko.core.actions.links import Links
from okienko.core.actions.pesels import PeselMarks
from okienko.core.audit.anchor import trusted_keys
from okienko.core.audit.erasure import erase
from okienko.core.audit.vault import Erased
from okienko.core.audit.verify import verify, verify_on
from okienko.core.calls import Calls
from okienko.core.cli.intake import until_idle
from okienko.core.database import upgrade
from okienko.core.recovery import Recovery, sender_proof
from okienko.core.service import Service, open_service, working
from okienko.plugins.errors import PermanentError
from okienko.plugins.ports import RawItem
from okienko.plugins.raw import RawContent
from okienko.plugins.testing import MemoryIdentity
from okienko.schemas import ChannelName, Person

RECOVERY = """From: Zdzimira Niebyła <zdzimira@poczta.example>\r
To: helpdesk@okienko.invalid\r
Subject: HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA\r
Message-ID: <audit.1@poczta.example>\r
Date: Mon, 23 Nov 2026 10:00:00 +0100\r
MIME-Version: 1.0\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: 8bit\r
\r
Proszę o zmianę hasła awaryjnego dla\r
Zdzimiry Niebyłej, rok urodzenia 1980\r
"""
WHO = ("Zdzimir", "Niebył", "zdzimira@", "audit.1@")


@pytest.fixture
async def service(engine: AsyncEngine, database_url: str, tmp_path: Path) -> AsyncIterator[Service]:
    await upgrade(engine)
    environ = {"OKIENKO_DATABASE_URL": database_url, "OKIENKO_HOME": str(tmp_path)}
    async with open_service(environ) as service:
        yield service


async def take_in(service: Service, mail: str = RECOVERY) -> UUID:
    return await service.intake.accept(
        RawItem(ChannelName.EMAIL, "email", "test", RawContent(mail.encode()), mail_from="zdzimira@poczta.example")
    )


async def entries(engine: AsyncEngine) -> list[dict[str, Any]]:
    async with raw_transaction(engine) as raw:
        rows = await raw.fetch("SELECT *, data::text AS told FROM audit_entry ORDER BY seq")
    return [dict(row) | {"data": json.loads(row["told"])} for row in rows]


async def finish(service: Service) -> Any:
    """Work the mail off, refuse its reset action, and let the case close."""
    async with working(service.worker):
        await until_idle(service)
        (action,) = await desk.list_actions(service.engine, service.recovery.approvals.seals, everything=False)
        await service.recovery.approvals.refuse(
            action["id"], Actor("administrator", origin="web:192.0.2.7"), reason="nie ta osoba", solution="Odmowa."
        )
        await until_idle(service)
    return action


async def test_a_request_is_audited_from_decision_to_end(service: Service, engine: AsyncEngine) -> None:
    await take_in(service)
    action = await finish(service)
    found = await entries(engine)
    assert [e["action"] for e in found] == [
        "decided", "registered", "notified", "decided", "action_proposed", "action_ended", "closed", "notified",
    ]  # fmt: skip
    assert {e["case_id"] for e in found} == {action["case_id"]}
    decided, ended = found[0], found[5]
    assert (decided["actor"], decided["reason"]) == ("puesc", "unknown: A4 A5; met: A1 A2 A3")
    assert decided["data"]["procedure"] == "emergency_password"
    assert (ended["actor"], ended["subject"]) == ("administrator", f"action {action['id']}")
    assert all(e["origin"].startswith("service:") for e in found)
    assert (await verify(engine, [], trusted_keys(None))).intact
    async with raw_transaction(engine) as raw:
        told = await service.vault.open(raw, action["case_id"], "audit", decided["personal"])
        assert isinstance(told, bytes)
        whole = json.loads(told)
        in_the_open = await raw.fetch("SELECT t::text AS row FROM audit_entry t UNION ALL SELECT t::text FROM event t")
    assert whole["requester"] == "zdzimira@poczta.example"
    assert whole["person"]["family_name"] == "Niebyłej"
    assert whole["evidence"]["A4"] == "the sender was not checked"
    for row in in_the_open:
        assert not any(name in row["row"] for name in WHO), row["row"]


async def test_erasure_takes_the_person_out_of_every_table(service: Service, engine: AsyncEngine) -> None:
    await take_in(service)
    action = await finish(service)
    case_id = str(action["case_id"])
    before = await dump(engine)
    assert all(name in before for name in WHO)
    done = await erase(engine, service.vault, case_id, reason="wniosek z art. 17", who="iod", now=START)
    assert (done.keys, done.messages) == (1, 1)
    after = await dump(engine)
    for name in WHO:
        assert name not in after
        assert name.encode().hex() not in after
    (erased,) = [e for e in await entries(engine) if e["action"] == "erased"]
    assert (erased["actor"], erased["reason"]) == ("iod", "wniosek z art. 17")
    async with raw_transaction(engine) as raw:
        sealed = await raw.fetchval("SELECT personal FROM audit_entry WHERE action = 'decided'")
        assert await service.vault.open(raw, action["case_id"], "audit", sealed) == Erased(action["case_id"], START)
    async with intruder(engine) as raw:
        assert (await verify_on(raw, [], {})).intact
    shown = await desk.show_case(engine, case_id)
    assert shown["case"]["requester"] is None
    assert [r["verdict"] for r in shown["case"]["decision"]["results"]] == ["met", "met", "met", "unknown", "unknown"]
    again = await erase(engine, service.vault, case_id, reason="jeszcze raz", who="iod", now=START)
    assert (again.keys, again.messages) == (0, 1)


async def test_nothing_that_is_left_confirms_a_guess(service: Service, engine: AsyncEngine) -> None:
    """Somebody who guesses address, text and date right, and has the database, is none the wiser: no hash of them is left."""
    await take_in(service)
    action = await finish(service)
    async with raw_transaction(engine) as raw:
        guessed = await store.fetch(raw, service.recovery.approvals.seals, action["id"])
        keys = [row["key"] for row in await raw.fetch("SELECT key FROM seen")]
    frozen = guessed.frozen
    assert (frozen.account_ref, len(frozen.nonce), len(keys)) == (None, 16, 2)
    await erase(engine, service.vault, str(action["case_id"]), reason="wniosek", who="iod", now=START)
    after = await dump(engine)
    # The digest stays in the audit, and is one of 2^128 that fit the guess.
    assert frozen.digest in after
    assert replace(frozen, nonce=b"").digest not in after
    for secret in (frozen.nonce.hex(), frozen.decision_sha256, *(key.hex() for key in keys)):
        assert secret not in after


async def dump(engine: AsyncEngine) -> str:
    """Every row of okienko's own tables. The built-in CSD's schema stands for an outside system: see docs/audit.md."""
    async with raw_transaction(engine) as raw:
        tables = await raw.fetch(
            "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
        )
        rows = [await raw.fetch(f'SELECT t::text AS row FROM "{t["name"]}" t') for t in tables]
        raws = await raw.fetch("SELECT convert_from(raw, 'UTF8') AS row FROM envelope WHERE raw IS NOT NULL")
    return "\n".join(row["row"] for table in [*rows, raws] for row in table)


async def test_erasure_waits_for_the_end_of_the_case(service: Service, engine: AsyncEngine) -> None:
    await take_in(service)
    async with working(service.worker):
        await until_idle(service)
    (case,) = await desk.list_cases(engine, state=None, limit=9)
    with pytest.raises(PermanentError, match="close it first"):
        await erase(engine, service.vault, case["number"], reason="x", who="iod", now=START)
    with pytest.raises(PermanentError, match="no case"):
        await erase(engine, service.vault, "ZGL999", reason="x", who="iod", now=START)
    assert "Niebył" in await dump(engine)


def recovery_with(service: Service, identity: MemoryIdentity) -> Recovery:
    """The service's own recovery over a backend that can look accounts up."""
    plugins = service.plugins
    return Recovery.build(
        service.engine, service.now, settings=service.settings, channels=plugins.channels, identity=identity,
        pack=plugins.procedures["puesc"], links=Links(bytes(32), "https://okienko.invalid"),
        marks=PeselMarks(bytes(32)), seals=service.recovery.approvals.seals, sender=sender_proof({}), verifying=None, vault=service.vault,
        calls=Calls(10.0, on_stop=plugins.stop, on_resume=plugins.resume),
    )  # fmt: skip


async def answered(service: Service, engine: AsyncEngine) -> UUID:
    """A recovery case whose first answer has gone, as it was before anybody looked at an account."""
    await take_in(service)
    async with working(service.worker):
        await until_idle(service)
    async with raw_transaction(engine) as raw:
        await raw.execute("ALTER TABLE event DISABLE TRIGGER USER; DELETE FROM reset_action")
        await raw.execute("DELETE FROM event WHERE type IN ('assessed', 'action_proposed')")
        case_id: UUID = await raw.fetchval("SELECT id FROM cases")
    return case_id


async def test_a_look_up_is_audited_before_it_is_made(service: Service, engine: AsyncEngine) -> None:
    case_id = await answered(service, engine)
    before = len(await entries(engine))
    seen: list[list[str]] = []

    class Watching(MemoryIdentity):
        async def find_by_login(self, login: str) -> Any:
            seen.append([e["action"] for e in (await entries(engine))[before:]])
            return await super().find_by_login(login)

    person = Person(given_name="Zdzimira", family_name="Niebyła", birth_year=1980)
    identity = Watching()
    identity.add("zdzimira@poczta.example", person=person)
    assert await recovery_with(service, identity).assessing.assess([case_id]) == [None]
    assert seen == [["looked_up"]]
    looked, decided, proposed = (await entries(engine))[before:]
    assert (looked["actor"], looked["subject"], looked["reason"]) == (
        "puesc",
        "account at memory",
        "to assess a request about an account",
    )
    assert looked["data"] == {"backend": "memory", "operation": "find_by_login"}
    assert looked["case_id"] == decided["case_id"] == proposed["case_id"] == case_id
    assert decided["reason"] == "unknown: A4; met: A1 A2 A3 A5"
    assert proposed["data"]["must_check"] == ["A4"]
    for entry in (looked, decided, proposed):
        assert not any(name in entry["told"] for name in WHO)


async def test_a_look_up_that_fails_is_in_the_audit_all_the_same(service: Service, engine: AsyncEngine) -> None:
    case_id = await answered(service, engine)
    before = len(await entries(engine))
    identity = MemoryIdentity()
    recovery = recovery_with(service, identity)
    await recovery.identity.ready()
    identity.failures.append(PermanentError("refused"))
    await recovery.assessing.assess([case_id])
    assert [e["action"] for e in (await entries(engine))[before:]] == ["looked_up"]


async def test_parked_work_is_replayed_and_dropped_on_the_record(service: Service, engine: AsyncEngine) -> None:
    async with working(service.worker):
        for n in range(2):
            await take_in(service, f"\0\1 to nie jest poczta {n}")
        await until_idle(service)
    one, two = await parking.list_parked(engine)
    assert await parking.drop(engine, [one.id, 999], START, "jan") == [one.id]
    assert await parking.replay(engine, [two.id], START, "jan") == [two.id]
    dropped, replayed = await entries(engine)
    assert (dropped["action"], dropped["actor"], dropped["subject"]) == ("dropped", "jan", f"parked {one.id}")
    assert dropped["reason"] == "was parked as unreadable"
    assert (replayed["action"], replayed["data"]["ref"]) == ("replayed", str(two.ref))


async def test_a_replay_that_fails_half_way_changes_nothing(
    service: Service, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(service.worker):
        await take_in(service, "\0\1 to nie jest poczta")
        await until_idle(service)
    (item,) = await parking.list_parked(engine)

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(parking, "enqueue", broken)
    with pytest.raises(ZeroDivisionError):
        await parking.replay(engine, [item.id], START, "jan")
    assert await parking.list_parked(engine) == [item]
    assert await entries(engine) == []


async def test_a_request_to_close_says_who_and_from_where(service: Service, engine: AsyncEngine) -> None:
    await take_in(service, RECOVERY.replace("HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA", "NOWE: pytanie"))
    async with working(service.worker):
        await until_idle(service)
        (case,) = await desk.list_cases(engine, state=None, limit=9)
        await desk.request_close(engine, case["number"], "Gotowe.", "jan", START)
        await until_idle(service)
    found = {e["action"]: e for e in await entries(engine)}
    assert found["close_requested"]["actor"] == found["closed"]["actor"] == "jan"
