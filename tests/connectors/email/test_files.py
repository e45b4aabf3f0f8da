"""Mails read from files."""

from __future__ import annotations

import mailbox
from pathlib import Path

from okienko.connectors.email.files import read_paths

MAIL = b"Subject: %s\n\nx\n"


def read(*paths: Path) -> list[tuple[str, bytes]]:
    return [(name, raw.read()) for name, raw in read_paths(paths)]


def test_files_and_folders(tmp_path: Path) -> None:
    """Folders are read in the order of names, all the way down; names are unique; hidden files are no mails."""
    for name in ("b.eml", "a.eml", "sub/a.eml", ".hidden"):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(MAIL % name.encode())
    names = [name for name, _ in read(tmp_path / "in")]
    assert names == ["a.eml", "b.eml", "sub/a.eml"]
    assert read(tmp_path / "in" / "b.eml") == [("b.eml", MAIL % b"b.eml")]


def test_maildir(tmp_path: Path) -> None:
    """As the standard library writes it, subfolders and all; what is in tmp/ is not there yet."""
    box = mailbox.Maildir(tmp_path / "box")
    box.add(MAIL % b"one")
    box.add_folder("old").add(MAIL % b"two")
    (tmp_path / "box" / "tmp" / "half").write_bytes(b"half")
    found = read(tmp_path / "box")
    assert [data for _, data in found] == [MAIL % b"one", MAIL % b"two"]
    assert found[1][0].startswith(".old/new/")


def test_mbox(tmp_path: Path) -> None:
    """As the standard library writes it, with `From ` in the text."""
    path = tmp_path / "box"
    box = mailbox.mbox(path)
    texts = [b"Subject: 1\n\nHello\n\nFrom here on\n", b"Subject: 2\n\n", b"Subject: 3\n\nno From \n"]
    for text in texts:
        box.add(text)
    box.close()
    assert read(path) == [(f"box#{number}", text) for number, text in enumerate(texts, 1)]


def test_mbox_with_crlf_and_stuffing(tmp_path: Path) -> None:
    """CRLF line ends and stuffed `From ` lines of either depth."""
    path = tmp_path / "m.mbox"
    path.write_bytes(
        b"From a@b Mon\r\nSubject: 1\r\n\r\n>From x\r\n>>From y\r\n> From z\r\n\r\nFrom c@d\r\nSubject: 2\r\n\r\ny"
    )
    assert [data for _, data in read(path)] == [
        b"Subject: 1\r\n\r\nFrom x\r\n>From y\r\n> From z\r\n",
        b"Subject: 2\r\n\r\ny",
    ]


def test_eml_that_begins_with_from(tmp_path: Path) -> None:
    """A file named .eml is one mail, and an empty file is one empty thing."""
    (tmp_path / "x.eml").write_bytes(b"From x\nSubject: 1\n\n\nFrom y\n")
    (tmp_path / "y").touch()
    assert [name for name, _ in read(tmp_path)] == ["x.eml", "y"]


def test_large_file_stays_a_file(tmp_path: Path) -> None:
    """It is not read into memory."""
    path = tmp_path / "large.eml"
    path.write_bytes(b"Subject: x\n\n" + b"x" * (2 << 20))
    ((_, raw),) = read_paths([path])
    assert raw.path == path
