"""ServiceNow: its errors, its traps, what check finds, and the mapping of its fields."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
import respx
from pydantic import SecretStr, ValidationError

from connectors.csd.servicenow import COLUMNS, TOKEN_LIFE, URL, FakeServiceNow
from connectors.csd.servicenowhands import MAPPING, ServiceNowHands, connector
from okienko.connectors.csd.servicenow import mapping as words
from okienko.connectors.csd.servicenow import okienko_csd_backends
from okienko.connectors.csd.servicenow.settings import ServiceNowCsdSettings
from okienko.plugins import PluginContext, httpapi
from okienko.plugins.csd import Capability, TicketChange, TicketChangedError
from okienko.plugins.csdmapping import load_mapping
from okienko.plugins.csdnotes import marked
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError
from okienko.plugins.findings import Severity
from okienko.plugins.testing.conformance.csdbase import new_file, registration
from okienko.schemas import TicketStatus

pytestmark = pytest.mark.asyncio


@pytest.fixture
def fake(respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch) -> FakeServiceNow:
    monkeypatch.setattr(httpapi, "_wait", lambda state: 0.0)
    server = FakeServiceNow()
    respx_mock.route(url__startswith=URL).mock(side_effect=server)
    return server


def failure(status: int, message: str, detail: str = "") -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "detail": detail}, "status": "failure"})


def mapping_with(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = MAPPING.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "servicenow.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (failure(401, "User Not Authenticated", "Required to provide Auth information"), MisconfiguredError, "401"),
        (failure(403, "Operation Failed", "ACL Exception Update Failed due to security constraints"), MisconfiguredError, "roles"),
        (failure(403, "Insufficient rights to query records", "Field(s) present in the query do not have permission"), MisconfiguredError, "roles"),
        (failure(403, "Operation Failed", "Data Policy Exception: The following fields are mandatory: Close code"), MisconfiguredError, "CLOSE_CODE"),
        (failure(403, "Operation against file 'incident' was aborted by Business Rule 'No'"), PermanentError, "aborted"),
        (failure(400, "Invalid table incidnet"), MisconfiguredError, "TABLE"),
        (failure(400, "Exception while reading request", "Unexpected"), PermanentError, "400"),
        (failure(403, "Operation Failed", "Error during insert of incident: Unique Key violation detected by database"), TransientError, "same moment"),
        (httpx.Response(404, text="<html>nginx"), MisconfiguredError, "URL"),
        (failure(500, "Internal", "java.lang"), TransientError, "500"),
        (failure(200, "Transaction cancelled: maximum execution time exceeded", "Check logs"), TransientError, "broke off"),
        (httpx.Response(200, html="<title>Hibernating Instance</title>"), TransientError, "asleep"),
        (httpx.Response(302, headers={"Location": "/login.do"}), MisconfiguredError, "redirects"),
        (httpx.Response(503, text="upgrading"), TransientError, "503"),
    ],
)  # fmt: skip
async def test_each_refusal_has_its_class(
    fake: FakeServiceNow, answer: httpx.Response, error: type[OkienkoError], words: str
) -> None:
    backend = connector()
    ref = next(iter((await backend.create([registration()])).values()))
    fake.answers.extend([answer] * 3)
    with pytest.raises(error, match=words):
        await backend.get(ref)


async def test_no_record_is_no_ticket(fake: FakeServiceNow) -> None:
    """Older instances answer a query without hits with 404."""
    fake.answers.append(failure(404, "No Record found", "Record doesn't exist or ACL restricts the record retrieval"))
    assert await connector().find([uuid4()]) == {}


async def test_the_quota_holds_everybody_until_its_reset(fake: FakeServiceNow) -> None:
    """429 has X-RateLimit-Reset, and not always Retry-After."""
    backend = connector()
    reset = str(int(httpapi.utc_now().timestamp()) + 1800)
    headers = {"X-RateLimit-Limit": "500", "X-RateLimit-Reset": reset, "X-RateLimit-Rule": "okienko"}
    fake.answers.append(httpx.Response(429, headers=headers, json={"error": {"message": "Rate limit exceeded"}}))
    with pytest.raises(TransientError) as caught:
        await backend.create([registration()])
    assert caught.value.retry_after is not None
    assert 1700 < caught.value.retry_after <= 1800
    asked = len(fake.requests)
    with pytest.raises(TransientError):
        await backend.find([uuid4()])
    assert len(fake.requests) == asked, "nobody asks before the quota is there again"


async def test_oauth_with_a_password_uses_the_refresh_token(
    fake: FakeServiceNow, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = connector(client_id="okienko", client_secret=SecretStr("client secret"))
    await backend.find([uuid4()])
    for _ in range(2):
        fake.tokens.clear()
        await backend.find([uuid4()])
    assert [grant["grant_type"] for grant in fake.grants] == ["password", "refresh_token", "refresh_token"]
    fake.tokens.clear()
    fake.refresh = "withdrawn"
    await backend.find([uuid4()])
    assert [grant["grant_type"] for grant in fake.grants[3:]] == ["refresh_token", "password"]


async def test_oauth_with_client_credentials(fake: FakeServiceNow) -> None:
    backend = connector(user=None, password=None, client_id="okienko", client_secret=SecretStr("client secret"))
    assert await backend.find([uuid4()]) == {}
    assert [grant["grant_type"] for grant in fake.grants] == ["client_credentials"]
    assert TOKEN_LIFE > 60
    wrong = connector(user=None, password=None, client_id="okienko", client_secret=SecretStr("another"))
    with pytest.raises(MisconfiguredError, match="client id, secret") as caught:
        await wrong.find([uuid4()])
    assert "another" not in str(caught.value)


async def test_nothing_is_registered_when_the_correlation_field_is_not_there(
    fake: FakeServiceNow, tmp_path: Path
) -> None:
    """Neither with the property that makes a wrong query give everything, nor with the one for nothing."""
    good = connector()
    await good.create([registration()])
    before = len(fake.tables["incident"])
    bad = connector(mapping=mapping_with(tmp_path, ('correlation = "correlation_id"', 'correlation = "corelation_id"')))
    for fake.no_rows_for_invalid in (False, True):
        with pytest.raises(MisconfiguredError, match=r"servicenow\.toml:1"):
            await bad.create([registration()])
    assert len(fake.tables["incident"]) == before


async def test_a_field_that_may_not_be_written_is_found_at_the_first_ticket(fake: FakeServiceNow) -> None:
    fake.columns.pop("correlation_id")
    with pytest.raises(MisconfiguredError, match="delete the ticket"):
        await connector().create([registration()])


async def test_an_ignored_filter_over_a_large_table_is_no_answer(
    fake: FakeServiceNow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("okienko.connectors.csd.servicenow.finding._MOST_PAGES", 2)
    for _ in range(401):
        fake.new({"correlation_id": str(uuid4())})
    fake.ignored_fields.add("correlation_id")
    with pytest.raises(MisconfiguredError, match="ignores a field"):
        await connector().find([uuid4()])


async def test_a_journal_that_cannot_be_read_stops_the_plugin_before_a_second_note(fake: FakeServiceNow) -> None:
    backend = connector()
    ref = next(iter((await backend.create([registration()])).values()))
    fake.journal_hidden = True
    with pytest.raises(MisconfiguredError, match="sys_journal_field"):
        await backend.comment(ref, "k", "Raz.")
    assert len(fake.tables["sys_journal_field"]) == 1


async def test_a_file_without_sha256_is_compared_by_its_content(fake: FakeServiceNow) -> None:
    fake.hashes = False
    backend = connector()
    ref = next(iter((await backend.create([registration()])).values()))
    for content in (b"jeden", b"dwa..", b"jeden"):
        await backend.attach(ref, new_file("skan.pdf", content))
    assert len(fake.tables["sys_attachment"]) == 2


async def test_a_stale_version_is_refused(fake: FakeServiceNow) -> None:
    backend = connector()
    ref = next(iter((await backend.create([registration()])).values()))
    ticket = await backend.get(ref)
    assert ticket is not None
    await backend.change(ref, TicketChange(subject="Pierwszy"), version=ticket.version)
    with pytest.raises(TicketChangedError):
        await backend.change(ref, TicketChange(subject="Drugi"), version=ticket.version)


async def test_what_is_written(fake: FakeServiceNow) -> None:
    one = registration()
    backend = connector()
    ref = (await backend.create([one]))[one.correlation_id]
    row = ServiceNowHands(fake).row(ref)
    group, caller = fake.tables["sys_user_group"][row["assignment_group"]], fake.tables["sys_user"][row["caller_id"]]
    assert (group["name"], caller["email"]) == ("Konta", "jan.kowalski@example.org")
    assert (row["impact"], row["urgency"], row["priority"]) == ("2", "2", "3")
    assert (row["opened_at"], row["contact_type"], row["category"]) == ("2026-01-05 08:30:00", "email", "inquiry")
    await backend.close(ref, "Gotowe [code]<b>x</b>[/code]")
    assert row["close_notes"] == "Gotowe [ code]<b>x</b>[ /code]"
    assert row["close_code"] == "Solution provided"


async def test_closing_without_the_close_code_says_which_setting(fake: FakeServiceNow) -> None:
    backend = connector(close_code=None)
    ref = next(iter((await backend.create([registration()])).values()))
    with pytest.raises(MisconfiguredError, match="CLOSE_CODE"):
        await backend.close(ref, "Gotowe.")


async def test_check_is_content_with_a_good_mapping(fake: FakeServiceNow) -> None:
    backend = connector()
    ref = next(iter((await backend.create([registration()])).values()))
    await backend.comment(ref, "k", "Notatka.")
    assert [one.severity for one in await backend.check()] == [Severity.OK]


@pytest.mark.parametrize(
    ("old", "new", "line", "message", "cure"),
    [
        ('correlation = "correlation_id"', 'correlation = "correlation_di"', 1, "correlation_di", "correlation_id"),
        ('recovery = "Konta"', 'recovery = "Kontta"', 5, "Kontta", "sys_user_group"),
        ('default = "inquiry"', 'default = "inqiury"', 8, "inqiury", "inquiry"),
        ('closed = "6"', 'closed = "Resolved"', 13, "shows, not what it stores", "'6'"),
        ('8 = "closed"', '9 = "closed"', 18, "'9'", "Canceled"),
        ('high = "2/1"', 'high = "2/9"', 23, "'9'", "High"),
        ('name = "contact_type"', 'name = "contact_typ"', 27, "contact_typ", "contact_type"),
        ('phone = "phone" }', 'phone = "telefon" }', 27, "telefon", "phone"),
    ],
)
async def test_check_finds_each_planted_mistake(
    fake: FakeServiceNow, tmp_path: Path, old: str, new: str, line: int, message: str, cure: str
) -> None:
    await connector().create([registration()])
    findings = await connector(mapping=mapping_with(tmp_path, (old, new))).check()
    (found,) = [one for one in findings if one.severity is Severity.ERROR]
    assert found.subject == f"servicenow.toml:{line}"
    assert message in found.message
    assert cure in f"{found.message} {found.cure}"


async def test_check_finds_wrong_settings_and_rights(fake: FakeServiceNow) -> None:
    fake.columns["hold_reason"]["mandatory"] = True
    fake.columns["correlation_id"]["read_only"] = True
    told = await connector(close_code="Solved", hold_reason=None).check()
    errors = {
        one.subject.removeprefix("OKIENKO_CSD_SERVICENOW_"): one for one in told if one.severity is Severity.ERROR
    }
    assert set(errors) == {"CLOSE_CODE", "HOLD_REASON", "servicenow.toml:1"}
    assert "Solution provided" in errors["CLOSE_CODE"].cure
    assert [one.subject for one in told if one.severity is Severity.WARNING] == ["csd servicenow sys_journal_field"]
    fake.meta = False
    assert any("/api/now/ui/meta" in one.message for one in await connector().check())
    (lost,) = await connector(table="incidnet").check()
    assert lost.severity is Severity.ERROR
    assert "Invalid table" in lost.message


async def test_check_sees_the_zone_of_our_user(fake: FakeServiceNow) -> None:
    (user,) = [row for row in fake.tables["sys_user"].values() if row["user_name"] == "okienko"]
    for zone in ("America/Los_Angeles", ""):
        user["time_zone"] = zone
        assert any(one.subject.endswith("_USER") and "GMT" in one.cure for one in await connector().check())


async def test_a_long_description_says_that_it_was_cut(fake: FakeServiceNow) -> None:
    one = replace(registration(), description="x" * 5000)
    ref = (await connector().create([one]))[one.correlation_id]
    text = ServiceNowHands(fake).row(ref)["description"]
    assert (len(text), text[-5:]) == (4000, "x […]")


async def test_the_plugin_has_a_backend_when_its_address_is_set(tmp_path: Path) -> None:
    environ = {
        "OKIENKO_CSD_SERVICENOW_URL": URL, "OKIENKO_CSD_SERVICENOW_USER": "okienko", "OKIENKO_CSD_SERVICENOW_PASSWORD": "secret",
        "OKIENKO_CSD_SERVICENOW_MAPPING": str(MAPPING),
    }  # fmt: skip
    assert okienko_csd_backends(PluginContext(home=tmp_path, environ={})) == []
    (backend,) = okienko_csd_backends(PluginContext(home=tmp_path, environ=environ))
    assert backend.name == "servicenow"
    assert Capability.WEBHOOK not in backend.capabilities


async def test_two_groups_of_one_name_are_refused(fake: FakeServiceNow) -> None:
    fake._add("sys_user_group", {"name": "Konta", "active": "true"})
    with pytest.raises(MisconfiguredError, match="'Konta', or two"):
        await connector().create([registration()])
    assert any("two groups" in one.message for one in await connector().check())


async def test_a_state_that_the_mapping_lacks(fake: FakeServiceNow) -> None:
    backend = connector()
    ref = next(iter((await backend.create([registration()])).values()))
    ServiceNowHands(fake).row(ref)["state"] = "42"
    with pytest.raises(PermanentError, match=r"states\.read"):
        await backend.get(ref)


async def test_settings_go_together() -> None:
    for changes, words_ in (
        ({"mapping": None}, "MAPPING"),
        ({"password": None}, "PASSWORD"),
        ({"client_id": "x"}, "CLIENT_SECRET"),
        ({"user": None, "password": None}, "all four"),
        ({"url": "http://okienko.service-now.com"}, "https"),
        ({"table": "incident/../sys_user"}, "pattern"),
    ):
        good = {"url": URL, "user": "okienko", "password": SecretStr("secret"), "mapping": MAPPING}
        with pytest.raises(ValidationError, match=words_):
            ServiceNowCsdSettings(**{**good, **changes})


async def test_basic_is_utf8(fake: FakeServiceNow) -> None:
    await connector(user="żółw").find([uuid4()])
    assert base64.b64decode(fake.requests[0].headers["authorization"].removeprefix("Basic ")) == "żółw:secret".encode()


class TestMapping:
    """Pure."""

    async def test_times(self) -> None:
        assert words.moment("2026-11-23 21:25:00").isoformat() == "2026-11-23T21:25:00+00:00"
        with pytest.raises(TransientError):
            words.moment("")

    async def test_correlation(self) -> None:
        key = UUID(int=7)
        assert words.correlation({"c": {"value": str(key)}}, "c") == key
        assert words.correlation({"c": {"value": "INC7"}}, "c") is None
        assert words.correlation({}, "c") is None

    async def test_priority(self) -> None:
        assert words.priority_fields("2/1") == {"impact": "2", "urgency": "1"}
        assert words.priority_fields("3") == {"priority": "3"}

    async def test_journal(self) -> None:
        def entry(text: str, by: str, element: str = "work_notes") -> dict[str, str]:
            return {
                "sys_id": "1", "element": element, "value": text, "sys_created_on": "2026-11-23 21:25:00", "sys_created_by": by,
            }  # fmt: skip

        ours = marked("Nasza.", "k")
        told = words.notes_of([entry(ours, "okienko"), entry(ours, "okienko"), entry("x", "ewa", "approval")], None)
        assert [(note.text, note.key is not None) for note in told] == [("Nasza.", True), (ours, False)]
        assert words.notes_of([entry(ours, "ewa", "comments")], "okienko")[0].key is None
        assert words.notes_of([entry(ours, "Okienko", "comments")], "okienko")[0].public

    async def test_columns_of_the_double_are_read(self) -> None:
        assert set(words.fields_for(load_mapping(MAPPING).mapping).split(",")) - {
            "assignment_group.name", "assigned_to.user_name"
        } <= set(COLUMNS)  # fmt: skip

    async def test_states(self) -> None:
        assert words.status_of({"state": {"value": "7"}}, load_mapping(MAPPING).mapping) is TicketStatus.CLOSED
