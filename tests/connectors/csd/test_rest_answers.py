"""The declarative connector: what its templates let through, what refusals mean, and `okienko check` on planted mistakes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from pydantic import SecretStr

from connectors.csd.test_rest_conformance import EXAMPLE, connector
from okienko.connectors.csd.rest.description import load_description
from okienko.connectors.csd.rest.templates import body_of, header_of, path_of
from okienko.plugins.csd import (
    Capability,
    ForgedNoticeError,
    TicketChange,
    TicketGoneError,
    UnsupportedError,
    WebhookRequest,
)
from okienko.plugins.csdsystem import SystemCsd
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError
from okienko.plugins.findings import Severity
from okienko.plugins.testing.conformance.csdbase import new_file, registration
from okienko.schemas import CsdRef
from rigs.rejestr import Rejestr, rejestr

URL = "https://rejestr.example.org"
REF = CsdRef(backend="rest", number="R-00007")
RECORDED = json.loads((EXAMPLE.parent / "get.json").read_text(encoding="utf-8"))


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url=URL, assert_all_called=False) as mocked:
        yield mocked


@pytest.fixture
async def described(tmp_path: Path) -> AsyncIterator[Callable[..., SystemCsd]]:
    """The connector on the example with texts replaced; each must be there."""
    shutil.copytree(EXAMPLE.parent, tmp_path / "d")
    text = EXAMPLE.read_text(encoding="utf-8")
    opened: list[SystemCsd] = []

    def make(changes: dict[str, str] | None = None, *, url: str = URL, **settings: Any) -> SystemCsd:
        changed = text
        for old, new in (changes or {}).items():
            assert old in changed, old
            changed = changed.replace(old, new, 1)
        file = tmp_path / "d" / "rejestr.toml"
        file.write_text(changed, encoding="utf-8")
        opened.append(connector(url, mapping=file, **settings))
        return opened[-1]

    yield make
    for backend in opened:
        await backend.stop()


# --- templates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ['", "stan": "zamknięte', "{{ 7 * 7 }}", "\\", "\x00", "{% raw %}", "}}", "a\nb"])
def test_a_value_stays_a_value(text: str) -> None:
    body = {"a": "{{ text }}", "b": ["Temat: {{ text }}"], "c": {"d": "{{ public }}"}}
    made = body_of(body, {"text": text, "public": False})
    assert json.loads(json.dumps(made)) == {"a": text, "b": [f"Temat: {text}"], "c": {"d": False}}


def test_types_and_nothing() -> None:
    values = {"n": 3, "none": None, "fields": {"a": "x"}}
    assert body_of({"a": "{{ n }}", "b": "{{ none }}", "c": "{{ fields }}", "d": 5, "e": True}, values) == {
        "a": 3, "c": {"a": "x"}, "d": 5, "e": True,
    }  # fmt: skip


@pytest.mark.parametrize("value", ["../../admin", "a/b", "a?b=c", "a#b", "..", ".", "ą ę", "%2e%2e", "a\r\nX: y"])
def test_a_value_does_not_leave_its_place_in_a_path(value: str) -> None:
    path = path_of("/zgloszenia/{{ id }}/wpisy", {"id": value})
    url = httpx.URL("https://x.example" + path)
    assert re.fullmatch(r"/zgloszenia/[^/?#]+/wpisy", url.raw_path.decode())
    assert not url.query


def test_a_value_stays_in_its_header() -> None:
    assert header_of("a {{ v }}", {"v": "x\r\nEvil: 1 ą"}) == "a x Evil: 1 %C4%85"


@pytest.mark.parametrize(
    "template",
    [
        "{{ txt }}",
        "{{ text.nic }}",
        "{{ text.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "x {{ txt }}",
        "{{ text() }}",
        "{{ 1 / 0 }}",
    ],
)
def test_what_a_template_may_not(template: str) -> None:
    with pytest.raises(MisconfiguredError):
        body_of({"a": template}, {"text": "x"})


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected", "told"),
    [
        (httpx.Response(409, json={"blad": {"kod": "ZAJETE", "opis": "trwa zapis"}}), TransientError, "trwa zapis"),
        (httpx.Response(409, json={"blad": {"kod": "INNE"}}), PermanentError, "409"),
        (httpx.Response(422, json={"blad": {"kod": "ZLY_DZIAL", "opis": "x"}}), MisconfiguredError, r"\[queues\]"),
        (httpx.Response(401, json={}), MisconfiguredError, "token"),
        (httpx.Response(403, json={}), MisconfiguredError, "right"),
        (httpx.Response(404, json={}), TicketGoneError, "404"),
        (httpx.Response(500, text="<h1>"), TransientError, "500"),
        (httpx.Response(502), TransientError, "busy"),
        (httpx.Response(200, text="<html>login</html>"), MisconfiguredError, "JSON"),
        (httpx.Response(201, json={"numer": "R-1"}), PermanentError, "answers.created.number"),
    ],
)
async def test_refusals(
    router: respx.MockRouter,
    described: Callable[..., SystemCsd],
    answer: httpx.Response,
    expected: type[OkienkoError],
    told: str,
) -> None:
    router.get("/zgloszenia").respond(json={"pozycje": []})
    router.post("/zgloszenia").mock(return_value=answer)
    with pytest.raises(expected, match=told):
        await described().create([registration()])


async def test_a_failure_that_is_told_with_success(
    router: respx.MockRouter, described: Callable[..., SystemCsd]
) -> None:
    rule = '[[errors]]\nstatus = [200]\nwhen = "ok == `false`"\nmeans = "permanent"\nmessage = "powod"\n\n[webhook]'
    router.get("/zgloszenia/R-00007").respond(json={"ok": False, "powod": "zły numer"})
    with pytest.raises(PermanentError, match="zły numer"):
        await described({"[webhook]": rule}).get(REF)


async def test_an_unknown_state_is_an_error_that_names_it(
    router: respx.MockRouter, described: Callable[..., SystemCsd]
) -> None:
    router.get("/zgloszenia/R-00007").respond(json=RECORDED | {"stan": "zawieszone"})
    with pytest.raises(PermanentError, match=r"'zawieszone' is not in \[states.read\]"):
        await described().get(REF)


async def test_changes_in_the_wrong_order(router: respx.MockRouter, described: Callable[..., SystemCsd]) -> None:
    backend = described()
    router.get("/zgloszenia").respond(json={"pozycje": []}, headers={"Date": "Mon, 05 Jan 2026 09:00:00 GMT"})
    rows = [{"nr": "1", "zmieniono": "2026-01-05T09:00:02Z"}, {"nr": "2", "zmieniono": "2026-01-05T09:00:01Z"}]
    router.get("/zmiany").respond(json={"pozycje": rows})
    cursor = (await backend.changes(None)).cursor
    with pytest.raises(MisconfiguredError, match="oldest first"):
        await backend.changes(cursor)


# --- authentication, paging, files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "settings", "header", "value"),
    [
        ('kind = "header"\nheader = "X-Klucz"', {}, "x-klucz", "tajny-token"),
        ('kind = "bearer"\nscheme = "Token"', {}, "authorization", "Token tajny-token"),
        ('kind = "basic"', {"username": "okienko", "password": SecretStr("hasło")}, "authorization", "Basic b2tpZW5rbzpoYXPFgm8="),
        (
            'kind = "oauth2"\ntoken_url = "https://id.example.org/token"',
            {"client_id": "okienko", "client_secret": SecretStr("sekret")}, "authorization", "Bearer wydany",
        ),
    ],
)  # fmt: skip
async def test_authentication(
    router: respx.MockRouter,
    described: Callable[..., SystemCsd],
    auth: str,
    settings: dict[str, Any],
    header: str,
    value: str,
) -> None:
    respx.post("https://id.example.org/token").respond(json={"access_token": "wydany", "expires_in": 60})
    router.post("https://id.example.org/token").respond(json={"access_token": "wydany", "expires_in": 60})
    route = router.get("/zgloszenia/R-00007").respond(json=RECORDED)
    assert await described({'kind = "bearer"': auth}, **settings).get(REF) is not None
    assert route.calls.last.request.headers[header] == value


async def test_a_missing_secret_names_its_setting(described: Callable[..., SystemCsd]) -> None:
    with pytest.raises(MisconfiguredError, match=r"rejestr.toml:\d+.*USERNAME"):
        await described({'kind = "bearer"': 'kind = "basic"'}).get(REF)


async def test_lists_by_a_next(router: respx.MockRouter, described: Callable[..., SystemCsd]) -> None:
    row = {key: RECORDED[key] for key in ("nr", "temat", "stan", "sprawa", "utworzono", "zmieniono", "waga")}
    one = registration()
    pages = {None: [row | {"nr": "R-1"}], "b": [row | {"nr": "R-2", "sprawa": str(one.correlation_id)}]}

    def answer(request: httpx.Request) -> httpx.Response:
        cursor = request.url.params.get("dalej")
        return httpx.Response(200, json={"pozycje": pages[cursor], "dalej": "b" if cursor is None else None})

    router.get("/zgloszenia").mock(side_effect=answer)
    backend = described(
        {
            'kind = "page"\nsize = 20': 'kind = "next"\nnext = "dalej"',
            'strona = "{{ page }}", ile = "{{ limit }}" }\nitems = "pozycje"\n\n[requests.create]':
            'dalej = "{{ next }}" }\nitems = "pozycje"\n\n[requests.create]',
        }
    )  # fmt: skip
    assert (await backend.find([one.correlation_id]))[one.correlation_id].number == "R-2"


async def test_a_file_in_base64(router: respx.MockRouter, described: Callable[..., SystemCsd]) -> None:
    router.get("/zgloszenia/R-00007").respond(json=RECORDED | {"pliki": []})
    route = router.post("/zgloszenia/R-00007/pliki").respond(json={})
    body = 'body = { nazwa = "{{ filename }}", tresc = "{{ content_base64 }}" }'
    backend = described({'form = { nazwa = "{{ filename }}" }\nfile = "plik"': body})
    await backend.attach(REF, new_file("a.txt", b"abc"))
    assert json.loads(route.calls.last.request.content) == {"nazwa": "a.txt", "tresc": "YWJj"}


async def test_only_what_changes_is_sent(router: respx.MockRouter, described: Callable[..., SystemCsd]) -> None:
    route = router.patch("/zgloszenia/R-00007").respond(json={})
    router.get("/zgloszenia/R-00007").mock(
        side_effect=[httpx.Response(200, json=RECORDED), httpx.Response(200, json=RECORDED | {"temat": "Inny"})]
    )
    await described().change(REF, TicketChange(subject="Inny"))
    assert json.loads(route.calls.last.request.content) == {"temat": "Inny"}


def test_a_webhook_with_a_plain_secret(described: Callable[..., SystemCsd]) -> None:
    backend = described(
        {'kind = "hmac"': 'kind = "secret"', 'prefix = "sha256="': 'prefix = ""', "zdarzenia[].nr": "nr"}
    )
    headers = {"x-rejestr-podpis": "tajny-sekret-webhooka"}
    assert backend.notified(WebhookRequest(headers, b'{"nr": "R-1"}'))[0].number == "R-1"
    with pytest.raises(ForgedNoticeError):
        backend.notified(WebhookRequest({"x-rejestr-podpis": "inny"}, b'{"nr": "R-1"}'))
    with pytest.raises(PermanentError, match="names no ticket"):
        backend.notified(WebhookRequest(headers, b'{"numer": "R-1"}'))


async def test_without_its_capability_it_refuses(described: Callable[..., SystemCsd]) -> None:
    backend = described({'"links", ': "", '"subject", ': ""}, webhook_secret=None)
    assert not backend.capabilities & {Capability.LINKS, Capability.SUBJECT, Capability.WEBHOOK}
    for call in (lambda: backend.link(REF, REF), lambda: backend.change(REF, TicketChange(subject="x"))):
        with pytest.raises(UnsupportedError):
            await call()
    with pytest.raises(UnsupportedError):
        backend.notified(WebhookRequest({}, b""))


# --- the form of the file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            'number = "nr"\ncorrelation',
            'number = "nr["\ncorrelation',
            r"rejestr.toml:\d+: answers.ticket.number.*no JMESPath",
        ),
        (
            'temat = "{{ subject }}"\nopis',
            'temat = "{{ subject"\nopis',
            r"rejestr.toml:\d+: requests.create.*no template",
        ),
        ('"links", ', '"links", "versions", ', "no capability versions"),
        ("[requests.link]", "[requests.linkk]", "linkk"),
        ('kind = "page"\nsize', 'kind = "next"\nsize', "belongs to kind"),
        ('public = "jawny"\n', "", "needs answers.note.public"),
        ('closed = "zamknięte"\n', "", "needs closed"),
        ('means = "transient"', 'means = "later"', "means"),
    ],
)
def test_the_form_is_checked_at_the_start(described: Callable[..., SystemCsd], old: str, new: str, told: str) -> None:
    with pytest.raises(MisconfiguredError, match=told):
        described({old: new})


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="cannot read"):
        load_description(tmp_path / "nie ma.toml")
    (tmp_path / "x.toml").write_text("= 1", encoding="utf-8")
    with pytest.raises(MisconfiguredError, match="no TOML"):
        load_description(tmp_path / "x.toml")


# --- check ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def system() -> Iterator[Rejestr]:
    with rejestr() as running:
        yield running


async def test_check_finds_nothing_wrong(system: Rejestr, described: Callable[..., SystemCsd]) -> None:
    findings = await described(url=system.url).check()
    assert {finding.severity for finding in findings} == {Severity.OK}
    assert any("no-such-department.json is taken for: MisconfiguredError" in finding.message for finding in findings)


PLANTED = [
    ('tresc = "{{ text }}"', 'tresc = "{{ txt }}"', "'txt' is undefined"),
    (
        'path = "/zgloszenia/{{ id }}"\n\n[requests.note]',
        'path = "/zgloszenia/{{ idd }}"\n\n[requests.note]',
        "'idd' is undefined",
    ),
    ('query = { od = "{{ since }}"', 'query = { od = "{{ sinze }}"', "'sinze' is undefined"),
    ('status = "stan"', 'status = "status"', "status finds nothing"),
    ('nowe = "open"', 'nowy = "open"', "'nowe' is not in [states.read]"),
    ('normal = "2"', 'normal = "20"', "'2' is not in [priorities]"),
    ('correlation = "sprawa"\nstatus', 'correlation = "case"\nstatus', "case finds no case id"),
    ('at = "kiedy"', 'at = "kto"', "neither a time"),
    ('size = "rozmiar"', 'size = "nazwa"', "no number of octets"),
    ('items = "pozycje"\n\n[answers.created]', 'items = "wyniki"\n\n[answers.created]', "finds no row"),
    ('number = "nr"\n\n[answers.ticket]', 'number = "numer"\n\n[answers.ticket]', "numer finds nothing"),
    ('answer = "get.json"', 'answer = "gett.json"', "cannot read gett.json"),
    ("ours = \"kto == 'okienko'\"", 'ours = "length(lp)"', "answers.note.ours"),
]


@pytest.mark.parametrize(("old", "new", "told"), PLANTED, ids=range(len(PLANTED)))
async def test_check_on_a_planted_mistake(
    system: Rejestr, described: Callable[..., SystemCsd], old: str, new: str, told: str
) -> None:
    changed = EXAMPLE.read_text(encoding="utf-8").replace(old, new, 1).splitlines()
    before = EXAMPLE.read_text(encoding="utf-8").splitlines()
    wrong = [number for number, (a, b) in enumerate(zip(changed, before, strict=True), 1) if a != b]
    errors = [f for f in await described({old: new}, url=system.url).check() if f.severity is Severity.ERROR]
    assert errors
    assert all(finding.cure for finding in errors)
    assert any(told in finding.message for finding in errors), [finding.message for finding in errors]
    lines = {int(finding.subject.rpartition(":")[2]) for finding in errors if ":" in finding.subject}
    section = max(n for n, line in enumerate(changed[: wrong[0]], 1) if line.startswith("["))
    assert any(section <= line <= wrong[0] for line in lines), (lines, wrong, section)


async def test_check_of_a_search_that_does_not_filter(system: Rejestr, described: Callable[..., SystemCsd]) -> None:
    system.add({"temat": "Obce", "sprawa": None})
    system.ignore_filter = True
    (finding,) = [f for f in await described(url=system.url).check() if f.severity is Severity.ERROR]
    assert "finds a ticket" in finding.message
    assert re.fullmatch(r"rejestr.toml:\d+", finding.subject)


async def test_check_warns_of_what_is_not_recorded(system: Rejestr, described: Callable[..., SystemCsd]) -> None:
    backend = described({'[[recordings]]\nrequest = "changes"\nanswer = "changes.json"\n': ""}, url=system.url)
    assert [f.severity for f in await backend.check() if "no recorded answer" in f.message] == [Severity.WARNING]
