"""Jira Service Management: its errors, its traps, what check finds, and its texts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from connectors.csd.jira import ALL_PERMISSIONS, CASE, ME, URL, FakeJira
from connectors.csd.jirahands import MAPPING, JiraHands, connector
from okienko.connectors.csd.jira_sm import mapping as words
from okienko.connectors.csd.jira_sm import okienko_csd_backends
from okienko.connectors.csd.jira_sm.client import JiraSmCsd
from okienko.connectors.csd.jira_sm.settings import JiraSmCsdSettings
from okienko.connectors.csd.jira_sm.texts import from_adf, from_wiki, to_adf, to_wiki
from okienko.plugins import PluginContext, httpapi
from okienko.plugins.csd import Capability, TicketChange, TicketChangedError, UnsupportedError
from okienko.plugins.csdnotes import marked
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TooLargeError, TransientError
from okienko.plugins.findings import Severity
from okienko.plugins.testing.conformance.csdbase import new_file, registration
from okienko.plugins.testing.csdfaults import Fault
from okienko.schemas import CsdRef, TicketStatus

TOKEN_URL = "https://auth.atlassian.com/oauth/token"


@pytest.fixture(params=["cloud", "datacenter"])
def fake(request: pytest.FixtureRequest, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch) -> FakeJira:
    return served(FakeJira(cloud=request.param == "cloud"), respx_mock, monkeypatch)


@pytest.fixture
def cloud(respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch) -> FakeJira:
    return served(FakeJira(), respx_mock, monkeypatch)


def served(server: FakeJira, router: respx.MockRouter, monkeypatch: pytest.MonkeyPatch) -> FakeJira:
    monkeypatch.setattr(httpapi, "_wait", lambda state: 0.0)
    router.route(url__startswith=URL).mock(side_effect=server)
    return server


def mapping_with(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = MAPPING.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "jira.toml"
    path.write_text(text, encoding="utf-8")
    return path


async def made(backend: JiraSmCsd) -> CsdRef:
    return next(iter((await backend.create([registration()])).values()))


def refusal(status: int, *messages: str, **errors: str) -> httpx.Response:
    return httpx.Response(status, json={"errorMessages": list(messages), "errors": errors})


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (refusal(400, "The value 'x' does not exist for the field 'project'."), PermanentError, "does not exist"),
        (refusal(401, "Client must be authenticated to access this resource."), MisconfiguredError, "401"),
        (refusal(403, "You do not have permission"), MisconfiguredError, "permissions"),
        (httpx.Response(404, text="<html>nginx"), MisconfiguredError, "URL"),
        (refusal(409, "conflict"), TransientError, "somebody else"),
        (refusal(413, "too large"), TooLargeError, "size limit"),
        (refusal(500, "Internal server error"), TransientError, "500"),
        (httpx.Response(503, text="<html>maintenance"), TransientError, "503"),
        (httpx.Response(200, text="<html>login"), TransientError, "not with a JSON object"),
        (httpx.Response(302, headers={"Location": "/login.jsp"}), MisconfiguredError, "redirects"),
    ],
)
async def test_each_refusal_has_its_class(
    fake: FakeJira, answer: httpx.Response, error: type[OkienkoError], text: str
) -> None:
    backend = connector(fake)
    ref = await made(backend)
    fake.answers.extend([answer] * 3)
    with pytest.raises(error, match=text):
        await backend.get(ref)


@pytest.mark.asyncio
async def test_a_guest_is_not_believed(fake: FakeJira) -> None:
    """Jira serves a caller whose password failed, and finds nothing for it: that would make every ticket twice."""
    backend = connector(fake)
    await made(backend)
    fake.guest = True
    with pytest.raises(MisconfiguredError, match="guest"):
        await backend.create([registration()])
    (found,) = await backend.check()
    assert found.severity is Severity.ERROR


@pytest.mark.asyncio
async def test_the_quota(fake: FakeJira) -> None:
    backend = connector(fake)
    headers = {"Retry-After": "600", "X-RateLimit-Reset": "2026-11-25T01:10Z", "RateLimit-Reason": "jira-burst-based"}
    fake.answers.append(httpx.Response(429, headers=headers))
    with pytest.raises(TransientError) as caught:
        await backend.find([uuid4()])
    assert caught.value.retry_after == 600
    asked = len(fake.requests)
    with pytest.raises(TransientError):
        await backend.find([uuid4()])
    assert len(fake.requests) == asked


@pytest.mark.asyncio
async def test_near_the_limit_everybody_goes_slower(fake: FakeJira) -> None:
    held: list[float] = []

    class Told:
        async def turn(self) -> None: ...

        async def hold(self, seconds: float) -> None:
            held.append(seconds)

    backend = JiraSmCsd(connector(fake)._settings, Told())
    backend._pace._paces.pop()
    await backend.changes(None)
    assert not held
    fake.near_limit = True
    await backend.changes(None)
    assert held


@pytest.mark.asyncio
@pytest.mark.parametrize("before", [0, 3, 250])
async def test_a_lost_answer_before_the_index_shows_the_issue(cloud: FakeJira, before: int) -> None:
    """The search does not show it for a minute: it is found by its key, whatever others made meanwhile."""
    cloud.lag = timedelta(minutes=5)
    hands = JiraHands(cloud)
    for _ in range(before):
        cloud.create({"project": {"key": "KON"}, "issuetype": {"name": "Incident"}, "summary": "x", CASE: str(uuid4())})
    one = registration()
    cloud.faults.append(Fault.LOST_ANSWER)
    refs = await connector(cloud).create([one])
    (there,) = await hands.tickets_of(one.correlation_id)
    assert refs == {one.correlation_id: there}
    # Another process, that knows nothing of the first.
    for _ in range(30):
        cloud.create({"project": {"key": "KON"}, "issuetype": {"name": "Incident"}, "summary": "x", CASE: str(uuid4())})
    assert await connector(cloud).create([one]) == refs


@pytest.mark.asyncio
async def test_only_what_is_new_is_read_by_key(cloud: FakeJira) -> None:
    """A project with a long past is asked for one page of keys, not for all of it."""
    for _ in range(300):
        cloud.create({"project": {"key": "KON"}, "issuetype": {"name": "Incident"}, "summary": "x", CASE: str(uuid4())})
    cloud.tick(3600)
    cloud.requests.clear()
    assert await connector(cloud).find([uuid4()]) == {}
    assert len([one for one in cloud.requests if one.url.path.endswith("/bulkfetch")]) == 2


@pytest.mark.asyncio
async def test_deleted_issues_are_a_gap_and_not_the_end(cloud: FakeJira) -> None:
    cloud.lag = timedelta(minutes=5)
    cloud.numbers["KON"] = 100
    backend = connector(cloud)
    for _ in range(75):
        cloud.create({"project": {"key": "KON"}, "issuetype": {"name": "Incident"}, "summary": "x", CASE: str(uuid4())})
    cloud.tick(3600)
    for _ in range(30):
        cloud.create({"project": {"key": "KON"}, "issuetype": {"name": "Incident"}, "summary": "x", CASE: str(uuid4())})
        del cloud.issues[str(cloud.count)]
    one = registration()
    cloud.faults.append(Fault.LOST_ANSWER)
    await backend.create([one])
    assert len(await JiraHands(cloud).tickets_of(one.correlation_id)) == 1


@pytest.mark.asyncio
async def test_what_is_written(fake: FakeJira) -> None:
    one = registration()
    ref = (await connector(fake).create([one]))[one.correlation_id]
    issue = fake.issues[ref.id]
    fields = issue["fields"]
    assert (fields["project"], fields["issuetype"], fields["priority"]) == (
        {"key": "KON"},
        {"name": "Incident"},
        {"name": "Medium"},
    )
    assert fields["customfield_10102"] == {"value": "E-mail"}
    assert fields["customfield_10103"] == "2026-01-05T08:30:00.000+0000"
    assert fields["customfield_10104"] == ["okienko"]
    assert words.plain(fields["description"]) == one.description
    assert issue["properties"][0]["value"]["case"] == str(one.correlation_id)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('recovery = "KON"', 'recovery = "KNO"', 5),
        ('recovery = "Incident"', 'recovery = "Incydent"', 9),
        ('normal = "Medium"', 'normal = "Normal"', 22),
        ('name = "customfield_10103"', 'name = "customfield_10999"', 36),
    ],
)  # fmt: skip
async def test_a_refused_issue_names_the_line(fake: FakeJira, tmp_path: Path, old: str, new: str, line: int) -> None:
    backend = connector(fake, mapping=mapping_with(tmp_path, (old, new)))
    with pytest.raises(MisconfiguredError, match=rf"jira\.toml:{line}\b"):
        await backend.create([registration()])


@pytest.mark.asyncio
async def test_an_unknown_correlation_field_makes_nothing(fake: FakeJira, tmp_path: Path) -> None:
    backend = connector(fake, mapping=mapping_with(tmp_path, ("customfield_10100", "customfield_10109")))
    with pytest.raises(MisconfiguredError, match=r"jira\.toml:1"):
        await backend.create([registration()])
    assert not fake.issues
    with pytest.raises(MisconfiguredError, match="customfield_10100"):
        connector(fake, mapping=mapping_with(tmp_path, ("customfield_10100", "okienko case")))


@pytest.mark.asyncio
async def test_a_moved_issue_is_the_same_under_another_key(fake: FakeJira) -> None:
    backend = connector(fake)
    ref = await made(backend)
    issue = fake.issues[ref.id]
    issue["old_keys"].append(issue["key"])
    issue["key"] = "CSD-77"
    for asked in (ref, CsdRef(backend="jira_sm", number=ref.number)):
        ticket = await backend.get(asked)
        assert ticket is not None
        assert (ticket.ref.number, ticket.ref.id, ticket.queue) == ("CSD-77", ref.id, "CSD")
    await backend.comment(ref, "k", "Notatka.")
    assert len(issue["comments"]) == 1


@pytest.mark.asyncio
async def test_a_state_out_of_reach_is_refused_with_the_ways_there_are(fake: FakeJira) -> None:
    backend = connector(fake)
    ref = await made(backend)
    fake.set_state(fake.issues[ref.id], "Canceled")
    with pytest.raises(PermanentError, match="Reopen → Open"):
        await backend.change(ref, TicketChange(status=TicketStatus.PENDING))
    assert not fake.issues[ref.id]["comments"]


@pytest.mark.asyncio
async def test_a_screen_that_wants_a_resolution(fake: FakeJira) -> None:
    fake.resolution_required = True
    ref = await made(connector(fake))
    with pytest.raises(MisconfiguredError, match="RESOLUTION"):
        await connector(fake).close(ref, "Gotowe.")
    assert not fake.issues[ref.id]["comments"], "nothing is written before it is known that the state can be reached"
    await connector(fake, resolution="Done").close(ref, "Gotowe.")
    assert fake.issues[ref.id]["fields"]["resolution"] == {"name": "Done"}


@pytest.mark.asyncio
async def test_a_solution_for_the_customer(fake: FakeJira) -> None:
    backend = connector(fake, solution_public=True)
    ref = await made(backend)
    await backend.close(ref, "Gotowe.")
    await backend.reopen(ref, "Nie działa.")
    await backend.close(ref, "Gotowe.")
    ticket = await backend.get(ref)
    assert ticket is not None
    assert [(note.text, note.public) for note in ticket.notes] == [
        ("Gotowe.", True), ("Nie działa.", False), ("Gotowe.", True),
    ]  # fmt: skip


@pytest.mark.asyncio
async def test_files_of_one_name_and_size_are_compared_by_content(fake: FakeJira) -> None:
    backend = connector(fake)
    ref = await made(backend)
    for content in (b"jeden", b"dwa..", b"jeden"):
        await backend.attach(ref, new_file('a:b "c"?.pdf', content, "application/pdf"))
    assert [one["filename"] for one in fake.issues[ref.id]["fields"]["attachment"]] == ["a_b 'c'_.pdf"] * 2
    assert sorted(fake.contents.values()) == [b"dwa..", b"jeden"]


@pytest.mark.asyncio
async def test_a_stale_version_is_refused_and_no_issue_is_moved(fake: FakeJira) -> None:
    backend = connector(fake)
    ref = await made(backend)
    ticket = await backend.get(ref)
    assert ticket is not None
    await backend.change(ref, TicketChange(subject="Pierwszy"), version=ticket.version)
    with pytest.raises(TicketChangedError):
        await backend.change(ref, TicketChange(subject="Drugi"), version=ticket.version)
    with pytest.raises(UnsupportedError):
        await backend.change(ref, TicketChange(queue="CSD"))


@pytest.mark.asyncio
async def test_an_unknown_kind_of_link(fake: FakeJira) -> None:
    backend = connector(fake, link_type="Relatse")
    with pytest.raises(MisconfiguredError, match="Relatse"):
        await backend.link(await made(backend), await made(backend))


@pytest.mark.asyncio
async def test_oauth_of_a_service_account(cloud: FakeJira, respx_mock: respx.MockRouter) -> None:
    body = {"access_token": "abc", "expires_in": 3600, "token_type": "Bearer"}
    route = respx_mock.post(TOKEN_URL).mock(return_value=httpx.Response(200, json=body))
    backend = connector(
        cloud, user=None, token=None, token_url=TOKEN_URL, client_id="id", client_secret=SecretStr("client secret")
    )
    assert await backend.find([uuid4()]) == {}
    assert route.call_count == 1
    form = dict(httpx.QueryParams(route.calls[0].request.content.decode()))
    assert form == {"grant_type": "client_credentials", "client_id": "id", "client_secret": "client secret"}
    assert {one.headers["authorization"] for one in cloud.requests} == {"Bearer abc"}


@pytest.mark.asyncio
async def test_old_changes_of_a_long_outage_come_in_pages(fake: FakeJira) -> None:
    backend = connector(fake)
    cursor = (await backend.changes(None)).cursor
    for _ in range(130):
        fake.create({"project": {"key": "CSD"}, "issuetype": {"name": "Incident"}, "summary": "x", CASE: str(uuid4())})
        fake.tick(600)
    told: list[str] = []
    more = True
    while more:
        answer = await backend.changes(cursor, limit=25)
        told += [ref.number for ref in answer.refs]
        cursor, more = answer.cursor, answer.more
    assert sorted(set(told)) == sorted(one["key"] for one in fake.issues.values())
    assert len(told) == len(set(told))
    assert len(cursor) < 1000, "what is long told is not kept"


@pytest.mark.asyncio
async def test_check_is_content_with_a_good_mapping(fake: FakeJira) -> None:
    assert [one.severity for one in await connector(fake, resolution="Done").check()] == [Severity.OK]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("old", "new", "line", "message", "cure"),
    [
        ("customfield_10100", "customfield_10109", 1, "customfield_10109", "customfield_10100"),
        ('recovery = "KON"', 'recovery = "KO"', 5, "project 'KO'", "KON"),
        ('recovery = "Incident"', 'recovery = "Incydent"', 9, "Incydent", "Incident"),
        ('closed = "Done"', 'closed = "Gone"', 14, "Gone", "Done"),
        ('Canceled = "closed"', 'Cancelled = "closed"', 18, "Cancelled", "Canceled"),
        ('high = "High"', 'high = "Hihg"', 23, "Hihg", "High"),
        ('phone = "Telefon"', 'phone = "Telephone"', 31, "Telephone", "Telefon"),
        ("customfield_10103", "customfield_10999", 36, "not on the create screen", "screen"),
    ],
)  # fmt: skip
async def test_check_finds_each_planted_mistake(
    fake: FakeJira, tmp_path: Path, old: str, new: str, line: int, message: str, cure: str
) -> None:
    findings = await connector(fake, mapping=mapping_with(tmp_path, (old, new))).check()
    errors = [one for one in findings if one.severity is Severity.ERROR and one.subject == f"jira.toml:{line}"]
    assert errors, findings
    assert any(message in one.message and cure in f"{one.message} {one.cure}" for one in errors)


@pytest.mark.asyncio
async def test_check_finds_rights_screens_and_settings(fake: FakeJira) -> None:
    fake.permissions = set(ALL_PERMISSIONS) - {"TRANSITION_ISSUES"}
    fake.fields["customfield_10200"] = {"name": "Urgency", "schema": {"type": "option"}, "required": True}
    told = await connector(fake, link_type="Relatse", resolution="Fixed").check()
    text = "\n".join(f"{one.subject} {one.message} {one.cure}" for one in told if one.severity is Severity.ERROR)
    for part in ("TRANSITION_ISSUES in KON", "wants Urgency", "'Relatse'", "'Fixed'", "Won't Do"):
        assert part in text


@pytest.mark.asyncio
async def test_long_texts_are_cut_before_the_mark(fake: FakeJira) -> None:
    backend = connector(fake)
    one = replace(registration(), description="[x]" * 20_000)
    ref = (await backend.create([one]))[one.correlation_id]
    for text in ("a" * 40_000, "[x]" * 15_000, "\\" * 40_000):
        for _ in range(2):
            await backend.comment(ref, text[:3], text)
    notes = [note for note in (await backend.get(ref)).notes if note.key]  # type: ignore[union-attr]  # it was just made
    assert len(notes) == 3
    assert all(note.text.endswith("[…]") for note in notes)
    for comment in fake.issues[ref.id]["comments"]:
        assert fake.cloud or len(comment["body"]) <= 32_767
    assert fake.cloud or len(fake.issues[ref.id]["fields"]["description"]) <= 32_767


def test_the_plugin_has_a_backend_when_its_address_is_set(tmp_path: Path) -> None:
    environ = {
        "OKIENKO_CSD_JIRA_SM_URL": URL, "OKIENKO_CSD_JIRA_SM_USER": "okienko@csd.example", "OKIENKO_CSD_JIRA_SM_TOKEN": "secret",
        "OKIENKO_CSD_JIRA_SM_MAPPING": str(MAPPING),
    }  # fmt: skip
    assert okienko_csd_backends(PluginContext(home=tmp_path, environ={})) == []
    (backend,) = okienko_csd_backends(PluginContext(home=tmp_path, environ=environ))
    assert backend.name == "jira_sm"
    assert Capability.WEBHOOK not in backend.capabilities


@pytest.mark.asyncio
async def test_a_state_that_the_mapping_lacks(fake: FakeJira, tmp_path: Path) -> None:
    backend = connector(fake, mapping=mapping_with(tmp_path, ('Canceled = "closed"\n', "")))
    ref = await made(backend)
    fake.set_state(fake.issues[ref.id], "Canceled")
    with pytest.raises(PermanentError, match=r"states\.read"):
        await backend.get(ref)
    assert any("'Canceled'" in one.message for one in await backend.check() if one.severity is Severity.WARNING)


def test_settings_go_together() -> None:
    good: dict[str, Any] = {"url": URL, "user": "a@csd.example", "token": SecretStr("t"), "mapping": MAPPING}
    for changes, text in (
        ({"mapping": None}, "MAPPING"),
        ({"token": None}, "TOKEN_URL"),
        ({"token_url": TOKEN_URL, "client_id": "x", "client_secret": SecretStr("y")}, "either"),
        ({"user": None}, "e-mail"),
        ({"url": "http://jira.example.org"}, "https"),
    ):
        with pytest.raises(ValidationError, match=text):
            JiraSmCsdSettings(**{**good, **changes})
    assert JiraSmCsdSettings(**{**good, "user": None, "flavour": "datacenter"})


LINES = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n"))


class TestTexts:
    """Pure."""

    @given(LINES)
    def test_adf_comes_back(self, text: str) -> None:
        assert from_adf(to_adf(text)) == text.strip("\n")

    @given(LINES.filter(lambda text: "&#92;" not in text))
    def test_wiki_comes_back(self, text: str) -> None:
        assert from_wiki(to_wiki(text)) == text

    def test_wiki_is_not_markup(self) -> None:
        assert to_wiki("{code}x [a|b] !i.png! C:\\x") == r"\{code\}x \[a\|b\] \!i.png\! C:&#92;x"

    def test_what_people_write(self) -> None:
        def node(kind: str, *content: object, **attrs: str) -> dict[str, Any]:
            return {"type": kind, "content": list(content), "attrs": attrs}

        text = {"type": "text", "text": "Dzień dobry"}
        doc = node(
            "doc", node("paragraph", text, node("hardBreak"), node("mention", text="@Ewa")), node("blockquote", node("paragraph", text)),
            node("bulletList", node("listItem", node("paragraph", text))), node("mediaSingle", node("media")),
            node("paragraph", node("inlineCard", url="https://example.org"), node("emoji", shortName=":)")),
        )  # fmt: skip
        assert from_adf(doc) == "Dzień dobry\n@Ewa\n> Dzień dobry\n- Dzień dobry\nhttps://example.org:)"
        assert from_adf(None) == ""


class TestMapping:
    """Pure."""

    @pytest.mark.parametrize(
        ("comment", "public"),
        [
            ({"jsdPublic": True}, True),
            ({"jsdPublic": False}, False),
            ({"properties": [{"key": "sd.public.comment", "value": {"internal": True}}]}, False),
            ({"properties": [{"key": "sd.public.comment", "value": {"internal": "true"}}]}, False),
            ({"properties": [{"key": "sd.public.comment", "value": {"internal": False}}], "jsdPublic": False}, True),
            ({"jsdPublic": True, "visibility": {"type": "role", "value": "Service Desk Team"}}, False),
            ({}, True),
        ],
    )
    def test_who_sees_a_comment(self, comment: dict[str, Any], public: bool) -> None:
        assert words.is_public(comment) is public

    def test_marks(self) -> None:
        def row(number: str, text: str, who: str) -> dict[str, Any]:
            return {"id": number, "body": text, "created": "2026-11-25T02:00:00.000+0100", "author": {"name": who}}

        ours = to_wiki(marked("Nasza.", "k"))
        notes = words.notes_of([row("10", ours, ME), row("9", ours, "ewa"), row("11", ours, ME)], ME)
        assert [(note.id, note.key is not None) for note in notes] == [("9", False), ("10", True), ("11", False)]
        assert notes[0].at.isoformat() == "2026-11-25T01:00:00+00:00"

    def test_values_by_type(self) -> None:
        assert words.shaped("x", {"type": "array", "items": "option"}) == [{"value": "x"}]
        assert words.shaped("x", {"type": "component"}) == {"name": "x"}
        assert words.shaped("2", {"type": "number"}) == 2.0
        with pytest.raises(MisconfiguredError):
            words.shaped("dwa", {"type": "number"})

    def test_correlation(self) -> None:
        key = UUID(int=7)
        assert words.correlation({"fields": {CASE: str(key)}}, CASE) == key
        assert words.correlation({"fields": {CASE: "INC"}}, CASE) is None
        assert words.correlation({}, CASE) is None
