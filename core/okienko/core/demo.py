"""The tour: sample mails in, and everything that follows, on the real service in a home folder of its own.

It uses the configured home and database with a fresh set of Message-IDs, so that it can be run any number of times. What it
leaves behind are cases like any others.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any
from uuid import uuid4

from okienko.core import desk
from okienko.core.actions.approvals import Actor
from okienko.core.cli.intake import take_in, until_idle
from okienko.core.ledger import read_ledger
from okienko.core.service import Service, open_service, working

SUBJECT = "HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA"


@dataclass(frozen=True)
class Sample:
    """A mail and how it must end."""

    name: str
    about: str
    mail: EmailMessage | bytes
    expect: dict[str, Any]


def samples(tag: str) -> list[Sample]:
    """The tour's mails; `tag` makes their Message-IDs and senders new: a second tour is no repeat of the first."""

    def mail(n: int, who: str, subject: str, text: str, **fields: str) -> EmailMessage:
        m = EmailMessage(policy=SMTP)
        m["From"] = f"{who} <{who.split()[0].lower()}.{n}.{tag}@poczta.example>"
        m["To"] = "helpdesk@okienko.invalid"
        m["Subject"] = subject
        m["Date"] = f"Mon, 23 Nov 2026 10:{n:02}:00 +0100"
        m["Message-ID"] = f"<{tag}.{n}@poczta.example>"
        for name, value in fields.items():
            m[name.replace("_", "-")] = value
        # Without the tag a second tour would rightly find nothing but duplicates.
        m.set_content(f"{text}\n(próba {tag})\n")
        return m

    recovery = "Proszę o zmianę hasła awaryjnego dla\nJana Próbnego, rok urodzenia 1980\n"
    both = "Proszę o zmianę hasła awaryjnego oraz zmianę adresu e-mail dla\nAnna Przykładowa, rok urodzenia 1975\n"
    application = mail(4, "Anna Przykładowa", SUBJECT, both)
    application.add_attachment(
        b"%PDF-1.4 sample application", maintype="application", subtype="pdf", filename="wniosek.pdf"
    )
    return [
        Sample("ticket", "a new ticket", mail(1, "Ewa Zmyślona", "NOWE: błąd przy wysyłce", "Nie mogę wysłać zgłoszenia.\n"),
               {"outcome": "cased", "kind": "ticket", "decision": "met", "state": "registered"}),
        Sample("no-word", "a ticket without the word NOWE", mail(2, "Ewa Zmyślona", "Pytanie", "Jak założyć konto?\n"),
               {"outcome": "cased", "kind": "ticket", "decision": "unmet", "unmet": ["C3"], "state": "awaiting_requester"}),
        Sample("recovery", "recovery, all that can be read is right", mail(3, "Jan Próbny", SUBJECT, recovery),
               {"outcome": "cased", "procedure": "emergency_password", "decision": "human", "unknown": ["A4", "A5"],
                "state": "human_review"}),
        Sample("recovery-b", "recovery with a new address and an application", application,
               {"outcome": "cased", "procedure": "emergency_password_and_email", "decision": "human", "unmet": []}),
        Sample("near-miss", "recovery with Re: before the subject and no year", mail(5, "Jan Próbny", f"Re: {SUBJECT}",
               "Proszę o zmianę hasła awaryjnego dla Jana Próbnego\n"),
               {"outcome": "cased", "procedure": "emergency_password", "decision": "unmet", "unmet": ["A1", "A3"]}),
        Sample("self-service", "the emergency password is remembered", mail(6, "Piotr Fikcyjny", "NOWE logowanie",
               "Pamiętam hasło awaryjne, ale nie mogę się zalogować hasłem podstawowym.\n"),
               {"outcome": "cased", "procedure": "self_service", "decision": "met", "state": "closed"}),
        Sample("unlock", "an account locked after three attempts", mail(7, "Zofia Wymyślona", "NOWE blokada",
               "Moje konto jest zablokowane po trzykrotnym podaniu złego hasła.\n"),
               {"outcome": "cased", "kind": "service_request", "procedure": "unlock", "decision": "human",
                "unknown": ["A4", "U1"], "state": "human_review"}),
        Sample("reply", "a reply to the first mail", mail(8, "Ewa Zmyślona", "Re: NOWE: błąd przy wysyłce", "Dodaję szczegóły.\n",
               In_Reply_To=f"<{tag}.1@poczta.example>"), {"outcome": "merged", "kind": "follow_up"}),
        Sample("again", "the first mail once more", mail(1, "Ewa Zmyślona", "NOWE: błąd przy wysyłce", "Nie mogę wysłać zgłoszenia.\n"),
               {"outcome": "duplicate"}),
        Sample("vacation", "an autoresponder", mail(9, "Urlop Urlopowy", "Automatyczna odpowiedź: poza biurem", "Wracam w maju.\n",
               Auto_Submitted="auto-replied"), {"outcome": "suppressed"}),
        Sample("rubbish", "not a mail at all", f"\x00\x01 to nie jest poczta {tag}".encode(), {"outcome": "parked"}),
    ]  # fmt: skip


