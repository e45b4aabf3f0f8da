"""Who a mail is from: what stands in angle brackets, whatever the name looks like. All persons are invented."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.connectors.email.addresses import addresses


@pytest.mark.parametrize(
    ("field", "name", "address"),
    [
        ("jan@x.example", "", "jan@x.example"),
        ("<jan@X.Example>", "", "jan@x.example"),
        ("Jan Próbny <jan@x.example>", "Jan Próbny", "jan@x.example"),
        ("jan@x.example (Jan Próbny)", "Jan Próbny", "jan@x.example"),
        # A name that looks like an address is a name.
        ("ewa@x.example <jan@x.example>", "ewa@x.example", "jan@x.example"),
        ('"ewa@x.example" <jan@x.example>', "ewa@x.example", "jan@x.example"),
        ('"Ewa \\" <ewa@x.example> \\"" <jan@x.example>', 'Ewa " <ewa@x.example> "', "jan@x.example"),
        ('"=?utf-8?Q?ewa=40x=2Eexample?=" <jan@x.example>', "ewa@x.example", "jan@x.example"),
        # Commas where they do not belong.
        ("Próbny, Jan <jan@x.example>", "Próbny, Jan", "jan@x.example"),
        ("=?utf-8?Q?Pr=C3=B3bny,_Jan?= <jan@x.example>", "Próbny, Jan", "jan@x.example"),
        ("=?iso-8859-2?Q?=AFubr?= <jan@x.example>", "Żubr", "jan@x.example"),
        ('"Jan <jan@x.example>', '"Jan', "jan@x.example"),
        ("Jan (dom <jan@x.example>", "Jan (dom", "jan@x.example"),
        ("Jan <jan@x.example", "Jan", "jan@x.example"),
        ("<@relay.example:jan@x.example>", "", "jan@x.example"),
        ("mailto:jan@x.example", "", "jan@x.example"),
    ],
)
def test_one_mailbox(field: str, name: str, address: str) -> None:
    (found,) = addresses([field])
    assert (found.name, found.address) == (name, address)


def test_several_and_none() -> None:
    assert [a.address for a in addresses(["a@x.example, B <b@x.example>; c@x.example", "d@x.example"])] == [
        "a@x.example", "b@x.example", "c@x.example", "d@x.example",
    ]  # fmt: skip
    assert len(addresses(["a@x.example," * 100], 3)) == 3
    assert addresses(["undisclosed-recipients:;", "", "Jan", "<>"]) == ()
    assert [a.name for a in addresses(["Biuro: jan@x.example, Ewa <ewa@x.example>;"])] == ["", "Ewa"]


@given(st.text('ab @<>",;:()\\=?.\u0142', max_size=60))
def test_any_field_can_be_read(field: str) -> None:
    for found in addresses([field]):
        assert found.address.count("@") == 1


@pytest.mark.parametrize("field", ['"\\' * 50_000, "(" * 100_000, "<" * 100_000, "=?" * 50_000, "a@" * 50_000])
@pytest.mark.timeout(60)
def test_a_hostile_field_costs_little(field: str) -> None:
    addresses([field])
