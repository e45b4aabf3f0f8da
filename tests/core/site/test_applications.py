"""Applications beside their pictures: what people see, what they may type, and what becomes of it."""

from __future__ import annotations

import asyncio
import io
import re
from html import unescape
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from PIL import Image

from okienko.core.applications import FIELDS
from okienko.core.audit.entries import AuditAction
from okienko.core.verifying import Checked
from okienko.plugins.signatures import (
    Application,
    SignatureFormat,
    SignatureLevel,
    SignatureReport,
    SignedFile,
    Verification,
)
from rigs.scans import scanned_pdf
from rigs.site import AUDITOR, NEW, OLD, Desk, Visitor, a_letter, problem_of

SCAN = scanned_pdf(pages=2)
ALL = {"given_name": "Jan", "family_name": "Testowy", "old_login": OLD, "new_login": NEW}


class Verifier:
    """Says of every document that it is signed, and what could be read in it."""

    def __init__(self) -> None:
        self.application = Application()
        self.signed: tuple[bytes, ...] | None = None
        self.valid = True

    async def verify(self, document: bytes, filename: str, at: Any) -> Checked:
        del filename, at
        report = SignatureReport(
            valid=self.valid, format=SignatureFormat.PADES, level=SignatureLevel.QUALIFIED, coverage="whole"
        )
        files = (document,) if self.signed is None else self.signed
        signed = tuple(SignedFile(f"{n}", "application/octet-stream", content) for n, content in enumerate(files))
        return Checked(Verification(report, signed), self.application)


@pytest.fixture
def verifier(desk: Desk) -> Verifier:
    desk.verifying = Verifier()
    desk.site = desk.make()
    return desk.verifying


async def unread(
    desk: Desk, document: bytes = SCAN, missing: tuple[str, ...] = FIELDS, **more: Any
) -> tuple[UUID, UUID]:
    """A case whose application waits for a typist, and its waiting action."""
    action = await desk.propose(must_check=("B3",), letter=a_letter("wniosek.pdf", document), **more)
    (row,) = await desk.rows(
        "SELECT a.case_id, m.envelope_id FROM reset_action a JOIN case_message m USING (case_id) WHERE a.id = $1",
        action,
    )
    case_id = row["case_id"]
    (letter,) = await desk.site.documents.letters([row["envelope_id"]])
    assert letter.message is not None
    (file,) = letter.message.attachments
    await desk.execute(
        "INSERT INTO signed_application (case_id, envelope_id, attachment, sha256, missing, state, revision, typists, noted_at) "
        "VALUES ($1, $2, $3, $4, $5, 'unread', 0, '{}', $6)",
        case_id, row["envelope_id"], file.index, file.sha256, list(missing), desk.clock(),
    )  # fmt: skip
    desk.clock.advance(desk.policy.lifetime / 100)
    return case_id, action


async def form_of(desk: Desk, case_id: UUID, **changes: str) -> dict[str, str]:
    (row,) = await desk.rows("SELECT sha256, revision FROM signed_application WHERE case_id = $1", case_id)
    return {"sha256": row["sha256"], "revision": str(row["revision"])} | ALL | changes


async def send(visitor: Visitor, desk: Desk, case_id: UUID, **changes: str) -> httpx.Response:
    return await visitor.post(f"/applications/{case_id}", await form_of(desk, case_id, **changes))


def inputs(page: httpx.Response) -> dict[str, str]:
    """Fields of the page's form that a person fills in, with their values."""
    return {
        unescape(name): unescape(value)
        for name, value in re.findall(r'<input id="(\w+)" name="\1" value="([^"]*)"', page.text)
    }


async def test_the_picture_stands_beside_the_form(desk: Desk, verifier: Verifier) -> None:
    case_id, action = await unread(desk)
    anna = await desk.visitor("anna")
    listed = await anna.get("/applications")
    assert f'href="/applications/{case_id}"' in listed.text
    assert "Utracony adres e-mail" in listed.text
    shown = await anna.get(f"/applications/{case_id}")
    assert shown.status_code == 200
    assert inputs(shown) == dict.fromkeys(FIELDS, "")
    pictures = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', shown.text)
    assert [alt.partition(" wniosku")[0] for _, alt in pictures] == ["Strona 1 z 2", "Strona 2 z 2"]
    seen = set()
    for source, _ in pictures:
        answer = await anna.get(source)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        seen.add(Image.open(io.BytesIO(answer.content)).tobytes())
    assert len(seen) == 2
    assert "script" not in shown.headers["content-security-policy"]
    assert f'href="/actions/{action}"' in shown.text
    assert f'href="/applications/{case_id}"' in (await anna.get(f"/actions/{action}")).text
    reasons = [r.reason for r in desk.records if r.case_id == case_id and r.action is AuditAction.VIEWED]
    assert reasons[:3] == [
        "the application and its data", "picture 1.1 of the application", "picture 1.2 of the application",
    ]  # fmt: skip


