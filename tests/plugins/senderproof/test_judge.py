"""The verdict about a sender: what proves it, and a corpus of spoofs that must never be proved."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.senderproof import Method, Proof, SenderProof, SenderProofSettings, SenderVerdict, header_values
from okienko.plugins.senderproof.domains import aligned, canonical, organisational
from okienko.plugins.settings import load_settings

JAN = "Jan Próbny <jan@poczta.example>"
DMARC = "mx.example; dmarc=pass header.from=poczta.example"


def judge(
    *results: str, sender: str | tuple[str, ...] = JAN, ids: tuple[str, ...] = ("mx.example",), **more: object
) -> SenderVerdict:
    chosen = SenderProofSettings(authserv_ids=list(ids), **more)  # type: ignore[arg-type]
    return SenderProof(chosen).judge(results, (sender,) if isinstance(sender, str) else sender)


@pytest.mark.parametrize(
    ("field", "method", "domain"),
    [
        (DMARC, Method.DMARC, "poczta.example"),
        ("MX.EXAMPLE 1 ; DMARC = Pass (p=NONE) header.from=Poczta.Example.", Method.DMARC, "poczta.example"),
        ("mx.example; dkim=pass header.d=poczta.example", Method.DKIM, "poczta.example"),
        ("mx.example; dkim=pass header.i=@news.poczta.example header.s=s1 header.b=AbC/d+e", Method.DKIM, "news.poczta.example"),
        ("mx.example; dkim=fail header.d=poczta.example; dkim=pass header.d=poczta.example", Method.DKIM, "poczta.example"),
        ("mx.example; spf=pass (x) smtp.mailfrom=bounce@mail.poczta.example", Method.SPF, "mail.poczta.example"),
        ("mx.example; dmarc=none header.from=poczta.example; spf=pass smtp.mailfrom=poczta.example", Method.SPF, "poczta.example"),
        ("mx.example; dmarc=bestguesspass header.from=poczta.example; dkim=pass header.d=poczta.example", Method.DKIM, "poczta.example"),
        ("mx.example; spf=pass smtp.mailfrom=evil.example; dkim=pass header.d=poczta.example", Method.DKIM, "poczta.example"),
        ("mx.example; dmarc=pass header.from=poczta.example; dkim=pass header.d=evil.example", Method.DMARC, "poczta.example"),
    ],
)  # fmt: skip
def test_proved(field: str, method: Method, domain: str) -> None:
    found = judge(field)
    assert (found.proof, found.method, found.domain) == (Proof.PROVED, method, domain)
    assert found.address == "jan@poczta.example"
    assert "mx.example says" in found.evidence
    assert domain in found.evidence


@pytest.mark.parametrize(
    "sender",
    ["jan@poczta.example", "<jan@poczta.example>", "jan@POCZTA.example", "jan@poczta.example (Jan)", '"Próbny, Jan" <jan@poczta.example>',
     "=?utf-8?q?Jan_Pr=C3=B3bny?= <jan@poczta.example>", "Jan\r\n Próbny\r\n <jan@poczta.example>", '"jan@poczta.example" <jan@poczta.example>',
     "J. Próbny-Kowal <jan@poczta.example>"],
)  # fmt: skip
def test_ordinary_senders(sender: str) -> None:
    assert judge(DMARC, sender=sender).proof is Proof.PROVED


def test_several_fields_of_our_server() -> None:
    spf, dkim = "mx.example; spf=none smtp.mailfrom=x.example", "mx.example; dkim=pass header.d=poczta.example"
    assert judge(spf, dkim).proof is Proof.UNPROVED
    assert judge(spf, dkim, fields=2).proof is Proof.PROVED
    assert judge("mx.example; dmarc=fail header.from=poczta.example", dkim, fields=2).proof is Proof.FAILED


def test_fields_of_inner_servers_are_passed_over_above_only() -> None:
    inner = "inner.example; x-virus=none"
    assert judge(inner, inner, DMARC, skipped_ids=["inner.example"]).proof is Proof.PROVED
    assert judge(inner, DMARC).proof is Proof.UNPROVED
    forged = "mx.example; spf=fail smtp.mailfrom=evil.example", inner, DMARC
    assert judge(*forged, skipped_ids=["inner.example"], fields=5).proof is Proof.UNPROVED


def test_strict_alignment() -> None:
    for field in ("dkim=pass header.d=news.poczta.example", "spf=pass smtp.mailfrom=x@news.poczta.example"):
        assert judge(f"mx.example; {field}").proof is Proof.PROVED
        assert judge(f"mx.example; {field}", alignment="strict").proof is Proof.UNPROVED
    assert judge("mx.example; dkim=pass header.i=@poczta.example", alignment="strict").proof is Proof.UNPROVED
    assert judge("mx.example; dkim=pass header.d=poczta.example", alignment="strict").proof is Proof.PROVED


def test_only_accepted_methods() -> None:
    assert judge("mx.example; spf=pass smtp.mailfrom=poczta.example", methods=["dmarc", "dkim"]).proof is Proof.UNPROVED
    assert judge("mx.example; dmarc=fail", methods=["spf"]).proof is Proof.FAILED


@pytest.mark.parametrize(
    "field",
    ["mx.example; dmarc=fail header.from=poczta.example; dkim=pass header.d=poczta.example", "mx.example; dmarc=fail"],
)
def test_failed(field: str) -> None:
    found = judge(field)
    assert (found.proof, found.method) == (Proof.FAILED, Method.DMARC)


SPOOFS: list[tuple[str, tuple[str, ...]]] = [
    ("no field", ()),
    ("a server that is not ours", ("evil.example; dmarc=pass header.from=poczta.example",)),
    ("ours below a foreign one", ("other.example; spf=none", DMARC)),
    ("forged below ours", ("mx.example; spf=softfail smtp.mailfrom=evil.example", DMARC)),
    ("forged below ours that says none", ("mx.example; none", DMARC)),
    ("forged below an unreadable one of ours", ("mx.example; dmarc", DMARC)),
    ("a name that ends like ours", ("evilmx.example; dmarc=pass header.from=poczta.example",)),
    ("a name that begins like ours", ("mx.example.evil.example; dmarc=pass header.from=poczta.example",)),
    ("our name in a comment", ("(mx.example;) evil.example; dmarc=pass header.from=poczta.example",)),
    ("two names", ("mx.example evil.example; dmarc=pass header.from=poczta.example",)),
    ("homograph of our name", ("mх.example; dmarc=pass header.from=poczta.example",)),
    ("long s of another alphabet", ("mx.example\u200b; dmarc=pass header.from=poczta.example",)),
    ("another version", ("mx.example 2; dmarc=pass header.from=poczta.example",)),
    ("no name at all (Exchange Online)", ("spf=pass smtp.mailfrom=poczta.example; dmarc=pass header.from=poczta.example",)),
    ("the attacker's own DMARC", ("mx.example; dmarc=pass header.from=evil.example",)),
    ("DMARC of the parent", ("mx.example; dmarc=pass header.from=example",)),
    ("DMARC of a subdomain", ("mx.example; dmarc=pass header.from=a.poczta.example",)),
    ("DMARC without a domain", ("mx.example; dmarc=pass",)),
    ("two DMARC domains", ("mx.example; dmarc=pass header.from=evil.example header.from=poczta.example",)),
    ("two DMARC results", ("mx.example; dmarc=pass header.from=evil.example; dmarc=pass header.from=poczta.example",)),
    ("DMARC pass and fail", ("mx.example; dmarc=pass header.from=poczta.example; dmarc=fail header.from=poczta.example",)),
    ("in a comment", ("mx.example; spf=fail (; dmarc=pass header.from=poczta.example)",)),
    ("in a reason", ('mx.example; spf=fail reason="; dmarc=pass header.from=poczta.example; x="',)),
    ("in a quoted address", ('mx.example; spf=pass smtp.mailfrom="; dmarc=pass header.from=poczta.example; x"@evil.example',)),
    ("an at sign in the local part", ('mx.example; spf=pass smtp.mailfrom="x@poczta.example"@evil.example',)),
    ("an at sign in the local part, turned", ("mx.example; spf=pass smtp.mailfrom=x@evil.example@poczta.example",)),
    ("a quoted address that ends well", ('mx.example; spf=pass smtp.mailfrom="x@evil.example,y@poczta.example"',)),
    ("SPF of HELO", ("mx.example; spf=pass smtp.helo=poczta.example",)),
    ("SPF fail", ("mx.example; spf=fail smtp.mailfrom=poczta.example",)),
    ("SPF of the attacker", ("mx.example; spf=pass smtp.mailfrom=jan@evil.example",)),
    ("DKIM of the attacker", ("mx.example; dkim=pass header.d=evil.example header.i=@evil.example",)),
    ("DKIM identity outside", ("mx.example; dkim=pass header.d=evil.example header.i=@poczta.example",)),
    ("DKIM identity outside, turned", ("mx.example; dkim=pass header.d=poczta.example header.i=@evil.example",)),
    ("DKIM domain twice", ("mx.example; dkim=pass header.d=evil.example header.d=poczta.example",)),
    ("DKIM of a name that ends alike", ("mx.example; dkim=pass header.d=xpoczta.example",)),
    ("DKIM of a public suffix", ("mx.example; dkim=pass header.d=example",)),
    ("DKIM neutral", ("mx.example; dkim=neutral header.d=poczta.example",)),
    ("passed", ("mx.example; dkim=passed header.d=poczta.example",)),
    ("ARC's word", ("mx.example; arc=pass header.from=poczta.example",)),
    ("another method's word", ("mx.example; x-dmarc=pass header.from=poczta.example; auth=pass smtp.auth=jan@poczta.example",)),
    ("a line break", ("mx.example; spf=fail\r\nAuthentication-Results: mx.example; dmarc=pass header.from=poczta.example",)),
    ("a vertical tab", ("mx.example;\x0bdmarc=pass header.from=poczta.example",)),
    ("two names of a comma list", ("mx.example,evil.example; dmarc=pass header.from=poczta.example",)),
]  # fmt: skip


@pytest.mark.parametrize("results", [r for _, r in SPOOFS], ids=[name for name, _ in SPOOFS])
@pytest.mark.parametrize("alignment", ["relaxed", "strict"])
def test_spoofs_are_never_proved(results: tuple[str, ...], alignment: str) -> None:
    found = judge(*results, alignment=alignment)
    assert found.proof is not Proof.PROVED, found
    assert found.evidence


@pytest.mark.parametrize(
    "sender",
    [
        (), (JAN, "evil@evil.example"), ("jan@poczta.example, evil@evil.example",), ("evil@evil.example, jan@poczta.example",),
        ('"jan@poczta.example" <evil@evil.example>',), ("jan@poczta.example <evil@evil.example>",),
        ("=?utf-8?q?jan=40poczta.example?= <evil@evil.example>",), ("jan＠poczta.example <evil@evil.example>",),
        ('"evil@evil.example" <jan@poczta.example>',), ("<evil@evil.example> <jan@poczta.example>",),
        ("jan@poczta.example (evil@evil.example)",), ("Group: jan@poczta.example;",), ("<@evil.example:jan@poczta.example>",),
        ('"jan@poczta.example"@evil.example',), ("jan@poczta.example@evil.example",), ("jan@evil.example@poczta.example",),
        ("jan@poczta.example\x00",), ("jan\u200b@poczta.example",), ("\u202ejan@poczta.example",), ("jan@[192.0.2.1]",),
        ("jan@192.0.2.1",), ("jan@poczta",), ("jan@-poczta.example",), ("jan@po..example",), ("jan",), ("",), ("jan@",),
        ("jan@poczta.example>",), ("<jan@poczta.example",), ("jan @poczta.example",), ("jan@poczta.example; x",),
        ("=?utf-8?b?!!!?= <jan@poczta.example>, x@evil.example",), ("x" * 3000 + " <jan@poczta.example>",),
        ("Jan <evil@evil.example> <jan@poczta.example>",), ("ja\u00a0n@poczta.example",), ("\u212aan\ufe0f@poczta.example",),
    ],
)  # fmt: skip
def test_unsure_senders_are_never_proved(sender: tuple[str, ...]) -> None:
    everything = "mx.example; dkim=pass header.d=poczta.example; dkim=pass header.d=evil.example; spf=pass smtp.mailfrom=evil.example"
    for field in (DMARC, everything):
        assert judge(field, sender=sender).proof is Proof.UNPROVED


def test_sharp_s_is_not_two() -> None:
    """IDNA 2003 takes faß.example for fass.example: whoever has the one could pass for the other."""
    assert canonical("faß.example") == "xn--fa-hia.example"
    own = "mx.example; dmarc=pass header.from=xn--fa-hia.example"
    assert judge(own, sender="jan@fass.example").proof is Proof.UNPROVED
    found = judge(own, sender="jan@faß.example")
    assert (found.proof, found.address) == (Proof.PROVED, "jan@xn--fa-hia.example")


def test_internationalised_domain() -> None:
    for field in ("header.from=żółw.example", "header.from=xn--w-uga1v8h.example"):
        assert judge(f"mx.example; dmarc=pass {field}", sender="jan@żółw.example").proof is Proof.PROVED


def test_nothing_configured() -> None:
    found = judge(DMARC, ids=())
    assert found.proof is Proof.UNPROVED
    assert "OKIENKO_SENDERPROOF_AUTHSERV_IDS" in found.evidence


def test_evidence_quotes_nothing_of_the_sender() -> None:
    found = judge(
        'mx.example; dkim=fail reason="<script>" header.d=evil.example; x=y', sender="Zły <jan@poczta.example>"
    )
    assert "script" not in found.evidence
    assert "Zły" not in found.evidence


@pytest.mark.parametrize(
    ("one", "other", "relaxed"),
    [
        ("a.poczta.example", "b.poczta.example", True),
        ("poczta.waw.pl", "inna.waw.pl", False),
        ("a.gov.pl", "b.gov.pl", False),
        ("x.a.gov.pl", "a.gov.pl", True),
        ("gov.pl", "a.gov.pl", False),
        ("gov.pl", "gov.pl", True),
        ("a.github.io", "b.github.io", False),
        ("a.co.uk", "b.co.uk", False),
    ],
)
def test_alignment(one: str, other: str, relaxed: bool) -> None:
    assert aligned(one, other, strict=False) is relaxed
    assert aligned(other, one, strict=False) is relaxed
    assert aligned(one, other, strict=True) is (one == other)
    assert organisational("pl") is None


@settings(deadline=None)
@given(st.lists(st.text(max_size=60), max_size=4), st.lists(st.text(max_size=40), max_size=2))
def test_nothing_random_is_proved(results: list[str], senders: list[str]) -> None:
    proof = SenderProof(SenderProofSettings(authserv_ids=["mx.example"], fields=10))
    assert proof.judge(results, senders).proof is not Proof.PROVED


_local = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


@settings(deadline=None)
@given(_local)
def test_an_envelope_sender_that_the_server_quotes_rightly_proves_nothing(local: str) -> None:
    """The attacker picks the local part; the server quotes it (RFC 8601, section 2.2)."""
    quoted = local.replace("\\", "\\\\").replace('"', '\\"')
    comment = "".join(f"\\{c}" if c in "()\\" else c for c in local)
    field = f'mx.example; spf=pass (domain of {comment}@evil.example) smtp.mailfrom="{quoted}"@evil.example; dkim=none'
    assert judge(field).proof is Proof.UNPROVED


@settings(deadline=None)
@given(st.sampled_from(SPOOFS), st.sampled_from(SPOOFS), st.integers(1, 3))
def test_two_spoofs_are_no_proof_either(
    one: tuple[str, tuple[str, ...]], two: tuple[str, tuple[str, ...]], where: int
) -> None:
    results = [*one[1], *two[1]]
    if results and results[0] != DMARC:
        results.insert(where, DMARC)
    if not results or results[0] != DMARC:
        assert judge(*results).proof is not Proof.PROVED


_evil = st.sampled_from(
    ["evil.example", "xpoczta.example", "poczta.example.evil.example", "example", "poczta.evil.example"]
)
_forms = st.sampled_from(["{}", "@{}", "jan@{}", '"{}"', "poczta.example@{}", '"jan@poczta.example"@{}', "{}."])
_names = st.sampled_from(
    ["header.from", "header.d", "header.i", "smtp.mailfrom", "smtp.helo", "header.s", "reason", "policy.x"]
)
_methods = st.sampled_from(["dmarc", "dkim", "spf", "arc", "auth", "iprev", "x-poczta"])
_outcomes = st.sampled_from(["pass", "none", "neutral", "softfail", "temperror"])
_properties = st.lists(st.tuples(_names, _forms, _evil), max_size=4)


@settings(deadline=None)
@given(st.lists(st.tuples(_methods, _outcomes, _properties), min_size=1, max_size=5))
def test_what_passed_for_others_proves_nothing(rows: list[tuple[str, str, list[tuple[str, str, str]]]]) -> None:
    parts = [
        f"{method}={outcome} " + " ".join(f"{name}={form.format(domain)}" for name, form, domain in properties)
        for method, outcome, properties in rows
    ]
    assert judge("mx.example; " + "; ".join(parts)).proof is Proof.UNPROVED


_gap = st.sampled_from([" ", "\r\n\t", " (a comment) ", " (; dmarc=fail) ", "  "])
_proofs = st.sampled_from(
    [
        ("dmarc", "header.from"),
        ("dkim", "header.d"),
        ("spf", "smtp.mailfrom"),
        ("DMARC", "Header.From"),
        ("dkim", "header.i"),
    ]
)


@settings(deadline=None)
@given(_proofs, _gap, _gap, st.booleans())
def test_a_proof_is_one_however_it_is_written(proof: tuple[str, str], before: str, between: str, quoted: bool) -> None:
    domain = '"poczta.example"' if quoted else "poczta.example"
    field = f"mx.example;{before}spf=none smtp.helo=x;{between}{proof[0]}=pass{between}{proof[1]}={domain}{before}"
    assert judge(field).proof is Proof.PROVED


@pytest.mark.parametrize(
    "sender",
    [
        "a" * 2000,
        "a " * 900,
        '"' * 1999,
        "a." * 990,
        "a@" * 990,
        "<" * 1999,
        '"a" ' * 490,
        "(" * 1999,
        "=?utf-8?q?a?=" * 150,
    ],
)
def test_long_senders_cost_little(sender: str) -> None:
    start = time.process_time()
    assert judge(DMARC, sender=sender).proof is Proof.UNPROVED
    assert time.process_time() - start < 0.5


def test_header_values() -> None:
    raw = b"X: 1\r\nFrom: Jan\r\n <jan@poczta.example>\r\nfrom : x\r\nSubject: s\r\n\r\nFrom: body@evil.example\r\n"
    assert header_values(raw, "From") == ("Jan <jan@poczta.example>", "x")
    assert header_values(b"From: a\n\nFrom: b", "from") == ("a",)
    assert header_values(b"", "From") == ()


def test_settings() -> None:
    assert load_settings(SenderProofSettings, {"OKIENKO_SENDERPROOF_AUTHSERV_IDS": '["mx"]'}).authserv_ids == ["mx"]
    for name, value in (("METHODS", '["arc"]'), ("FIELDS", "0"), ("DKIM_MIN_KEY", "512"), ("ALIGNMENT", "loose")):
        with pytest.raises(MisconfiguredError, match=name):
            load_settings(SenderProofSettings, {f"OKIENKO_SENDERPROOF_{name}": value})
