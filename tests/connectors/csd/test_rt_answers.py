"""Every shape in which RT 5.0.3 was seen to answer, errors and all (recorded; nothing here reaches a network)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
import respx
from pydantic import SecretStr

from okienko.connectors.csd.rt.client import RtCsd
from okienko.connectors.csd.rt.settings import RtCsdSettings
from okienko.plugins.csd import TicketChange, TicketChangedError, TicketGoneError
from okienko.plugins.errors import MisconfiguredError, OkienkoError, PermanentError, TransientError
from okienko.plugins.testing.conformance.csd import registration
from okienko.schemas import CsdRef, Priority
from rigs.rt5 import MAPPING

REST = "https://rt.example.org/REST/2.0"
REF = CsdRef(backend="rt", number="7")
QUEUE = {"id": 3, "Name": "Konta", "_hyperlinks": [{"ref": "create", "type": "ticket"}]}


def ticket(**changes: object) -> dict:
    """GET /ticket/7."""
    return {
        "id": 7, "Subject": "Temat", "Status": "open", "Priority": "30", "Queue": {"id": "3", "Name": "Konta"},
        "Owner": {"id": "Nobody"}, "Created": "2026-11-23T20:39:47Z", "LastUpdated": "2026-11-23T20:39:48Z",
        "CustomFields": [], "_hyperlinks": [],
    } | changes  # fmt: skip


def page(*items: dict, total: int | None = None) -> dict:
    """A collection. `total` and `pages` are null where RT does not count."""
    pages = None if total is None else -(-total // 100)
    return {"count": len(items), "page": 1, "pages": pages, "per_page": 100, "total": total, "items": list(items)}


@pytest.fixture
def rt() -> respx.MockRouter:
    with respx.mock(base_url=REST, assert_all_called=False) as router:
        yield router


@pytest_asyncio.fixture
async def backend() -> AsyncIterator[RtCsd]:
    settings = RtCsdSettings(
        url="https://rt.example.org", token=SecretStr("1-27-abc"), mapping=MAPPING, connections=2, bulk=2
    )
    backend = RtCsd(settings)
    yield backend
    await backend.stop()


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (401, {"message": "Unauthorized"}, MisconfiguredError, "token"),
        (302, "Login required", MisconfiguredError, "redirects"),
        (403, {"message": "Forbidden"}, PermanentError, "rights"),
        (500, "<html>", TransientError, "failed"),
        (502, "<html>", TransientError, "busy"),
        (200, "<html>Page not found</html>", TransientError, "not with a JSON object"),
        (400, {"message": "JSON object must be a HASH"}, PermanentError, "HASH"),
    ],
)
async def test_refusals(
    rt: respx.MockRouter, backend: RtCsd, status: int, body: object, error: type[OkienkoError], words: str
) -> None:
    content = {"json": body} if isinstance(body, dict) else {"text": body}
    rt.get("/ticket/7").respond(status, **content)
    with pytest.raises(error, match=words) as caught:
        await backend.get(REF)
    assert type(caught.value) is error


async def test_the_token_is_sent_as_rt_wants_it(rt: respx.MockRouter, backend: RtCsd) -> None:
    """Bearer is refused; a browser's name would be sent to a login page."""
    rt.get("/ticket/7").respond(404, json={"message": "Not Found"})
    assert await backend.get(REF) is None
    headers = rt.calls.last.request.headers
    assert headers["authorization"] == "token 1-27-abc"
    assert headers["accept-language"] == "en"
    assert headers["user-agent"] == "okienko"


@pytest.mark.parametrize("status", [404, 200])
async def test_a_ticket_that_is_gone(rt: respx.MockRouter, backend: RtCsd, status: int) -> None:
    """Unknown, or deleted: RT still shows those, and takes comments on them."""
    rt.get("/ticket/7").respond(status, json=ticket(Status="deleted"))
    assert await backend.get(REF) is None
    for call in (
        lambda: backend.comment(REF, "k", "x"), lambda: backend.close(REF, "x"), lambda: backend.reopen(REF, "x"),
        lambda: backend.change(REF, TicketChange(subject="x")), lambda: backend.link(REF, REF),
    ):  # fmt: skip
        with pytest.raises(TicketGoneError):
            await call()


