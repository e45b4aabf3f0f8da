"""A4 by our own DKIM check, where the receiving server says nothing: a signed mail, its key in a real DNS answer."""

from __future__ import annotations

import base64
from pathlib import Path

import dkim
import dns.resolver
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from acceptance.recovery.letters import DOMAIN, address, citizen, letter_a
from acceptance.recovery.peers import scim2
from acceptance.recovery.stage import stage
from core.test_txtrecords import answering, holding
from rigs.postgres import Postgres


async def test_a_signature_of_the_senders_domain_proves_the_sender(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    halves = (text := f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}")[:200], text[200:]
    with scim2() as peer, answering(holding(" ".join(f'"{half}"' for half in halves))) as records:
        monkeypatch.setattr(dns.resolver, "default_resolver", records.resolver)
        async with stage(postgres, tmp_path, peer.environ | {"OKIENKO_SENDERPROOF_OWN_DKIM": "true"}) as desk:
            verdicts = []
            for change in (b"", b"!"):
                login = address()
                await peer.account(login, citizen().person)
                mail = letter_a(login, results="")
                signature = dkim.sign(
                    mail, b"s1", DOMAIN.encode(), pem, include_headers=[b"From", b"To", b"Subject", b"Date"]
                )
                case = await desk.arrives(signature + mail + change)
                verdicts.append((await desk.assessed(case))["rules"]["A4"])
            assert verdicts == ["met", "unknown"]
