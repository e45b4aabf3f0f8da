"""Administrators at the queue: what they see, and that no click does what it must not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from urllib.parse import unquote
from uuid import uuid4

import pytest

from okienko.core.actions.frozen import Step
from okienko.core.actions.machine import Risk
from okienko.core.actions.pesels import PeselReport, ReportedAccount, Suggestion
from okienko.core.audit.entries import AuditAction
from okienko.core.site.security import csrf_token
from okienko.plugins.identity import AccountFlag
from okienko.schemas import Decision
from rigs.site import AUDITOR, NEW, OLD, Desk


async def test_two_different_people_take_a_change_of_login_into_the_cool_down(desk: Desk) -> None:
    action = await desk.propose(must_check=("B5",))
    anna, bea = await desk.visitor("anna"), await desk.visitor("bea")
    shown = await anna.get(f"/actions/{action}")
    assert shown.status_code == 200
    assert "Potrzeba: 2 (różne osoby). Jest: 0." in shown.text
    assert 'value="B5" required' in shown.text

    first = await anna.approve(desk, action, "B5")
    assert first.status_code == 303
    assert await desk.state_of(action) == "waiting"
    after = await anna.get(first.headers["location"])
    assert "Twoje zatwierdzenie zostało zapisane." in after.text
    assert "Następne zatwierdzenie musi dać inna osoba" in after.text
    again = await anna.approve(desk, action, "B5")
    assert again.status_code == 409
    assert await desk.state_of(action) == "waiting"

    assert (await bea.approve(desk, action, "B5")).status_code == 303
    assert await desk.state_of(action) == "cooling"
    rows = await desk.rows("SELECT who, checked FROM reset_approval ORDER BY who")
    assert [(r["who"], r["checked"]) for r in rows] == [("local:anna", ["B5"]), ("local:bea", ["B5"])]


async def test_a_double_click_is_one_approval(desk: Desk) -> None:
    action = await desk.propose()
    anna = await desk.visitor("anna")
    answers = await asyncio.gather(*(anna.approve(desk, action) for _ in range(4)))
    assert sorted(a.status_code for a in answers) == [303, 409, 409, 409]
    assert len(await desk.rows("SELECT * FROM reset_approval")) == 1
    assert await desk.state_of(action) == "waiting"


async def test_each_rule_that_must_be_checked_has_to_be_ticked(desk: Desk) -> None:
    action = await desk.propose(must_check=("B5", "B7"))
    anna = await desk.visitor()
    answer = await anna.approve(desk, action, "B5", "X9")
    assert answer.status_code == 422
    assert "Brakuje: B7." in answer.text
    assert 'value="B5" required checked' in answer.text
    assert await desk.rows("SELECT * FROM reset_approval") == []


@pytest.mark.parametrize(
    ("who", "emails"),
    [("handler", ()), ("jan", (OLD.upper(),)), ("jan", (NEW,))],
    ids=["handler", "holder", "new-login"],
)
async def test_who_handled_the_case_or_owns_the_account_cannot_approve(
    desk: Desk, who: str, emails: tuple[str, ...]
) -> None:
    action = await desk.propose(handlers=frozenset({"local:handler"}))
    visitor = await desk.visitor(who, frozenset({*(await desk.visitor()).session.person.roles}), *emails)
    assert "Musi to zrobić kto inny" in (await visitor.get(f"/actions/{action}")).text
    assert (await visitor.approve(desk, action)).status_code == 409
    assert await desk.rows("SELECT * FROM reset_approval") == []


async def test_a_stale_digest_or_a_changed_case_is_not_approved(desk: Desk) -> None:
    action = await desk.propose()
    anna = await desk.visitor()
    stale = await anna.post(f"/actions/{action}/approve", await desk.seen(action) | {"digest": "0" * 64})
    assert stale.status_code == 409
    assert "W międzyczasie treść się zmieniła" in stale.text
    await desk.execute("UPDATE cases SET decision = $1", Decision().model_dump_json())
    page = await anna.get(f"/actions/{action}")
    assert "Dane sprawy różnią się od tego, co zaproponowano" in page.text
    assert 'name="digest"' not in page.text
    assert (await anna.approve(desk, action)).status_code == 409
    assert await desk.rows("SELECT * FROM reset_approval") == []


async def test_a_row_changed_behind_the_machine_is_shown_to_nobody(desk: Desk) -> None:
    action = await desk.propose()
    anna = await desk.visitor()
    await desk.execute("UPDATE reset_action SET new_login = 'inny@poczta.example'")
    answer = await anna.get(f"/actions/{action}")
    assert answer.status_code == 409
    assert "okienko audit verify" in answer.text


async def test_refusing_needs_a_reason_and_a_text_without_secrets(desk: Desk) -> None:
    action = await desk.propose()
    anna = await desk.visitor()
    empty = await anna.post(f"/actions/{action}/refuse", {"reason": " ", "solution": "PESEL 02070803628"})
    assert empty.status_code == 422
    assert "Podaj powód." in empty.text
    assert "jedenaście cyfr" in empty.text
    assert await desk.state_of(action) == "waiting"
    form = {"reason": "podpis innej osoby", "solution": "Prosimy o wniosek podpisany przez właściciela konta."}
    assert (await anna.post(f"/actions/{action}/refuse", form)).status_code == 303
    assert await desk.state_of(action) == "refused"
    (row,) = await desk.rows("SELECT solution, who FROM closing")
    assert row == {"solution": form["solution"], "who": "local:anna"}
    twice = await anna.post(f"/actions/{action}/refuse", form)
    assert twice.status_code == 409
    assert "odrzucone" in twice.text


async def test_done_by_hand_comes_after_the_approval(desk: Desk) -> None:
    action = await desk.propose(risk=Risk.LOW, new_login=None, steps=(Step.BY_HAND,))
    anna = await desk.visitor()
    early = await anna.post(f"/actions/{action}/done", {"solution": "Konto odblokowane."})
    assert early.status_code == 409
    assert await desk.state_of(action) == "waiting"
    await anna.approve(desk, action)
    assert await desk.state_of(action) == "ready"
    assert (await anna.post(f"/actions/{action}/done", {"solution": ""})).status_code == 422
    assert (await anna.post(f"/actions/{action}/done", {"solution": "Konto odblokowane."})).status_code == 303
    assert await desk.state_of(action) == "done"


async def test_an_auditor_looks_and_decides_nothing(desk: Desk) -> None:
    action = await desk.propose()
    visitor = await desk.visitor("ola", AUDITOR)
    page = await visitor.get(f"/actions/{action}")
    assert "Masz rolę audytora" in page.text
    assert "<textarea" not in page.text
    for path in (
        f"/actions/{action}/approve",
        f"/actions/{action}/refuse",
        f"/actions/{action}/done",
        "/administrators/invite",
    ):
        assert (await visitor.post(path, await desk.seen(action))).status_code == 403
    assert await desk.state_of(action) == "waiting"
    assert [r.actor for r in desk.recorded(AuditAction.DENIED)] == ["local:ola"] * 4


async def test_every_look_is_recorded_with_its_case_and_origin(desk: Desk) -> None:
    action = await desk.propose()
    anna = await desk.visitor()
    await anna.get("/actions")
    await anna.get(f"/actions/{action}")
    (case,) = await desk.rows("SELECT id FROM cases")
    (viewed,) = desk.recorded(AuditAction.VIEWED)
    assert (viewed.actor, viewed.case_id, viewed.origin) == ("local:anna", case["id"], "203.0.113.7")
    assert len(desk.recorded(AuditAction.LISTED)) == 1


async def test_what_cannot_be_recorded_is_not_shown(desk: Desk) -> None:
    from okienko.plugins.errors import TransientError

    action = await desk.propose()
    anna = await desk.visitor()

    async def fails(*_: object) -> None:
        raise TransientError("the audit log is away")

    desk.site.record = fails
    anna.http = (await desk.visitor()).http
    answer = await anna.get(f"/actions/{action}")
    assert answer.status_code == 503
    assert OLD not in answer.text


async def test_the_page_shows_all_that_a_decision_needs(desk: Desk) -> None:
    action = await desk.propose()
    anna = await desk.visitor()
    page = (await anna.get(f"/actions/{action}")).text.replace("<wbr>", "")
    for expected in (
        OLD,
        NEW,
        "HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA",
        "PAdES, qualified",
        await desk.digest_of(action),
        "wysokie",
        "ZGL000000001",
    ):
        assert expected in page
    # What came from outside is text, never markup.
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page


async def test_documents_are_downloads_that_no_browser_opens(desk: Desk) -> None:
    action = await desk.propose()
    anna = await desk.visitor()
    (row,) = await desk.rows("SELECT envelope_id FROM case_message")
    answer = await anna.get(f"/actions/{action}/documents/{row['envelope_id']}/0")
    assert answer.content == b"%PDF-1.7 synthetic"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment; ")
    assert "ąę" in unquote(disposition)
    assert '"' not in disposition.partition('filename="')[2].partition('"; ')[0]
    (record,) = desk.recorded(AuditAction.DOWNLOADED)
    assert record.case_id is not None
    other = await desk.propose(number="ZGL000000002")
    for path in (
        f"/actions/{other}/documents/{row['envelope_id']}/0",
        f"/actions/{action}/documents/{row['envelope_id']}/7",
        f"/actions/{action}/documents/{uuid4()}/0",
    ):
        assert (await anna.get(path)).status_code == 404


async def test_the_queue_has_tabs_and_pages(desk: Desk) -> None:
    for n in range(27):
        await desk.propose(number=f"ZGL{n:09}")
        desk.clock.advance(timedelta(minutes=1))
    anna = await desk.visitor()
    first = (await anna.get("/actions")).text
    assert first.count('<li class="card line') == 25
    assert "ZGL000000000" in first
    link = first.partition("cursor=")[2].partition('"')[0]
    second = (await anna.get(f"/actions?state=waiting&cursor={link}")).text
    assert second.count('<li class="card line') == 2
    assert "ZGL000000026" in second
    assert "Nie ma tu żadnych spraw" in (await anna.get("/actions?state=ended")).text
    for bad in ("/actions?state=other", "/actions?cursor=%00", "/actions?cursor=AAAA"):
        assert (await anna.get(bad)).status_code == 400


async def test_forms_of_strangers_change_nothing(desk: Desk) -> None:
    action = await desk.propose()
    anna, bea = await desk.visitor("anna"), await desk.visitor("bea")
    path, form = f"/actions/{action}/approve", await desk.seen(action)
    good = csrf_token(anna.session.token)
    attempts = [
        ({**form}, {}),
        ({**form, "csrf": csrf_token(bea.session.token)}, {}),
        ({**form, "csrf": good}, {"sec-fetch-site": "cross-site"}),
        ({**form, "csrf": good}, {"sec-fetch-site": "same-site"}),
        ({**form, "csrf": good}, {"sec-fetch-site": "none"}),
    ]
    for data, headers in attempts:
        assert (await anna.http.post(path, data=data, headers=headers)).status_code == 403
    # A browser that sends no Sec-Fetch-Site names its Origin.
    for origin, status in ((None, 403), ("https://zly.example", 403), ("null", 403), ("http://localhost:8080", 303)):
        async with desk.client(cookies={desk.site.sessions.cookie: anna.session.token}) as plain:
            del plain.headers["sec-fetch-site"]
            headers = {} if origin is None else {"origin": origin}
            answer = await plain.post(path, data={**form, "csrf": good}, headers=headers)
            assert answer.status_code == status, origin
    # Neither does a form of another media type, or too large a one.
    assert (await anna.http.post(path, json={"csrf": good})).status_code == 415
    assert (await anna.post(path, {"digest": "x" * 70_000})).status_code == 413
    assert len(await desk.rows("SELECT * FROM reset_approval")) == 1


async def test_a_flash_message_cannot_be_made_by_a_link(desk: Desk) -> None:
    action = await desk.propose()
    anna, bea = await desk.visitor("anna"), await desk.visitor("bea")
    location = (await anna.approve(desk, action)).headers["location"]
    assert "Twoje zatwierdzenie" in (await anna.get(location)).text
    assert "Twoje zatwierdzenie" not in (await bea.get(location)).text
    assert "Gotowe" not in (await anna.get(f"/actions/{action}?m=approved.{'0' * 32}")).text
    assert "Gotowe" not in (await anna.get(f"/actions/{action}?m=approved.ż")).text


async def test_nobody_sees_anything_without_a_sign_in(desk: Desk) -> None:
    action = await desk.propose()
    async with desk.client() as nobody:
        for path in ("/actions", f"/actions/{action}", f"/actions/{action}/documents/{uuid4()}/0", "/administrators"):
            answer = await nobody.get(path)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/sign-in")
        answer = await nobody.post(f"/actions/{action}/approve", data=await desk.seen(action))
        assert answer.headers["location"] == "/sign-in"
    assert await desk.rows("SELECT * FROM reset_approval") == []


async def test_the_report_on_a_pesel_conflict(desk: Desk) -> None:
    """On the page and in the API, in both languages, with a mask for the number and without the mark."""
    stranger = "<b>ewa</b>@poczta.example"
    report = PeselReport(
        pesel="*********28", mark="f" * 64,
        accounts=(
            ReportedAccount(ref="ref-1", login=OLD, flags=(AccountFlag.LOCKED,), holder_agrees=True, suggestion=Suggestion.MERGE_INTO),
            ReportedAccount(
                ref="ref-2", login=stranger, unknown_flags=(AccountFlag.LOCKED, AccountFlag.DISABLED), holder_agrees=False,
                suggestion=Suggestion.RELEASE_FROM,
            ),
        ),
    )  # fmt: skip
    action = await desk.propose(new_login=None, steps=(Step.RELEASE_PESEL,), report=report.text())
    anna = await desk.visitor("anna")
    page = (await anna.get(f"/actions/{action}")).text
    for text in (
        "Usunąć numer PESEL z konta", "*********28", "Liczba kont z tym numerem: 2", "zablokowane po nieudanych logowaniach",
        "to konto zostawić", "zwolnić numer z tego konta", "imię i nazwisko inne niż w podpisie", "Błąd odebrałby numer PESEL",
        "system kont tego nie podaje",
    ):  # fmt: skip
        assert text in page, text
    assert stranger not in page
    assert report.mark not in page
    shown = (await anna.get(f"/api/v1/actions/{action}")).json()["report"]
    assert shown == report.model_dump(mode="json", exclude={"mark"})
    plain = await desk.propose(number="ZGL000000002")
    assert "Raport o numerze PESEL" not in (await anna.get(f"/actions/{plain}")).text
    assert (await anna.get(f"/api/v1/actions/{plain}")).json()["report"] is None
