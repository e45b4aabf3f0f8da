"""The live identity peers, with an administrator's and a person's hands by other means than okienko's connectors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from acceptance.recovery.letters import YEAR
from connectors.identity import test_ad as ad
from connectors.identity import test_ldap as ldap
from connectors.identity import test_scim_conformance as scim
from okienko.plugins.testing.conformance.workshop import OLD, AccountWorkshop
from okienko.schemas import Person
from rigs import samba as samba_rig
from rigs import slapd as slapd_rig
from rigs.scim import ENTERPRISE, LOCK, PESEL_PATH, TOKEN, scim2_with_sign_in


@dataclass(frozen=True)
class Peer:
    """A server that runs."""

    name: str
    """Of the backend."""
    environ: dict[str, str]
    """okienko's settings for it."""
    hands: AccountWorkshop
    _born: Callable[[str, str], None]
    """Writes a year of birth into an account: no PESEL of the 2200s tells one that somebody could write in a mail."""
    _numbers: Callable[[str], list[str]]
    """What stands where an account's PESEL stands."""

    async def account(self, login: str, person: Person, password: str = OLD) -> None:
        """A usable account."""
        await self.hands.create(login, password, person)
        await asyncio.to_thread(self._born, login, str(YEAR))

    async def pesels(self, login: str) -> list[str]:
        """The personal numbers that the account carries, as the server itself has them."""
        return await asyncio.to_thread(self._numbers, login)


@contextmanager
def slapd() -> Iterator[Peer]:
    """OpenLDAP."""
    with slapd_rig.slapd() as server:
        hands = ldap.Workshop(server)
        values = {
            "URL": server.url, "CA": str(server.ca), "BIND_DN": slapd_rig.OPERATOR,
            "BIND_PASSWORD": slapd_rig.OPERATOR_PASSWORD, "BASE": slapd_rig.PEOPLE,
            "BIRTH_DATE_ATTRIBUTE": "employeeNumber",
        }  # fmt: skip
        yield Peer(
            "ldap", _environ("ldap", values), hands, lambda login, year: hands.modify(login, 2, "employeeNumber", year),
            lambda login: hands.read(login, "pesel"),
        )  # fmt: skip


@contextmanager
def samba() -> Iterator[Peer]:
    """Active Directory."""
    with samba_rig.samba() as server:
        hands = ad.Workshop(server)
        values = {
            "URL": server.url, "CA": str(server.ca), "BIND_DN": samba_rig.OPERATOR,
            "BIND_PASSWORD": samba_rig.OPERATOR_PASSWORD, "BASE": samba_rig.PEOPLE, "BIRTH_DATE_ATTRIBUTE": "info",
        }  # fmt: skip
        yield Peer(
            "ad", _environ("ad", values), hands, lambda login, year: hands.modify(login, info=year),
            lambda login: hands.read(login, "employeeID"),
        )  # fmt: skip


@contextmanager
def scim2() -> Iterator[Peer]:
    """SCIM."""
    with scim2_with_sign_in() as server:
        hands = scim.Workshop(server)
        path = f"{ENTERPRISE}:costCenter"
        values = {
            "URL": server.url, "TOKEN": TOKEN, "PESEL_PATH": PESEL_PATH, "BIRTH_YEAR_PATH": path,
            "LOCKED_PATH": f"{LOCK}:locked", "MUST_CHANGE_PATH": f"{LOCK}:mustChange",
        }  # fmt: skip
        yield Peer(
            "scim", _environ("scim", values), hands,
            lambda login, year: server.patch(hands.ref(login), {"op": "replace", "path": path, "value": year}),
            lambda login: _present(server.read(hands.ref(login)).get(ENTERPRISE, {}).get("employeeNumber")),
        )  # fmt: skip


def _present(value: str | None) -> list[str]:
    return [value] if value else []


def _environ(backend: str, values: dict[str, str]) -> dict[str, str]:
    prefix = f"OKIENKO_IDENTITY_{backend.upper()}_"
    return {"OKIENKO_IDENTITY": backend} | {prefix + name: value for name, value in values.items()}


PEERS = {"slapd": slapd, "samba": samba, "scim2": scim2}
