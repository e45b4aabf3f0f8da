"""The personal number of the person stays where it belongs: in the mail as it came, and at the identity backend.

The real program takes the mail, checks the signature, acts and answers. What is searched: its log at level DEBUG, /metrics, every
row of every table of every schema (the queue's payloads and the built-in CSD's tickets too), the outbox, the audit's anchors,
and each other file of the home folder. Two columns are left out: `envelope.raw` and `envelope_chunk.data` hold the mail as it
was received, which has the signed application in it; nothing that a program or a list shows is made of them but the case page.
"""

from __future__ import annotations

import asyncio
import base64
import smtplib
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from acceptance.recovery.letters import Notary, address, citizen, letter, letter_b
from acceptance.recovery.peers import scim2
from acceptance.recovery.stage import ANNA, BERTA, Clock, Stage, environment
from acceptance.service import free_port, installation
from corpus import PHRASE_B
from okienko.core.database import raw_connection, transaction
from okienko.core.service import open_service
from okienko.plugins.errors import PermanentError
from okienko.plugins.testing.conformance.workshop import NEW, OLD
from rigs.postgres import Postgres
from signing.pki import Pki

AS_RECEIVED = {("envelope", "raw"), ("envelope_chunk", "data")}


def spellings(number: str) -> set[bytes]:
    """The number as text, in UTF-16, in hexadecimal, and inside base64 at each of its three offsets."""
    plain = number.encode()
    # Of each, the part that does not depend on the neighbours.
    inside = {base64.b64encode(b"\0" * offset + plain)[(0, 2, 3)[offset] + (offset > 0) : -4] for offset in range(3)}
    return {plain, number.encode("utf-16-le"), number.encode("utf-16-be"), plain.hex().encode(), *inside}


def found_in(content: bytes, numbers: list[str]) -> bool:
    """Whether any of the numbers is there, however spelt."""
    return any(spelling in content for number in numbers for spelling in spellings(number))


def test_the_search_finds_what_it_looks_for() -> None:
    number = citizen().pesel
    for before in ("", "a", "ab", "abc"):
        text = f"{before}PESEL {number} koniec"
        for content in (
            text.encode(),
            text.encode("utf-16"),
            text.encode().hex().encode(),
            base64.b64encode(text.encode()),
        ):
            assert found_in(content, [number]), (before, content)
    assert not found_in(b"PESEL 02070803628", [number])


async def test_no_personal_number_anywhere(
    postgres: Postgres, database_url: str, notary: Notary, recovery_pki: Pki
) -> None:
    who, thief = citizen(), citizen()
    numbers = [who.pesel, thief.pesel]
    port = free_port()
    with scim2() as peer, installation() as place:
        place.environ |= environment(database_url, place.home, peer.environ, recovery_pki) | {
            "OKIENKO_EMAIL_LMTP_LISTEN": f"127.0.0.1:{port}", "OKIENKO_LOG_LEVEL": "DEBUG",
            "OKIENKO_COOL_DOWN_MINUTES": "0",
        }  # fmt: skip
        await asyncio.to_thread(place.run, "db", "upgrade")
        old, new, other = address(), address("nowy"), address("zlodziej")
        await peer.account(old, who.person)
        right = notary.trusted_pdf(who, old, new)
        mails = [
            letter_b(new, right),
            # Signed by another person, whose number must not show in what is said about that.
            letter_b(other, notary.trusted_pdf(thief, old, other)),
            letter(other, f"{PHRASE_B} Jana Próbnego, rok urodzenia 1980, PESEL {thief.pesel}", subject=f"Mój PESEL {thief.pesel}"),
            letter(other, f"Nie mogę założyć konta, PESEL {thief.pesel} jest już w systemie.", subject=f"NOWE {thief.pesel}"),
        ]  # fmt: skip
        assert found_in(right, numbers)
        with place.serving():
            await asyncio.to_thread(_deliver, port, mails)
            settings = {k: v for k, v in place.environ.items() if k.startswith("OKIENKO_")}
            # This process is the administrators' and the person's side only: the program does the work.
            async with open_service(settings) as service:
                desk = Stage(service, Clock(), place.home)
                await _recover(desk, new, PermanentError)
                assert await peer.hands.sign_in(new, NEW)
                assert not await peer.hands.sign_in(old, OLD)
                sql = "SELECT count(*) = 3 FROM event WHERE type = 'assessed'"
                await desk.sooner_or_later(lambda: desk.value(sql))
                tables = await _tables(desk)
            metrics = place.get("/metrics")[1]
            shown = "".join(place.run(*words).stdout for words in (("cases", "--json"), ("audit", "verify", "--json")))
        assert {
            "cases",
            "envelope",
            "event",
            "notification",
            "pgqueuer",
            "pgqueuer_log",
            "audit_entry",
            "ticket",
        } <= set(tables)
        assert new.encode() in tables["reset_action"], "the dump has what is in the tables"
        for name, content in tables.items():
            assert not found_in(content, numbers), f"table {name}"
        assert not found_in(metrics.encode(), numbers)
        assert not found_in(shown.encode(), numbers)
        assert "assess" in metrics
        files = [file for file in place.home.rglob("*") if file.is_file()]
        assert {"serve.log", "outbox"} <= {file.relative_to(place.home).parts[0] for file in files}
        for file in files:
            assert not found_in(_read(file), numbers), file.relative_to(place.home)


def _read(file: Path) -> bytes:
    content = file.read_bytes()
    # Quoted-printable breaks lines wherever it likes.
    return content + content.replace(b"=\r\n", b"") if file.suffix == ".eml" else content


def _deliver(port: int, mails: list[bytes]) -> None:
    with smtplib.LMTP("127.0.0.1", port, local_hostname="localhost", timeout=60) as lmtp:
        for mail in mails:
            lmtp.sendmail("ktos@poczta.example", ["helpdesk@okienko.invalid"], mail)


async def _recover(desk: Stage, new: str, refusal: type[Exception]) -> None:
    sql = "SELECT id FROM cases WHERE requester_address = $1"
    case = await desk.sooner_or_later(lambda: desk.value(sql, new))
    action = await desk.action(case)
    await desk.approve(action, ANNA, BERTA)
    token = await desk.link("activate", new)
    await desk.service.recovery.activation.set_password(token, SecretStr(NEW), origin="198.51.100.7")
    try:
        await desk.service.recovery.activation.set_password(token, SecretStr(NEW), origin="198.51.100.7")
    except refusal:
        return
    raise AssertionError("a link works once")


async def _tables(desk: Stage) -> dict[str, bytes]:
    """Every table's rows as text, without the columns that hold the mail as it was received."""
    dumped: dict[str, bytes] = {}
    async with transaction(desk.service.engine) as connection:
        raw: Any = await raw_connection(connection)
        columns = await raw.fetch(
            "SELECT c.table_schema AS schema, c.table_name AS name, c.column_name AS field FROM information_schema.columns c "
            "JOIN information_schema.tables t USING (table_schema, table_name) "
            "WHERE t.table_type = 'BASE TABLE' AND t.table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        tables: dict[tuple[str, str], list[str]] = {}
        for row in columns:
            if (row["name"], row["field"]) not in AS_RECEIVED:
                tables.setdefault((row["schema"], row["name"]), []).append(row["field"])
        for (schema, name), fields in tables.items():
            chosen = ", ".join(f'"{field}"' for field in fields)
            rows = await raw.fetch(f'SELECT ROW({chosen})::text AS row FROM "{schema}"."{name}"')
            dumped[name] = "\n".join(str(row["row"]) for row in rows).encode()
    return dumped