async def test_what_is_typed_ends_the_waiting_action(desk: Desk, verifier: Verifier) -> None:
    case_id, action = await unread(desk)
    anna, bea = await desk.visitor("anna"), await desk.visitor("bea")
    assert (await anna.approve(desk, action, "B3")).status_code == 303
    answer = await send(anna, desk, case_id)
    assert answer.status_code == 303
    after = await anna.get(answer.headers["location"])
    assert "Dane zapisano." in after.text
    assert "sprawdzana od nowa" in after.text
    assert inputs(after) == ALL
    assert await desk.state_of(action) == "superseded"
    assert (await bea.approve(desk, action, "B3")).status_code == 409
    assert "zastąpione po przepisaniu wniosku" in (await bea.get(f"/actions/{action}")).text
    (row,) = await desk.rows("SELECT typists, typed, typed_by FROM signed_application")
    assert (row["typists"], row["typed_by"]) == (["local:anna"], "local:anna")
    assert b"Testowy" not in row["typed"]
    (event,) = await desk.rows("SELECT actor, data FROM event WHERE type = 'application_typed'")
    assert event["actor"] == "local:anna"
    assert event["data"]["origin"] == "203.0.113.7"
    assert not [value for value in ALL.values() if value in str(event["data"])]
    assert [r["entrypoint"] for r in await desk.rows("SELECT entrypoint FROM pgqueuer WHERE entrypoint = 'assess'")]
    assert f'href="/applications/{case_id}"' not in (await anna.get("/applications")).text
    assert f'href="/applications/{case_id}"' in (await anna.get("/applications?state=typed")).text


async def test_of_two_clicks_one_wins_and_the_other_sees_what_was_recorded(desk: Desk, verifier: Verifier) -> None:
    case_id, _ = await unread(desk)
    anna, bea = await desk.visitor("anna"), await desk.visitor("bea")
    form = await form_of(desk, case_id)
    answers = await asyncio.gather(
        anna.post(f"/applications/{case_id}", form | {"given_name": "Anna"}),
        bea.post(f"/applications/{case_id}", form | {"given_name": "Bea"}),
    )
    assert sorted(a.status_code for a in answers) == [303, 409]
    winner, lost = ("Anna", answers[1]) if answers[0].status_code == 303 else ("Bea", answers[0])
    assert "Ktoś inny zapisał dane przed chwilą" in lost.text
    assert inputs(lost)["given_name"] == winner
    assert 'name="revision" value="1"' in lost.text


async def test_wrong_fields_are_named_and_kept(desk: Desk, verifier: Verifier) -> None:
    case_id, action = await unread(desk)
    anna = await desk.visitor()
    answer = await send(anna, desk, case_id, given_name="", old_login='jan"><script>', new_login="ala")
    assert answer.status_code == 422
    assert "<script>" not in answer.text
    assert inputs(answer) == ALL | {"given_name": "", "old_login": 'jan"><script>', "new_login": "ala"}
    assert '<a href="#given_name">Imię (imiona): pole jest wymagane.</a>' in answer.text
    for field in ("given_name", "old_login", "new_login"):
        assert f'aria-invalid="true" aria-describedby="{field}-problem"' in answer.text
        assert f'id="{field}-problem"' in answer.text
    assert await desk.state_of(action) == "waiting"
    same = await send(anna, desk, case_id, new_login=OLD)
    assert "taki sam jak utracony" in same.text


async def test_what_was_read_is_shown_and_no_field(desk: Desk, verifier: Verifier) -> None:
    verifier.application = Application(given_name="Jan", family_name="O'Zmyślony", old_login=OLD)
    case_id, _ = await unread(desk, missing=("new_login",))
    anna = await desk.visitor()
    shown = await anna.get(f"/applications/{case_id}")
    assert inputs(shown) == {"new_login": ""}
    assert "O&#39;Zmyślony" in shown.text
    over = await send(anna, desk, case_id)
    assert over.status_code == 422
    assert "odczytano z podpisanej treści, nie można zmienić" in over.text
    form = await form_of(desk, case_id)
    only = {name: form[name] for name in ("sha256", "revision", "new_login")}
    assert (await anna.post(f"/applications/{case_id}", only)).status_code == 303


