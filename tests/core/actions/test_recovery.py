"""Procedures A and B from the raw mail to the person who signs in again, with every step in between on a real database."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import SecretStr

from core.recoverykit import ADA, BEA, HOUR, JAN, NEW, NEW_PASSWORD, OLD_PASSWORD, Counter
from okienko.core.actions.activation import LinkSpentError
from okienko.core.reconcile import reconcile
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.identity import AccountFlag, Operation
from okienko.plugins.testing import MemoryIdentity
from okienko.schemas import ActionState

A_TITLE = "PUESC: Zmiana adresu email"


async def test_procedure_a_to_the_end(counter: Counter) -> None:
    counter.jan.flags.add(AccountFlag.LOCKED)
    identity = counter.bench.identity
    await counter.ask()
    assert (await counter.approve(ADA)).state is ActionState.READY
    await counter.bench.settle()
    assert (await counter.action()).state is ActionState.DONE
    assert AccountFlag.LOCKED not in counter.jan.flags
    assert (await counter.case())["state"] == "closed"
    assert counter.sent() == [("registered", JAN), ("closed", JAN), ("activation", JAN)]
    assert counter.bench.channel.sent[2].subject == A_TITLE
    activation = counter.bench.recovery.activation
    token = counter.link("activation")
    assert (await activation.look_up(token)).login == JAN
    await activation.set_password(token, SecretStr(NEW_PASSWORD), origin="test")
    assert identity.sign_in(JAN, NEW_PASSWORD)
    assert not identity.sign_in(JAN, OLD_PASSWORD)
    assert await counter.events() == [
        "opened", "decided", "registered", "notification_queued", "notification_sent", "assessed", "action_proposed",
        "action_approved", "action_executed", "closed", "notification_queued", "notification_sent",
        "notification_queued", "activation_sent", "notification_sent", "activation_used",
    ]  # fmt: skip


async def test_procedure_b_to_the_end(counter: Counter) -> None:
    counter.signs()
    identity = counter.bench.identity
    await counter.ask_for_new_login()
    assert (await counter.approve(ADA)).state is ActionState.WAITING
    assert (await counter.approve(BEA)).state is ActionState.COOLING
    await counter.bench.settle()
    assert counter.sent() == [("registered", NEW), ("login_change", JAN)]
    assert NEW in counter.bench.channel.sent[1].text
    assert counter.jan.login == JAN
    await counter.bench.pass_time(2 * HOUR - timedelta(seconds=1))
    await counter.bench.settle()
    assert counter.jan.login == JAN
    await counter.bench.pass_time(timedelta(seconds=1))
    await counter.bench.settle()
    assert counter.jan.login == NEW
    assert counter.sent()[2:] == [("closed", NEW), ("activation", NEW)]
    assert counter.bench.channel.sent[-1].subject == A_TITLE
    await counter.bench.recovery.activation.set_password(
        counter.link("activation"), SecretStr(NEW_PASSWORD), origin="test"
    )
    assert identity.sign_in(NEW, NEW_PASSWORD)
    assert not identity.sign_in(JAN, NEW_PASSWORD)
    assert not identity.sign_in(JAN, OLD_PASSWORD)


async def test_a_backend_that_mails_its_own_link(counter: Counter) -> None:
    """Mail 3 is the backend's then, and still comes after mail 2."""
    backend = MemoryIdentity(set(Operation) - {Operation.SET_PASSWORD})
    backend.accounts = counter.bench.identity.accounts
    counter.bench.build(identity=backend)
    await counter.ask()
    await counter.approve(ADA)
    await counter.bench.until("sync")
    await counter.bench.step()
    assert backend.activations == [], "mail 2 has not gone yet"
    await counter.bench.settle()
    assert backend.activations == [(counter.jan.ref, 24 * 3600)]
    assert counter.sent() == [("registered", JAN), ("closed", JAN)]
    await counter.bench.queue("activate", (await counter.action()).frozen.action_id)
    await counter.bench.settle()
    assert len(backend.activations) == 1


async def test_mail_3_waits_for_mail_2(counter: Counter) -> None:
    """However long the relay is away."""
    await counter.ask()
    await counter.approve(ADA)
    counter.bench.channel.failures.extend([TransientError("relay away")] * 3)
    await counter.bench.settle()
    assert [kind for kind, _ in counter.sent()] == ["registered", "closed", "activation"]


async def test_a_lost_job_for_mail_3_is_found(counter: Counter) -> None:
    await counter.ask()
    await counter.approve(ADA)
    await counter.bench.until("activate")
    await counter.bench.rows("DELETE FROM pgqueuer RETURNING 1")
    assert await reconcile(counter.bench.engine) == 1
    await counter.bench.settle()
    assert [kind for kind, _ in counter.sent()] == ["registered", "closed", "activation"]
    assert await reconcile(counter.bench.engine) == 0


# --- the link ---------------------------------------------------------------------------------------------------------


async def activated(counter: Counter) -> str:
    """The token of mail 3."""
    await counter.ask()
    await counter.approve(ADA)
    await counter.bench.settle()
    return counter.link("activation")


