"""The service requests of rule S2 from the raw mail to the changed account, on live identity peers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from pydantic import SecretStr

from acceptance.recovery.letters import Citizen, Notary, address, citizen, letter_service
from acceptance.recovery.peers import PEERS, Peer
from acceptance.recovery.stage import ANNA, BERTA, Stage, stage
from okienko.core.actions.machine import ActionRefusedError
from okienko.plugins.testing.conformance.workshop import NEW, OLD
from rigs.postgres import Postgres
from signing.pki import Pki

pytestmark = pytest.mark.asyncio(loop_scope="module")
_LIVE = [
    pytest.param("slapd", marks=pytest.mark.needs_slapd),
    pytest.param("samba", marks=[pytest.mark.needs_samba, pytest.mark.slow]),
    pytest.param("scim2"),
]
UNLOCK = ("NOWE odblokowanie konta", "Proszę o odblokowanie konta, trzykrotnie podałem złe hasło.")
CHANGE = ("NOWE zmiana loginu", "Proszę o zmianę adresu e-mail, nie pamiętam hasła podstawowego.")
CONFLICT = ("NOWE nie mogę założyć konta", "Nie mogę założyć konta: mój numer PESEL istnieje już w systemie.")


@pytest.fixture(scope="module", params=_LIVE)
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    with PEERS[request.param]() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(
    peer: Peer, postgres: Postgres, recovery_pki: Pki, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with stage(postgres, tmp_path_factory.mktemp("home"), peer.environ, recovery_pki) as running:
        yield running


async def has(peer: Peer, who: Citizen) -> str:
    """An account of the citizen; its login."""
    login = address()
    await peer.account(login, who.person)
    assert await peer.hands.sign_in(login, OLD)
    return login


async def told(desk: Stage, case: object, to: str, *kinds: str, all_in_all: int | None = None) -> None:
    """Who asked got these mails, in this order, and no other; of several cases so many."""
    sql = "SELECT kind FROM notification WHERE case_id = $1 AND to_address = $2 AND state = 'sent' ORDER BY sent_at"

    async def look() -> bool:
        return [row["kind"] for row in await desk.rows(sql, case, to)] == list(kinds)

    await desk.sooner_or_later(look)
    assert len(desk.mails(to)) == (all_in_all or len(kinds))


# --- unlock -------------------------------------------------------------------------------------------------------------


async def test_a_locked_account_is_unlocked_and_locks_again(desk: Stage, peer: Peer) -> None:
    login = await has(peer, citizen())
    for turn in (1, 2):
        await peer.hands.lock(login)
        assert not await peer.hands.sign_in(login, OLD)
        case = await desk.arrives(letter_service(login, *UNLOCK))
        action = await desk.action(case)
        assert (action.frozen.steps, action.risk) == (("unlock",), "low")
        assert (await desk.assessed(case))["rules"] == dict.fromkeys(("C3", "S2", "A4", "U1"), "met")
        assert not await peer.hands.sign_in(login, OLD), "nothing happens before somebody approves"
        await desk.approve(action, ANNA)
        await desk.closed(case)
        assert await peer.hands.sign_in(login, OLD), "the password that it had"
        await told(desk, case, login, "registered", "closed", all_in_all=2 * turn)


async def told_once(desk: Stage, to: str) -> None:
    assert len(desk.mails(to)) == 1


@pytest.mark.parametrize("how", ["another's address", "disowned", "not locked", "disabled"])
async def test_what_does_not_unlock(desk: Stage, peer: Peer, how: str) -> None:
    login, sender, results = await has(peer, citizen()), None, None
    if how in ("another's address", "disowned"):
        await peer.hands.lock(login)
        sender = address("obcy") if how == "another's address" else login
        results = None if sender != login else "mx.okienko.invalid; dmarc=fail header.from=poczta.example"
    elif how == "disabled":
        await peer.hands.disable(login)
    mail = letter_service(sender or login, UNLOCK[0], f"{UNLOCK[1]} Login: {login}", results=results)
    case = await desk.arrives(mail)
    rules = (await desk.assessed(case))["rules"]
    assert rules["U1" if how in ("not locked", "disabled") else "A4"] == "unmet"
    assert await desk.state(case) == "human_review"
    assert not await desk.rows("SELECT 1 FROM reset_action WHERE case_id = $1", case)
    await told_once(desk, sender or login)
    assert await peer.hands.sign_in(login, OLD) == (how == "not locked")


async def test_a_stale_approval_unlocks_nobody(desk: Stage, peer: Peer) -> None:
    login, moved = await has(peer, citizen()), address("przeniesiony")
    await peer.hands.lock(login)
    case = await desk.arrives(letter_service(login, *UNLOCK))
    action = await desk.action(case)
    await peer.hands.rename(login, moved)
    await desk.approve(action, ANNA)
    await desk.ends_as(action, "failed")
    assert await desk.state(case) == "human_review"
    assert not await peer.hands.sign_in(moved, OLD)


# --- change of the login e-mail -----------------------------------------------------------------------------------------


async def test_a_signed_application_changes_the_login(desk: Stage, peer: Peer, notary: Notary) -> None:
    who = citizen()
    old, new = await has(peer, who), address("nowy")
    case = await desk.arrives(letter_service(new, *CHANGE, ("wniosek.pdf", notary.pdf(who, old, new))))
    action = await desk.action(case)
    assert (await desk.assessed(case))["rules"] == dict.fromkeys(("C3", "S2", "B3", "B4", "B5", "B6", "B7"), "met")
    await desk.approve(action, ANNA, BERTA)
    await desk.link("stop", old)
    await desk.time_passes(action, 121)
    await desk.closed(case)
    token = await desk.link("activate", new)
    await told(desk, case, new, "registered", "closed", "activation")
    await desk.service.recovery.activation.set_password(token, SecretStr(NEW), origin="198.51.100.7")
    assert await peer.hands.sign_in(new, NEW)
    assert not await peer.hands.sign_in(old, OLD)


@pytest.mark.parametrize("how", ["no application", "another's signature", "from the old address"])
async def test_there_is_no_easier_way_to_another_login(desk: Stage, peer: Peer, notary: Notary, how: str) -> None:
    who = citizen()
    old, new = await has(peer, who), address("nowy")
    sender, documents = new, [("wniosek.pdf", notary.pdf(who, old, new))]
    if how == "no application":
        documents = []
    elif how == "another's signature":
        documents = [("wniosek.pdf", notary.pdf(citizen(), old, new))]
    else:
        sender = old
    case = await desk.arrives(letter_service(sender, CHANGE[0], f"{CHANGE[1]} {old} na {new}", *documents))
    rule = {"no application": "B3", "another's signature": "B5"}.get(how, "B6")
    assert (await desk.assessed(case))["rules"][rule] == "unmet"
    assert await desk.state(case) == "human_review"
    assert not await desk.rows("SELECT 1 FROM reset_action WHERE case_id = $1", case)
    await told_once(desk, sender)
    assert await peer.hands.sign_in(old, OLD)


# --- a PESEL conflict ---------------------------------------------------------------------------------------------------


async def test_a_signed_number_is_released(desk: Stage, peer: Peer, notary: Notary) -> None:
    who, other = citizen(), citizen()
    old, untouched, new = await has(peer, who), await has(peer, other), address("nowy")
    assert await peer.pesels(old) == [who.pesel]
    case = await desk.arrives(letter_service(new, *CONFLICT, ("wniosek.pdf", notary.statement(who, new))))
    action = await desk.action(case)
    assert (action.frozen.steps, action.risk, action.frozen.must_check) == (("release_pesel",), "high", ())
    assert who.pesel not in str(action)
    await desk.approve(action, ANNA)
    with pytest.raises(ActionRefusedError, match="different person"):
        await desk.approve(action, ANNA)
    assert await peer.pesels(old) == [who.pesel], "one person is not enough"
    await desk.approve(action, BERTA)
    await desk.closed(case)
    await desk.ends_as(action, "done")
    assert await peer.pesels(old) == []
    assert await peer.pesels(untouched) == [other.pesel]
    assert await peer.hands.sign_in(old, OLD), "the account itself is as it was"
    await told(desk, case, new, "registered", "closed")
    # The number is free: a new account may carry it.
    await peer.account(new, who.person)
    assert await peer.pesels(new) == [who.pesel]


@pytest.mark.parametrize("how", ["typed only", "another's signature", "changed", "another sender"])
async def test_a_number_that_nobody_signed_for_is_not_looked_up(
    desk: Stage, peer: Peer, notary: Notary, how: str
) -> None:
    who = citizen()
    old, new, sender = await has(peer, who), address("nowy"), address("obcy")
    document = notary.statement(citizen() if how == "another's signature" else who, new)
    if how == "changed":
        document = document.replace(new.encode(), sender.encode())
    documents = [] if how == "typed only" else [("wniosek.pdf", document)]
    sender = sender if how in ("another sender", "changed") else new
    text = f"{CONFLICT[1]} PESEL: {who.pesel}"
    case = await desk.arrives(letter_service(sender, CONFLICT[0], text, *documents))
    rules = (await desk.assessed(case))["rules"]
    assert rules[{"typed only": "B4", "another's signature": "P1", "changed": "B4"}.get(how, "B6")] == "unmet"
    assert not await desk.rows("SELECT 1 FROM reset_action WHERE case_id = $1", case)
    assert await desk.state(case) == "human_review"
    assert await peer.pesels(old) == [who.pesel]
    await told_once(desk, sender)


async def test_a_release_that_went_stale_takes_nothing_from_anybody(desk: Stage, peer: Peer, notary: Notary) -> None:
    """Between the proposal and the approval the account was moved, or somebody else came to live in it."""
    who = citizen()
    old, new, moved = await has(peer, who), address("nowy"), address("przeniesiony")
    case = await desk.arrives(letter_service(new, *CONFLICT, ("wniosek.pdf", notary.statement(who, new))))
    action = await desk.action(case)
    await peer.hands.rename(old, moved)
    await desk.approve(action, ANNA, BERTA)
    await desk.ends_as(action, "failed")
    assert await desk.state(case) == "human_review"
    assert await peer.pesels(moved) == [who.pesel]


async def test_a_holder_of_another_name_must_be_checked(desk: Stage, peer: Peer, notary: Notary) -> None:
    who = citizen()
    old, new = await has(peer, who), address("nowy")
    document = notary.statement(who, new, family="Nowomężna")
    case = await desk.arrives(letter_service(new, *CONFLICT, ("wniosek.pdf", document)))
    action = await desk.action(case)
    assert action.frozen.must_check == ("P3",)
    approvals = desk.service.recovery.approvals
    with pytest.raises(ActionRefusedError, match="P3"):
        await approvals.approve(
            action.frozen.action_id,
            ANNA,
            digest=action.frozen.digest,
            decision=action.frozen.decision_sha256,
            checked=(),
        )
    await approvals.refuse(action.frozen.action_id, ANNA, reason="inna osoba", solution="Prosimy zadzwonić.")
    await desk.closed(case)
    assert await peer.pesels(old) == [who.pesel]


async def test_two_releases_at_the_same_moment_are_one(desk: Stage, peer: Peer, notary: Notary) -> None:
    who = citizen()
    old, new = await has(peer, who), address("nowy")
    mails = [letter_service(new, *CONFLICT, ("wniosek.pdf", notary.statement(who, new))) for _ in range(3)]
    cases = await asyncio.gather(*map(desk.arrives, mails))
    found = [await desk.assessed(case) for case in cases]
    assert sorted("why" in one for one in found) == [False, True, True]
    (case,) = [c for c, one in zip(cases, found, strict=True) if "why" not in one]
    await desk.approve(await desk.action(case), ANNA, BERTA)
    await desk.closed(case)
    assert await peer.pesels(old) == []
