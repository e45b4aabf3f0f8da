"""A signed scan: nobody can read it but a person, who types it at the pages of the running service and then may not approve."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
from PIL import Image
from pydantic import SecretStr

from acceptance.recovery.letters import Citizen, Notary, address, citizen, letter_b
from acceptance.recovery.peers import Peer, scim2
from acceptance.recovery.stage import PUBLIC, Stage, stage
from okienko.core.site.context import Site
from okienko.core.site.people import Person, Role
from okienko.core.web import make_app, site_of
from okienko.plugins.testing.conformance.workshop import NEW, OLD
from rigs.postgres import Postgres
from rigs.scans import scanned_pdf
from rigs.site import Visitor
from signing.pki import Pki

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with scim2() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(
    peer: Peer, postgres: Postgres, recovery_pki: Pki, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with stage(postgres, tmp_path_factory.mktemp("home"), peer.environ, recovery_pki) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(desk: Stage) -> AsyncIterator[Site]:
    async with site_of(desk.service) as made:
        yield made


async def visitor(desk: Stage, site: Site, name: str) -> Visitor:
    """An administrator at the pages of the running service."""
    session = await site.sessions.open(
        Person(f"local:{name}", name, (f"{name}@urzad.example",), frozenset({Role.IDENTITY_ADMIN}), desk.service.now())
    )
    transport = httpx.ASGITransport(app=make_app(desk.service, site), client=("203.0.113.7", 50_000))
    headers = {"sec-fetch-site": "same-origin", "accept-language": "pl"}
    cookies = {site.sessions.cookie: session.token}
    return Visitor(httpx.AsyncClient(transport=transport, base_url=PUBLIC, headers=headers, cookies=cookies), session)


async def approve(visitor: Visitor, desk: Stage, action: str) -> httpx.Response:
    digest = await desk.value("SELECT digest FROM reset_action WHERE id = $1::text::uuid", action)
    decision = await desk.value("SELECT decision_sha256 FROM reset_action WHERE id = $1::text::uuid", action)
    return await visitor.post(f"/actions/{action}/approve", {"digest": digest, "decision": decision})


async def waiting(desk: Stage, case: object) -> str:
    """The action that follows from what was typed."""
    sql = (
        "SELECT id::text FROM reset_action WHERE case_id = $1 AND state = 'waiting' "
        "AND EXISTS (SELECT FROM signed_application s WHERE s.case_id = $1 AND s.state = 'assessed')"
    )
    return str(await desk.sooner_or_later(lambda: desk.value(sql, case)))


async def test_a_signed_scan_is_typed_approved_by_others_and_carried_out(
    desk: Stage, site: Site, peer: Peer, notary: Notary
) -> None:
    who, old, new = citizen(), address(), address("nowy")
    await peer.account(old, who.person)
    scan = notary.scan(who, scanned_pdf(("WNIOSEK", "Jan Probny", old, new)))
    case = await desk.arrives(letter_b(new, scan, "skan.pdf"))
    told = await desk.assessed(case)
    assert (told["rules"]["B3"], told["rules"]["B4"]) == ("unknown", "met")
    ada, bea, cleo = [await visitor(desk, site, name) for name in ("ada", "bea", "cleo")]

    assert f'href="/applications/{case}"' in (await ada.get("/applications")).text
    shown = await ada.get(f"/applications/{case}")
    (picture,) = re.findall(r'<img src="([^"]+)"', shown.text)
    png = Image.open(io.BytesIO((await ada.get(picture)).content))
    assert png.width > 600
    assert min(png.convert("L").tobytes()) < 64, "the ink"
    hidden = dict(re.findall(r'<input type="hidden" name="(sha256|revision)" value="([^"]*)"', shown.text))
    data = {"given_name": "Jan", "family_name": "Próbny", "old_login": old, "new_login": new}
    assert (await ada.post(f"/applications/{case}", hidden | data)).status_code == 303
    late = await bea.post(f"/applications/{case}", hidden | data | {"family_name": "Inny"})
    assert late.status_code == 409

    action = await waiting(desk, case)
    verdicts = await desk.value("SELECT decision->'results' FROM cases WHERE id = $1", case)
    assert "typed by an administrator beside the document" in str(verdicts)
    assert (await approve(ada, desk, action)).status_code == 409
    assert "Musi to zrobić kto inny" in (await ada.get(f"/actions/{action}")).text
    for person in (bea, cleo):
        assert (await approve(person, desk, action)).status_code == 303
    frozen = await desk.action(case)
    assert (frozen.frozen.old_login, frozen.frozen.new_login, frozen.frozen.must_check) == (old, new, ())
    await desk.time_passes(frozen, 121)
    await desk.ends_as(frozen, "done")
    token = await desk.link("activate", new)
    await desk.service.recovery.activation.set_password(token, SecretStr(NEW), origin="198.51.100.7")
    assert await peer.hands.sign_in(new, NEW)
    assert not await peer.hands.sign_in(old, OLD)
    entries = await desk.rows(
        "SELECT actor, origin, data::text AS data FROM audit_entry WHERE action = 'application_typed'"
    )
    assert [(e["actor"], "203.0.113.7" in e["data"]) for e in entries] == [("local:ada", True)]
    assert not [value for value in data.values() if value in entries[0]["data"]]


@pytest.mark.parametrize("typed", ["own", "victims"])
async def test_a_scan_signed_by_a_stranger_leads_nowhere_whatever_is_typed(
    desk: Stage, site: Site, peer: Peer, notary: Notary, typed: str
) -> None:
    """The thief's own signature is valid: the names that it stands for decide, and not those that somebody typed."""
    victim, thief, old, new = citizen(), citizen(), address(), address("zlodziej")
    await peer.account(old, victim.person)
    scan = notary.scan(Citizen(thief.pesel), scanned_pdf(), given="Obcy", family="Człowiek")
    case = await desk.arrives(letter_b(new, scan, "skan.pdf"))
    await desk.assessed(case)
    ada = await visitor(desk, site, "ada")
    names = ("Jan", "Próbny") if typed == "victims" else ("Obcy", "Człowiek")
    sha256 = await desk.value("SELECT sha256 FROM signed_application WHERE case_id = $1", case)
    data = {"given_name": names[0], "family_name": names[1], "old_login": old, "new_login": new}
    assert (await ada.post(f"/applications/{case}", {"sha256": sha256, "revision": "0"} | data)).status_code == 303
    sql = "SELECT state FROM signed_application WHERE case_id = $1 AND state = 'assessed'"
    await desk.sooner_or_later(lambda: desk.value(sql, case))
    assert await desk.rows("SELECT 1 FROM reset_action WHERE case_id = $1 AND state <> 'superseded'", case) == []
    told = await desk.rows(
        "SELECT data->'rules'->>'B5' AS b5 FROM event WHERE case_id = $1 AND type = 'assessed'", case
    )
    assert told[-1]["b5"] == "unmet"
    assert await desk.state(case) == "human_review"
