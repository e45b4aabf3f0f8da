"""What people decide, on a real database: who counts, what they saw, and the holder's stop."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.recoverykit import ADA, BEA, HOUR, JAN, NEW, Counter, letter
from desk import BODY_B
from okienko.core import desk
from okienko.core.actions.approvals import Actor
from okienko.core.actions.machine import ActionRefusedError
from okienko.core.reconcile import reconcile
from okienko.plugins.testing import MemoryIdentity
from okienko.schemas import ActionState as S


async def test_a_digest_of_something_else_does_not_count(counter: Counter) -> None:
    await counter.ask()
    action = await counter.action()
    with pytest.raises(ActionRefusedError, match="not the one that you were shown"):
        await counter.bench.recovery.approvals.approve(
            action.frozen.action_id, ADA, digest="0" * 64, decision=action.frozen.decision_sha256, checked=()
        )
    assert (await counter.action()).approvals == ()
    assert await counter.bench.later() != []
    await counter.bench.settle()
    assert (await counter.action()).state is S.WAITING


async def test_one_person_is_not_two(counter: Counter) -> None:
    counter.signs()
    await counter.ask_for_new_login()
    await counter.approve(ADA)
    with pytest.raises(ActionRefusedError, match="you approved it already"):
        await counter.approve(ADA)
    assert (await counter.action()).state is S.WAITING


async def test_one_person_is_not_two_at_the_same_moment_either(counter: Counter) -> None:
    counter.signs()
    await counter.ask_for_new_login()
    results = await asyncio.gather(*(counter.approve(ADA) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(result, ActionRefusedError) for result in results) == 3
    assert (await counter.action()).state is S.WAITING
    assert await counter.bench.value("SELECT count(*) FROM reset_approval") == 1


async def test_the_holder_does_not_decide_about_their_own_account(counter: Counter) -> None:
    counter.signs()
    await counter.ask_for_new_login()
    for holder in (
        Actor(JAN.upper()),
        Actor("https://sso.example|17", also_known_as=(JAN,)),
        Actor("sub", also_known_as=("x@y.example", NEW)),
    ):
        with pytest.raises(ActionRefusedError, match="somebody else"):
            await counter.approve(holder)


async def test_who_handled_the_case_does_not_approve_it(counter: Counter) -> None:
    await counter.ask()
    await counter.handled_by("ada")
    with pytest.raises(ActionRefusedError, match="you handled this case"):
        await counter.approve(ADA)
    assert (await counter.approve(BEA)).state is S.READY


async def test_what_nobody_could_decide_is_checked_by_each_who_approves(counter: Counter) -> None:
    await counter.ask(letter(proof=None))
    with pytest.raises(ActionRefusedError, match="must be checked by you first: A4"):
        await counter.approve(ADA)
    with pytest.raises(ActionRefusedError, match="nothing to check about: A9"):
        await counter.approve(ADA, checked=["A4", "A9"])
    assert (await counter.approve(ADA, checked=["A4"])).state is S.READY
    assert await counter.bench.value("SELECT checked FROM reset_approval") == ["A4"]


async def test_a_refusal_closes_the_case_with_what_the_person_reads(counter: Counter) -> None:
    await counter.ask()
    action = await counter.action()
    approvals = counter.bench.recovery.approvals
    with pytest.raises(ActionRefusedError, match="a reason is needed"):
        await approvals.refuse(action.frozen.action_id, ADA, reason=" ", solution="Odmowa.")
    await approvals.refuse(action.frozen.action_id, ADA, reason="44051401359 to nie ta osoba", solution="Odmawiamy.")
    await counter.bench.settle()
    action = await counter.action()
    assert (action.state, action.reason) == (S.REFUSED, "44051401359 to nie ta osoba")
    assert counter.sent() == [("registered", JAN), ("closed", JAN)]
    assert "Odmawiamy." in counter.bench.channel.sent[-1].text
    assert "44051401359" not in counter.bench.channel.sent[-1].text
    # A reason is what a person typed, and what cannot be erased must not hold it.
    for table in ("event", "audit_entry"):
        for row in await counter.bench.rows(f"SELECT t::text AS text FROM {table} t"):
            assert "44051401359" not in row["text"]
    with pytest.raises(ActionRefusedError, match="is refused"):
        await counter.approve(BEA)


# --- stop and clock ---------------------------------------------------------------------------------------------------


async def cooling(counter: Counter) -> str:
    """A change of login in its cool-down. The holder's stop token."""
    counter.signs()
    await counter.ask_for_new_login()
    await counter.approve(ADA, BEA)
    await counter.bench.settle()
    return counter.link("login_change")


async def test_the_holder_stops_it(counter: Counter) -> None:
    token = await cooling(counter)
    approvals = counter.bench.recovery.approvals
    assert (await approvals.find_by_stop_token(token)).state is S.COOLING, "looking stops nothing"
    for _ in range(2):
        assert (await approvals.stop(token, origin="192.0.2.7")).state is S.STOPPED
    await counter.bench.pass_time(200 * HOUR)
    await counter.bench.settle()
    assert (await counter.action()).state is S.STOPPED
    assert counter.jan.login == JAN
    assert (await counter.case())["state"] == "human_review"
    assert (await counter.events()).count("action_ended") == 1
    assert [kind for kind, _ in counter.sent()] == ["registered", "login_change"]
    entry = await counter.bench.value("SELECT data->>'origin' AS o FROM event WHERE type = 'action_ended'")
    assert entry == "192.0.2.7"


async def test_a_stop_after_the_change_is_too_late_and_says_so(counter: Counter) -> None:
    token = await cooling(counter)
    await counter.bench.pass_time(2 * HOUR)
    await counter.bench.settle()
    with pytest.raises(ActionRefusedError, match="cannot be stopped any more"):
        await counter.bench.recovery.approvals.stop(token, origin="")
    assert counter.jan.login == NEW


