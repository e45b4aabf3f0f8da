"""kill -9 at random moments while mail arrives and senders deliver again what was not acknowledged: none lost, none twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import smtplib
import threading
import time
from pathlib import Path

import pytest

from acceptance.service import Installation, free_port, installation

MAILS = int(os.environ.get("OKIENKO_TEST_KILL_MAILS", "600"))
KILLS = int(os.environ.get("OKIENKO_TEST_KILLS", "8"))
MAIL = """From: Nadawca Zmyślony <nadawca{n}@poczta.example>\r
To: helpdesk@okienko.invalid\r
Subject: NOWE sprawa {n}\r
Message-ID: <kill.{n}@poczta.example>\r
Date: Mon, 23 Nov 2026 10:00:00 +0100\r
Content-Type: text/plain; charset=utf-8\r
\r
To jest wiadomość {n}.\r
"""


def deliver(port: int, numbers: list[int], done: threading.Event) -> None:
    """A sender that keeps what was not answered with 250 and delivers it again."""
    queue = list(numbers)
    while queue:
        try:
            with smtplib.LMTP("127.0.0.1", port) as lmtp:
                while queue:
                    n = queue[0]
                    lmtp.sendmail("nadawca@poczta.example", ["helpdesk@okienko.invalid"], MAIL.format(n=n).encode())
                    queue.pop(0)
        except (OSError, smtplib.SMTPException):
            time.sleep(0.05)
    done.set()


def killing(place: Installation, senders: list[threading.Event], kills: int) -> None:
    """Start, kill at a random moment, and start again, until it was done often enough and every sender is through."""
    chance = random.Random(5)
    killed = 0
    while killed < kills:
        process = place.start()
        time.sleep(chance.uniform(0.05, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
    with place.serving():
        place.until(lambda: all(sender.is_set() for sender in senders), 300)
        place.until(lambda: place.metric("okienko_mail_balance") == 0, 120)
        place.until(lambda: counted(place, "decided") == 0, 60)


def counted(place: Installation, state: str) -> int:
    """Cases in a state, by the metrics."""
    lines = place.get("/metrics")[1].splitlines()
    return sum(
        int(float(line.split()[-1]))
        for line in lines
        if line.startswith("okienko_cases{") and f'state="{state}"' in line
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_mail_is_lost_or_doubled_when_the_service_is_killed() -> None:
    port = free_port()
    with installation(OKIENKO_EMAIL_LMTP_LISTEN=f"127.0.0.1:{port}", OKIENKO_LOG_LEVEL="ERROR") as place:
        senders = []
        for part in range(4):
            done = threading.Event()
            threading.Thread(target=deliver, args=(port, list(range(part, MAILS, 4)), done), daemon=True).start()
            senders.append(done)
        killing(place, senders, KILLS)
        cases = place.json_lines("cases", "--json", "--limit", "1000000")
        subjects = [case["subject"] for case in cases]
        assert len(subjects) == len(set(subjects)) == MAILS
        numbers = {case["number"] for case in cases}
        assert None not in numbers
        assert len(numbers) == MAILS
        answers = [answered(path) for path in (place.home / "outbox").glob("*.eml")]
        assert len(answers) == len(set(answers)) == MAILS


def answered(path: Path) -> str:
    """The mail that an answer answers."""
    with contextlib.closing(path.open()) as lines:
        return next(json.dumps(line) for line in lines if line.startswith("In-Reply-To:"))
