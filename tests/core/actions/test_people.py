"""One person is one approver, whichever identity they use; and whom nothing tells apart are one."""

from __future__ import annotations

import pytest

from okienko.core.actions.people import People, cannot_be_told, different, distinct
from okienko.core.settings import load_core_settings
from okienko.plugins.errors import MisconfiguredError

KNOWN = People({"anna@urzad.example": ["cli:anna", "oidc:https://idp.example:17"], "ewa@urzad.example": ["cli:ewa"]})


def one(who: str, *also: str) -> tuple[str, frozenset[str]]:
    return who, KNOWN.names(who, also)


@pytest.mark.parametrize(
    ("first", "second", "two"),
    [
        (one("local:anna", "anna@urzad.example"), one("cli:anna"), False),
        (one("oidc:https://idp.example:17"), one("cli:anna"), False),
        (one("local:ania", "ANNA@Urzad.Example"), one("oidc:https://idp.example:17"), False),
        (one("cli:anna"), one("cli:ewa"), True),
        (one("local:anna", "anna@urzad.example"), one("cli:ewa"), True),
        (one("local:anna"), one("local:ewa"), True),
        # Nothing says who the other one is.
        (one("local:anna", "anna@urzad.example"), one("oidc:https://idp.example:99"), False),
        (one("oidc:https://idp.example:98"), one("oidc:https://idp.example:99"), True),
        (one("local:anna", "anna@urzad.example"), one("cli:root"), False),
        # The Kelvin sign is no k.
        (one("local:a", "\u212aasia@urzad.example"), one("local:b", "kasia@urzad.example"), True),
    ],
)
def test_two_people_or_one(first: tuple[str, frozenset[str]], second: tuple[str, frozenset[str]], two: bool) -> None:
    assert different(first, second) is different(second, first) is two
    assert len(distinct([first, second])) == 1 + two


def test_a_chain_of_shared_names_is_one_person() -> None:
    chain = [("local:a", frozenset({"x@a.example"})), ("local:b", frozenset({"y@a.example"}))]
    assert distinct(chain) == ["local:a", "local:b"]
    assert distinct([*chain, ("local:c", frozenset({"X@a.example", "y@a.example"}))]) == ["local:a"]


def test_a_login_of_the_system_alone_is_nobody() -> None:
    assert cannot_be_told(*one("cli:root"))
    assert not cannot_be_told(*one("cli:anna"))
    assert not cannot_be_told(*one("oidc:https://user@idp.example:17"))


@pytest.mark.parametrize("value", ['{"anna": ["cli:anna"]}', '{"a@b.example": ["anna"]}', '{"cli:a@b": ["cli:a"]}'])
def test_a_wrong_setting_is_told(value: str) -> None:
    with pytest.raises(MisconfiguredError, match="OKIENKO_PEOPLE"):
        load_core_settings({"OKIENKO_PEOPLE": value})
