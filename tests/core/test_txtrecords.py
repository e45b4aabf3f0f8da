"""TXT records from a DNS server on this machine, made by dnspython's own messages."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from okienko.core.txtrecords import TxtRecords

NAME = "s1._domainkey.poczta.example."


@contextmanager
def answering(answer: Callable[[dns.message.Message], dns.message.Message | None]) -> Iterator[TxtRecords]:
    """A resolver whose only server answers so; None: it is silent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)

        def serve() -> None:
            while True:
                octets, asker = server.recvfrom(4096)
                if octets == b"end":
                    return
                if (made := answer(dns.message.from_wire(octets))) is not None:
                    server.sendto(made.to_wire(), asker)

        thread = threading.Thread(target=serve)
        thread.start()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], server.getsockname()[1]
        try:
            yield TxtRecords(resolver)
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"end", server.getsockname())
            thread.join()


def holding(*records: str) -> Callable[[dns.message.Message], dns.message.Message]:
    def answer(query: dns.message.Message) -> dns.message.Message:
        made = dns.message.make_response(query)
        if records:
            made.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", *records))
        return made

    return answer


def test_the_strings_of_the_record_are_joined() -> None:
    with answering(holding('"v=DKIM1; p=ab" "cd"')) as records:
        assert records(NAME, 5) == b"v=DKIM1; p=abcd"


@pytest.mark.parametrize("many", [(), ('"one"', '"two"')])
def test_none_and_several_are_none(many: tuple[str, ...]) -> None:
    with answering(holding(*many)) as records:
        assert records(NAME, 5) is None


def test_no_such_name_is_none_and_a_failing_server_is_an_error() -> None:
    def coded(code: dns.rcode.Rcode) -> Callable[[dns.message.Message], dns.message.Message]:
        def answer(query: dns.message.Message) -> dns.message.Message:
            made = dns.message.make_response(query)
            made.set_rcode(code)
            return made

        return answer

    with answering(coded(dns.rcode.NXDOMAIN)) as records:
        assert records(NAME, 5) is None
    with answering(coded(dns.rcode.SERVFAIL)) as records, pytest.raises(OSError, match=r"NoNameservers|in time"):
        records(NAME, 1)


def test_silence_ends() -> None:
    with answering(lambda _: None) as records, pytest.raises(TimeoutError):
        records(NAME, 0.3)
