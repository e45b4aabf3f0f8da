"""Mails in files: .eml, folders, Maildirs (maildir(5)) and mbox files (RFC 4155)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from okienko.plugins.raw import CHUNK, RawContent


def read_paths(paths: Sequence[Path]) -> Iterator[tuple[str, RawContent]]:
    """Every message with its name, in the order of the arguments and of the names in a folder."""
    for path in paths:
        if path.is_dir():
            yield from _folder(path)
        else:
            yield from _file(path, path.name)


def _folder(folder: Path) -> Iterator[tuple[str, RawContent]]:
    if (folder / "cur").is_dir() and (folder / "new").is_dir():
        # In a Maildir, tmp/ holds what is still being written.
        files = sorted(p for part in ("new", "cur") for p in (folder / part).iterdir() if p.is_file())
    else:
        files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    for file in files:
        yield from _file(file, str(file.relative_to(folder)))


def _file(path: Path, name: str) -> Iterator[tuple[str, RawContent]]:
    with path.open("rb") as stream:
        is_mbox = path.suffix.lower() != ".eml" and stream.read(5) == b"From "
    if is_mbox:
        for number, message in enumerate(_mbox(path), 1):
            yield f"{name}#{number}", RawContent(message)
    elif path.stat().st_size > CHUNK:
        yield name, RawContent(path=path)
    else:
        yield name, RawContent(path.read_bytes())


def _mbox(path: Path) -> Iterator[bytes]:
    lines: list[bytes] = []
    blank = True
    with path.open("rb") as stream:
        for line in stream:
            if blank and line.startswith(b"From "):
                if lines:
                    yield _unstuffed(lines)
                lines = []
            else:
                lines.append(line)
            blank = line in (b"\n", b"\r\n")
    if lines:
        yield _unstuffed(lines)


def _unstuffed(lines: list[bytes]) -> bytes:
    if lines[-1] in (b"\n", b"\r\n"):
        # The separator's own blank line is not part of the message.
        lines = lines[:-1]
    return b"".join(
        line[1:] if line.lstrip(b">").startswith(b"From ") and line.startswith(b">") else line for line in lines
    )
