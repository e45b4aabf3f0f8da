"""Our own DKIM check (RFC 6376) by dkimpy, stricter than a mailbox provider's: it guards accounts, not inboxes."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import dkim
from dkim.util import InvalidTagValueList, parse_tag_value

from okienko.plugins.senderproof.asking import Dns
from okienko.plugins.senderproof.domains import aligned, canonical
from okienko.plugins.senderproof.sender import Sender, UnsureSenderError, header_values, read_sender
from okienko.plugins.senderproof.settings import SenderProofSettings

MAX_SIGNATURES = 5
_NEEDED = frozenset({b"from", b"subject"})
"""Else an old message of the person could be sent again under a new subject."""
_ALGORITHMS = frozenset({b"rsa-sha256", b"ed25519-sha256"})
_silent = logging.getLogger(f"{__name__}.dkimpy")
_silent.disabled = True  # dkimpy logs whole headers


@dataclass(frozen=True, slots=True)
class DkimFinding:
    """`domain` is the aligned domain whose signature holds, or None."""

    evidence: str
    domain: str | None = None


class _RefusedError(Exception):
    """The signature does not count; why."""


def check_dkim(raw: bytes, sender: Sender, dns: Dns, settings: SenderProofSettings) -> DkimFinding:
    """Look for a signature of the sender's domain over the whole message. Never raises for what is in a message."""
    try:
        # Both readers of the bytes must see the same sender.
        if read_sender(header_values(raw, "From")) != sender:
            return DkimFinding("the bytes have another From field")
        message = dkim.DKIM(raw, logger=_silent, minkey=settings.dkim_min_key, timeout=settings.dkim_timeout)
    except UnsureSenderError as error:
        return DkimFinding(str(error))
    except (dkim.DKIMException, ValueError) as error:
        return DkimFinding(f"the message cannot be read ({type(error).__name__})")
    names = [bytes(name).lower() for name, _ in message.headers]
    for once in (b"from", b"subject"):
        if names.count(once) != 1:
            return DkimFinding(f"the message has {names.count(once)} {once.decode().title()} fields")
    signatures = [bytes(value) for name, value in message.headers if bytes(name).lower() == b"dkim-signature"]
    if not signatures:
        return DkimFinding("the message is not signed")
    if len(signatures) > MAX_SIGNATURES:
        return DkimFinding(f"the message has {len(signatures)} signatures; at most {MAX_SIGNATURES} are looked at")
    reasons = []
    for index, value in enumerate(signatures):
        try:
            domain = _signer(value, sender, settings)
            _verify(raw, index, dns, settings)
        except _RefusedError as refused:
            reasons.append(f"signature {index + 1}: {refused}")
        else:
            return DkimFinding(f"signature {index + 1} of {domain} holds", domain)
    return DkimFinding("; ".join(reasons))


def _signer(value: bytes, sender: Sender, settings: SenderProofSettings) -> str:
    """The aligned domain of a signature that covers enough, not yet verified. Raises _RefusedError."""
    try:
        tags = parse_tag_value(value)
    except InvalidTagValueList:
        raise _RefusedError("its tags cannot be read") from None
    if b"l" in tags:
        raise _RefusedError("it covers only the beginning of the body (l=)")
    if bytes(tags.get(b"a", b"")).lower() not in _ALGORITHMS:
        raise _RefusedError("its algorithm is not rsa-sha256 or ed25519-sha256")
    covered = {one.strip().lower() for one in bytes(tags.get(b"h", b"")).split(b":")}
    if not covered >= _NEEDED:
        raise _RefusedError("it does not cover From and Subject")
    domain = canonical(bytes(tags.get(b"d", b"")).decode("utf-8", "replace"))
    if domain is None or not aligned(domain, sender.domain, strict=settings.alignment == "strict"):
        raise _RefusedError("its domain is not the sender's")
    return domain


def _verify(raw: bytes, index: int, dns: Dns, settings: SenderProofSettings) -> None:
    """Raises _RefusedError."""
    trouble: list[str] = []

    def look_up(name: bytes | str, timeout: float = 5) -> bytes | None:
        del timeout
        text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
        try:
            record = dns(text, settings.dkim_timeout)
        except OSError:
            trouble.append("DNS does not answer")
            return None
        if not record:
            trouble.append("there is no key in DNS")
        elif _testing(record):
            trouble.append("its key is marked as a test")
        return None if trouble else record

    try:
        held = dkim.DKIM(raw, logger=_silent, minkey=settings.dkim_min_key, timeout=settings.dkim_timeout).verify(
            index, dnsfunc=look_up
        )
    except dkim.KeyFormatError:
        raise _RefusedError(trouble[0] if trouble else "its key is too short or cannot be read") from None
    except dkim.DKIMException as error:
        raise _RefusedError(trouble[0] if trouble else f"it is not valid ({type(error).__name__})") from None
    except Exception as error:
        raise _RefusedError(f"it cannot be checked ({type(error).__name__})") from None
    if trouble or not held:
        raise _RefusedError(trouble[0] if trouble else "it does not hold")


def _testing(record: bytes) -> bool:
    """The flag y: the domain is only trying DKIM out, so that the message counts as unsigned (RFC 6376, section 3.6.1)."""
    try:
        return b"y" in [one.strip() for one in bytes(parse_tag_value(record).get(b"t", b"")).split(b":")]
    except InvalidTagValueList:
        return False