async def test_the_search_is_a_form_and_is_not_believed(rt: respx.MockRouter, backend: RtCsd) -> None:
    """A query in JSON is ignored. An unknown custom field finds nothing; a search that finds too much is compared."""
    ours, others = uuid4(), uuid4()

    def field(value: object) -> dict:
        return {"CustomFields": [{"name": "okienkoid", "values": [str(value)]}]}

    items = [{"id": "9"} | field(ours), {"id": "8"} | field(ours), {"id": "2"} | field(others), {"id": "3"} | field("")]
    route = rt.post("/tickets").respond(json=page(*items, total=4))
    assert await backend.find([ours, uuid4()]) == {ours: CsdRef(backend="rt", number="8")}
    request = route.calls.last.request
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert f"{ours}" in request.content.decode()


async def test_all_pages_of_a_search_are_read(rt: respx.MockRouter, backend: RtCsd) -> None:
    cases = [uuid4() for _ in range(3)]
    rows = [{"id": str(n), "CustomFields": [{"name": "OkienkoID", "values": [str(c)]}]} for n, c in enumerate(cases, 1)]
    answers = [page(*rows[:2], total=103) | {"pages": 2}, page(rows[2], total=103) | {"pages": 2, "page": 2}]
    rt.post("/tickets").side_effect = [httpx.Response(200, json=answer) for answer in answers]
    assert set(await backend.find(cases)) == set(cases)


def registered(rt: respx.MockRouter, answer: Callable[[list[dict]], httpx.Response]) -> dict[str, list[dict]]:
    """An RT that remembers what `answer` says it made, and finds it."""
    sent: dict[str, list[dict]] = {"bodies": [], "made": []}

    def bulk(request: httpx.Request) -> httpx.Response:
        bodies = json.loads(request.content)
        sent["bodies"] += bodies
        return answer(bodies)

    def search(request: httpx.Request) -> httpx.Response:
        rows = [
            {"id": str(row["id"]), "CustomFields": [{"name": "OkienkoID", "values": [row["case"]]}]}
            for row in sent["made"]
            if row["case"] and row["case"] in request.content.decode()
        ]
        return httpx.Response(200, json=page(*rows, total=len(rows)))

    rt.post("/tickets/bulk").mock(side_effect=bulk)
    rt.post("/tickets").mock(side_effect=search)
    rt.get("/queue/Konta").respond(json=QUEUE)
    return sent


def numbered(sent: dict[str, list[dict]], bodies: list[dict]) -> list[dict]:
    """RT's answer for tickets that it made."""
    answers = []
    for body in bodies:
        number = len(sent["made"]) + 1
        sent["made"].append({"id": number, "case": body["CustomFields"].get("OkienkoID", "")})
        answers.append({"id": str(number), "type": "ticket", "_url": f"{REST}/ticket/{number}"})
    return answers


async def test_a_batch_is_dealt_in_order(rt: respx.MockRouter, backend: RtCsd) -> None:
    """Two connections of two tickets: the first wave is the first four cases."""
    sent = registered(rt, lambda bodies: httpx.Response(201, json=numbered(sent, bodies)))
    batch = [registration(subject=str(n)) for n in range(7)]
    refs = await backend.create(batch)
    assert list(refs) == [one.correlation_id for one in batch]
    assert {body["Subject"] for body in sent["bodies"][:4]} == {"0", "1", "2", "3"}
    assert len(sent["made"]) == 7


async def test_a_lost_answer_is_looked_for(rt: respx.MockRouter, backend: RtCsd) -> None:
    """RT made them and the connection broke: nothing is made a second time, and nothing is raised."""

    def lost(bodies: list[dict]) -> httpx.Response:
        numbered(sent, bodies)
        raise httpx.ReadTimeout("no answer")

    sent = registered(rt, lost)
    batch = [registration(), registration()]
    assert set(await backend.create(batch)) == {one.correlation_id for one in batch}
    assert len(sent["made"]) == 2


async def test_an_rt_that_does_not_answer_is_not_asked_wave_after_wave(rt: respx.MockRouter, backend: RtCsd) -> None:
    sent = registered(rt, lambda _bodies: httpx.Response(500, text="<html>"))
    with pytest.raises(TransientError):
        await backend.create([registration() for _ in range(12)])
    assert len(sent["bodies"]) == 4


