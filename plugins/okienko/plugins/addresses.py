"""Which web addresses a plugin may talk to."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from okienko.plugins.errors import MisconfiguredError


def safe_url(url: str) -> str:
    """`url`, when it is https, or http to this machine. Raises MisconfiguredError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host or parts.username or parts.password or parts.query or parts.fragment:
        raise MisconfiguredError("a URL needs scheme and host, and no user, password, query or fragment")
    if parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(host)):
        return url
    raise MisconfiguredError(f"the address of {host} must begin with https:// (http:// only on this machine)")


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
