"""The verdict about a message's sender."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from okienko.plugins.senderproof.asking import Dns
from okienko.plugins.senderproof.authresults import NotReadableError, Result, authserv_id, parse
from okienko.plugins.senderproof.domains import aligned, canonical
from okienko.plugins.senderproof.sender import Sender, UnsureSenderError, read_sender
from okienko.plugins.senderproof.settings import SenderProofSettings


class Proof(StrEnum):
    """What is known of the sender. Only `proved` may ever stand for rule A4 or B6."""

    PROVED = "proved"
    """The domain in From: sent the message. That its servers let nobody write in another user's name is their business."""
    FAILED = "failed"
    """Our server says that the domain disowns the message."""
    UNPROVED = "unproved"
    """Nothing is known: a person decides."""


class Method(StrEnum):
    """What proved it."""

    DMARC = "dmarc"
    DKIM = "dkim"
    SPF = "spf"
    OWN_DKIM = "own_dkim"


@dataclass(frozen=True, slots=True)
class SenderVerdict:
    """The verdict, for a rule and for the auditor."""

    proof: Proof
    evidence: str
    """Why, in English; from our own words, configured names and domains only, so that nothing of the sender's is quoted."""
    address: str | None = None
    """The address that the verdict is about: the one in From:, its domain in canonical form."""
    method: Method | None = None
    domain: str | None = None
    """The domain that was authenticated and is aligned with the address."""


class SenderProof:
    """Judges senders by the settings. `dns` is asked by our own DKIM check only; without it there is none."""

    def __init__(self, settings: SenderProofSettings, dns: Dns | None = None) -> None:
        self._settings = settings
        self._ids = frozenset(one.strip().lower() for one in settings.authserv_ids)
        self._skipped = frozenset(one.strip().lower() for one in settings.skipped_ids) - self._ids
        self._dns = dns if settings.own_dkim else None

    @property
    def reads_messages(self) -> bool:
        """Whether `judge` makes use of the whole message: our own DKIM check is switched on."""
        return self._dns is not None

    def judge(
        self, authentication_results: Sequence[str], from_fields: Sequence[str], raw: bytes | None = None
    ) -> SenderVerdict:
        """The verdict. Never raises for what is in a message.

        :param authentication_results: raw values of Authentication-Results, topmost first (InboundMessage has them)
        :param from_fields: raw values of **all** From fields (`header_values(raw, "From")`)
        :param raw: the whole message as received, for our own DKIM check; it asks DNS and blocks: call it in a thread
        """
        try:
            sender = read_sender(tuple(from_fields))
        except UnsureSenderError as error:
            return SenderVerdict(Proof.UNPROVED, f"{error}")
        verdict = self._by_results(authentication_results, sender)
        if verdict.proof is not Proof.UNPROVED or self._dns is None or raw is None:
            return verdict
        # dkimpy is loaded by those who switched this on.
        from okienko.plugins.senderproof.owndkim import check_dkim

        found = check_dkim(raw, sender, self._dns, self._settings)
        evidence = f"{verdict.evidence}; own DKIM check: {found.evidence}"
        if found.domain is None:
            return SenderVerdict(Proof.UNPROVED, evidence, sender.address)
        return SenderVerdict(Proof.PROVED, evidence, sender.address, Method.OWN_DKIM, found.domain)

    def _by_results(self, values: Sequence[str], sender: Sender) -> SenderVerdict:
        try:
            results, server = self._trusted(values)
        except NotReadableError as error:
            return SenderVerdict(Proof.UNPROVED, str(error), sender.address)
        dmarc = [one for one in results if one.method == "dmarc"]
        if any(one.result in ("fail", "reject", "quarantine") for one in dmarc):
            return SenderVerdict(
                Proof.FAILED, f"{server} says dmarc=fail for {sender.domain}", sender.address, Method.DMARC
            )
        if len(dmarc) > 1:
            # A message has one From and so one DMARC result: a second one was talked into the field.
            return SenderVerdict(Proof.UNPROVED, f"{server} gives {len(dmarc)} DMARC results", sender.address)
        for method, domain in self._passes(results, sender):
            how = "is" if domain == sender.domain else "belongs to the same organisation as"
            return SenderVerdict(
                Proof.PROVED,
                f"{server} says {method.value}=pass for {domain}, which {how} the domain of From",
                sender.address,
                method,
                domain,
            )
        said = ", ".join(sorted({f"{one.method}={one.result}" for one in results if one.method in _METHODS})[:10])
        return SenderVerdict(
            Proof.UNPROVED,
            f"{server} proves nothing for {sender.domain} ({said or 'no dmarc, dkim or spf'})",
            sender.address,
        )

    def _trusted(self, values: Sequence[str]) -> tuple[list[Result], str]:
        """The results of the fields that our own server wrote. Raises NotReadableError when there are none.

        A server writes above what came in, so that only the topmost fields can be its own (RFC 8601, section 5).
        """
        if not self._ids:
            raise NotReadableError("no authserv-id is configured (OKIENKO_SENDERPROOF_AUTHSERV_IDS)")
        own: list[Result] = []
        server = ""
        taken = 0
        for value in values:
            name = authserv_id(value)
            if name in self._skipped and not taken:
                continue
            if name not in self._ids or taken == self._settings.fields:
                break
            try:
                own += parse(value).results
            except NotReadableError as error:
                raise NotReadableError(f"the field of {name} cannot be read: {error}") from None
            server, taken = server or str(name), taken + 1
        if not taken:
            raise NotReadableError(
                "the topmost Authentication-Results field is not of a configured server" if values
                else "there is no Authentication-Results field"
            )  # fmt: skip
        return own, server

    def _passes(self, results: Iterable[Result], sender: Sender) -> Iterable[tuple[Method, str]]:
        """What passed and is aligned, the strongest first."""
        strict = self._settings.alignment == "strict"
        passed = [one for one in results if one.result == "pass" and one.method in self._settings.methods]
        for one in passed:
            # What the server took for the sender must be what we take for it, whatever the alignment.
            if one.method == "dmarc" and _domain(one.only("header.from")) == sender.domain:
                yield Method.DMARC, sender.domain
        for one in passed:
            domain = _dkim_domain(one, strict=strict) if one.method == "dkim" else None
            if domain is not None and aligned(domain, sender.domain, strict=strict):
                yield Method.DKIM, domain
        for one in passed:
            domain = _domain(one.only("smtp.mailfrom")) if one.method == "spf" else None
            if domain is not None and aligned(domain, sender.domain, strict=strict):
                yield Method.SPF, domain


_METHODS = frozenset({"dmarc", "dkim", "spf"})


def _domain(value: str | None) -> str | None:
    """The domain of `poczta.example`, `@poczta.example` or `jan@poczta.example`; nothing cleverer is believed."""
    if value is None:
        return None
    local, at, domain = value.rpartition("@")
    if at and any(c in local for c in '@"<>()[],;:\\ '):
        return None
    return canonical(domain)


def _dkim_domain(result: Result, *, strict: bool) -> str | None:
    """header.d; where it is missing, the domain of header.i, which is header.d or below it (RFC 6376, section 3.5)."""
    if {"header.d", "header.i"} & result.repeated:
        return None
    signer, identity = _domain(result.only("header.d")), _domain(result.only("header.i"))
    if "header.d" in result.properties:
        inside = identity is None or signer is None or identity == signer or identity.endswith(f".{signer}")
        return signer if inside else None
    # header.i alone does not tell header.d to the letter.
    return None if strict else identity
