"""Limits on one account: look-ups, open actions, actions and notices in a day; and that nobody uses up the holder's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from core.recoverykit import ADA, BEA, JAN, NEW, OTHER, Counter, letter
from core.test_repeats import reached
from desk import BODY_A, BODY_B
from okienko.plugins.errors import TransientError
from okienko.plugins.signatures import Application, Signatory
from okienko.schemas import ActionState, Person

DAY = timedelta(hours=24)
LOOKED_UP = "SELECT count(*) FROM audit_entry WHERE action = 'looked_up'"
TOO_OFTEN = "the account has been looked up for 2 requests within a day, which is the limit"
ONE_NOTICE = "the account's holder was told of a change of login within a day: one such notice a day is the limit"


@pytest.fixture
def limited(counter: Counter) -> Counter:
    """Two look-ups a day."""
    counter.bench.build(lookups_per_account_per_day="2")
    return counter


async def guess(counter: Counter, year: int, **more: Any) -> UUID:
    """A request for Jan's account with a guessed year of birth, not proved unless said otherwise."""
    return await counter.ask(letter(BODY_A.replace("1980", str(year)), **({"proof": None} | more)))


async def limits_of(counter: Counter, case_id: UUID) -> list[str]:
    """Limits in the case's time line."""
    sql = "SELECT data->>'limit' AS name FROM event WHERE case_id = $1 AND type = 'limited' ORDER BY id"
    return [row["name"] for row in await counter.bench.rows(sql, case_id)]


async def test_who_guesses_is_not_looked_up_for_ever(limited: Counter) -> None:
    before = reached("lookups_day")
    guessed = [await guess(limited, 1980 + n) for n in range(4)]
    assert await limited.bench.value(LOOKED_UP) == 2
    for case_id in guessed[2:]:
        assert await limited.outcome(case_id) == ("human_review", TOO_OFTEN)
        assert await limits_of(limited, case_id) == ["lookups_day"]
    audited = await limited.bench.rows("SELECT reason FROM audit_entry WHERE action = 'limited'")
    assert [row["reason"] for row in audited] == [TOO_OFTEN] * 2
    assert reached("lookups_day") - before == 2
    # What is answered does not tell that it happened.
    assert limited.sent() == [("registered", JAN)] * 4


async def test_strangers_do_not_use_up_what_is_the_holders(limited: Counter) -> None:
    for n in range(4):
        await guess(limited, 1990 + n)
    assert await limited.bench.value(LOOKED_UP) == 2
    own = await limited.ask()
    assert await limited.bench.value(LOOKED_UP) == 3
    assert await limits_of(limited, own) == []


async def test_each_signatory_has_an_allowance_of_their_own(limited: Counter) -> None:
    """Somebody signs applications for Jan's account in their own name; Jan's own are looked at all the same."""
    for n in range(3):
        document = b"%%PDF %d" % n
        limited.signs(
            document, signatory=Signatory(given_names="Ewa", family_name="Obca"),
            application=Application(given_name="Ewa", family_name="Obca", old_login=JAN, new_login=OTHER),
        )  # fmt: skip
        limited.bench.build(lookups_per_account_per_day="2")
        last = await limited.ask(letter(BODY_B, OTHER, attachments=[("wniosek.pdf", document)]))
    assert await limits_of(limited, last) == ["lookups_day"]
    limited.signs()
    limited.bench.build(lookups_per_account_per_day="2")
    looked = await limited.bench.value(LOOKED_UP)
    own = await limited.ask_for_new_login()
    assert await limited.bench.value(LOOKED_UP) == looked + 2, "at the old login and the new one"
    assert await limits_of(limited, own) == [], "and her claim, which a person would have had to check, gave way"


async def test_a_look_that_failed_and_is_tried_again_is_one_look(limited: Counter) -> None:
    await limited.bench.recovery.identity.ready()
    limited.bench.identity.failures.extend([TransientError("away")] * 5)
    first = await guess(limited, 1990)
    second = await guess(limited, 1991)
    assert await limits_of(limited, first) == await limits_of(limited, second) == []
    assert await limits_of(limited, await guess(limited, 1992)) == ["lookups_day"]


async def test_the_allowance_fills_up_again(limited: Counter) -> None:
    for n in range(3):
        await guess(limited, 1990 + n)
    await limited.bench.pass_time(DAY)
    assert await limits_of(limited, await guess(limited, 1995)) == []


async def test_what_is_held_is_shown_beside_the_action(counter: Counter) -> None:
    first = await counter.ask()
    second = await counter.ask(letter(proof=None))
    action = await counter.action()
    assert action.frozen.case_id == first
    assert await counter.outcome(second) == ("human_review", "another case has an open reset action for the account")
    assert await limits_of(counter, second) == ["account_open"]
    assert await counter.bench.value("SELECT held_by FROM cases WHERE id = $1", second) == action.frozen.action_id


