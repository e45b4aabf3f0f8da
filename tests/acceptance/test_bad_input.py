"""Input that no one should send: each ends with an outcome, its bytes are kept, and the mail after it is unharmed."""

from __future__ import annotations

import json
import os
import smtplib
import subprocess
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from acceptance.service import OKIENKO, Installation, free_port, installation
from corpus import built, head, many_parts, nested, plain

MIB = 1 << 20
ANY = {"cased", "parked"}


def zip_bomb() -> bytes:
    """A mail with 100 MiB of zeros in 100 KB of zip, under a name that climbs out of its folder."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../../etc/cron.d/x", bytes(100 * MIB))
    name = "../../../../etc/42.zip\x00.pdf"
    return built(9, "NOWE bomba", "x", lambda m: m.add_attachment(packed.getvalue(), maintype="application", subtype="zip", filename="n")).replace(
        b'filename="n"', f'filename="{name}"'.encode()
    )  # fmt: skip


def multipart(n: int, rest: bytes) -> bytes:
    """A mail whose header announces parts between lines --b."""
    return head(n, "NOWE czesci", 'Content-Type: multipart/mixed; boundary="b"').encode() + b"\r\n" + rest


BAD: dict[str, tuple[bytes, set[str]]] = {
    "truncated in a part": (multipart(1, b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nZZZ"), {"cased"}),
    "truncated in the header": (head(2, "NOWE ucięte")[:90].encode(), ANY),
    "wrong boundary": (multipart(3, b"--c\r\n\r\ntekst\r\n--c--\r\n"), {"cased"}),
    "8-bit header": (head(4, "NOWE żółć").encode("cp1250", "replace") + b"\r\nx\r\n", {"cased"}),
    "lying charset": (plain(5, "NOWE klamie", "x", "utf-8").replace(b"charset=utf-8", b"charset=utf-16") + b"\xff", {"cased"}),
    "10,000 parts": (many_parts(6, 10_000), {"cased"}),
    "10,000 attachments": (multipart(7, b"--b\r\nContent-Disposition: attachment; filename=x\r\n\r\nx\r\n" * 10_000), {"cased"}),
    "1,000 multiparts deep": (nested(8, 1000), {"cased"}),
    "1,000 mails deep": (b"Subject: NOWE x\r\nContent-Type: message/rfc822\r\n\r\n" * 1000 + head(10, "NOWE").encode(), {"cased"}),
    "zip bomb": (zip_bomb(), {"cased"}),
    "NUL bytes": (head(11, "NOWE \x00 zera").encode() + b"\r\n\x00\x00tekst\x00\r\n", {"cased"}),
    "only NUL": (bytes(5000), {"parked"}),
    "empty": (b"", {"parked"}),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40, {"parked"}),
    "a JSON document": (json.dumps({"subject": ["NOWE"]}).encode(), {"parked"}),
    "a line of a megabyte": (head(12, "NOWE dluga").encode() + b"\r\n" + b"x" * 900_000, {"cased"}),
    "a field of a megabyte": (head(13, "NOWE " + "x" * 900_000).encode() + b"\r\nx\r\n", ANY),
    "30,000 fields": (head(14, "NOWE pola", *["X-A: b"] * 30_000).encode() + b"\r\nx\r\n", ANY),
    "30,000 recipients": (head(15, "NOWE", "Cc: " + ", ".join(["a@b.example"] * 30_000)).encode() + b"\r\nx\r\n", ANY),
    "30,000 references": (head(16, "NOWE", "References: " + " ".join(f"<{n}@x>" for n in range(30_000))).encode() + b"\r\nx\r\n", ANY),
    "comments in comments": (head(17, "NOWE").replace("From: ", "From: " + "(" * 20_000).encode() + b"\r\nx\r\n", ANY),
}  # fmt: skip


@pytest.fixture(scope="module")
def place() -> Iterator[Installation]:
    with installation(OKIENKO_LOG_LEVEL="ERROR") as place:
        yield place


@pytest.mark.timeout(300)
def test_bad_mails_have_outcomes_and_the_next_mail_is_unharmed(place: Installation, tmp_path: Path) -> None:
    for n, (mail, _) in enumerate(BAD.values()):
        (tmp_path / f"{n:03}-a-bad.eml").write_bytes(mail)
        (tmp_path / f"{n:03}-b-good.eml").write_bytes(plain(1000 + n, f"NOWE dobre {n}", f"Dobry {n}."))
    lines = place.json_lines("intake", str(tmp_path), "--json")
    bad, good = lines[0::2], lines[1::2]
    wrong = {
        name: (line["outcome"], line["reason"])
        for (name, (_, right)), line in zip(BAD.items(), bad, strict=True)
        if line["outcome"] not in right
    }
    assert wrong == {}
    assert {line["outcome"] for line in good} == {"cased"}
    assert {line["case"]["state"] for line in good} == {"registered"}
    parked = place.json_lines("parked", "list", "--json")
    assert {item["reason"] for item in parked if item["job"] == "process"} == {"unreadable"}
    for item in parked:
        if item["job"] == "process":
            shown = subprocess.run(
                [OKIENKO, "parked", "show", str(item["id"]), "--raw"],
                env=place.environ, check=True, capture_output=True,
            )  # fmt: skip
            assert shown.stdout == (tmp_path / item["source"]).read_bytes()
    with place.serving():
        assert place.metric("okienko_mail_balance") == 0
        assert place.sql("SELECT sum(size) FROM envelope") == str(sum(f.stat().st_size for f in tmp_path.iterdir()))


def large_mail(path: Path, octets: int) -> None:
    """A mail with one attachment of so many octets, base64."""
    line = b"QUFB" * 19 + b"\r\n"
    with path.open("wb") as stream:
        stream.write(multipart(50, b"--b\r\n\r\nW zalaczniku.\r\n--b\r\nContent-Type: application/pdf\r\n"))
        stream.write(b"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=duzy.pdf\r\n\r\n")
        for _ in range(octets // 57):
            stream.write(line)
        stream.write(b"--b--\r\n")


def intake_with_peak(place: Installation, folder: Path) -> tuple[list[dict], float]:
    """`okienko intake FOLDER --json`, and the most memory that its process had, in MiB."""
    process = subprocess.Popen([OKIENKO, "intake", str(folder), "--json"], env=place.environ, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as stdout:
        lines = [json.loads(line) for line in stdout]
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return lines, usage.ru_maxrss / 1024


@pytest.mark.timeout(300)
def test_an_attachment_of_100_mb_takes_little_memory(tmp_path: Path) -> None:
    folders = tmp_path / "large", tmp_path / "small"
    for n, folder in enumerate(folders):
        folder.mkdir()
        (folder / "2.eml").write_bytes(plain(51 + n, f"NOWE po {folder.name}", f"Dobry {n}."))
    large_mail(folders[0] / "1.eml", 100_000_000)
    port = free_port()
    limits = {"OKIENKO_MAX_MESSAGE_SIZE": str(200 * MIB), "OKIENKO_EMAIL_MAX_SIZE": str(200 * MIB)}
    with installation(OKIENKO_EMAIL_LMTP_LISTEN=f"127.0.0.1:{port}", **limits) as place:
        _, usual = intake_with_peak(place, folders[1])
        lines, peak = intake_with_peak(place, folders[0])
        assert [line["outcome"] for line in lines] == ["cased", "cased"]
        with place.serving() as process:
            before = peak_memory(process.pid)
            with smtplib.LMTP("127.0.0.1", port, local_hostname="localhost", timeout=100) as lmtp:
                lmtp.ehlo()
                assert lmtp.docmd("MAIL FROM:<a@poczta.example>")[0] == 250
                assert lmtp.docmd("RCPT TO:<helpdesk@okienko.invalid>")[0] == 250
                assert lmtp.docmd("DATA")[0] == 354
                with (folders[0] / "1.eml").open("rb") as stream:
                    while piece := stream.read(MIB):
                        lmtp.send(piece)
                lmtp.send(b".\r\n")
                assert lmtp.getreply()[0] == 250
            place.until(lambda: place.metric("okienko_mail_balance") == 0)
            after = peak_memory(process.pid)
            size = int(place.sql("SELECT max(size) FROM envelope"))
        # Nothing stays in the spool, and the attachment is never whole in memory, in base64 or out of it.
        assert list((place.home / "spool").iterdir()) == []
    print(f"peak MiB: intake {usual:.0f} -> {peak:.0f}, service {before:.0f} -> {after:.0f}, mail {size / MIB:.0f}")
    assert size > 130 * 10**6
    assert peak - usual < 80
    assert after - before < 80


def peak_memory(pid: int) -> float:
    """The most memory that a process had so far, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) / 1024


