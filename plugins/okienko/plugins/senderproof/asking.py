"""How our own DKIM check asks DNS."""

from __future__ import annotations

from typing import Protocol


class Dns(Protocol):
    """Asks DNS for a TXT record."""

    def __call__(self, name: str, timeout: float) -> bytes | None:
        """The strings of the record at `name` (ending in a dot) joined; None when there is none.

        Raises TimeoutError or OSError when DNS does not answer within `timeout` seconds.
        """
        ...
