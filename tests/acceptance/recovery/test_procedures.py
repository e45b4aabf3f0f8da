"""Procedures A and B from the raw mail to the changed account and back to the person, on live identity peers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
import pytest_asyncio
from pydantic import SecretStr

from acceptance.recovery.letters import (
    GENITIVE,
    YEAR,
    Citizen,
    Notary,
    address,
    citizen,
    letter,
    letter_a,
    letter_b,
    proved,
)
from acceptance.recovery.peers import PEERS, Peer
from acceptance.recovery.stage import ANNA, BERTA, Stage, stage
from corpus import PHRASE_A
from okienko.core.actions.activation import LinkSpentError
from okienko.core.actions.approvals import Actor
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
TITLE = "PUESC: Zmiana adresu email"


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


async def has(peer: Peer, who: Citizen, login: str | None = None) -> str:
    """An account of the citizen; its login."""
    login = login or address()
    await peer.account(login, who.person)
    assert await peer.hands.sign_in(login, OLD)
    return login


async def set_password(desk: Stage, to: str, password: str = NEW) -> str:
    """The person opens the link of mail 3 and types a password; the used token."""
    token = await desk.link("activate", to)
    await desk.service.recovery.activation.set_password(token, SecretStr(password), origin="198.51.100.7")
    return token


async def three_mails(desk: Stage, case: object, to: str) -> None:
    """T5: registered with its number, closed with the solution, then the link under its exact title. Nothing else."""
    await desk.link("activate", to)
    sql = "SELECT 1 FROM notification WHERE case_id = $1 AND kind = 'activation' AND state = 'sent'"
    await desk.sooner_or_later(lambda: desk.value(sql, case))
    number = await desk.value("SELECT csd_number FROM cases WHERE id = $1", case)
    one, two, three = desk.mails(to)
    assert str(one["Subject"]).startswith(f"Zgłoszenie {number} zostało zarejestrowane")
    assert str(two["Subject"]).startswith(f"Zgłoszenie {number} zostało zamknięte")
    assert "Rozwiązanie:" in two.get_content()
    assert str(three["Subject"]) == TITLE
    sql = "SELECT kind, state FROM notification WHERE case_id = $1 AND kind <> 'login_change' ORDER BY sent_at"
    sent = [(row["kind"], row["state"]) for row in await desk.rows(sql, case)]
    assert sent == [("registered", "sent"), ("closed", "sent"), ("activation", "sent")]
    told = [row["at"] for row in await desk.rows("SELECT sent_at AS at FROM notification WHERE case_id = $1", case)]
    assert len(set(told)) == len(told), "each mail goes only when the one before it has gone"


# --- procedure A ------------------------------------------------------------------------------------------------------


async def test_a_locked_account_is_unlocked_and_gets_a_new_password(desk: Stage, peer: Peer) -> None:
    login = await has(peer, citizen())
    await peer.hands.lock(login)
    assert not await peer.hands.sign_in(login, OLD)
    case = await desk.arrives(letter_a(login))
    action = await desk.action(case)
    assert action.frozen.steps == ("unlock", "activate")
    assert (await desk.assessed(case))["rules"] == dict.fromkeys(("A1", "A2", "A3", "A4", "A5"), "met")
    assert not await peer.hands.sign_in(login, OLD), "nothing happens before somebody approves"

    await desk.approve(action, ANNA)
    await desk.closed(case)
    assert await peer.hands.sign_in(login, OLD), "unlocked"
    await three_mails(desk, case, login)
    token = await set_password(desk, login)
    assert await peer.hands.sign_in(login, NEW)
    assert not await peer.hands.sign_in(login, OLD)
    with pytest.raises(LinkSpentError):
        await desk.service.recovery.activation.set_password(token, SecretStr(OLD), origin="203.0.113.9")
    assert await peer.hands.sign_in(login, NEW)
    kinds = await desk.events(case)
    order = ["opened", "assessed", "action_proposed", "action_approved", "action_executed", "closed", "activation_sent", "activation_used"]  # fmt: skip
    assert [kind for kind in kinds if kind in order] == order


async def test_another_year_of_birth_is_for_a_human(desk: Stage, peer: Peer) -> None:
    login = await has(peer, citizen())
    case = await desk.arrives(letter_a(login, year=1981))
    assert (await desk.assessed(case))["rules"]["A5"] == "unmet"
    await refused(desk, peer, case, login)


async def test_another_name_needs_somebody_who_says_that_they_checked_it(desk: Stage, peer: Peer) -> None:
    login = await has(peer, citizen())
    case = await desk.arrives(letter_a(login, who="Anny Niebyłej"))
    action = await desk.action(case)
    assert action.frozen.must_check == ("A5",)
    assert await desk.state(case) == "human_review"
    approvals = desk.service.recovery.approvals
    with pytest.raises(ActionRefusedError, match="A5"):
        await approvals.approve(
            action.frozen.action_id,
            ANNA,
            digest=action.frozen.digest,
            decision=action.frozen.decision_sha256,
            checked=(),
        )
    await approvals.refuse(action.frozen.action_id, ANNA, reason="inna osoba", solution="Dane się nie zgadzają.")
    await desk.closed(case)
    await desk.ends_as(action, "refused")
    assert await peer.hands.sign_in(login, OLD)
    assert not [m for m in desk.mails(login) if m["Subject"] == TITLE]


@pytest.mark.parametrize(
    "results", ["", "mx.obcy.invalid; dmarc=pass header.from=poczta.example", "mx.okienko.invalid; dmarc=none"]
)
async def test_a_sender_that_nobody_vouches_for_is_for_a_human(desk: Stage, peer: Peer, results: str) -> None:
    login = await has(peer, citizen())
    case = await desk.arrives(letter_a(login, results=results))
    action = await desk.action(case)
    assert action.frozen.must_check == ("A4",)
    assert await desk.state(case) == "human_review"
    with pytest.raises(ActionRefusedError, match="A4"):
        await desk.service.recovery.approvals.approve(
            action.frozen.action_id,
            ANNA,
            digest=action.frozen.digest,
            decision=action.frozen.decision_sha256,
            checked=(),
        )


async def test_a_disowned_sender_is_refused(desk: Stage, peer: Peer) -> None:
    login = await has(peer, citizen())
    case = await desk.arrives(letter_a(login, results="mx.okienko.invalid; dmarc=fail header.from=poczta.example"))
    assert (await desk.assessed(case))["rules"]["A4"] == "unmet"
    await refused(desk, peer, case, login)


async def test_a_disabled_account_stays_disabled(desk: Stage, peer: Peer) -> None:
    login = await has(peer, citizen())
    await peer.hands.disable(login)
    case = await desk.arrives(letter_a(login))
    assert "disabled" in (await desk.assessed(case))["why"]
    assert not await desk.rows("SELECT 1 FROM reset_action WHERE case_id = $1", case)
    assert not await peer.hands.sign_in(login, OLD)


async def test_an_account_disabled_after_the_proposal_is_not_touched(desk: Stage, peer: Peer) -> None:
    login = await has(peer, citizen())
    case = await desk.arrives(letter_a(login))
    action = await desk.action(case)
    await peer.hands.disable(login)
    await desk.approve(action, ANNA)
    await desk.ends_as(action, "failed")
    assert await desk.state(case) == "human_review"
    assert not [m for m in desk.mails(login) if m["Subject"] == TITLE]


async def test_a_stale_approval_changes_nothing(desk: Stage, peer: Peer) -> None:
    login, moved = await has(peer, citizen()), address("przeniesiony")
    case = await desk.arrives(letter_a(login))
    action = await desk.action(case)
    await peer.hands.rename(login, moved)
    await desk.approve(action, ANNA)
    await desk.ends_as(action, "failed")
    assert await desk.state(case) == "human_review"
    assert await peer.hands.sign_in(moved, OLD)
    assert len(desk.mails(login)) == 1
    assert desk.mails(moved) == []


async def test_what_was_shown_is_what_counts(desk: Stage, peer: Peer) -> None:
    case = await desk.arrives(letter_a(await has(peer, citizen())))
    action = await desk.action(case)
    other = replace(action.frozen, old_login="inny@poczta.example").digest
    with pytest.raises(ActionRefusedError):
        await desk.service.recovery.approvals.approve(
            action.frozen.action_id, ANNA, digest=other, decision=action.frozen.decision_sha256, checked=()
        )
    myself = Actor("https://sso.invalid#jan", also_known_as=(action.frozen.old_login.upper(),))
    with pytest.raises(ActionRefusedError):
        await desk.approve(action, myself)


async def test_a_flood_for_one_account_makes_one_action_at_a_time_and_two_in_a_day(desk: Stage, peer: Peer) -> None:
    login = await has(peer, citizen())
    approvals = desk.service.recovery.approvals
    text = f"{PHRASE_A} {GENITIVE}, rok urodzenia {YEAR}\n"
    for expected in (1, 1, 0):
        # Each with another attachment: what is the same in everything would be one case.
        flood = [letter(login, text, ("uwagi.pdf", uuid4().bytes)) for _ in range(4 if expected else 1)]
        cases = await asyncio.gather(*map(desk.arrives, flood))
        found = [await desk.assessed(case) for case in cases]
        proposed = [case for case, assessed in zip(cases, found, strict=True) if "why" not in assessed]
        assert len(proposed) == expected
        reasons = {assessed["why"] for assessed in found if "why" in assessed}
        assert len(reasons) == 1
        assert ("another case has an open" in min(reasons)) == bool(expected), reasons
        for case in proposed:
            action = await desk.action(case)
            await approvals.refuse(action.frozen.action_id, ANNA, reason="na próbę", solution="Odmowa.")
            await desk.closed(case)


# --- procedure B ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["pdf", "xml", "trusted_pdf"])
async def test_a_signed_application_changes_the_login(desk: Stage, peer: Peer, notary: Notary, how: str) -> None:
    who = citizen()
    old, new = await has(peer, who), address("nowy")
    if how == "pdf":
        await peer.hands.lock(old)
    name = "wniosek.xml" if how == "xml" else "wniosek.pdf"
    case = await desk.arrives(letter_b(new, getattr(notary, how)(who, old, new), name))
    action = await desk.action(case)
    rules = (await desk.assessed(case))["rules"]
    assert rules == dict.fromkeys(("B1", "B2", "B3", "B4", "B5", "B6", "B7"), "met")
    assert ("unlock" in action.frozen.steps) == (how == "pdf")
    assert (action.frozen.old_login.lower(), action.frozen.new_login) == (old, new)

    # Four eyes: the same person twice is one person.
    action = await desk.approve(action, ANNA)
    with pytest.raises(ActionRefusedError, match="different person"):
        await desk.approve(action, ANNA)
    assert action.state == "waiting"
    action = await desk.approve(action, BERTA)
    assert action.state == "cooling"
    await desk.link("stop", old)
    assert not await peer.hands.sign_in(new, OLD)
    await desk.time_passes(action, 119)
    assert await desk.value("SELECT state FROM reset_action WHERE id = $1", action.frozen.action_id) == "cooling"

    await desk.time_passes(action, 2)
    await desk.closed(case)
    await desk.ends_as(action, "done")
    await three_mails(desk, case, new)
    assert len(desk.mails(old)) == 1
    await set_password(desk, new)
    assert await peer.hands.sign_in(new, NEW)
    for login, password in ((old, OLD), (old, NEW), (new, OLD)):
        assert not await peer.hands.sign_in(login, password)
    with pytest.raises(ActionRefusedError):
        await desk.service.recovery.approvals.stop(await desk.link("stop", old), origin="198.51.100.7")


async def test_the_holder_stops_it_by_the_link(desk: Stage, peer: Peer, notary: Notary) -> None:
    who = citizen()
    old, new = await has(peer, who), address("nowy")
    case = await desk.arrives(letter_b(new, notary.pdf(who, old, new)))
    action = await desk.approve(await desk.action(case), ANNA, BERTA)
    token = await desk.link("stop", old)
    (notice,) = desk.mails(old)
    assert "Czy to Państwo zmieniają login" in str(notice["Subject"])
    assert new in notice.get_content()
    assert not any(re.search(r"/stop/", m.get_content()) for m in desk.mails(new)), "the asker cannot see the link"
    assert await desk.service.recovery.approvals.stop("x" * 43, origin="198.51.100.7") is None
    stopped = await desk.service.recovery.approvals.stop(token, origin="198.51.100.7")
    assert stopped is not None
    assert stopped.state == "stopped"
    await desk.time_passes(action, 121)
    assert await desk.service.recovery.execution.execute([action.frozen.action_id]) == [None]
    assert await desk.value("SELECT state FROM reset_action WHERE id = $1", action.frozen.action_id) == "stopped"
    assert await desk.state(case) == "human_review"
    assert await peer.hands.sign_in(old, OLD)
    assert not await peer.hands.sign_in(new, OLD)
    assert len(desk.mails(new)) == 1


async def test_people_who_approve_at_the_same_moment_count_once_each(desk: Stage, peer: Peer, notary: Notary) -> None:
    who = citizen()
    old, new = await has(peer, who), address("nowy")
    case = await desk.arrives(letter_b(new, notary.pdf(who, old, new)))
    action = await desk.action(case)
    for people, state in (((ANNA,) * 3, "waiting"), ((BERTA,) * 3, "cooling")):
        done = await asyncio.gather(*(desk.approve(action, one) for one in people), return_exceptions=True)
        refusals = [one for one in done if isinstance(one, ActionRefusedError)]
        assert len(refusals) == 2, done
        assert await desk.value("SELECT state FROM reset_action WHERE id = $1", action.frozen.action_id) == state
    await desk.link("stop", old)
    assert len(desk.mails(old)) == 1


async def test_an_action_that_was_changed_in_the_database_is_not_carried_out(
    desk: Stage, peer: Peer, notary: Notary
) -> None:
    who = citizen()
    old, new, thief = await has(peer, who), address("nowy"), address("zlodziej")
    case = await desk.arrives(letter_b(new, notary.pdf(who, old, new)))
    action = await desk.approve(await desk.action(case), ANNA, BERTA)
    key = action.frozen.action_id
    await desk.rows("UPDATE reset_action SET new_login = $2 WHERE id = $1", key, thief)
    await desk.time_passes(action, 121)
    await desk.sooner_or_later(lambda: desk.value("SELECT 1 FROM parked WHERE job = 'execute' AND ref = $1", key))
    assert await peer.hands.sign_in(old, OLD)
    for login in (new, thief):
        assert not await peer.hands.sign_in(login, OLD)
    assert desk.mails(thief) == []


async def test_an_account_that_changed_while_it_cooled_down_is_left_alone(
    desk: Stage, peer: Peer, notary: Notary
) -> None:
    who = citizen()
    old, new, moved = await has(peer, who), address("nowy"), address("przeniesiony")
    case = await desk.arrives(letter_b(new, notary.pdf(who, old, new)))
    action = await desk.approve(await desk.action(case), ANNA, BERTA)
    await peer.hands.rename(old, moved)
    await desk.time_passes(action, 121)
    await desk.ends_as(action, "failed")
    assert await desk.state(case) == "human_review"
    assert await peer.hands.sign_in(moved, OLD)
    assert not await peer.hands.sign_in(new, OLD)
    assert len(desk.mails(new)) == 1


async def test_a_login_that_was_taken_while_it_cooled_down_is_not_taken_over(
    desk: Stage, peer: Peer, notary: Notary
) -> None:
    who = citizen()
    old, new = await has(peer, who), address("nowy")
    case = await desk.arrives(letter_b(new, notary.pdf(who, old, new)))
    action = await desk.approve(await desk.action(case), ANNA, BERTA)
    await peer.account(new, citizen().person, NEW)
    await desk.time_passes(action, 121)
    await desk.ends_as(action, "failed")
    assert await desk.state(case) == "human_review"
    assert await peer.hands.sign_in(old, OLD)
    assert await peer.hands.sign_in(new, NEW)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [("other signatory", "B5"), ("other name", "B5"), ("other sender", "B6"), ("changed", "B4"), ("other year", "B7"), ("taken", "B7"), ("none", "B7")],
)  # fmt: skip
async def test_a_wrong_application_changes_nothing(
    desk: Stage, peer: Peer, notary: Notary, wrong: str, rule: str
) -> None:
    who = citizen()
    old, new = await has(peer, who), address("nowy")
    signer = citizen() if wrong == "other signatory" else who
    document = notary.pdf(signer, "nikt@poczta.example" if wrong == "none" else old, new)
    sender, year = new, 1980
    if wrong == "other name":
        document = notary.pdf(who, old, new, given="Anna", family="Niebyła")
    elif wrong == "other sender":
        sender = address("obcy")
    elif wrong == "changed":
        document = document.replace(old.encode(), ("x" + old[1:]).encode())
    elif wrong == "other year":
        year = 1981
    elif wrong == "taken":
        await has(peer, citizen(), new)
    case = await desk.arrives(letter_b(sender, document, year=year, results=proved(sender)))
    assert (await desk.assessed(case))["rules"][rule] == "unmet"
    await refused(desk, peer, case, old, sender)


async def test_an_application_that_is_not_signed_at_all(desk: Stage, peer: Peer) -> None:
    login, new = await has(peer, citizen()), address("nowy")
    case = await desk.arrives(letter_b(new, b"%PDF-1.4 nic"))
    assert (await desk.assessed(case))["rules"]["B4"] == "unmet"
    await refused(desk, peer, case, login, new)


async def refused(desk: Stage, peer: Peer, case: object, login: str, sender: str | None = None) -> None:
    """A human looks, the person has one mail, nothing is proposed, the account is as it was."""
    assert await desk.state(case) == "human_review"  # type: ignore[arg-type]
    assert not await desk.rows("SELECT 1 FROM reset_action WHERE case_id = $1", case)
    assert len(desk.mails(sender or login)) == 1
    assert await peer.hands.sign_in(login, OLD)


async def test_a_link_that_is_too_old_is_spent(desk: Stage, peer: Peer) -> None:
    login = await has(peer, citizen())
    case = await desk.arrives(letter_a(login))
    await desk.approve(await desk.action(case), ANNA)
    token = await desk.link("activate", login)
    with pytest.raises(LinkSpentError):
        await desk.service.recovery.activation.set_password("x" * 43, SecretStr(NEW), origin="198.51.100.7")
    assert (await desk.service.recovery.activation.look_up(token)).login == login
    await desk.time_passes(await desk.action(case), 24 * 60 + 1)
    with pytest.raises(LinkSpentError):
        await desk.service.recovery.activation.set_password(token, SecretStr(NEW), origin="198.51.100.7")
    assert await peer.hands.sign_in(login, OLD)
