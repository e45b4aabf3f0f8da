"""From where a request comes, behind any number of our own reverse proxies."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.requests import Request

Network = IPv4Network | IPv6Network
UNKNOWN = "unknown"


def client_address(request: Request, trusted: Sequence[Network]) -> str:
    """The nearest address that is no trusted proxy: what stands further left in X-Forwarded-For anyone could have written."""
    peer = _parse(request.client.host if request.client else "")
    if peer is None:
        return UNKNOWN
    hops = [part.strip() for line in request.headers.getlist("x-forwarded-for") for part in line.split(",")]
    while hops and _within(peer, trusted):
        before = _parse(hops.pop())
        if before is None:
            break
        peer = before
    return str(peer)


def limit_key(address: str) -> str:
    """The address, or for IPv6 its /64: one subscriber has all of that."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, 64), strict=False))
    return address


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _within(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
