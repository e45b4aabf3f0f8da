"""kill -9 at random moments while mail arrives and senders deliver again what was not acknowledged: none lost, none twice.

What is promised of answers: in a folder each lies once (its file is named by the notification). A relay may get one again
with the same Message-ID when the service dies between the relay's 250 and our commit; no protocol can rule that out.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes

import pytest

from acceptance.senders import LmtpSender, MailboxSender, Sender
from acceptance.service import Installation, free_port, installation
from rigs.dovecot import PASSWORD, USER, dovecot
from rigs.smtpsink import smtp_sink

MAILS = int(os.environ.get("OKIENKO_TEST_KILL_MAILS", "2000"))
KILLS = int(os.environ.get("OKIENKO_TEST_KILLS", "50"))
_MOMENT = """
SELECT count(*) FILTER (WHERE status = 'picked' AND updated > to_timestamp({since})), count(*) FILTER (WHERE status = 'queued')
FROM pgqueuer
"""


@dataclass(frozen=True)
class Moment:
    """What a kill hit: whether the service was still starting, jobs in its hands and jobs that waited."""

    starting: bool
    in_hand: int
    waiting: int


def kill_once(place: Installation, senders: list[Sender], share: float, chance: random.Random) -> Moment:
    """Start, let more mail come, kill at a random moment: while it starts, or while it works."""
    since = time.time()
    process = place.spawn()
    # The first one always hits the making of the database.
    starting = share == 0 or chance.random() < 0.2
    if not starting:
        place.ready(process)
    for sender in senders:
        sender.allow(share)
    time.sleep(chance.uniform(0.2, 0.9) if starting else chance.uniform(0.02, 0.4))
    assert process.poll() is None, place.log()[-3000:]
    process.send_signal(signal.SIGKILL)
    process.wait()
    if starting:
        return Moment(True, 0, 0)
    in_hand, waiting = place.sql(_MOMENT.format(since=since)).split("|")
    return Moment(False, int(in_hand), int(waiting))


def kill_often(place: Installation, senders: list[Sender], kills: int) -> list[Moment]:
    """Kill `kills` times, then let the service work until all is done."""
    chance = random.Random(5)
    for sender in senders:
        sender.start()
    moments = [kill_once(place, senders, n / max(kills - 1, 1), chance) for n in range(kills)]
    with place.serving():
        place.until(lambda: all(sender.done.is_set() for sender in senders), 120)
        place.until(lambda: place.metric("okienko_mail_balance") == 0, 120)
        # A job in the hands of a killed worker is given to another after its heartbeat is 20 s old.
        place.until(lambda: place.sql("SELECT count(*) FROM pgqueuer") == "0", 120)
        assert place.metric("okienko_mail_balance") == 0
    return moments


def check_cases(place: Installation, mails: int) -> None:
    """Each mail is one case with a number of its own, and nothing lies about that belongs to nobody."""
    cases = place.json_lines("cases", "--json", "--limit", "1000000")
    assert sorted(case["subject"] for case in cases) == sorted(f"NOWE sprawa {n}" for n in range(mails))
    assert {case["state"] for case in cases} == {"registered"}
    numbers = {case["number"] for case in cases}
    assert None not in numbers
    assert len(numbers) == mails
    with running_database(place):
        assert place.sql("SELECT count(*), count(DISTINCT number) FROM csd_builtin.ticket") == f"{mails}|{mails}"
        assert place.sql("SELECT count(*) FROM csd_builtin.ticket t JOIN cases c ON c.csd_number = t.number") == str(
            mails
        )
        orphans = "outcome NOT IN ('cased', 'duplicate') OR case_id IS NULL OR finished_at IS NULL"
        assert place.sql(f"SELECT count(*) FROM envelope WHERE {orphans}") == "0"
        assert (
            place.sql("SELECT outcome, count(*) FROM envelope WHERE outcome = 'cased' GROUP BY 1") == f"cased|{mails}"
        )
        assert place.sql("SELECT count(*) FROM case_message") == str(mails)
        assert place.sql("SELECT state, count(*) FROM notification GROUP BY 1") == f"sent|{mails}"
        assert place.sql("SELECT count(*) FROM parked") == "0"


@contextmanager
def running_database(place: Installation):
    """The bundled PostgreSQL runs as long as an okienko does."""
    with place.serving():
        yield


@pytest.mark.slow
@pytest.mark.needs_dovecot
@pytest.mark.timeout(900)
def test_no_mail_is_lost_or_doubled_when_the_service_is_killed() -> None:
    port = free_port()
    with dovecot() as server:
        settings = {
            "OKIENKO_EMAIL_LMTP_LISTEN": f"127.0.0.1:{port}", "OKIENKO_EMAIL_IMAP_HOST": "localhost",
            "OKIENKO_EMAIL_IMAP_PORT": str(server.imaps), "OKIENKO_EMAIL_IMAP_CA": str(server.ca),
            "OKIENKO_EMAIL_IMAP_USER": USER, "OKIENKO_EMAIL_IMAP_PASSWORD": PASSWORD, "OKIENKO_LOG_LEVEL": "ERROR",
        }  # fmt: skip
        with installation(**settings) as place:
            lmtp = [LmtpSender(port, range(part, MAILS, 5)) for part in range(3)]
            mailbox = [MailboxSender(server, range(part, MAILS, 5)) for part in (3, 4)]
            moments = kill_often(place, [*lmtp, *mailbox], KILLS)
            check_cases(place, MAILS)
            answers = Counter(answered(path.read_bytes()) for path in (place.home / "outbox").glob("*.eml"))
            assert answers == Counter(f"<kill.{n}@poczta.example>" for n in range(MAILS))
            assert list((place.home / "outbox").glob(".*")) == []
            assert (server.count("INBOX"), server.count("Processed")) == (0, sum(len(m.numbers) for m in mailbox))
    print(
        f"kills: {Counter((m.starting, m.in_hand > 0, m.waiting > 0) for m in moments)}; delivered again: {sum(s.again for s in lmtp)}"
    )
    if KILLS >= 20:
        # Otherwise the kills would prove nothing.
        assert sum(m.starting for m in moments) >= 2
        assert sum(m.in_hand > 0 for m in moments) >= KILLS // 10
        assert len({m.in_hand for m in moments}) >= 3
        assert sum(s.again for s in lmtp) > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_relay_gets_every_answer_and_a_repeated_one_under_its_message_id() -> None:
    port, mails = free_port(), 150
    with smtp_sink() as sink:
        settings = {
            "OKIENKO_EMAIL_LMTP_LISTEN": f"127.0.0.1:{port}", "OKIENKO_EMAIL_RELAY_HOST": "127.0.0.1",
            "OKIENKO_EMAIL_RELAY_PORT": str(sink.port), "OKIENKO_EMAIL_RELAY_TLS": "none", "OKIENKO_LOG_LEVEL": "ERROR",
        }  # fmt: skip
        with installation(**settings) as place:
            kill_often(place, [LmtpSender(port, range(part, mails, 3)) for part in range(3)], 5)
            check_cases(place, mails)
        assert {answered(mail) for mail in sink.mails} == {f"<kill.{n}@poczta.example>" for n in range(mails)}
        different = {message_from_bytes(mail)["Message-ID"]: mail for mail in sink.mails}
        assert len(different) == mails
        assert set(sink.mails) == set(different.values())


def answered(mail: bytes) -> str:
    """The mail that an answer answers."""
    found = re.search(rb"^In-Reply-To: (.+?)\r?$", mail, re.MULTILINE)
    assert found is not None
    return found[1].decode()