async def test_an_unproved_action_gives_way_to_the_holders_proved_request(counter: Counter) -> None:
    """Somebody writes in Jan's name before him. His own request gets the account's one action, and the other is beside it."""
    spoofed = await counter.ask(letter(proof=None))
    own = await counter.ask()
    assert await counter.outcome(own) == ("registered", None)
    first, second = await counter.actions()
    assert (first.state, first.frozen.case_id) == (ActionState.REFUSED, spoofed)
    assert first.reason == "a request that is proved and meets every rule came in for the same account"
    assert (second.state, second.frozen.case_id, second.frozen.must_check) == (ActionState.WAITING, own, ())
    row = (await counter.bench.rows("SELECT state, held_by FROM cases WHERE id = $1", spoofed))[0]
    assert row == {"state": "human_review", "held_by": second.frozen.action_id}
    sql = "SELECT data->>'why' AS why FROM event WHERE case_id = $1 AND type = 'action_ended'"
    assert await counter.bench.value(sql, spoofed) == first.reason
    # And never the other way round.
    document = [("dowód.pdf", b"%PDF")]
    assert await limits_of(counter, await counter.ask(letter(proof=None, attachments=document))) == ["account_open"]
    assert [action.state for action in await counter.actions()] == [ActionState.REFUSED, ActionState.WAITING]


async def test_what_somebody_approved_or_checked_does_not_give_way(counter: Counter) -> None:
    """An administrator has looked at it: it is theirs to decide."""
    counter.bench.build(approvals_low="2")
    await counter.ask(letter(proof=None))
    action = await counter.action()
    await counter.approve(ADA, checked=action.frozen.must_check)
    own = await counter.ask()
    assert await limits_of(counter, own) == ["account_open"]
    assert len(await counter.actions()) == 1


async def test_unproved_actions_of_the_day_are_not_counted_against_the_holder(counter: Counter) -> None:
    for n in range(2):
        await counter.ask(letter(proof=None))
        action = (await counter.actions())[n]
        await counter.bench.recovery.approvals.refuse(action.frozen.action_id, ADA, reason="x", solution="Odmowa.")
        await counter.bench.settle()
    last = await counter.ask(letter(proof=None))
    assert await limits_of(counter, last) == ["account_day"]
    assert await limits_of(counter, await counter.ask()) == []
    assert (await counter.actions())[-1].state is ActionState.WAITING


async def test_without_look_ups_one_claim_is_open_unless_it_is_proved(counter: Counter) -> None:
    """A backend that cannot look up: nobody knows whose account it is, so that a proved request is not held by a claim."""
    counter.bench.identity.operations = frozenset()
    claim = await guess(counter, 1980)
    before = reached("account_open")
    other = await guess(counter, 1981)
    assert await counter.outcome(other) == (
        "human_review",
        "another case has an open reset action for the login",
    )
    assert await limits_of(counter, other) == ["account_open"]
    assert reached("account_open") - before == 1
    (action,) = await counter.actions()
    assert action.frozen.case_id == claim
    assert await counter.bench.value("SELECT held_by FROM cases WHERE id = $1", other) == action.frozen.action_id
    own = await counter.ask()
    assert await limits_of(counter, own) == []
    assert {a.frozen.case_id for a in await counter.actions()} == {claim, own}


async def test_the_holder_is_told_of_one_change_of_login_a_day(counter: Counter) -> None:
    """Every change has its notice: so a second one within a day is not proposed at all, and never goes without."""
    counter.account(OTHER, Person(given_name="Ewa", family_name="Inna", birth_year=1990))
    counter.signs()
    await counter.ask_for_new_login()
    await counter.approve(ADA, BEA)
    await counter.bench.settle()
    assert ("login_change", JAN) in counter.sent()
    stopped = await counter.bench.recovery.approvals.stop(counter.link("login_change"), origin="test")
    assert stopped is not None
    assert stopped.state is ActionState.STOPPED
    again = b"%PDF drugi wniosek"
    counter.signs(again)
    second = await counter.ask_for_new_login(again)
    assert await counter.outcome(second) == ("human_review", ONE_NOTICE)
    assert await limits_of(counter, second) == ["notice_day"]
    # It concerns changes of the login only.
    assert await limits_of(counter, await counter.ask()) == []
    await counter.bench.recovery.approvals.refuse(
        (await counter.actions())[-1].frozen.action_id, ADA, reason="x", solution="Odmowa."
    )
    await counter.bench.settle()
    await counter.bench.pass_time(DAY)
    third = b"%PDF trzeci wniosek"
    counter.signs(third)
    assert await limits_of(counter, await counter.ask_for_new_login(third)) == []
    assert [kind for kind, _ in counter.sent()].count("login_change") == 1
    assert NEW not in {to for kind, to in counter.sent() if kind == "login_change"}
