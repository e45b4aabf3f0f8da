"""The SCIM connector held to the port, on scim2-server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from okienko.connectors.identity.scim.client import ScimIdentity
from okienko.connectors.identity.scim.settings import ScimIdentitySettings
from okienko.plugins.settings import load_settings
from okienko.plugins.testing.conformance import IdentityConformance
from okienko.schemas import Person
from rigs.scim import LOCK, PESEL_PATH, TOKEN, Scim, scim2_with_sign_in, user


def made(url: str, token: str = TOKEN) -> ScimIdentity:
    values = {
        "URL": url, "TOKEN": token, "PESEL_PATH": PESEL_PATH,
        "LOCKED_PATH": f"{LOCK}:locked", "MUST_CHANGE_PATH": f"{LOCK}:mustChange",
    }  # fmt: skip
    return ScimIdentity(
        load_settings(ScimIdentitySettings, {f"OKIENKO_IDENTITY_SCIM_{k}": v for k, v in values.items()})
    )


class Workshop:
    """By plain HTTP. scim2-server stores the lock and does not act on it: the sign-in here does."""

    weak_passwords: tuple[str, ...] = ()

    def __init__(self, peer: Scim) -> None:
        self._peer = peer
        self._refs: dict[str, str] = {}

    async def create(self, login: str, password: str, person: Person) -> None:
        pesel = person.pesel.reveal() if person.pesel else None
        body = user(login, str(person.given_name), str(person.family_name), pesel, password=password)
        self._refs[login] = self._peer.create(body)

    def ref(self, login: str) -> str:
        """The id of an account that was made here."""
        return self._refs[login]

    async def delete(self, login: str) -> None:
        self._peer.delete(self._refs.pop(login))

    async def rename(self, login: str, new_login: str) -> None:
        self._refs[new_login] = self._refs.pop(login)
        self._change(new_login, "userName", new_login)

    async def lock(self, login: str) -> None:
        self._change(login, f"{LOCK}:locked", True)

    async def disable(self, login: str) -> None:
        self._change(login, "active", False)

    async def demand_change(self, login: str) -> None:
        self._change(login, f"{LOCK}:mustChange", True)

    async def sign_in(self, login: str, password: str) -> bool:
        door = self._peer.url.removesuffix("/v2") + "/sign-in"
        async with httpx.AsyncClient() as client:
            answer = await client.post(door, json={"login": login, "password": password})
        ref = self._refs.get(login)
        marks = self._peer.read(ref).get(LOCK, {}) if ref else {}
        return answer.status_code == 200 and not any(marks.values())

    def _change(self, login: str, path: str, value: object) -> None:
        self._peer.patch(self._refs[login], {"op": "replace", "path": path, "value": value})


@pytest.fixture(scope="module")
def peer() -> Iterator[Scim]:
    with scim2_with_sign_in() as running:
        yield running


class TestScim(IdentityConformance):
    @pytest.fixture
    async def backend(self, peer: Scim) -> AsyncIterator[ScimIdentity]:
        backend = made(peer.url)
        yield backend
        await backend.close()

    @pytest.fixture
    def workshop(self, peer: Scim) -> Workshop:
        return Workshop(peer)

    @pytest.fixture
    def unreachable(self) -> ScimIdentity:
        return made("http://127.0.0.1:9")

    @pytest.fixture
    def refused(self, peer: Scim) -> ScimIdentity:
        return made(peer.url, "falsz")
