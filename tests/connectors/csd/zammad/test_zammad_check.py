"""`okienko check csd` against the fake of Zammad: each planted mistake has its line and its cure."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from connectors.csd.zammad.zammadhands import MAPPING, connector
from okienko.plugins.findings import Finding, Severity
from rigs.zammad import FakeZammad


async def problems(folder: Path, mapping: str = MAPPING) -> list[Finding]:
    csd = connector(folder, mapping)
    try:
        return [finding for finding in await csd.check() if finding.severity is not Severity.OK]
    finally:
        await csd.stop()


async def test_a_right_mapping_has_no_problem_and_changes_nothing(zammad: FakeZammad, tmp_path: Path) -> None:
    assert await problems(tmp_path) == []
    assert not [request for request in zammad.requests if zammad.writes(request)]


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (('default = "Okienko"', 'default = "Okienka"'), 4, "group 'Okienka'"),
        (('recovery = "Konta"', 'recovery = "Kadry"'), 5, "group 'Kadry'"),
        (('default = "Okienko"\n', ""), 3, "no default group"),
        (('open = "open"', 'open = "opened"'), 8, "state 'opened'"),
        (('pending = "pending reminder"', 'pending = "open"'), 9, "of the type 'open'"),
        (('closed = "closed"', 'closed = "removed"'), 10, "state 'removed'"),
        (('closed = "closed"', 'closed = "merged"'), 10, "of the type 'merged'"),
        (('new = "open"', 'nowe = "open"'), 13, "state 'nowe'"),
        (('low = "1 low"', 'low = "niski"'), 17, "priority 'niski'"),
        (('correlation = "okienko_id"', 'correlation = "OkienkoID"'), 1, "attribute 'OkienkoID'"),
        (('name = "okienko_channel"', 'name = "kanal"'), 23, "attribute 'kanal'"),
    ],
)
async def test_each_mistake_names_its_line(
    zammad: FakeZammad, tmp_path: Path, change: tuple[str, str], line: int, words: str
) -> None:
    found = await problems(tmp_path, MAPPING.replace(*change))
    assert [one.subject for one in found if words in one.message] == [f"zammad.toml:{line}"], found
    assert all(one.cure for one in found)
    assert not zammad.tickets


async def test_a_missing_right_is_named(zammad: FakeZammad, tmp_path: Path) -> None:
    zammad.rights[2] = ["read", "overview"]
    (found,) = await problems(tmp_path)
    assert found.subject == "zammad.toml:5"
    assert "change, create" in found.message


async def test_types_need_their_attribute(zammad: FakeZammad, tmp_path: Path) -> None:
    zammad.columns.discard("type")
    (found,) = await problems(tmp_path, f'{MAPPING}\n[types]\ndefault = "Incident"\n')
    assert "'type'" in found.message


async def test_a_search_that_gives_any_tickets(zammad: FakeZammad, tmp_path: Path) -> None:
    zammad.add({"title": "x", "group": "Users"})
    zammad.ignores_filter = True
    found = await problems(tmp_path)
    assert {one.subject for one in found} == {"zammad.toml:1", "zammad.toml:23"}


async def test_a_wrong_token_is_one_finding(zammad: FakeZammad, tmp_path: Path) -> None:
    zammad.token = "inny"
    (found,) = await problems(tmp_path)
    assert "TOKEN" in found.cure


async def test_a_zammad_that_is_away(zammad: FakeZammad, tmp_path: Path) -> None:
    zammad.always = httpx.ConnectError("refused")
    (found,) = await problems(tmp_path)
    assert found.severity is Severity.ERROR
