"""`okienko check csd` against the fake of Znuny: each planted mistake has its line and its cure."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from connectors.csd.znuny.znunyhands import MAPPING, connector
from okienko.plugins.findings import Finding, Severity
from rigs.znuny import FakeZnuny


async def problems(folder: Path, mapping: str = MAPPING, **changes: str) -> list[Finding]:
    csd = connector(folder, mapping, **changes)
    try:
        return [finding for finding in await csd.check() if finding.severity is not Severity.OK]
    finally:
        await csd.stop()


async def test_a_right_mapping_has_no_problem_and_makes_no_ticket(znuny: FakeZnuny, tmp_path: Path) -> None:
    assert await problems(tmp_path) == []
    assert not znuny.tickets


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (('default = "Okienko"', 'default = "Okienka"'), 4, "queue 'Okienka'"),
        (('recovery = "Konta"', 'recovery = "Tajna"'), 5, "may not create"),
        (('default = "Okienko"\n', ""), 3, "no default queue"),
        (('default = "Unclassified"', 'default = "Incydent"'), 8, "type 'Incydent'"),
        (('open = "open"', 'open = "Open?"'), 11, "state 'Open?'"),
        (('pending = "pending reminder"', 'pending = "pending"'), 12, "state 'pending'"),
        (('closed = "closed successful"', 'closed = "closed"'), 13, "state 'closed'"),
        (('new = "open"', 'nowe = "open"'), 16, "state 'nowe'"),
        (('low = "2 low"', 'low = "2 lo"'), 20, "priority '2 lo'"),
        (('correlation = "OkienkoID"', 'correlation = "OkienkoId"'), 1, "dynamic field 'OkienkoId'"),
        (('name = "OkienkoChannel"', 'name = "Kanal"'), 26, "dynamic field 'Kanal'"),
    ],
)
async def test_each_mistake_names_its_line(
    znuny: FakeZnuny, tmp_path: Path, change: tuple[str, str], line: int, words: str
) -> None:
    found = await problems(tmp_path, MAPPING.replace(*change))
    mine = [one for one in found if words in one.message]
    assert mine, found
    assert {one.subject for one in mine} == {f"znuny.toml:{line}"}
    assert all(one.cure for one in mine)
    assert not znuny.tickets


async def test_a_wrong_password_is_one_finding(znuny: FakeZnuny, tmp_path: Path) -> None:
    znuny.password = "inne"
    (found,) = await problems(tmp_path)
    assert "USER and PASSWORD" in f"{found.message} {found.cure}"


async def test_a_znuny_that_is_away(znuny: FakeZnuny, tmp_path: Path) -> None:
    znuny.always = httpx.ConnectError("refused")
    (found,) = await problems(tmp_path)
    assert found.severity is Severity.ERROR


async def test_a_wrong_time_zone(znuny: FakeZnuny, tmp_path: Path) -> None:
    (found,) = await problems(tmp_path, TIME_ZONE="Europe/Warsaw")
    assert "60 minutes" in found.message
    assert "TIME_ZONE" in found.cure
    assert not znuny.tickets


async def test_a_search_that_ignores_the_field(znuny: FakeZnuny, tmp_path: Path) -> None:
    znuny.ignores_filter = True
    znuny.add(
        {"Title": "x", "Queue": "Raw", "State": "open", "Priority": "2 low", "CustomerUser": "x"},
        {"Subject": "x", "Body": "x", "ContentType": "text/plain"}, {}, [],
    )  # fmt: skip
    (found,) = await problems(tmp_path)
    assert found.subject == "znuny.toml:1"
    assert "ignores" in found.message
