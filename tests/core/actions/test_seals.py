"""Somebody who can write to the database and has no keyring: whatever they write, no account is changed, and it is told of."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from core.recoverykit import ADA, BEA, HOUR, JAN, NEW, NEW_PASSWORD, Counter, letter
from okienko.core import desk
from okienko.core.actions.activation import LinkSpentError
from okienko.core.actions.approvals import Actor
from okienko.core.actions.auditing import check_approvals
from okienko.core.actions.links import LinkKind
from okienko.core.actions.machine import ActionRefusedError, ForgedApprovalError
from okienko.core.actions.seals import SealKind, Seals, Trust
from okienko.core.audit.keyring import Key, Keyring, KeySource
from okienko.metrics import catalogue as metrics
from okienko.plugins.errors import MisconfiguredError
from okienko.schemas import ActionState as S

FORGE = """
INSERT INTO reset_approval (action_id, who, at, digest, checked, names, decision, seal, sealed_by)
SELECT id, $1, created_at, digest, '{}', ARRAY[$1], decision_sha256, $2, $3 FROM reset_action RETURNING 1
"""


async def proposed(counter: Counter) -> Any:
    """A change of login that waits."""
    counter.signs()
    await counter.ask_for_new_login()
    return (await counter.action()).frozen.action_id


async def forge(counter: Counter, who: str = "x", seal: bytes | None = None, key: str | None = None) -> None:
    await counter.bench.rows(FORGE, who, seal, key)


async def untouched(counter: Counter) -> None:
    """Nothing happened to the account, and everybody who looks is told."""
    assert counter.jan.login == JAN
    assert "action_executed" not in await counter.events()
    (parked,) = await counter.bench.rows("SELECT job, reason, problem FROM parked")
    assert (parked["job"], parked["reason"]) == ("execute", "refused")
    assert "seal is missing or wrong" in parked["problem"]


@pytest.mark.parametrize("kind", ["none", "guessed", "copied"])
async def test_approvals_that_somebody_made_up(counter: Counter, kind: str) -> None:
    await proposed(counter)
    await counter.approve(ADA)
    key = (await counter.bench.rows("SELECT sealed_by, seal FROM reset_approval"))[0]
    seal = {"none": None, "guessed": bytes(32), "copied": key["seal"]}[kind]
    await forge(counter, "x", seal, None if seal is None else key["sealed_by"])
    before = metrics.APPROVALS_FORGED._value.get()
    with pytest.raises(ForgedApprovalError, match="by: x"):
        await counter.approve(BEA)
    await counter.bench.rows("UPDATE reset_action SET state = 'ready', not_before = created_at RETURNING 1")
    await counter.bench.queue("execute", (await counter.action()).frozen.action_id)
    await counter.bench.settle()
    await untouched(counter)
    assert (await counter.action()).agreed_by == {"ada"}
    assert metrics.APPROVALS_FORGED._value.get() == before + 2
    entries = await counter.bench.rows(
        "SELECT actor, reason FROM audit_entry WHERE action = 'approval_forged' ORDER BY seq"
    )
    told = "unsealed" if kind == "none" else "forged"
    assert [(e["actor"], e["reason"]) for e in entries] == [("bea", f"seal: {told}"), ("okienko", f"seal: {told}")]
    (shown,) = await desk.list_actions(counter.bench.engine, counter.bench.seals, everything=False)
    assert (shown["agreed"], [a["counts"] for a in shown["approvals"] if a["who"] == "x"]) == (1, [False])
    # Once the row is gone, and a person has looked, it goes on as before.
    await counter.bench.rows("DELETE FROM reset_approval WHERE who = 'x' RETURNING 1")
    await counter.bench.rows("UPDATE reset_action SET state = 'waiting', not_before = NULL RETURNING 1")
    assert (await counter.approve(BEA)).state is S.COOLING


@pytest.mark.parametrize(
    "change",
    ["who = 'cyd'", "at = at - interval '1 day'", "digest = repeat('0', 64)", "checked = '{A4}'", "names = '{ada,ewa}'",
     "decision = repeat('0', 64)", "sealed_by = NULL"],
)  # fmt: skip
async def test_every_part_of_an_approval_is_sealed(counter: Counter, change: str) -> None:
    await proposed(counter)
    await counter.approve(ADA, BEA)
    await counter.bench.settle()
    await counter.bench.rows(f"UPDATE reset_approval SET {change} WHERE who = 'ada' RETURNING 1")
    await counter.bench.pass_time(3 * HOUR)
    await counter.bench.settle()
    await untouched(counter)


async def test_an_approval_of_another_action_is_worth_nothing_here(counter: Counter) -> None:
    await counter.ask(letter())
    await counter.approve(ADA)
    await counter.bench.settle()
    await proposed_again(counter)
    (done, waiting) = await counter.actions()
    await counter.bench.rows(
        "INSERT INTO reset_approval SELECT $1, who, at, $2, checked, seal, sealed_by, names, $3 FROM reset_approval RETURNING 1",
        waiting.frozen.action_id, waiting.frozen.digest, waiting.frozen.decision_sha256,
    )  # fmt: skip
    (_, waiting) = await counter.actions()
    assert [a.trust for a in waiting.approvals] == [Trust.FORGED]
    assert (done.state, waiting.agreed_by) == (S.DONE, frozenset())


async def proposed_again(counter: Counter) -> None:
    counter.signs()
    await counter.ask_for_new_login()


@pytest.mark.parametrize("state", ["ready", "executing", "done"])
async def test_a_state_that_somebody_wrote_is_not_an_approval(counter: Counter, state: str) -> None:
    action_id = await proposed(counter)
    await counter.approve(ADA)
    await counter.bench.rows("UPDATE reset_action SET state = $1, not_before = created_at RETURNING 1", state)
    job = "activate" if state == "done" else "execute"
    await counter.bench.queue(job, action_id)
    await counter.bench.settle()
    assert counter.jan.login == JAN
    assert [kind for kind, _ in counter.sent()] == ["registered"]
    (parked,) = await counter.bench.rows("SELECT job, problem FROM parked")
    assert (parked["job"], "not enough different people" in parked["problem"]) == (job, True)


@pytest.mark.parametrize("state", ["ready", "executing"])
async def test_a_cool_down_that_somebody_cut_short_lasts_all_the_same(counter: Counter, state: str) -> None:
    action_id = await proposed(counter)
    await counter.approve(ADA, BEA)
    await counter.bench.settle()
    await counter.bench.rows("UPDATE reset_action SET state = $1, not_before = created_at RETURNING 1", state)
    await counter.bench.queue("execute", action_id)
    await counter.bench.settle()
    assert counter.jan.login == JAN
    await counter.bench.pass_time(timedelta(minutes=119))
    await counter.bench.queue("execute", action_id)
    await counter.bench.settle()
    assert counter.jan.login == JAN


@pytest.mark.parametrize("state", ["cooling", "ready", "executing", "done"])
async def test_a_stop_that_somebody_took_back(counter: Counter, state: str) -> None:
    """The audit tells of the stop, whatever the row says."""
    action_id = await proposed(counter)
    await counter.approve(ADA, BEA)
    await counter.bench.settle()
    await counter.bench.recovery.approvals.stop(counter.link("login_change"), origin="")
    await counter.bench.rows("UPDATE reset_action SET state = $1, reason = NULL, ended_at = NULL RETURNING 1", state)
    await counter.bench.pass_time(3 * HOUR)
    await counter.bench.queue("activate" if state == "done" else "execute", action_id)
    await counter.bench.settle()
    assert counter.jan.login == JAN
    assert "activation" not in [kind for kind, _ in counter.sent()]
    problems = {row["problem"].partition(":")[0] for row in await counter.bench.rows("SELECT problem FROM parked")}
    assert len(problems) == 1
    assert "stopped, refused or ended before" in problems.pop()


async def test_a_proposal_that_somebody_put_there(counter: Counter) -> None:
    """Right in every column, with the digest that belongs to it, and no seal: it can only be refused."""
    await proposed(counter)
    await counter.bench.rows("UPDATE reset_action SET seal = NULL, sealed_by = NULL RETURNING 1")
    with pytest.raises(ActionRefusedError, match="not sealed"):
        await counter.approve(ADA)
    action = await counter.action()
    await counter.bench.recovery.approvals.refuse(action.frozen.action_id, ADA, reason="obca", solution="Odmowa.")
    assert (await counter.action()).state is S.REFUSED


async def test_without_the_key_nothing_is_taken_on_trust(counter: Counter) -> None:
    """A database that came back without its keyring."""
    action_id = await proposed(counter)
    await counter.approve(ADA, BEA)
    await counter.bench.settle()
    right = counter.bench.seals
    lost = Seals(KeySource(home=counter.bench.spool, text=Keyring.new().text()))
    counter.bench.seals = lost
    counter.bench.build()
    with pytest.raises(MisconfiguredError, match="lacks the anchor key a-"):
        await counter.bench.recovery.approvals.find(action_id)
    await counter.bench.pass_time(3 * HOUR)
    await counter.bench.settle()
    assert counter.jan.login == JAN
    (parked,) = await counter.bench.rows("SELECT reason, problem FROM parked")
    assert (parked["reason"], "put its line back" in parked["problem"]) == ("misconfigured", True)
    problems = {f.text for f in await check_approvals(counter.bench.engine, lost)}
    assert all("its key is not in the keyring" in text for text in problems)
    assert len(problems) == 2
    counter.bench.seals = right
    counter.bench.build()
    await counter.bench.queue("execute", action_id)
    await counter.bench.settle()
    assert counter.jan.login == NEW


def test_a_new_anchor_key_before_the_old_one() -> None:
    old = Key("anchor", b"o" * 32)
    ring = Keyring((Key("vault", b"v" * 32), old))
    newer = Keyring((Key("anchor", b"n" * 32), *ring.keys))
    before, after = (Seals(KeySource(home=None, text=r.text())) for r in (ring, newer))  # type: ignore[arg-type]  # unused
    seal = before.make(SealKind.APPROVAL, ["x"])
    assert (seal.key, after.make(SealKind.APPROVAL, ["x"]).key) == (old.id, newer.current("anchor").id)
    assert after.look(SealKind.APPROVAL, ["x"], seal.key, seal.mac) is Trust.GENUINE
    assert after.look(SealKind.PROPOSAL, ["x"], seal.key, seal.mac) is Trust.FORGED
    assert after.look(SealKind.APPROVAL, ["y"], seal.key, seal.mac) is Trust.FORGED
    # A key of another purpose proves nothing, not even with a seal made from it.
    assert after.look(SealKind.APPROVAL, ["x"], ring.current("vault").id, seal.mac) is Trust.KEY_MISSING


# --- one person -------------------------------------------------------------------------------------------------------


async def test_the_command_line_and_the_pages_are_one_person(counter: Counter) -> None:
    counter.bench.verifying = None
    counter.signs()
    counter.bench.build(people='{"anna@urzad.example": ["cli:anna"]}')
    await counter.ask_for_new_login()
    await counter.approve(Actor("cli:anna"))
    for same in (Actor("local:anna", ("Anna@urzad.example",)), Actor("oidc:https://idp.example:9")):
        with pytest.raises(ActionRefusedError, match="different person has to be the next one"):
            await counter.approve(same)
    with pytest.raises(ActionRefusedError, match=r"nothing says which person cli:root is.*OKIENKO_PEOPLE"):
        await counter.approve(Actor("cli:root"))
    assert (await counter.approve(Actor("local:bea", ("bea@urzad.example",)))).state is S.COOLING


async def test_who_typed_or_holds_it_does_not_approve_by_any_identity(counter: Counter) -> None:
    counter.bench.build(people=f'{{"{JAN.upper()}": ["cli:jan"], "typist@urzad.example": ["cli:typist"]}}')
    await counter.ask()
    await counter.handled_by("local:typist", "Typist@urzad.example")
    for barred in (
        Actor("cli:jan"),
        Actor("cli:typist"),
        Actor("LOCAL:TYPIST"),
        Actor("oidc:x:1", ("typist@URZAD.example",)),
    ):
        with pytest.raises(ActionRefusedError, match="somebody else has to approve"):
            await counter.approve(barred)
    assert (await counter.approve(Actor("cli:root"))).state is S.READY, "where one is enough, a login is enough"


# --- what was shown ---------------------------------------------------------------------------------------------------


async def test_another_decision_than_the_one_shown(counter: Counter) -> None:
    await counter.ask()
    action = await counter.action()
    approvals, key = counter.bench.recovery.approvals, action.frozen.action_id
    with pytest.raises(ActionRefusedError, match="not the one that you were shown"):
        await approvals.approve(key, ADA, digest=action.frozen.digest, decision="0" * 64, checked=())
    code = await counter.code()
    await counter.bench.rows(
        "UPDATE cases SET decision = jsonb_set(decision, '{results,0,evidence}', '\"inny dowód\"') RETURNING 1"
    )
    assert await counter.code() != code
    with pytest.raises(ActionRefusedError, match="not the one that you were shown"):
        await desk.approve_shown(approvals, key, ADA, code=code, checked=())
    with pytest.raises(ActionRefusedError, match="not the one that the action was proposed by"):
        await approvals.approve(
            key, ADA, digest=action.frozen.digest, decision=action.frozen.decision_sha256, checked=()
        )
    assert (await counter.action()).approvals == ()


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "token_sha256 = $1",
        "token_sha256 = $1, seal = NULL, sealed_by = NULL",
        "expires_at = expires_at + interval '9 days'",
    ],
)
async def test_a_link_that_somebody_put_in_its_place(counter: Counter, change: str) -> None:
    """One's own token for another's account, or a dead link made alive: no password is set by it."""
    await counter.ask()
    await counter.approve(ADA)
    await counter.bench.settle()
    own = counter.bench.links.token(LinkKind.ACTIVATE, (await counter.action()).frozen.case_id)
    token = own if "$1" in change else counter.link("activation")
    arguments = [counter.bench.links.fingerprint(own)] if "$1" in change else []
    await counter.bench.rows(f"UPDATE activation SET {change} RETURNING 1", *arguments)
    with pytest.raises(LinkSpentError):
        await counter.bench.recovery.activation.set_password(token, SecretStr(NEW_PASSWORD), origin="x")
    assert counter.jan.password != NEW_PASSWORD


# --- the audit --------------------------------------------------------------------------------------------------------


async def test_the_audit_names_what_it_does_not_tell_of(counter: Counter) -> None:
    await proposed(counter)
    await counter.approve(ADA, BEA)
    await counter.bench.settle()
    await counter.bench.pass_time(3 * HOUR)
    await counter.bench.settle()
    assert (await counter.action()).state is S.DONE
    engine, seals = counter.bench.engine, counter.bench.seals
    assert await check_approvals(engine, seals) == await check_approvals(engine, None) == []
    await forge(counter, "x")
    (found,) = await check_approvals(engine, seals)
    assert "by x has no entry in the audit: nobody gave it" in found.text
    await counter.bench.rows("DELETE FROM reset_approval WHERE who <> 'ada' RETURNING 1")
    (found,) = await check_approvals(engine, None)
    assert "was carried out with 1 approval(s) that hold; it needs 2" in found.text
    await counter.bench.rows("UPDATE reset_approval SET names = '{ewa}' RETURNING 1")
    changed, too_few = await check_approvals(engine, seals)
    assert "its seal is wrong: it was changed" in changed.text
    assert "with 0 approval(s)" in too_few.text
    await counter.bench.rows("DELETE FROM activation RETURNING 1")
    await counter.bench.rows("DELETE FROM reset_approval RETURNING 1")
    await counter.bench.rows("DELETE FROM reset_action RETURNING 1")
    (found,) = await check_approvals(engine, seals)
    assert "its row is gone" in found.text