async def test_no_token_is_in_the_database(counter: Counter) -> None:
    """Neither the activation link's nor the stop link's, in no table and in no form that holds it."""
    counter.signs()
    await counter.ask_for_new_login()
    await counter.approve(ADA, BEA)
    await counter.bench.settle()
    stop = counter.link("login_change")
    await counter.bench.pass_time(2 * HOUR)
    await counter.bench.settle()
    tokens = (stop, counter.link("activation"))
    assert all(len(token) == 43 for token in tokens)
    tables = await counter.bench.rows(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    assert {"activation", "notification", "reset_action", "pgqueuer", "event", "audit_entry"} <= {
        t["name"] for t in tables
    }
    for table in tables:
        for row in await counter.bench.rows(f'SELECT t::text AS text FROM "{table["name"]}" t'):
            for token in tokens:
                assert token not in row["text"], table["name"]
                assert token.encode().hex() not in row["text"], table["name"]


async def test_a_link_works_once(counter: Counter) -> None:
    token = await activated(counter)
    activation = counter.bench.recovery.activation
    await activation.set_password(token, SecretStr(NEW_PASSWORD), origin="test")
    for attempt in (
        activation.look_up(token),
        activation.set_password(token, SecretStr("Inne-Haslo-2293!"), origin="x"),
    ):
        with pytest.raises(LinkSpentError):
            await attempt
    assert counter.bench.identity.sign_in(JAN, NEW_PASSWORD)


async def test_a_link_ends(counter: Counter) -> None:
    token = await activated(counter)
    activation = counter.bench.recovery.activation
    await counter.bench.pass_time(24 * HOUR - timedelta(seconds=1))
    assert (await activation.look_up(token)).login == JAN
    await counter.bench.pass_time(timedelta(seconds=1))
    with pytest.raises(LinkSpentError):
        await activation.set_password(token, SecretStr(NEW_PASSWORD), origin="test")
    assert counter.bench.identity.sign_in(JAN, OLD_PASSWORD)


@pytest.mark.parametrize("token", ["", "a" * 43, "\0", "ż", "x" * 100_000, "\ud83d"])
async def test_a_token_that_was_never_given(counter: Counter, token: str) -> None:
    await activated(counter)
    with pytest.raises(LinkSpentError):
        await counter.bench.recovery.activation.look_up(token)


async def test_the_stop_link_activates_nothing_and_the_other_way_round(counter: Counter) -> None:
    counter.signs()
    await counter.ask_for_new_login()
    await counter.approve(ADA, BEA)
    await counter.bench.settle()
    stop = counter.link("login_change")
    with pytest.raises(LinkSpentError):
        await counter.bench.recovery.activation.look_up(stop)
    await counter.bench.pass_time(2 * HOUR)
    await counter.bench.settle()
    assert await counter.bench.recovery.approvals.stop(counter.link("activation"), origin="test") is None


async def test_refused_passwords_are_counted(counter: Counter) -> None:
    """The person may choose another one; a robot at the page may not go on for ever."""
    token = await activated(counter)
    activation = counter.bench.recovery.activation
    for _ in range(9):
        with pytest.raises(PermanentError, match="at least 8 characters"):
            await activation.set_password(token, SecretStr("krótkie"), origin="test")
    await activation.look_up(token)
    with pytest.raises(PermanentError, match="at least 8 characters"):
        await activation.set_password(token, SecretStr("krótkie"), origin="test")
    with pytest.raises(LinkSpentError):
        await activation.set_password(token, SecretStr(NEW_PASSWORD), origin="test")


async def test_a_backend_that_is_away_does_not_use_the_link_up(counter: Counter) -> None:
    token = await activated(counter)
    activation = counter.bench.recovery.activation
    for failures in (counter.bench.identity.failures, counter.bench.identity.failures_after):
        failures.append(TransientError("away"))
        with pytest.raises(TransientError):
            await activation.set_password(token, SecretStr(NEW_PASSWORD), origin="test")
    await activation.set_password(token, SecretStr(NEW_PASSWORD), origin="test")
    assert counter.bench.identity.sign_in(JAN, NEW_PASSWORD)


async def test_an_account_that_was_disabled_meanwhile_stays_disabled(counter: Counter) -> None:
    token = await activated(counter)
    counter.jan.flags.add(AccountFlag.DISABLED)
    with pytest.raises(PermanentError, match="disabled"):
        await counter.bench.recovery.activation.set_password(token, SecretStr(NEW_PASSWORD), origin="test")
    assert counter.jan.flags == {AccountFlag.DISABLED}


async def test_the_password_is_nowhere(counter: Counter, capfd: pytest.CaptureFixture[str]) -> None:
    token = await activated(counter)
    await counter.bench.recovery.activation.set_password(token, SecretStr(NEW_PASSWORD), origin="test")
    for name in ("event", "audit_entry", "activation", "reset_action"):
        for row in await counter.bench.rows(f"SELECT t::text AS text FROM {name} t"):
            assert NEW_PASSWORD not in row["text"]
    printed = capfd.readouterr()
    assert NEW_PASSWORD not in printed.out + printed.err
    assert token not in printed.out + printed.err
