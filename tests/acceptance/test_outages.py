"""The world breaks while okienko works: database away, killed or full, relay away. It says so, loses nothing and recovers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import smtplib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from acceptance.senders import MAIL, LmtpSender
from acceptance.service import Installation, free_port, installation
from rigs.dovecot import PASSWORD, USER, dovecot
from rigs.postgres import running_postgres
from rigs.smtpsink import smtp_sink


def send(port: int, n: int, filling: int = 0) -> int:
    """Deliver mail number `n` once; returns the code that answers its last octet."""
    mail = (MAIL.format(n=n) + ("x" * 70 + "\r\n") * (filling // 72)).encode()
    with smtplib.LMTP("127.0.0.1", port, local_hostname="localhost", timeout=60) as lmtp:
        try:
            lmtp.sendmail("nadawca@poczta.example", ["helpdesk@okienko.invalid"], mail)
        except smtplib.SMTPRecipientsRefused as error:
            return next(iter(error.recipients.values()))[0]
        except smtplib.SMTPResponseException as error:
            return error.smtp_code
    return 250


def all_cased(place: Installation, mails: int) -> None:
    """Wait for the end of all work; then each mail is one registered case."""
    place.until(lambda: place.metric("okienko_mail_balance") == 0, 90)
    place.until(lambda: unregistered(place) == 0, 90)
    cases = place.json_lines("cases", "--json", "--limit", "100000")
    assert Counter(case["subject"] for case in cases) == Counter(f"NOWE sprawa {n}" for n in range(mails))
    assert len({case["number"] for case in cases}) == mails


def unregistered(place: Installation) -> int:
    """Cases that have no number yet."""
    return sum(case["number"] is None for case in place.json_lines("cases", "--json", "--limit", "100000"))


def test_start_without_a_database_says_so() -> None:
    url = f"postgresql://okienko:hidden-word@127.0.0.1:{free_port()}/okienko"
    with installation(OKIENKO_DATABASE_URL=url) as place:
        for command in (["serve"], ["cases"], ["db", "upgrade"], ["intake", str(place.home)]):
            done = place.run(*command, check=False)
            assert done.returncode == 1
            assert "database does not answer" in done.stderr
            assert "Traceback" not in done.stderr
            assert "hidden-word" not in done.stderr
        assert place.run("check", check=False).returncode == 1


@pytest.mark.timeout(240)
def test_database_goes_away_and_comes_back() -> None:
    port = free_port()
    with running_postgres(durable=True) as server:
        settings = {"OKIENKO_DATABASE_URL": server.url("postgres"), "OKIENKO_EMAIL_LMTP_LISTEN": f"127.0.0.1:{port}"}
        with installation(**settings) as place:
            assert "run `okienko db upgrade`" in place.run("serve", check=False).stderr
            place.run("db", "upgrade")
            with place.serving() as process:
                sender = LmtpSender(port, range(300))
                sender.allow(0.5)
                sender.start()
                place.until(lambda: sender.delivered > 20)
                server.stop()
                assert send(port, 0) == 451
                assert place.get("/healthz")[0] == 200
                assert place.get("/readyz")[0] == 503
                assert "okienko_database_up 0.0" in place.get("/metrics")[1]
                sender.allow(1)
                server.start()
                place.until(lambda: place.get("/readyz")[0] == 200)
                place.until(sender.done.is_set)
                assert process.poll() is None
                all_cased(place, 300)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the server's processes in /proc")
@pytest.mark.timeout(240)
def test_a_database_that_hangs_makes_senders_come_again() -> None:
    port = free_port()
    with running_postgres(durable=True) as server:
        settings = {
            "OKIENKO_DATABASE_URL": server.url("postgres"), "OKIENKO_EMAIL_LMTP_LISTEN": f"127.0.0.1:{port}",
            "OKIENKO_EMAIL_ACCEPT_TIMEOUT": "1",
        }  # fmt: skip
        with installation(**settings) as place:
            place.run("db", "upgrade")
            with place.serving() as process:
                place.until(lambda: send(port, 0) == 250)
                with server.frozen():
                    assert [send(port, n) for n in (1, 2)] == [451, 451]
                    assert place.get("/healthz")[0] == 200
                for n in (1, 2, 3):
                    place.until(lambda: send(port, n) == 250)  # noqa: B023  called here
                all_cased(place, 4)
                assert process.poll() is None


@pytest.mark.needs_dovecot
@pytest.mark.timeout(240)
def test_mails_stay_in_the_mailbox_while_the_database_is_away() -> None:
    with dovecot() as mailbox, running_postgres(durable=True) as server:
        settings = {
            "OKIENKO_DATABASE_URL": server.url("postgres"), "OKIENKO_EMAIL_IMAP_HOST": "localhost",
            "OKIENKO_EMAIL_IMAP_PORT": str(mailbox.imaps), "OKIENKO_EMAIL_IMAP_CA": str(mailbox.ca),
            "OKIENKO_EMAIL_IMAP_USER": USER, "OKIENKO_EMAIL_IMAP_PASSWORD": PASSWORD,
        }  # fmt: skip
        with installation(**settings) as place:
            place.run("db", "upgrade")
            with place.serving():
                mailbox.append(MAIL.format(n=0).encode())
                place.until(lambda: mailbox.count("Processed") == 1)
                server.stop()
                for n in range(1, 4):
                    mailbox.append(MAIL.format(n=n).encode())
                place.until(lambda: '"mail deferred"' in place.log())
                assert (mailbox.count("INBOX"), mailbox.count("Processed")) == (3, 1)
                server.start()
                place.until(lambda: mailbox.count("Processed") == 4)
                all_cased(place, 4)
                assert (mailbox.count("INBOX"), mailbox.count("Failed")) == (0, 0)


@pytest.mark.timeout(500)
def test_the_bundled_database_is_killed_and_started_again() -> None:
    port = free_port()
    with installation(OKIENKO_EMAIL_LMTP_LISTEN=f"127.0.0.1:{port}") as place, place.serving() as process:
        for n in range(3):
            # 451 is a right answer while the service still finds out that its connections are dead.
            place.until(lambda: send(port, n) == 250, 70)  # noqa: B023  called here
            dead = postmaster(place)
            os.kill(dead, signal.SIGKILL)
            place.until(lambda: postmaster(place) not in (0, dead), 70)  # noqa: B023  called here
            place.until(lambda: send(port, n) == 250, 70)  # noqa: B023  called here
        assert process.poll() is None
        assert "the bundled PostgreSQL is gone" in place.log()
        all_cased(place, 3)


def postmaster(place: Installation) -> int:
    """The pid in the bundled PostgreSQL's own file; 0 while a starting server makes the file anew."""
    try:
        lines = (place.home / "postgres" / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return int(lines[0]) if lines else 0


def test_commands_work_beside_a_running_service() -> None:
    with installation() as place, place.serving():
        assert place.json_lines("cases", "--json") == []
        place.run("db", "status")
        assert place.get("/readyz")[0] == 200


def test_files_that_a_kill_left_in_the_spool_are_removed() -> None:
    with installation() as place:
        place.run("db", "upgrade")
        old, fresh = place.home / "spool" / "envelope-old", place.home / "spool" / "envelope-fresh"
        for path in (old, fresh):
            path.write_bytes(b"x")
        os.utime(old, (1_700_000_000, 1_700_000_000))
        place.run("db", "upgrade")
        assert (old.exists(), fresh.exists()) == (False, True)


def test_an_interrupted_first_start_is_mended() -> None:
    with installation() as place:
        # What a kill inside initdb leaves under its working name, and a folder that holds nothing yet.
        left = place.home / "postgres.new-killed"
        left.mkdir()
        (left / "PG_VERSION").write_text("18\n")
        (place.home / "postgres").mkdir()
        with place.serving():
            assert not left.exists()
        with place.serving():
            place.sql("SELECT 1")


@pytest.mark.timeout(240)
def test_relay_is_down_and_comes_back() -> None:
    port = free_port()
    with smtp_sink(opened=False) as sink:
        settings = {
            "OKIENKO_EMAIL_LMTP_LISTEN": f"127.0.0.1:{port}", "OKIENKO_EMAIL_RELAY_HOST": "127.0.0.1",
            "OKIENKO_EMAIL_RELAY_PORT": str(sink.port), "OKIENKO_EMAIL_RELAY_TLS": "none",
        }  # fmt: skip
        with installation(**settings) as place, place.serving():
            for n in range(5):
                assert send(port, n) == 250
            all_cased(place, 5)
            place.until(lambda: 'okienko_job_retries_total{job="notify"}' in place.get("/metrics")[1])
            assert place.sql("SELECT state, count(*) FROM notification GROUP BY 1") == "queued|5"
            sink.open()
            assert send(port, 5) == 250
            place.until(lambda: place.sql("SELECT state, count(*) FROM notification GROUP BY 1") == "sent|6")
            place.until(lambda: place.sql("SELECT count(*) FROM pgqueuer") == "0")
            answered = Counter(re.search(rb"In-Reply-To: (.+?)\r\n", mail)[1].decode() for mail in sink.mails)
            assert answered == Counter(f"<kill.{n}@poczta.example>" for n in range(6))
            assert place.json_lines("parked", "list", "--json") == []


@pytest.mark.timeout(300)
def test_the_disk_is_full_and_gets_room_again() -> None:
    port = free_port()
    with installation(OKIENKO_EMAIL_LMTP_LISTEN=f"127.0.0.1:{port}") as place:
        mount(place.home)
        try:
            with place.serving() as process:
                assert send(port, 0) == 250
                ballast = place.home / "ballast"
                fill(ballast, leave=2 << 20)
                codes = []
                n = 1
                while not codes or codes[-1] == 250:
                    codes.append(send(port, n, filling=600_000))
                    n += codes[-1] == 250
                    assert n < 100, "the disk does not get full"
                assert codes[-1] in (451, 452)
                assert place.get("/healthz")[0] == 200
                ballast.unlink()
                place.until(lambda: send(port, n, filling=600_000) == 250)
                assert send(port, n + 1) == 250
                all_cased(place, n + 2)
                assert process.poll() is None
                place.until(lambda: place.sql("SELECT state, count(*) FROM notification GROUP BY 1") == f"sent|{n + 2}")
        finally:
            subprocess.run(["umount", "--lazy", place.home], check=False)


def mount(folder: Path) -> None:
    """A small file system of its own for the folder."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs", folder],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip(
            f"a full disk needs a small file system, and only root with the right to mount gets one: {done.stderr}"
        )


def fill(ballast: Path, leave: int) -> None:
    """Fill the file system up to so many octets."""
    with ballast.open("wb") as stream:
        while (free := shutil.disk_usage(ballast.parent).free) > leave:
            stream.write(bytes(min(free - leave, 1 << 20)))
            stream.flush()