@pytest.mark.parametrize("change", ["sha256", "closed", "decided"])
async def test_what_has_moved_on_is_refused(desk: Desk, verifier: Verifier, change: str) -> None:
    case_id, action = await unread(desk)
    anna, bea = await desk.visitor("anna"), await desk.visitor("bea")
    more, said = {}, "Dokument w sprawie jest inny"
    if change == "sha256":
        more = {"sha256": "0" * 64}
    elif change == "closed":
        await desk.execute("UPDATE cases SET state = 'closed'")
        said = "Sprawa jest zamknięta"
    else:
        for person in (anna, bea):
            assert (await person.approve(desk, action, "B3")).status_code == 303
        said = "już zdecydowano"
    answer = await send(anna, desk, case_id, **more)
    assert answer.status_code == 409
    assert said in answer.text
    assert [r["revision"] for r in await desk.rows("SELECT revision FROM signed_application")] == [0]
    if change != "sha256":
        assert inputs(answer) == {}
        assert f"/applications/{case_id}" not in (await anna.get("/applications")).text


async def test_who_may_look_and_who_may_type(desk: Desk, verifier: Verifier) -> None:
    case_id, _ = await unread(desk)
    auditor, anna = await desk.visitor("olga", AUDITOR), await desk.visitor("anna")
    shown = await auditor.get(f"/applications/{case_id}")
    assert shown.status_code == 200
    assert inputs(shown) == {}
    assert "przepisuje kto inny" in shown.text
    assert (await auditor.get(f"/applications/{case_id}/pictures/0/0")).status_code == 200
    assert (await send(auditor, desk, case_id)).status_code == 403
    form = await form_of(desk, case_id)
    no_token = await anna.http.post(f"/applications/{case_id}", data=form)
    assert no_token.status_code == 403
    elsewhere = await anna.post(f"/applications/{case_id}", form, headers={"sec-fetch-site": "cross-site"})
    assert elsewhere.status_code == 403
    async with desk.client() as stranger:
        for path in ("", f"/{case_id}", f"/{case_id}/pictures/0/0", f"/{case_id}/document"):
            assert (await stranger.get(f"/applications{path}")).status_code == 303
    assert [r["revision"] for r in await desk.rows("SELECT revision FROM signed_application")] == [0]


async def test_what_is_not_there(desk: Desk, verifier: Verifier) -> None:
    case_id, _ = await unread(desk)
    anna = await desk.visitor()
    other = await desk.propose(number="ZGL000000002", old_login="ewa@poczta.example", new_login=None)
    (row,) = await desk.rows("SELECT case_id FROM reset_action WHERE id = $1", other)
    for path in (
        f"/applications/{uuid4()}", f"/applications/{row['case_id']}", f"/applications/{case_id}/pictures/0/2",
        f"/applications/{case_id}/pictures/1/0", f"/applications/{case_id}/pictures/99999999999999999999/0",
        f"/applications/{row['case_id']}/document",
    ):  # fmt: skip
        assert (await anna.get(path)).status_code == 404, path
    assert (await anna.get("/applications?state=x")).status_code == 400
    assert (await anna.get("/applications?cursor=x")).status_code == 400
    assert (await send(anna, desk, case_id, revision="-1")).status_code == 400


async def test_text_is_escaped_and_what_cannot_be_shown_is_a_download(desk: Desk, verifier: Verifier) -> None:
    verifier.signed = (b"<Imie>Jan</Imie>", "Ala <script>alert(1)</script> ą".encode(), b"PK\x03\x04 broken")
    document = b"%PDF-1.7 outside of what is signed"
    case_id, _ = await unread(desk, document)
    anna = await desk.visitor()
    shown = (await anna.get(f"/applications/{case_id}")).text
    assert "Imie: Jan" in shown
    assert "Ala &lt;script&gt;alert(1)&lt;/script&gt; ą" in shown
    assert "<script" not in shown
    assert "nie można bezpiecznie pokazać" in shown
    assert "<img" not in shown, "only what is signed is shown"
    download = await anna.get(f"/applications/{case_id}/document")
    assert download.content == document
    assert download.headers["content-disposition"].startswith("attachment;")
    assert download.headers["content-type"] == "application/octet-stream"
    assert [r.case_id for r in desk.recorded(AuditAction.DOWNLOADED)] == [case_id]


async def test_a_document_that_changed_or_is_gone_is_not_shown(desk: Desk, verifier: Verifier) -> None:
    case_id, _ = await unread(desk)
    anna = await desk.visitor()
    await desk.execute("UPDATE signed_application SET sha256 = repeat('0', 64)")
    assert "nie da się odczytać albo został usunięty" in (await anna.get(f"/applications/{case_id}")).text
    assert (await anna.get(f"/applications/{case_id}/pictures/0/0")).status_code == 404
    await desk.execute("UPDATE signed_application SET sha256 = ''; UPDATE envelope SET raw = ''")
    assert (await anna.get(f"/applications/{case_id}")).status_code == 200
    assert (await anna.get(f"/applications/{case_id}/document")).status_code == 404


