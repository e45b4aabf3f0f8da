"""The real program with a real RT: mail in, ticket in RT, closed by okienko; RT dies in the middle and nothing is made twice."""

from __future__ import annotations

import smtplib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from acceptance.service import Installation, free_port, installation
from rigs.rt5 import MAPPING, Rt5, rt5

MAILS = 40
MAIL = """From: Nadawca Zmyślony <nadawca{n}@poczta.example>\r
To: helpdesk@okienko.invalid\r
Subject: NOWE sprawa {n}\r
Message-ID: <rt.{tag}.{n}@poczta.example>\r
Date: Mon, 23 Nov 2026 10:00:00 +0100\r
Content-Type: text/plain; charset=utf-8\r
\r
To jest wiadomość {n} ąęść.\r
"""


@pytest.fixture(scope="module")
def rt() -> Iterator[Rt5]:
    """An RT of its own: it is killed."""
    with rt5() as server:
        yield server


@contextmanager
def desk(rt: Rt5, **settings: str) -> Iterator[Installation]:
    """An installation whose CSD is that RT."""
    with installation(
        OKIENKO_CSD="rt", OKIENKO_CSD_RT_URL=rt.url, OKIENKO_CSD_RT_TOKEN=rt.token, OKIENKO_CSD_RT_MAPPING=str(MAPPING),
        OKIENKO_EMAIL_LMTP_LISTEN=f"127.0.0.1:{free_port()}", **settings,
    ) as place:  # fmt: skip
        yield place


def deliver(place: Installation, tag: str, numbers: range) -> None:
    """Mails by LMTP; each is acknowledged."""
    host, _, port = place.environ["OKIENKO_EMAIL_LMTP_LISTEN"].rpartition(":")
    with smtplib.LMTP(host, int(port)) as client:
        for n in numbers:
            client.sendmail("", ["helpdesk@okienko.invalid"], MAIL.format(n=n, tag=tag).encode())


def registered(place: Installation) -> float:
    """Cases that have a number of RT."""
    return float(place.sql("SELECT count(*) FROM cases WHERE csd_number IS NOT NULL"))


def doubles(rt: Rt5, subject: str) -> str:
    """Subjects that several live tickets have, and how many tickets there are: `0|40`."""
    return rt.sql(
        "SELECT count(*) FILTER (WHERE n > 1), coalesce(sum(n), 0) FROM (SELECT subject, count(*) AS n FROM tickets "
        f"WHERE subject LIKE '{subject}%' AND ismerged IS NULL GROUP BY subject) AS s"
    )


def test_from_mail_to_ticket_and_back(rt: Rt5) -> None:
    """Queue, fields and requester are right, the person is given RT's number, and closing closes it there."""
    with desk(rt) as place, place.serving():
        deliver(place, "one", range(1))
        place.until(lambda: registered(place) == 1)
        case, number = place.sql("SELECT id, csd_number FROM cases").split("|")
        row = (
            "SELECT q.name, t.status, t.subject, u.emailaddress FROM tickets t JOIN queues q ON q.id = t.queue "
            "JOIN groups g ON g.instance = t.id AND g.domain = 'RT::Ticket-Role' AND g.name = 'Requestor' "
            "JOIN groupmembers m ON m.groupid = g.id JOIN users u ON u.id = m.memberid WHERE t.id = "
        )
        queue, status, subject, requester = rt.sql(f"{row}{number}").split("|")
        assert (queue, status, requester) == ("Helpdesk", "new", "nadawca0@poczta.example")
        assert subject == "NOWE sprawa 0"
        fields = rt.sql(
            "SELECT c.name, v.content FROM objectcustomfieldvalues v JOIN customfields c ON c.id = v.customfield "
            f"WHERE v.objecttype = 'RT::Ticket' AND v.objectid = {number} AND v.disabled = 0 ORDER BY c.name"
        ).splitlines()
        assert f"OkienkoID|{case}" in fields
        assert "Kanal|email" in fields
        place.run("close", case, "--solution", "Hasło ustawione.")
        place.until(lambda: rt.sql(f"SELECT status FROM tickets WHERE id = {number}") == "resolved")
        assert "Has=C5=82o ustawione." in rt.sql(
            "SELECT a.content FROM attachments a JOIN transactions t ON t.id = a.transactionid "
            f"WHERE t.objecttype = 'RT::Ticket' AND t.objectid = {number} AND t.type = 'Comment'"
        )
        # Mail 2 is a job of its own, after the ticket's.
        place.until(lambda: any(Path(place.home, "outbox").rglob("*.eml")))
        outbox = [path.read_text(errors="replace") for path in Path(place.home, "outbox").rglob("*.eml")]
        assert any(number in mail for mail in outbox)


def test_rt_is_killed_in_the_middle(rt: Rt5) -> None:
    """Twice, while it makes tickets: what it had made is found, what it had not is made, nothing is made twice."""
    with desk(rt) as place, place.serving():
        deliver(place, "kill", range(100, 100 + MAILS))
        for share in (0.1, 0.5):
            place.until(lambda share=share: int(doubles(rt, "NOWE sprawa 1").split("|")[1]) >= MAILS * share, 90)
            rt.stop(kill=True)
            time.sleep(0.5)
            rt.start()
        place.until(lambda: registered(place) == MAILS, 110)
    assert doubles(rt, "NOWE sprawa 1") == f"0|{MAILS}"
