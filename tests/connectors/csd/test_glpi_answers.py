"""What GLPI answers and what becomes of it: errors, sessions, tokens, traps; and `okienko check` on planted mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import respx
from pydantic import SecretStr

from connectors.csd.glpihands import MAPPING, GlpiHands, connector
from okienko.connectors.csd.glpi.mapping import decoded, just_before, moment, text_of
from okienko.connectors.csd.glpi.settings import GlpiCsdSettings
from okienko.plugins.csd import Capability, ForgedNoticeError, TicketChange, TicketGoneError, UnsupportedError
from okienko.plugins.csdsystem import SystemCsd
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError
from okienko.plugins.findings import Severity
from okienko.plugins.settings import load_settings
from okienko.plugins.testing.conformance.csdbase import new_file, registration
from okienko.schemas import CsdRef, Priority, TicketStatus
from rigs.glpi import URL, ZONE, FakeGlpi, error, problem


@pytest.fixture
def glpi() -> Iterator[FakeGlpi]:
    fake = FakeGlpi()
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        router.route().mock(side_effect=fake.answer)
        yield fake


@pytest.fixture(params=["10", "11"])
async def backend(request: pytest.FixtureRequest, glpi: FakeGlpi) -> Any:
    made = connector(request.param)
    yield made
    await made.stop()


async def make(backend: SystemCsd) -> CsdRef:
    return next(iter((await backend.create([registration()])).values()))


def on(path: str, answer: httpx.Response) -> Any:
    """The answer to writing requests whose path ends so."""
    return lambda method, asked: answer if method != "GET" and asked.endswith(path) else None


@pytest.mark.parametrize(
    ("answer", "expected", "told"),
    [
        (error(400, "ERROR_GLPI_ADD", "boom"), PermanentError, "ERROR_GLPI_ADD"),
        (error(403, "ERROR_RIGHT_MISSING", "no"), MisconfiguredError, "profile"),
        (error(401, "ERROR_NOT_ALLOWED_IP", "no"), MisconfiguredError, "APP_TOKEN"),
        (error(400, "ERROR_SQL", "deadlock"), TransientError, "database"),
        (httpx.Response(500, text="<h1>Oops</h1>"), TransientError, "500"),
        (httpx.Response(503), TransientError, "busy"),
        (httpx.Response(404, text="<html>not found</html>"), MisconfiguredError, "URL"),
        (httpx.Response(200, text="<html>log in</html>"), MisconfiguredError, "JSON"),
        (httpx.Response(302, headers={"Location": "/index.php"}), MisconfiguredError, "redirects"),
    ],
)
async def test_errors_of_apirest(
    glpi: FakeGlpi, answer: httpx.Response, expected: type[OkienkoError], told: str
) -> None:
    glpi.refuse = on("/Ticket", answer)
    with pytest.raises(expected, match=told):
        await connector("10").create([registration()])


@pytest.mark.parametrize(
    ("answer", "expected", "told"),
    [
        (
            problem(400, "ERROR_INVALID_PARAMETER", "One or more parameters are invalid"),
            PermanentError,
            "INVALID_PARAMETER",
        ),
        (problem(403, "ERROR_RIGHT_MISSING", "You don't have permission"), MisconfiguredError, "profile"),
        (problem(401, "ERROR_UNAUTHENTICATED", "no"), MisconfiguredError, "token"),
        (problem(500, "ERROR", "Failed to create item(s)"), TransientError, "500"),
        (httpx.Response(404, text="<html>not found</html>"), MisconfiguredError, "URL"),
        (httpx.Response(200, text="<html>log in</html>"), MisconfiguredError, "JSON"),
    ],
)
async def test_errors_of_the_high_level_api(
    glpi: FakeGlpi, answer: httpx.Response, expected: type[OkienkoError], told: str
) -> None:
    glpi.refuse = on("/Assistance/Ticket", answer)
    with pytest.raises(expected, match=told):
        await connector("11").create([registration()])


async def test_busy_hands_on_how_long(backend: SystemCsd, glpi: FakeGlpi) -> None:
    glpi.refuse = on("/Ticket", httpx.Response(429, headers={"Retry-After": "120"}))
    with pytest.raises(TransientError) as caught:
        await backend.create([registration()])
    assert caught.value.retry_after == 120


async def test_a_session_that_ended_is_begun_anew(glpi: FakeGlpi) -> None:
    backend = connector("10")
    ref = await make(backend)
    glpi.sessions.clear()
    await backend.comment(ref, "k", "Po przerwie.")
    ticket = await backend.get(ref)
    assert ticket is not None
    assert [note.text for note in ticket.notes] == ["Po przerwie."]
    await backend.stop()
    assert not glpi.sessions, "the session was left open"


async def test_a_wrong_user_token_is_named(glpi: FakeGlpi) -> None:
    with pytest.raises(MisconfiguredError, match="USER_TOKEN"):
        await connector("10", user_token=SecretStr("zly")).find([uuid4()])


async def test_the_password_grant_and_a_renewed_token(glpi: FakeGlpi) -> None:
    backend = connector("11")
    ref = await make(backend)
    assert glpi.tokens[0]["grant_type"] == "password"
    assert (glpi.tokens[0]["username"], glpi.tokens[0]["scope"]) == ("okienko", "api")
    glpi.tokens.append({})  # whoever has an older token is refused
    assert await backend.get(ref) is not None
    with pytest.raises(MisconfiguredError, match="refused our client"):
        await connector("11", password=SecretStr("złe")).find([uuid4()])


async def test_client_credentials_without_a_user(glpi: FakeGlpi) -> None:
    backend = connector("11", username=None, password=None)
    ref = await make(backend)
    await backend.comment(ref, "k", "Nasza.")
    await backend.comment(ref, "k", "Nasza.")
    assert {form["grant_type"] for form in glpi.tokens} == {"client_credentials"}
    assert len(glpi.table("ITILFollowup")) == 1


async def test_the_first_version_tells_no_authors(glpi: FakeGlpi) -> None:
    glpi.tells_authors = False
    backend = connector("11")
    ref = await make(backend)
    for _ in range(2):
        await backend.comment(ref, "k", "Nasza.")
    assert len(glpi.table("ITILFollowup")) == 1


async def test_what_a_new_ticket_is(backend: SystemCsd, glpi: FakeGlpi) -> None:
    one = registration()
    ref = (await backend.create([one]))[one.correlation_id]
    row = glpi.table("Ticket")[int(ref.number)]
    assert row["externalid"] == str(one.correlation_id)
    assert row["date"] == "2026-01-05 09:30:00", "not in GLPI's zone"
    assert (row["itilcategories_id"], row["type"], row["priority"]) == (1, 1, 3)
    assert row["requesttypes_id"] == 2
    assert "<br>— dwa wiersze" in row["content"]
    if glpi.table("requesters"):
        notif = glpi.table("requesters")[1]["notif"]
        assert notif == {"use_notification": [0], "alternative_email": ["jan.kowalski@example.org"]}
    else:
        assert "jan.kowalski@example.org" in row["content"]


async def test_a_priority_that_glpi_computes_anew_is_an_error(backend: SystemCsd, glpi: FakeGlpi) -> None:
    ref = await make(backend)
    glpi.ignore_priority = True
    with pytest.raises(PermanentError, match="priority"):
        await backend.change(ref, TicketChange(priority=Priority.HIGH))


async def test_unknown_category_and_user(backend: SystemCsd) -> None:
    ref = await make(backend)
    with pytest.raises(MisconfiguredError, match="no category 'Nieznana'"):
        await backend.change(ref, TicketChange(queue="Nieznana"))
    with pytest.raises(PermanentError, match="no user 'nikt'"):
        await backend.change(ref, TicketChange(assignee="nikt"))


async def test_another_assignee_takes_over(backend: SystemCsd, glpi: FakeGlpi) -> None:
    ref = await make(backend)
    for login in ("zofia", "adam"):
        await backend.change(ref, TicketChange(assignee=login))
    assert [row["users_id"] for row in glpi.table("Ticket_User").values()] == [9]


async def test_more_than_a_page(backend: SystemCsd, glpi: FakeGlpi) -> None:
    glpi.page = 2
    cursor = (await backend.changes(None)).cursor
    refs = [await make(backend) for _ in range(5)]
    told = await backend.changes(cursor)
    assert {ref.number for ref in told.refs} == {ref.number for ref in refs}


async def test_a_foreign_document_is_fetched_once(glpi: FakeGlpi) -> None:
    backend = connector("10")
    ref = await make(backend)
    await GlpiHands(glpi).attach(ref, "skan.pdf", b"12345")
    for _ in range(2):
        ticket = await backend.get(ref)
        assert ticket is not None
        assert [(f.filename, f.size) for f in ticket.files] == [("skan.pdf", 5)]
    assert [path for _, path in glpi.requests].count("/apirest.php/Document/1") == 1


async def test_the_high_level_api_takes_no_files(glpi: FakeGlpi) -> None:
    backend = connector("11")
    assert not backend.capabilities & {Capability.ATTACHMENTS, Capability.LINKS}
    with pytest.raises(UnsupportedError):
        await backend.attach(await make(backend), new_file("a.txt", b"a"))


async def test_removed_while_it_is_written(backend: SystemCsd, glpi: FakeGlpi) -> None:
    ref = await make(backend)
    del glpi.table("Ticket")[int(ref.number)]
    with pytest.raises(TicketGoneError):
        await backend.comment(ref, "k", "Notatka.")


async def test_a_notice_of_a_followup_names_its_ticket(backend: SystemCsd, glpi: FakeGlpi) -> None:
    body = json.dumps({"event": "new", "item": {"id": 99, "itemtype": "Ticket", "items_id": 5}}).encode()
    request = await GlpiHands(glpi).signed(body)
    assert [ref.number for ref in backend.notified(request)] == ["5"]
    late = dict(request.headers) | {"x-glpi-timestamp": "1"}
    with pytest.raises(ForgedNoticeError):
        backend.notified(type(request)(late, body))


async def test_check_finds_nothing_wrong(backend: SystemCsd) -> None:
    assert [finding.severity for finding in await backend.check()] == [Severity.OK]


async def test_check_on_planted_mistakes(glpi: FakeGlpi, tmp_path: Path) -> None:
    text = MAPPING.read_text(encoding="utf-8")
    for right, wrong in {
        'correlation = "externalid"': 'correlation = "sprawa"',
        'default = "Konta"': 'default = "Kontta"',
        'closed = "solved"': 'closed = "slved"',
        'planned = "open"': 'plannned = "open"',
        'high = "high"': 'high = "hihg"',
        'service_request = "request"': 'service_request = "reqest"',
    }.items():
        assert right in text
        text = text.replace(right, wrong, 1)
    wrong_file = tmp_path / "glpi.toml"
    wrong_file.write_text(text, encoding="utf-8")
    found = [f for f in await connector("10", mapping=wrong_file).check() if f.severity is Severity.ERROR]
    lines = text.splitlines()
    assert len(found) == 6
    for finding in found:
        number = int(finding.subject.rpartition(":")[2])
        assert any(word in lines[number - 1] for word in ("sprawa", "Kontta", "slved", "plannned", "hihg", "reqest"))
        assert finding.cure
    assert any("did you mean 'solved'" in finding.cure for finding in found)


async def test_check_warns_of_the_state_closed(glpi: FakeGlpi, tmp_path: Path) -> None:
    file = tmp_path / "glpi.toml"
    text = MAPPING.read_text(encoding="utf-8").replace('closed = "solved"', 'closed = "closed"')
    file.write_text(
        text.replace("[states.read]", '[states.read]\nsolved = "closed"').replace(
            '\nclosed = "closed"\n\n[pri', "\n\n[pri"
        ),
        encoding="utf-8",
    )
    findings = await connector("10", mapping=file).check()
    assert [f.cure for f in findings if f.severity is Severity.WARNING and "solved" in f.cure]


async def test_check_without_access(glpi: FakeGlpi) -> None:
    (finding,) = await connector("10", user_token=SecretStr("zly")).check()
    assert finding.severity is Severity.ERROR
    assert "zly" not in f"{finding.message} {finding.cure}"


def test_settings_belong_together() -> None:
    values = {"OKIENKO_CSD_GLPI_URL": URL, "OKIENKO_CSD_GLPI_API": "11", "OKIENKO_CSD_GLPI_MAPPING": "x.toml"}
    with pytest.raises(MisconfiguredError, match="CLIENT_ID and CLIENT_SECRET"):
        load_settings(GlpiCsdSettings, values)
    with pytest.raises(MisconfiguredError, match="USER_TOKEN"):
        load_settings(GlpiCsdSettings, values | {"OKIENKO_CSD_GLPI_API": "10"})
    with pytest.raises(MisconfiguredError, match="ASCII"):
        load_settings(GlpiCsdSettings, values | {"OKIENKO_CSD_GLPI_USER_TOKEN": "ząb"})
    with pytest.raises(MisconfiguredError, match="time zone"):
        load_settings(GlpiCsdSettings, values | {"OKIENKO_CSD_GLPI_TIME_ZONE": "Nigdzie"})


@pytest.mark.parametrize(
    ("rich", "plain"),
    [
        ("<p>a<br>b</p>", "a\nb"),
        ("&#60;p&#62;1 &#38;lt; 2&#60;/p&#62;", "1 < 2"),
        ("<p>&lt;b&gt;1 &lt; 2 &amp; 3&lt;/b&gt;</p>", "<b>1 < 2 & 3</b>"),
        ("<ul><li>jeden</li><li>dwa</li></ul>", "jeden\ndwa"),
        ("zwykły tekst", "zwykły tekst"),
        ("a&nbsp;b<!-- c -->", "a b"),
    ],
)
def test_rich_text(rich: str, plain: str) -> None:
    assert text_of(decoded(rich)) == plain


def test_times_in_glpis_zone() -> None:
    at = moment("2026-07-01 12:00:00", ZONE)
    assert at.isoformat() == "2026-07-01T10:00:00+00:00"
    assert moment("2026-07-01T12:00:00+02:00", ZONE) == at
    assert just_before(at, ZONE) == "2026-07-01 11:59:59"
    with pytest.raises(PermanentError):
        moment(None, ZONE)


async def test_states_of_plugins_are_open(backend: SystemCsd, glpi: FakeGlpi) -> None:
    ref = await make(backend)
    glpi.update_ticket(int(ref.number), {"status": 10})
    ticket = await backend.get(ref)
    assert ticket is not None
    assert (ticket.raw_status, ticket.status) == ("10", TicketStatus.OPEN)
