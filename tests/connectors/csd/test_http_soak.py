"""Hundreds of requests of which a third goes wrong, by seeded chance: in the end each case, note and file is there once."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
import respx

from connectors.csd import jira, jirahands, servicenow, servicenowhands
from connectors.csd.httpvendor import Vendor
from okienko.plugins import httpapi
from okienko.plugins.csd import CsdBackend
from okienko.plugins.csdnotes import mark_of
from okienko.plugins.testing.conformance.csdbase import insist, new_file, registration
from okienko.plugins.testing.conformance.csdworkshop import CsdWorkshop
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import TicketStatus

FAULTS = [Fault.LOST_ANSWER, Fault.LOST_ANSWER, Fault.TIMEOUT, Fault.BUSY, Fault.ERROR, Fault.RESET]


def systems(name: str) -> tuple[Vendor, str, CsdBackend, CsdWorkshop]:
    if name == "servicenow":
        now = servicenow.FakeServiceNow()
        return now, servicenow.URL, servicenowhands.connector(), servicenowhands.ServiceNowHands(now)
    fake = jira.FakeJira(cloud=name == "cloud")
    fake.lag = timedelta(minutes=3) if fake.cloud else timedelta(0)
    return fake, jira.URL, jirahands.connector(fake), jirahands.JiraHands(fake)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["servicenow", "cloud", "datacenter"])
async def test_everything_once(
    name: str, seed: int, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpapi, "_wait", lambda state: 0.0)
    vendor, url, backend, hands = systems(name)
    respx_mock.route(url__startswith=url).mock(side_effect=vendor)
    vendor.chance = Random(seed)
    vendor.kinds = FAULTS
    batch = [registration() for _ in range(15)]
    refs = await insist(lambda: backend.create(batch), attempts=60)
    for ref in refs.values():
        await insist(lambda ref=ref: backend.comment(ref, "k", "Notatka."), attempts=30)  # type: ignore[misc]  # the loop's value
        await insist(lambda ref=ref: backend.attach(ref, new_file("skan.pdf", b"raz")), attempts=30)  # type: ignore[misc]
        await insist(lambda ref=ref: backend.close(ref, "Gotowe."), attempts=30)  # type: ignore[misc]
    vendor.chance = None
    for key, ref in refs.items():
        assert [one.number for one in await hands.tickets_of(key)] == [ref.number]
        ticket = await backend.get(ref)
        assert ticket is not None
        assert ticket.status is TicketStatus.CLOSED
        assert [note.key for note in ticket.notes].count(mark_of("k")) == 1
        assert [one.filename for one in ticket.files] == ["skan.pdf"]
        assert sum("Gotowe." in text for text in [ticket.solution or "", *(note.text for note in ticket.notes)]) == 1