@pytest.mark.parametrize(
    ("message", "queue", "error"),
    [
        (
            "No permission to create tickets in the queue 'Konta'",
            (200, QUEUE | {"_hyperlinks": []}),
            MisconfiguredError,
        ),
        ("Brak uprawnień", (403, {"message": "Forbidden"}), MisconfiguredError),
        ("Status 'nosuch' isn't a valid status for tickets in this queue.", (200, QUEUE), PermanentError),
        ("Ticket could not be created due to an internal error", (200, QUEUE), PermanentError),
    ],
)
async def test_one_refused_ticket_does_not_keep_the_others(
    rt: respx.MockRouter, backend: RtCsd, message: str, queue: tuple[int, dict], error: type[OkienkoError]
) -> None:
    """Whose fault it is the queue tells, whatever language RT speaks."""

    def picky(bodies: list[dict]) -> httpx.Response:
        good = iter(numbered(sent, [body for body in bodies if body["Subject"] != "zła"]))
        return httpx.Response(201, json=[{"message": message} if b["Subject"] == "zła" else next(good) for b in bodies])

    sent = registered(rt, picky)
    rt.get("/queue/Konta").respond(queue[0], json=queue[1])
    batch = [registration(subject="zła"), registration(), registration()]
    with pytest.raises(error) as caught:
        await backend.create(batch)
    assert type(caught.value) is error
    assert set(await backend.find([one.correlation_id for one in batch])) == {one.correlation_id for one in batch[1:]}


async def test_an_empty_field_is_filled_afterwards(rt: respx.MockRouter, backend: RtCsd) -> None:
    """UniqueValues, or a missing right: RT makes the ticket, says nothing and leaves the field empty."""

    def forgetful(bodies: list[dict]) -> httpx.Response:
        answers = numbered(sent, bodies)
        sent["made"][-1]["case"] = ""
        return httpx.Response(201, json=answers)

    def fill(request: httpx.Request) -> httpx.Response:
        sent["made"][-1]["case"] = json.loads(request.content)["CustomFields"]["OkienkoID"]
        return httpx.Response(200, json=["OkienkoID added"])

    sent = registered(rt, forgetful)
    one = registration()
    rt.put("/ticket/1").mock(side_effect=fill)
    assert await backend.create([one]) == {one.correlation_id: CsdRef(backend="rt", number="1")}


@pytest.mark.parametrize(
    "told",
    [
        [], ["Ticket 7: Status 'nosuch' isn't a valid status for this ticket."], ["Invalid value for custom field"],
        ["Ticket 7: That user does not exist"],
    ],
)  # fmt: skip
async def test_200_with_nothing_done_is_found(rt: respx.MockRouter, backend: RtCsd, told: list[str]) -> None:
    rt.get("/ticket/7").respond(json=ticket())
    rt.put("/ticket/7").respond(json=told)
    with pytest.raises(PermanentError, match=r"did not set Subject"):
        await backend.change(REF, TicketChange(subject="nowy"))


async def test_if_match_is_the_etag_with_its_quotes(rt: respx.MockRouter, backend: RtCsd) -> None:
    """Without the quotes RT answers 412 always."""
    answers = [httpx.Response(200, json=ticket(Priority=p), headers={"ETag": '"44"'}) for p in ("30", "60")]
    rt.get("/ticket/7").side_effect = answers
    route = rt.put("/ticket/7").respond(json=["Ticket 7: Priority changed from 'Low' to 'High'"])
    await backend.change(REF, TicketChange(priority=Priority.HIGH), version='"44"')
    assert route.calls.last.request.headers["if-match"] == '"44"'
    assert json.loads(route.calls.last.request.content) == {"Priority": 60}


async def test_412_is_a_changed_ticket(rt: respx.MockRouter, backend: RtCsd) -> None:
    rt.get("/ticket/7").respond(json=ticket(), headers={"ETag": '"44"'})
    rt.put("/ticket/7").respond(412, json={"message": "Precondition Failed"})
    with pytest.raises(TicketChangedError):
        await backend.change(REF, TicketChange(subject="nowy"), version='"44"')
    with pytest.raises(TicketChangedError):
        await backend.change(REF, TicketChange(subject="nowy"), version='"43"')


async def test_comments_have_a_type_and_a_reason_is_withheld_from_nobody(rt: respx.MockRouter, backend: RtCsd) -> None:
    """Without ContentType RT refuses; what it says is in the error, without addresses."""
    rt.get("/ticket/7").respond(json=ticket())
    rt.post(path__regex=r"/ticket/7/attachments").respond(json=page())
    route = rt.post("/ticket/7/comment").respond(400, json={"message": "Permission Denied for jan@example.org"})
    with pytest.raises(PermanentError, match="Permission Denied for <address>"):
        await backend.comment(REF, "k", "Notatka.")
    assert json.loads(route.calls.last.request.content)["ContentType"] == "text/plain"


async def test_an_rt_4_is_told_apart(rt: respx.MockRouter, backend: RtCsd) -> None:
    rt.get("/rt").respond(json={"Version": "4.4.6"})
    (finding,) = await backend.check()
    assert "4.4.6" in finding.message
    assert finding.cure
