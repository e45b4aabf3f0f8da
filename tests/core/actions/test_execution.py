"""Carrying out: exactly what was approved, once, whatever is lost on the way; and not at all when anything has changed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core.recoverykit import ADA, BEA, HOUR, JAN, NEW, OTHER, Counter, letter
from okienko.core.actions import store
from okienko.core.actions.store import TamperedError
from okienko.core.reconcile import reconcile
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.identity import AccountFlag
from okienko.plugins.testing import MemoryIdentity
from okienko.schemas import ActionState as S
from okienko.schemas import Person


async def approved(counter: Counter, *, locked: bool = True) -> None:
    """A change of login whose cool-down is over, with its job due."""
    if locked:
        counter.jan.flags.add(AccountFlag.LOCKED)
    counter.signs()
    await counter.ask_for_new_login()
    await counter.approve(ADA, BEA)
    await counter.bench.settle()
    await counter.bench.pass_time(2 * HOUR)


async def done_once(counter: Counter) -> None:
    """It was carried out, and told of, exactly once."""
    action = await counter.action()
    assert (action.state, action.reason) == (S.DONE, None)
    assert (counter.jan.login, counter.jan.flags) == (NEW, set())
    assert (await counter.events()).count("action_executed") == 1
    assert [kind for kind, _ in counter.sent()] == ["registered", "login_change", "closed", "activation"]


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_an_answer_that_got_lost(counter: Counter, lost: int) -> None:
    """The backend did it, we never heard: it is asked again and nothing is done twice, nor taken for a stranger's work."""
    await approved(counter)
    counter.bench.identity.failures_after.extend([TransientError("the answer got lost")] * lost)
    await counter.bench.settle()
    await done_once(counter)
    assert counter.jan.version == 3


@pytest.mark.parametrize("failing", [1, 2, 3, 4, 7])
async def test_a_backend_that_is_away(counter: Counter, failing: int) -> None:
    await approved(counter)
    counter.bench.identity.failures.extend([TransientError("away")] * failing)
    await counter.bench.settle()
    await done_once(counter)


async def test_a_worker_that_dies_between_the_change_and_our_commit(counter: Counter, monkeypatch: Any) -> None:
    await approved(counter)
    carry_out = counter.bench.recovery.execution._carry_out

    async def dies(action: Any) -> Any:
        await carry_out(action)
        raise asyncio.CancelledError

    monkeypatch.setattr(counter.bench.recovery.execution, "_carry_out", dies)
    action_id = (await counter.action()).frozen.action_id
    with pytest.raises(asyncio.CancelledError):
        await counter.bench.recovery.execution.execute([action_id])
    assert (await counter.action()).state is S.EXECUTING
    assert counter.jan.login == NEW
    monkeypatch.undo()
    await counter.bench.rows("DELETE FROM pgqueuer WHERE entrypoint = 'execute' RETURNING 1")
    assert await reconcile(counter.bench.engine) == 1
    await counter.bench.settle()
    await done_once(counter)


@pytest.mark.parametrize("changed", [True, False])
async def test_a_backend_that_says_no_to_what_it_did(counter: Counter, changed: bool) -> None:
    """The account is read back and decides: done is done, and what was not done has failed."""
    await approved(counter, locked=False)
    no = PermanentError("the server says no")
    if changed:
        counter.bench.identity.failures_after.append(no)
        await counter.bench.settle()
        await done_once(counter)
        assert counter.jan.version == 2
        return
    counter.bench.identity.failures.append(no)
    await counter.bench.settle()
    assert ((await counter.action()).state, counter.jan.login) == (S.FAILED, JAN)
    assert [kind for kind, _ in counter.sent()] == ["registered", "login_change"]


async def test_half_done_is_told_to_the_person_who_looks(counter: Counter) -> None:
    await approved(counter)
    counter.bench.identity.failures_after.append(PermanentError("the server says no"))
    await counter.bench.settle()
    action = await counter.action()
    assert (action.state, counter.jan.login, counter.jan.flags) == (S.FAILED, NEW, {AccountFlag.LOCKED})
    assert action.reason == "the login was changed, but not all is as approved: the server says no"
    assert (await counter.case())["state"] == "human_review"
    assert "activation" not in [kind for kind, _ in counter.sent()]