async def test_a_signature_that_counts_no_more_is_said_before_anybody_types(desk: Desk, verifier: Verifier) -> None:
    case_id, _ = await unread(desk)
    anna = await desk.visitor()
    assert "Podpisu nie można już uznać" not in (await anna.get(f"/applications/{case_id}")).text
    verifier.valid = False
    assert "Podpisu nie można już uznać" in (await anna.get(f"/applications/{case_id}")).text


async def test_without_a_verifier_the_page_stands_and_shows_nothing(desk: Desk) -> None:
    case_id, _ = await unread(desk)
    anna = await desk.visitor()
    shown = await anna.get(f"/applications/{case_id}?lang=en")
    assert "The document cannot be read or was erased." in shown.text
    assert (await anna.get(f"/applications/{case_id}/pictures/0/0")).status_code == 404


async def test_a_long_list_goes_on(desk: Desk, verifier: Verifier) -> None:
    made = [
        (await unread(desk, number=f"ZGL{n:09}", old_login=f"jan{n}@poczta.example"))[0] for n in range(27)
    ]  # fmt: skip
    anna = await desk.visitor()
    first = (await anna.get("/applications")).text
    assert re.findall(r'<h2><a href="/applications/([0-9a-f-]{36})"', first) == [str(c) for c in made[:25]]
    more = unescape(re.findall(r'href="(/applications\?state=unread&amp;cursor=[^"]+)"', first)[0])
    second = (await anna.get(more)).text
    assert re.findall(r'<h2><a href="/applications/([0-9a-f-]{36})"', second) == [str(c) for c in made[25:]]
    assert '<span class="count">27</span>' in second


# --- the API ----------------------------------------------------------------------------------------------------------


async def test_programs_see_and_type_the_same(desk: Desk, verifier: Verifier) -> None:
    verifier.application = Application(given_name="Jan")
    case_id, action = await unread(desk, missing=("family_name", "old_login", "new_login"))
    anna = await desk.visitor("anna")
    listed = (await anna.get("/api/v1/applications")).json()
    assert [(i["case_id"], i["missing"]) for i in listed["items"]] == [
        (str(case_id), ["family_name", "old_login", "new_login"])
    ]
    one = (await anna.get(f"/api/v1/applications/{case_id}")).json()
    assert one["read"] == {"given_name": "Jan", "family_name": None, "old_login": None, "new_login": None}
    assert one["parts"][0]["pictures"] == [f"/applications/{case_id}/pictures/0/{n}" for n in range(2)]
    assert (one["revision"], one["closed_for"], one["signature_valid"]) == (0, None, True)
    data = {name: ALL[name] for name in one["missing"]}
    path = f"/api/v1/applications/{case_id}/data"
    body = {"sha256": one["sha256"], "revision": 0, "data": data}

    wrong = problem_of(await anna.call(path, body | {"data": ALL | {"new_login": "x"}}))
    assert (wrong["status"], wrong["type"]) == (422, "/problems/invalid")
    assert set(wrong["errors"]) == {"given_name", "new_login"}
    assert problem_of(await anna.call(path, body | {"sha256": "0" * 64}))["type"] == "/problems/refused"
    assert problem_of(await anna.call(path, body | {"more": 1}))["status"] == 422
    csrf = await anna.http.post(path, json=body)
    assert problem_of(csrf)["type"] == "/problems/csrf"
    auditor = await desk.visitor("olga", AUDITOR)
    assert problem_of(await auditor.call(path, body))["type"] == "/problems/forbidden"

    typed = await anna.call(path, body)
    assert typed.json() == {"case_id": str(case_id), "revision": 1, "typed_by": "local:anna"}
    again = problem_of(await anna.call(path, body))
    assert (again["status"], again["type"]) == (409, "/problems/refused")
    assert "Somebody else recorded the data" in again["detail"]
    assert (await anna.get(f"/api/v1/applications/{case_id}")).json()["typed"] == {"given_name": None} | data
    assert await desk.state_of(action) == "superseded"
    assert problem_of(await anna.get(f"/api/v1/applications/{uuid4()}"))["status"] == 404
    assert problem_of(await anna.get("/api/v1/applications?cursor=x"))["errors"] == ["cursor"]


async def test_the_calls_are_described(desk: Desk) -> None:
    async with desk.client() as anybody:
        paths = (await anybody.get("/api/v1/openapi.json")).json()["paths"]
    assert {method for path in paths if path.startswith("/api/v1/applications") for method in paths[path]} == {
        "get", "post",
    }  # fmt: skip
    body = paths["/api/v1/applications/{case}/data"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["$ref"].endswith("/TypeRequest")