def test_a_mail_over_the_limit_is_refused_and_the_next_is_taken(tmp_path: Path) -> None:
    port = free_port()
    limits = {"OKIENKO_MAX_MESSAGE_SIZE": "100000", "OKIENKO_EMAIL_MAX_SIZE": "100000"}
    with installation(OKIENKO_EMAIL_LMTP_LISTEN=f"127.0.0.1:{port}", **limits) as place:
        big, small = plain(60, "NOWE duze", "x" * 200_000), plain(61, "NOWE male", "x")
        (tmp_path / "1.eml").write_bytes(big)
        (tmp_path / "2.eml").write_bytes(small)
        first, second = place.json_lines("intake", str(tmp_path), "--json")
        assert (first["outcome"], first["reason"][:19]) == ("parked", "refused at the door")
        assert second["outcome"] == "cased"
        with place.serving(), smtplib.LMTP("127.0.0.1", port, local_hostname="localhost", timeout=30) as lmtp:
            with pytest.raises(smtplib.SMTPException):
                lmtp.sendmail("a@poczta.example", ["helpdesk@okienko.invalid"], big)
            lmtp.rset()
            lmtp.sendmail("a@poczta.example", ["helpdesk@okienko.invalid"], small.replace(b"<corpus", b"<other"))
            place.until(lambda: place.metric("okienko_mail_balance") == 0)
            assert place.sql("SELECT count(*) FROM envelope") == "2"


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("OKIENKO_EMAIL_LMTP_LISTN", "127.0.0.1:2424", "OKIENKO_EMAIL_LMTP_LISTEN"),
        ("OKIENKO_DATABASE_ULR", "postgresql://okienko@localhost/okienko", "OKIENKO_DATABASE_URL"),
        ("OKIENKO_BATCH_SIZE", "many", "OKIENKO_BATCH_SIZE"),
        ("OKIENKO_DATABASE_URL", "mysql://okienko:hidden-word@localhost/okienko", "okienko needs PostgreSQL"),
        ("OKIENKO_DATABASE_URL", "no url hidden-word", "OKIENKO_DATABASE_URL"),
        ("OKIENKO_CSD", "none-such", "builtin"),
        ("OKIENKO_WEB_LISTEN", "everywhere", "OKIENKO_WEB_LISTEN"),
        ("OKIENKO_EMAIL_LMTP_LISTEN_FILE", "/no/such/file", "/no/such/file"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_its_name_and_cure(
    place: Installation, setting: str, value: str, said: str
) -> None:
    environ = place.environ | {setting: value}
    done = subprocess.run([OKIENKO, "serve"], env=environ, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "hidden-word" not in done.stderr