async def test_an_account_that_was_disabled_after_the_change_gets_no_link(counter: Counter, monkeypatch: Any) -> None:
    """Killed after the change, and before the next try somebody switches the account off."""
    await approved(counter, locked=False)
    carry_out = counter.bench.recovery.execution._carry_out

    async def dies(action: Any) -> Any:
        await carry_out(action)
        raise asyncio.CancelledError

    monkeypatch.setattr(counter.bench.recovery.execution, "_carry_out", dies)
    action_id = (await counter.action()).frozen.action_id
    with pytest.raises(asyncio.CancelledError):
        await counter.bench.recovery.execution.execute([action_id])
    monkeypatch.undo()
    counter.jan.flags.add(AccountFlag.DISABLED)
    await counter.bench.settle()
    action = await counter.action()
    assert (action.state, str(action.reason).startswith("the login was changed, but")) == (S.FAILED, True)
    assert "activation" not in [kind for kind, _ in counter.sent()]


async def test_two_workers_at_once(counter: Counter) -> None:
    await approved(counter)
    action_id = (await counter.action()).frozen.action_id
    results = await asyncio.gather(*(counter.bench.recovery.execution.execute([action_id]) for _ in range(4)))
    assert [None] in results
    for result in results:
        assert result == [None] or isinstance(result[0], TransientError)
    await counter.bench.settle()
    await done_once(counter)
    assert counter.jan.version == 3


async def test_nothing_is_executed_before_its_time_whoever_asks(counter: Counter) -> None:
    counter.signs()
    await counter.ask_for_new_login()
    action_id = (await counter.action()).frozen.action_id
    for people in ((ADA,), (BEA,)):
        await counter.approve(*people)
        assert await counter.bench.recovery.execution.execute([action_id]) == [None]
        assert counter.jan.login == JAN
    assert (await counter.action()).state is S.COOLING


# --- stale ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: setattr(c.jan, "login", OTHER), "has not the login"),
        (lambda c: c.bench.identity.accounts.clear(), "no account"),
        (lambda c: c.account(NEW, Person()), "another account has the new login"),
    ],
    ids=["renamed", "deleted", "taken"],
)
async def test_what_changed_since_the_approval_is_not_touched(counter: Counter, change: Any, says: str) -> None:
    await approved(counter)
    change(counter)
    before = {ref: account.shown() for ref, account in counter.bench.identity.accounts.items()}
    await counter.bench.settle()
    action = await counter.action()
    assert action.state is S.FAILED
    assert says in str(action.reason)
    assert {ref: account.shown() for ref, account in counter.bench.identity.accounts.items()} == before
    assert (await counter.case())["state"] == "human_review"
    assert [kind for kind, _ in counter.sent()] == ["registered", "login_change"]
    # What a backend says may name an account, and an event cannot be erased.
    for row in await counter.bench.rows("SELECT data::text AS text FROM event WHERE type = 'action_ended'"):
        assert "Error" in row["text"]
        assert says not in row["text"]


async def test_what_reads_back_wrong_is_no_success(counter: Counter, monkeypatch: Any) -> None:
    """A backend that says yes and does nothing."""
    await approved(counter)

    async def lies(expected: Any, new_login: str) -> Any:
        from okienko.plugins.identity import Done

        return Done(changed=True, fields=("login",))

    monkeypatch.setattr(counter.bench.identity, "change_login", lies)
    await counter.bench.settle()
    action = await counter.action()
    assert action.state is S.FAILED


# --- tampering --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "account_ref = 'another'",
        "account_ref = NULL",
        "old_login = 'kto-inny@poczta.example'",
        "new_login = 'zly@evil.invalid'",
        "new_login = NULL",
        "backend = 'another'",
        "case_id = (SELECT id FROM cases ORDER BY seq LIMIT 1)",
        "steps = '{activate}'",
        "steps = '{dance}'",
        "must_check = '{A4}'",
        "decision_sha256 = repeat('0', 64)",
        "digest = repeat('0', 64)",
        "risk = 'low'",
        "risk = 'none'",
        "handlers = '{ada}'",
        "created_at = created_at - interval '1 day'",
        "nonce = NULL",
        "nonce = '\\x00'",
        "seal = sha256('x')",
        "seal = (SELECT seal FROM reset_action ORDER BY created_at LIMIT 1), account_ref = 'another'",
    ],
)
async def test_a_column_that_somebody_changed(counter: Counter, change: str) -> None:
    """Every part of what was approved, in the database, behind our back: it is not carried out."""
    await counter.ask(letter("Nie działa.", OTHER, subject="NOWE problem"))
    await approved(counter)
    before = counter.jan.shown()
    await counter.bench.rows(
        f"UPDATE reset_action SET {change} WHERE procedure = 'emergency_password_and_email' RETURNING 1"
    )
    await counter.bench.settle()
    assert counter.jan.shown() == before
    (parked,) = await counter.bench.rows("SELECT problem FROM parked")
    assert "was changed in the database" in parked["problem"]
    assert "action_executed" not in await counter.events()
    assert [kind for kind, _ in counter.sent()].count("activation") == 0


