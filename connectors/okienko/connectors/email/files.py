"""Mails in files: .eml, folders, Maildirs (maildir(5)) and mbox files (RFC 4155)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from okienko.plugins.raw import CHUNK, RawContent

_STUFFED = re.compile(rb">+From ")


def read_paths(paths: Sequence[Path]) -> Iterator[tuple[str, RawContent]]:
    """Every message with its name, in the order of the arguments and of the names in a folder."""
    for path in paths:
        if path.is_dir():
            yield from _folder(path)
        else:
            yield from _file(path, path.name)


def _folder(folder: Path) -> Iterator[tuple[str, RawContent]]:
    for file in _files(folder):
        yield from _file(file, file.relative_to(folder).as_posix())


def _files(folder: Path) -> Iterator[Path]:
    if (folder / "cur").is_dir() and (folder / "new").is_dir():
        # In a Maildir, tmp/ holds what is still being written.
        inner = [part for name in ("new", "cur") for part in sorted((folder / name).iterdir())]
        # Subfolders of a Maildir++ begin with a dot.
        inner += sorted(part for part in folder.iterdir() if part.is_dir() and (part / "cur").is_dir())
    else:
        inner = sorted(part for part in folder.iterdir() if not part.name.startswith("."))
    for part in inner:
        if part.is_dir():
            yield from _files(part)
        elif part.is_file():
            yield part


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
    lines: list[bytes] | None = None
    blank = True
    with path.open("rb") as stream:
        for line in stream:
            if blank and line.startswith(b"From "):
                if lines is not None:
                    yield _message(lines)
                lines = []
            elif lines is not None:
                # ">From " was made of "From ", ">>From " of ">From " (the format that mbox(5) calls mboxrd).
                lines.append(line[1:] if _STUFFED.match(line) else line)
            blank = line in (b"\n", b"\r\n")
    if lines is not None:
        yield _message(lines)


def _message(lines: list[bytes]) -> bytes:
    # The blank line before the next separator is the format's, not the message's.
    if lines and lines[-1] in (b"\n", b"\r\n"):
        lines.pop()
    return b"".join(lines)
