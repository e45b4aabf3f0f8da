"""The JSON API: its document and its routes are one, and it decides as the pages do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from starlette.routing import Route

from okienko.core.actions.frozen import Step
from okienko.core.actions.machine import Risk
from okienko.core.site.api import OPERATIONS, api_routes
from okienko.core.site.openapi import template
from okienko.core.site.security import csrf_token
from rigs.site import AUDITOR, Desk, problem_of


async def described(desk: Desk) -> dict[str, Any]:
    async with desk.client() as program:
        answer = await program.get("/api/v1/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def fits(document: dict[str, Any], name: str, status: int, body: Any) -> None:
    """Fail unless the answer is as the document says."""
    operation = next(o for p in document["paths"].values() for o in p.values() if o["operationId"] == name)
    (media,) = operation["responses"][str(status)]["content"].values()
    registry = Registry().with_resource("urn:doc", Resource.from_contents(document, default_specification=DRAFT202012))
    pointer = media["schema"]["$ref"]
    Draft202012Validator({"$ref": f"urn:doc{pointer}"}, registry=registry).validate(body)


async def test_the_document_names_every_route_and_nothing_else(desk: Desk) -> None:
    document = await described(desk)
    assert document["openapi"] == "3.1.0"
    there = {(m.upper(), path) for path, item in document["paths"].items() for m in item}
    routed = {
        (method, template(route.path))
        for route in api_routes(desk.site)
        if isinstance(route, Route) and not route.path.endswith("openapi.json")
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert there == routed
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert name[0].isupper()
    references = str(document).split("#/components/schemas/")[1:]
    assert {r.partition("'")[0] for r in references} <= set(document["components"]["schemas"])
    assert len({o.name for o in OPERATIONS}) == len(OPERATIONS)


async def test_a_decision_by_the_api_and_its_answers_fit_the_document(desk: Desk) -> None:
    document = await described(desk)
    action = await desk.propose(must_check=("B5",))
    anna = await desk.visitor()
    who = await anna.get("/api/v1/session")
    fits(document, "session", 200, who.json())
    assert who.json()["csrf"] == csrf_token(anna.session.token)
    listed = await anna.get("/api/v1/actions")
    fits(document, "list_actions", 200, listed.json())
    one = await anna.get(f"/api/v1/actions/{action}")
    fits(document, "get_action", 200, one.json())
    assert one.json()["must_check"] == ["B5"]
    path = f"/api/v1/actions/{action}/approve"
    unchecked = await anna.call(path, {"digest": one.json()["digest"], "decision": one.json()["decision"]})
    assert (unchecked.status_code, "B5" in problem_of(unchecked)["detail"]) == (409, True)
    fits(document, "approve_action", 409, unchecked.json())
    done = await anna.call(path, {k: one.json()[k] for k in ("digest", "decision")} | {"checked": ["B5"]})
    assert done.status_code == 200
    fits(document, "approve_action", 200, done.json())
    assert done.json()["approved_by"] == ["local:anna"]
    refused = await anna.call(
        f"/api/v1/actions/{action}/refuse", {"reason": "x", "solution": "Prosimy o nowy wniosek."}
    )
    fits(document, "refuse_action", 200, refused.json())
    assert refused.json()["state"] == "refused"
    assert await desk.state_of(action) == "refused"


async def test_done_by_hand(desk: Desk) -> None:
    action = await desk.propose(risk=Risk.LOW, new_login=None, steps=(Step.BY_HAND,))
    anna = await desk.visitor()
    body = {"solution": "Konto odblokowane."}
    assert (await anna.call(f"/api/v1/actions/{action}/done", body)).status_code == 409
    await anna.approve(desk, action)
    assert (await anna.call(f"/api/v1/actions/{action}/done", {"solution": "PESEL 02070803628"})).status_code == 422
    assert (await anna.call(f"/api/v1/actions/{action}/done", body)).json()["state"] == "done"


async def test_a_session_needs_the_csrf_header_and_a_role(desk: Desk) -> None:
    action = await desk.propose()
    anna, ola = await desk.visitor(), await desk.visitor("ola", AUDITOR)
    body = await desk.seen(action)
    path = f"/api/v1/actions/{action}/approve"
    for headers in (
        {},
        {"x-csrf-token": "x"},
        {"x-csrf-token": csrf_token(anna.session.token), "sec-fetch-site": "cross-site"},
    ):
        answer = await anna.http.post(path, json=body, headers=headers)
        assert (answer.status_code, problem_of(answer)["type"]) == (403, "/problems/csrf")
    assert problem_of(await ola.call(path, body))["type"] == "/problems/forbidden"
    async with desk.client() as nobody:
        for answer in (
            await nobody.get("/api/v1/actions"),
            await nobody.post(path, json=body),
            await nobody.get(f"/api/v1/actions/{action}"),
        ):
            assert (answer.status_code, problem_of(answer)["type"]) == (401, "/problems/unauthenticated")
        token = await nobody.get("/api/v1/actions", headers={"authorization": "Bearer x"})
        assert problem_of(token)["type"] == "/problems/bad-token"
    assert await desk.rows("SELECT * FROM reset_approval") == []


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 422),
        (b"[]", {}, 422),
        (b'{"digest": "x"}', {}, 422),
        (b'{"digest": "' + b"0" * 64 + b'", "more": 1}', {}, 422),
        (b"\xff", {}, 422),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b" " * 70_000, {}, 413),
        (b'{"digest": "' + b"0" * 64 + b'", "decision": "' + b"0" * 64 + b'"}', {}, 409),
    ],
)  # fmt: skip
async def test_bad_bodies_are_problems(desk: Desk, body: bytes, headers: dict[str, str], status: int) -> None:
    action = await desk.propose()
    anna = await desk.visitor()
    sent = {"content-type": "application/json", "x-csrf-token": csrf_token(anna.session.token)} | headers
    answer = await anna.http.post(f"/api/v1/actions/{action}/approve", content=body, headers=sent)
    assert answer.status_code == status
    assert problem_of(answer)["status"] == status


async def test_what_is_not_there(desk: Desk) -> None:
    anna = await desk.visitor()
    for path in (f"/api/v1/actions/{uuid4()}", "/api/v1/nothing", "/api/v1/actions/x"):
        answer = await anna.get(path)
        assert (answer.status_code, problem_of(answer)["type"]) == (404, "/problems/not-found")
    answer = await anna.http.delete("/api/v1/actions")
    assert (answer.status_code, problem_of(answer)["type"]) == (405, "/problems/method")


async def test_pages_follow_each_other_without_gap_or_repetition(desk: Desk) -> None:
    made = []
    for n in range(7):
        made.append(str(await desk.propose(number=f"ZGL{n:09}")))
        if n % 3:
            desk.clock.advance(timedelta(microseconds=1))
    anna = await desk.visitor()
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = (await anna.get("/api/v1/actions", params=query)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        if len(seen) == 3:
            # What comes and goes meanwhile moves nothing.
            await desk.propose(number="ZGL000000099")
    assert len(seen) == len(set(seen)) == 8
    assert set(made) <= set(seen)
    for bad in (
        {"limit": "0"},
        {"limit": "201"},
        {"state": "x"},
        {"cursor": "x"},
        {"cursor": "A" * 100},
        {"more": "1"},
    ):
        answer = await anna.get("/api/v1/actions", params=bad)
        assert answer.status_code == 422, bad
    assert [i["id"] for i in (await anna.get("/api/v1/actions?state=ended")).json()["items"]] == []
    assert len((await anna.get("/api/v1/actions?state=all")).json()["items"]) == 8