async def test_a_tampered_action_is_neither_approved_nor_refused(counter: Counter) -> None:
    await counter.ask()
    action = await counter.action()
    await counter.bench.rows("UPDATE reset_action SET old_login = 'zly@evil.invalid' RETURNING 1")
    approvals, identity = counter.bench.recovery.approvals, action.frozen.action_id
    for move in (
        approvals.find(identity),
        approvals.approve(
            identity, ADA, digest=action.frozen.digest, decision=action.frozen.decision_sha256, checked=()
        ),
        approvals.refuse(identity, ADA, reason="x", solution="x"),
    ):
        with pytest.raises(TamperedError):
            await move


async def test_an_approval_for_another_digest_does_not_count(counter: Counter) -> None:
    """Two rows put into the table are not two people, unless they are for exactly this action."""
    counter.signs()
    await counter.ask_for_new_login()
    await counter.approve(ADA)
    action = await counter.action()
    await counter.bench.rows(
        "INSERT INTO reset_approval (action_id, who, at, digest, checked) VALUES ($1, 'x', now(), repeat('0', 64), '{}') RETURNING 1",
        action.frozen.action_id,
    )
    await counter.bench.rows("UPDATE reset_action SET state = 'ready', not_before = created_at RETURNING 1")
    assert await counter.bench.recovery.execution.execute([action.frozen.action_id]) == [None]
    assert counter.jan.login == JAN
    assert (await counter.action()).state is S.READY


# --- the world around it ----------------------------------------------------------------------------------------------


async def test_a_case_that_was_closed_meanwhile(counter: Counter) -> None:
    """Closed in the CSD, say: what everybody takes for finished is not carried out any more."""
    await approved(counter)
    await counter.bench.rows("UPDATE cases SET state = 'closed' RETURNING 1")
    await counter.bench.settle()
    action = await counter.action()
    assert (action.state, action.reason) == (S.REFUSED, "its case was closed before it could be carried out")
    assert counter.jan.login == JAN
    assert (await counter.case())["state"] == "closed"


async def test_a_case_that_is_closed_while_it_is_carried_out(counter: Counter, monkeypatch: Any) -> None:
    """The login is another one already: the person gets the link, though there is no mail 2 to come before it."""
    await approved(counter)
    change = counter.bench.identity.change_login

    async def closes(expected: Any, new_login: str) -> Any:
        await counter.bench.rows("UPDATE cases SET state = 'closed' RETURNING 1")
        return await change(expected, new_login)

    monkeypatch.setattr(counter.bench.identity, "change_login", closes)
    await counter.bench.settle()
    assert (await counter.action()).state is S.DONE
    assert [kind for kind, _ in counter.sent()] == ["registered", "login_change", "activation"]


async def test_a_service_that_was_set_to_another_backend(counter: Counter) -> None:
    """The action waits for its own; it is neither done at the wrong one nor given up."""
    await approved(counter)
    right = counter.bench.identity
    counter.bench.build(identity=MemoryIdentity(name="another"))
    await counter.bench.settle()
    assert (await counter.action()).state is S.COOLING
    (parked,) = await counter.bench.rows("SELECT id, reason, problem FROM parked")
    assert (parked["reason"], "'memory'" in parked["problem"]) == ("misconfigured", True)
    from okienko.core.parking import replay

    counter.bench.build(identity=right)
    assert await replay(counter.bench.engine, [parked["id"]], counter.bench.clock(), "ada") == [parked["id"]]
    await counter.bench.settle()
    await done_once(counter)


async def test_a_lost_execution_is_found_and_keeps_its_cool_down(counter: Counter) -> None:
    counter.signs()
    await counter.ask_for_new_login()
    await counter.approve(ADA, BEA)
    await counter.bench.settle()
    await counter.bench.rows("DELETE FROM pgqueuer RETURNING 1")
    assert await reconcile(counter.bench.engine) == 2
    await counter.bench.settle()
    assert counter.jan.login == JAN
    assert sorted(kind for kind, _, _ in await counter.bench.later()) == ["execute", "expire"]
    await counter.bench.pass_time(2 * HOUR)
    await counter.bench.settle()
    assert counter.jan.login == NEW


async def test_saving_writes_what_a_move_changed(counter: Counter) -> None:
    """No field that the machine changes is forgotten on the way to the database."""
    await approved(counter)
    action = await counter.action()
    async with counter.bench.engine.begin() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        from dataclasses import replace

        changed = replace(
            action, state=S.READY, not_before=action.created_at, expires_at=action.expires_at + HOUR, reason="x"
        )
        await store.save(raw, changed, now=counter.bench.clock(), who="x")
        assert await store.fetch(raw, counter.bench.seals, action.frozen.action_id) == changed