@pytest.mark.parametrize("token", ["", "a" * 43, "\0"])
async def test_a_stop_token_that_was_never_given(counter: Counter, token: str) -> None:
    await cooling(counter)
    assert await counter.bench.recovery.approvals.stop(token, origin="") is None
    assert await counter.bench.recovery.approvals.find_by_stop_token(token) is None


async def test_an_action_expires_by_the_clock(counter: Counter) -> None:
    await counter.ask()
    await counter.bench.pass_time(72 * HOUR - timedelta(seconds=1))
    await counter.bench.settle()
    assert (await counter.action()).state is S.WAITING
    await counter.bench.pass_time(timedelta(seconds=1))
    with pytest.raises(ActionRefusedError, match="expired"):
        await counter.approve(ADA)
    await counter.bench.settle()
    assert (await counter.action()).state is S.EXPIRED
    assert (await counter.case())["state"] == "human_review"


async def test_what_was_approved_at_the_last_moment_is_not_lost_in_its_cool_down(counter: Counter) -> None:
    counter.signs()
    await counter.ask_for_new_login()
    await counter.bench.pass_time(71 * HOUR + timedelta(minutes=30))
    await counter.approve(ADA, BEA)
    await counter.bench.pass_time(HOUR)
    await counter.bench.settle()
    assert (await counter.action()).state is S.COOLING
    await counter.bench.pass_time(HOUR)
    await counter.bench.settle()
    assert (await counter.action()).state is S.DONE
    assert counter.jan.login == NEW


async def test_an_expiry_whose_job_was_lost_comes_all_the_same(counter: Counter) -> None:
    await counter.ask()
    await counter.bench.rows("DELETE FROM pgqueuer RETURNING 1")
    assert await reconcile(counter.bench.engine) == 1
    await counter.bench.settle()
    assert [kind for kind, _, _ in await counter.bench.later()] == ["expire"]
    assert await reconcile(counter.bench.engine) == 0
    await counter.bench.pass_time(72 * HOUR)
    await counter.bench.settle()
    assert (await counter.action()).state is S.EXPIRED


async def test_no_cool_down_where_none_is_asked_for(counter: Counter) -> None:
    counter.bench.build(cool_down_minutes="0")
    counter.bench.verifying = None
    counter.signs()
    counter.bench.build(cool_down_minutes="0")
    await counter.ask_for_new_login()
    assert (await counter.approve(ADA, BEA)).state is S.READY


# --- by hand ----------------------------------------------------------------------------------------------------------


async def test_a_high_risk_by_hand_needs_a_second_person_and_the_cool_down(counter: Counter) -> None:
    counter.bench.build(identity=MemoryIdentity(()))
    await counter.ask(letter(f"{BODY_B}, login {JAN}", NEW, attachments=[("wniosek.pdf", b"%PDF")]))
    action = await counter.action()
    approvals, identity = counter.bench.recovery.approvals, action.frozen.action_id
    rules, done = action.frozen.must_check, {"solution": "Login zmieniony.", "code": await counter.code()}
    with pytest.raises(ActionRefusedError, match="must be checked by you first"):
        await desk.do_by_hand(approvals, identity, ADA, checked=[], **done)
    with pytest.raises(
        ActionRefusedError, match=r"high risk: 1 more and different person has to approve it first.*by ada"
    ):
        await desk.do_by_hand(approvals, identity, ADA, checked=rules, **done)
    with pytest.raises(ActionRefusedError, match="1 more and different person"):
        await desk.do_by_hand(approvals, identity, ADA, checked=rules, **done)
    with pytest.raises(ActionRefusedError, match="cool-down is not over yet: the holder of the account may stop"):
        await desk.do_by_hand(approvals, identity, BEA, checked=rules, **done)
    await counter.bench.pass_time(2 * HOUR)
    await counter.bench.settle()
    assert (await counter.action()).state is S.READY, "its cool-down is over, and nobody else carries it out"
    await desk.do_by_hand(approvals, identity, ADA, checked=[], **done)
    await counter.bench.settle()
    assert (await counter.action()).state is S.DONE
    assert (await counter.case())["state"] == "closed"
    assert counter.sent() == [("registered", NEW), ("login_change", JAN), ("closed", NEW)]


async def test_what_okienko_does_itself_is_not_done_by_hand(counter: Counter) -> None:
    await counter.ask()
    action = await counter.action()
    with pytest.raises(ActionRefusedError, match="by itself"):
        await desk.do_by_hand(
            counter.bench.recovery.approvals, action.frozen.action_id, ADA, code=None, checked=[], solution="Zrobione."
        )
    assert (await counter.action()).approvals == ()


async def test_lists_show_approvals_and_what_was_tampered_with(counter: Counter) -> None:
    await counter.ask(letter(proof=None))
    await counter.approve(ADA, checked=["A4"])
    (shown,) = await desk.list_actions(counter.bench.engine, counter.bench.seals, everything=False)
    assert (shown["state"], shown["risk"], shown["must_check"], shown["tampered"]) == ("ready", "low", ["A4"], False)
    assert [(a["who"], a["checked"]) for a in shown["approvals"]] == [("ada", ["A4"])]
    assert shown["digest"] == (await counter.action()).frozen.digest
    assert "stop_sha256" not in shown
    await counter.bench.rows("UPDATE reset_action SET steps = '{dance}' RETURNING 1")
    shown = await desk.show_action(counter.bench.engine, counter.bench.seals, shown["id"])
    assert shown["tampered"]
    assert [result["rule"] for result in shown["decision"]["results"]] == ["A1", "A2", "A3", "A4", "A5"]
