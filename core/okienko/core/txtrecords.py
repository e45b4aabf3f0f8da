"""Asking DNS for the keys of DKIM signatures, as okienko.plugins.senderproof wants it."""

from __future__ import annotations

from dns.exception import DNSException, Timeout
from dns.rdtypes.ANY.TXT import TXT
from dns.resolver import NXDOMAIN, NoAnswer, Resolver, get_default_resolver


class TxtRecords:
    """See `okienko.plugins.senderproof.Dns`. `resolver` unset: the machine's own, looked for at the first question."""

    def __init__(self, resolver: Resolver | None = None) -> None:
        self.resolver = resolver

    def __call__(self, name: str, timeout: float) -> bytes | None:
        """The one TXT record at `name`; None when there is none, or several: which of them holds is undefined (RFC 6376, 3.6.2.2).

        Raises TimeoutError or OSError when DNS does not answer.
        """
        try:
            resolver = self.resolver or get_default_resolver()
            answer = resolver.resolve(name, "TXT", lifetime=timeout, search=False)
        except (NXDOMAIN, NoAnswer):
            return None
        except Timeout:
            raise TimeoutError("DNS did not answer in time") from None
        except DNSException as error:
            raise OSError(f"DNS gave no usable answer ({type(error).__name__})") from None
        records = [b"".join(record.strings) for record in answer if isinstance(record, TXT)]
        return records[0] if len(records) == 1 else None