async def tour(*, pause: bool) -> int:
    """Run it; returns 0 when every sample ended as it should, else 1. `pause` waits for Enter between the steps."""
    say: Callable[[str], object] = sys.stdout.write
    started = time.perf_counter()
    wrong = 0
    tag = uuid4().hex[:12]
    async with open_service() as service, working(service.worker):
        say(f"okienko is up after {time.perf_counter() - started:.1f} s, on {_where(service)}.\n\n")
        chosen = samples(tag)
        await _step(pause, f"1. {len(chosen)} sample mails come in; each is read, decided, registered and answered")
        with tempfile.TemporaryDirectory() as folder:
            _write(chosen, Path(folder))
            results = [line async for line in take_in(service, [Path(folder)])]
        say(_row("", "the mail", "what became of it", "number", "decision") + "\n")
        for sample, line in zip(chosen, results, strict=True):
            bad = _differences(sample, line)
            wrong += bool(bad)
            case = line["case"] or {}
            number = (case.get("csd") or {}).get("number") or "-"
            verdict = case.get("decision") or "-"
            for name, key in (("not met", "unmet"), ("to be checked", "unknown")):
                if case.get(key) and (key == "unmet" or not case.get("unmet")):
                    verdict += f", {name}: {' '.join(case[key])}"
            say(
                _row("BAD" if bad else "ok", sample.about, _OUTCOMES.get(line["outcome"], "waits"), number, verdict)
                + "\n"
            )
            for problem in bad:
                say(f"      {problem}\n")
        say(
            "\n  decision: met = every rule is kept; unmet = the person is told what is missing; human = a person must check\n\n"
        )
        await _step(pause, "2. An administrator carries the third mail's reset out by hand and marks it done")
        wrong += await _close_recovery(service, results[2], say)
        say("\n")
        await _step(pause, "3. Nothing is lost: every mail that came in is accounted for")
        wrong += await _balance(service, say)
    number = ((results[2]["case"] or {}).get("csd") or {}).get("number") or "ID"
    program = sys.argv[0] if "/" in sys.argv[0] and shutil.which("okienko") is None else "okienko"
    say(
        f"\nThe answers to the people lie in {service.settings.home / 'outbox'}\n\nLook around:\n"
        f"  {program} cases\n  {program} case {number}\n  {program} actions\n  {program} parked list\n"
    )
    if wrong:
        sys.stderr.write(f"okienko: {wrong} of the steps above ended wrong: see the lines marked BAD\n")
    return 1 if wrong else 0


_OUTCOMES = {
    "cased": "a new case",
    "merged": "added to its case",
    "duplicate": "known already",
    "suppressed": "not answered",
    "parked": "parked for a person",
}


def _row(mark: str, about: str, outcome: str, number: str, decision: str) -> str:
    return f"  {mark:<3} {about:<48} {outcome:<19} {number:<13} {decision}".rstrip()


def _where(service: Service) -> str:
    if service.settings.database_url is not None:
        return f"your PostgreSQL; files go to {service.settings.home}"
    return f"a PostgreSQL of its own in {service.settings.home}"


def _write(chosen: list[Sample], folder: Path) -> None:
    for n, sample in enumerate(chosen):
        data = sample.mail if isinstance(sample.mail, bytes) else sample.mail.as_bytes()
        (folder / f"{n:02}-{sample.name}.eml").write_bytes(data)


async def _step(pause: bool, what: str) -> None:  # noqa: FBT001  one choice of the tour
    sys.stdout.write(f"{what}.\n")
    if pause:
        sys.stdout.write("   [Enter goes on, Ctrl-C ends] ")
        sys.stdout.flush()
        await _enter()


async def _enter() -> None:
    """Wait for a line without stopping the worker; input() would hold the loop and swallow Ctrl-C."""
    loop, come = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), come.set)
    try:
        await come.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    sys.stdin.readline()


def _differences(sample: Sample, line: dict[str, Any]) -> list[str]:
    got = {**(line["case"] or {}), "outcome": line["outcome"]}
    return [
        f"{key}: expected {want!r}, got {got.get(key)!r}" for key, want in sample.expect.items() if got.get(key) != want
    ]


async def _close_recovery(service: Service, line: dict[str, Any], say: Callable[[str], object]) -> int:
    case_id = (line["case"] or {}).get("id")
    waiting = [
        a
        for a in await desk.list_actions(service.engine, service.recovery.approvals.seals, everything=False)
        if str(a["case_id"]) == case_id
    ]
    if not waiting:
        say("  BAD no reset action waits for the recovery case\n")
        return 1
    solution = "Hasło awaryjne zostało zmienione. Instrukcja jest w osobnej wiadomości."
    action = waiting[0]
    approvals = service.recovery.approvals
    seen = await desk.show_action(service.engine, approvals.seals, action["id"])
    await desk.do_by_hand(
        approvals, action["id"], Actor("demo"), code=seen["code"], checked=action["must_check"], solution=solution
    )
    await until_idle(service)
    shown = await desk.show_case(service.engine, str(case_id))
    kinds = [e["data"].get("kind") for e in shown["events"] if e["type"] == "notification_sent"]
    good = shown["case"]["state"] == "closed" and kinds == ["registered", "closed"]
    say(
        f"  {'ok ' if good else 'BAD'} the case is {shown['case']['state']}; mails sent to the person: {', '.join(map(str, kinds))}\n"
    )
    return 0 if good else 1


async def _balance(service: Service, say: Callable[[str], object]) -> int:
    ledger = await read_ledger(service.engine)
    say(
        f"  {'ok ' if ledger.balance == 0 else 'BAD'} received {ledger.received} = {ledger.cased} opened a case + {ledger.merged} added to "
        f"one + {ledger.suppressed} not answered or known already + {ledger.parked} parked; balance {ledger.balance}\n"
    )
    return 0 if ledger.balance == 0 else 1
