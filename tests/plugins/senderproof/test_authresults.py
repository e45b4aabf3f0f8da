"""Authentication-Results fields as servers write them, and as attackers would like to."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okienko.plugins.senderproof.authresults import NotReadableError, authserv_id, parse

GOOD = [
    ("mx.example; dmarc=pass header.from=poczta.example", [("dmarc", "pass", {"header.from": "poczta.example"})]),
    ("mx.example 1; spf=pass smtp.mailfrom=a@poczta.example", [("spf", "pass", {"smtp.mailfrom": "a@poczta.example"})]),
    ("MX.Example; none", []),
    ("mx.example;NONE", []),
    ("mx.example; dkim=pass;", [("dkim", "pass", {})]),
    (
        "mx.example;\r\n\tdkim=pass (2048-bit key; unprotected) header.d=poczta.example\r\n\t header.i=@poczta.example header.b=Ab+/=",
        [("dkim", "pass", {"header.d": "poczta.example", "header.i": "@poczta.example", "header.b": "Ab+/="})],
    ),
    (
        "mx.example (a (nested; \\) one) \" ; dmarc=pass); spf=none (; dmarc=pass header.from=x)",
        [("spf", "none", {})],
    ),
    ('"mx.example"; dkim=fail reason="bad; dmarc=pass \\" x"', [("dkim", "fail", {"reason": 'bad; dmarc=pass " x'})]),
    ("mx.example; dmarc / 1 = pass (ok) header . from = poczta.example", [("dmarc", "pass", {"header.from": "poczta.example"})]),
    (
        "mx.example; spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=a.example; dkim=pass (signature was verified) header.d=a.example;"
        "dmarc=pass action=none header.from=a.example;compauth=pass reason=100",
        [
            ("spf", "pass", {"smtp.mailfrom": "a.example"}),
            ("dkim", "pass", {"header.d": "a.example"}),
            ("dmarc", "pass", {"action": "none", "header.from": "a.example"}),
            ("compauth", "pass", {"reason": "100"}),
        ],
    ),
    (
        'mx.example; auth=pass smtp.auth="jan kowalski" smtp.mailfrom="a b"@poczta.example',
        [("auth", "pass", {"smtp.auth": "jan kowalski", "smtp.mailfrom": '"a b"@poczta.example'})],
    ),
    ("mx.example; dkim=pass header.d=żółw.example", [("dkim", "pass", {"header.d": "żółw.example"})]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), GOOD)
def test_read(value: str, expected: list[tuple[str, str, dict[str, str]]]) -> None:
    found = parse(value)
    assert found.authserv_id == "mx.example" == authserv_id(value)
    assert [(r.method, r.result, r.properties) for r in found.results] == expected


def test_several_and_repeated() -> None:
    found = parse("mx.example; dkim=pass header.d=a.example header.d=b.example; dkim=fail header.d=c.example")
    assert len(found.results) == 2
    assert found.results[0].only("header.d") is None
    assert found.results[1].only("header.d") == "c.example"


@pytest.mark.parametrize(
    "value",
    [
        "", ";", "mx.example", "mx.example;", "; dmarc=pass", "mx.example 2; dmarc=pass", "mx.example x; dmarc=pass",
        "mx.example; dmarc", "mx.example; dmarc=", "mx.example; dmarc/2=pass", "mx.example; =pass",
        "mx.example; dmarc=pass;; spf=pass", "mx.example; none; dmarc=pass", "mx.example; dmarc=pass (open",
        "mx.example; dmarc=pass )", 'mx.example; dmarc=pass reason="open', "mx.example; dmarc=pass (x\\",
        "mx.example; dmarc=pass header.from", "mx.example; dmarc=pass header.from=a.example, header.from = ",
        'mx.example; dkim=pass header.d=a"b', "mx.example; dmarc=pass\x00", "mx.example; dmarc=pass \x1b[0m",
        "mx.example, mx2.example; dmarc=pass", "mx.example = x; dmarc=pass", "mx.example; dmarc=pass=pass",
        "spf=pass smtp.mailfrom=a.example; dkim=pass header.d=a.example",
        "mx.example; " + "spf=pass; " * 101, "mx.example; spf=pass reason=" + "x" * 20_000,
    ],
)  # fmt: skip
def test_not_readable(value: str) -> None:
    with pytest.raises(NotReadableError):
        parse(value)


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from(list('mx.;=()"\\ \t\r\nadkim1/-_,@żé')), max_size=80))
def test_never_another_error(value: str) -> None:
    try:
        parse("mx.example" + value)
    except NotReadableError:
        return


_words = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,8}[a-z0-9])?", fullmatch=True)
_values = st.text(st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters=" "), min_size=0, max_size=30)


@settings(deadline=None)
@given(_words, _words, _words, _words, _values)
def test_what_is_quoted_comes_back_and_adds_nothing(method: str, result: str, kind: str, name: str, value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    found = parse(f'mx.example; {method}={result} {kind}.{name}="{quoted}"')
    assert [(r.method, r.result, r.properties) for r in found.results] == [(method, result, {f"{kind}.{name}": value})]


@settings(deadline=None)
@given(_values)
def test_a_comment_adds_nothing(value: str) -> None:
    escaped = "".join(f"\\{c}" if c in "()\\" else c for c in value)
    found = parse(f"mx.example; spf=fail ({escaped}) smtp.mailfrom=a.example")
    assert [(r.method, r.result, r.properties) for r in found.results] == [
        ("spf", "fail", {"smtp.mailfrom": "a.example"})
    ]


@pytest.mark.parametrize(
    "value",
    ["mx.example; " + "a" * 19_900, "mx.example; a=" + "a-" * 9_900, "mx.example; a=b " + "(" * 19_900,
     "mx.example; a=b " + '"' * 19_900, "mx.example; a=b " + "a." * 9_900, "mx.example; a=b " + " " * 19_000 + "."],
)  # fmt: skip
def test_long_fields_cost_little(value: str) -> None:
    start = time.process_time()
    with pytest.raises(NotReadableError):
        parse(value)
    assert time.process_time() - start < 0.5
