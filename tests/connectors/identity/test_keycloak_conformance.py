"""The Keycloak connector held to the port, on the contract's replay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
import respx

from okienko.connectors.identity.keycloak.client import KeycloakIdentity
from okienko.connectors.identity.keycloak.settings import KeycloakIdentitySettings
from okienko.plugins.settings import load_settings
from okienko.plugins.testing.conformance import IdentityConformance
from okienko.schemas import Person
from rigs.keycloak import ROOT, Keycloak


def made() -> KeycloakIdentity:
    values = {"URL": ROOT, "REALM": "urzad", "CLIENT_ID": "okienko", "CLIENT_SECRET": "sekret"}
    return KeycloakIdentity(
        load_settings(KeycloakIdentitySettings, {f"OKIENKO_IDENTITY_KEYCLOAK_{k}": v for k, v in values.items()})
    )


class Workshop:
    """Behind the replay's back."""

    weak_passwords = ("krotkie",)

    def __init__(self, peer: Keycloak) -> None:
        self._peer = peer

    async def create(self, login: str, password: str, person: Person) -> None:
        ref = str(uuid4())
        pesel = {"pesel": [person.pesel.reveal()]} if person.pesel else {}
        self._peer.users[ref] = Keycloak.user(
            ref, login, str(person.given_name), lastName=person.family_name, attributes=pesel
        )
        self._peer.passwords[ref] = password

    async def delete(self, login: str) -> None:
        del self._peer.users[self._ref(login)]

    async def rename(self, login: str, new_login: str) -> None:
        self._peer.users[self._ref(login)] |= {"email": new_login, "username": new_login}

    async def lock(self, login: str) -> None:
        self._peer.locks[self._ref(login)] = {"disabled": True, "numFailures": 3, "lastFailure": 1}

    async def disable(self, login: str) -> None:
        self._peer.users[self._ref(login)]["enabled"] = False

    async def demand_change(self, login: str) -> None:
        self._peer.users[self._ref(login)]["requiredActions"] = ["UPDATE_PASSWORD"]

    async def sign_in(self, login: str, password: str) -> bool:
        return any(
            one["email"] == login and one["enabled"] and not one["requiredActions"]
            and self._peer.passwords.get(ref) == password and not self._peer.locks.get(ref, {}).get("disabled")
            for ref, one in self._peer.users.items()
        )  # fmt: skip

    def _ref(self, login: str) -> str:
        return next(ref for ref, one in self._peer.users.items() if one["email"] == login)


class TestKeycloak(IdentityConformance):
    @pytest.fixture
    def peer(self) -> Keycloak:
        return Keycloak()

    @pytest.fixture(autouse=True)
    async def backend(self, peer: Keycloak) -> AsyncIterator[KeycloakIdentity]:
        with respx.mock(assert_all_called=False) as router:
            router.route(host="sso.example").mock(side_effect=peer)
            backend = made()
            yield backend
            await backend.close()

    @pytest.fixture
    def workshop(self, peer: Keycloak) -> Workshop:
        return Workshop(peer)

    @pytest.fixture
    def unreachable(self, peer: Keycloak) -> KeycloakIdentity:
        peer.fails["POST token"] = [httpx.ConnectError("x")] * 100
        return made()

    @pytest.fixture
    def refused(self, peer: Keycloak) -> KeycloakIdentity:
        peer.fails["POST token"] = [httpx.Response(401, json={"error": "invalid_client"})] * 100
        return made()
