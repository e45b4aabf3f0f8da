"""Proof of the sender (rules A4 and B6): did the domain in From: really send this message?

Source: RFC 8601 (Authentication-Results), RFC 7489 (DMARC alignment), RFC 6376 (DKIM). Pure: no network, no clock.
"""

from __future__ import annotations

from okienko.plugins.senderproof.asking import Dns
from okienko.plugins.senderproof.judge import Method, Proof, SenderProof, SenderVerdict
from okienko.plugins.senderproof.sender import header_values
from okienko.plugins.senderproof.settings import SenderProofSettings

__all__ = ["Dns", "Method", "Proof", "SenderProof", "SenderProofSettings", "SenderVerdict", "header_values"]
