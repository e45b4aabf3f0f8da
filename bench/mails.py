"""The mails that the benchmarks send: ordinary tickets of about 1 KB. All persons are invented."""

from __future__ import annotations

BODY = (
    "Dzień dobry, {tag},\r\nnie mogę wysłać zgłoszenia celnego, system pokazuje błąd numer {n}.\r\nProszę o pomoc.\r\n"
    * 5
)


def ordinary_mail(n: int, tag: str) -> bytes:
    """Mail number `n` of the series `tag`."""
    return (
        f"From: Nadawca Zmyślony <nadawca{n}@poczta.example>\r\nTo: helpdesk@okienko.invalid\r\n"
        f"Subject: =?utf-8?q?NOWE_b=C5=82=C4=85d_{n}?=\r\nMessage-ID: <{tag}.{n}@poczta.example>\r\n"
        f"Date: Mon, 23 Nov 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: 8bit\r\n\r\n{BODY.format(n=n, tag=tag)}"
    ).encode()


def series(count: int, tag: str) -> list[bytes]:
    """`count` mails, all different."""
    return [ordinary_mail(n, tag) for n in range(count)]
