"""Mails out: made by RFC 5322 with the fields of RFC 3834, and the folder they can be put into."""

from __future__ import annotations

import asyncio
import binascii
import os
import re
from collections.abc import Iterable
from email.utils import format_datetime
from pathlib import Path
from typing import Protocol

from okienko.connectors.email.settings import EmailSettings
from okienko.plugins.errors import PermanentError, TransientError
from okienko.plugins.ports import Finding, Severity
from okienko.schemas import NotificationKind, OperatorMail, OutboundMessage

_ANSWER_NO_MAIL = (NotificationKind.CLOSED, OperatorMail.DIGEST)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ADDRESS = re.compile(r'([^\x00-\x20\x7f@<>()\[\]",:;\\]+)@([^\x00-\x20\x7f@<>()",;\\]+)')
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*(?<!\?=)")
_WORD_OCTETS = 39
"""Octets in one encoded word: with the field's name it stays within 76 characters (RFC 2047, section 2)."""
_MOST_IDS, _LONGEST_ID = 20, 500
"""References in one mail; and octets of one, far below the 998 of a line (RFC 5322, section 2.1.1)."""
_NOT_IN_IDS = re.compile(r"[^\x21-\x7e]+|[<>]+")


def build(message: OutboundMessage, settings: EmailSettings) -> bytes:
    """The mail's bytes. Raises PermanentError when the recipient's address cannot stand in a header field.

    Written field by field: EmailMessage takes 4 ms for a mail, which was more than all the rest of its case's way.
    """
    if _ADDRESS.fullmatch(message.to.address) is None or not message.to.address.isprintable():
        raise PermanentError("the recipient's address is not one that mail can be sent to")
    fields = [
        ("From", _mailbox(settings.display_name, settings.address)),
        ("To", _mailbox(message.to.name, message.to.address)),
        ("Subject", _text("Subject", message.subject)),
        ("Date", format_datetime(message.created_at)),
        ("Message-ID", _msg_id(message.message_id)),
    ]
    if answered := _msg_ids([message.in_reply_to or ""]):
        fields.append(("In-Reply-To", answered[0]))
    if references := _msg_ids(message.references):
        # The first is the thread's root, the last are the nearest; the ones between can go (RFC 5322, section 3.6.4).
        shown = references if len(references) <= _MOST_IDS else [references[0], *references[1 - _MOST_IDS :]]
        fields.append(("References", "\r\n ".join(shown)))
    fields += [
        # RFC 3834, section 5, and its counterpart at Microsoft's: no machine is to answer this.
        ("Auto-Submitted", "auto-generated" if message.kind in _ANSWER_NO_MAIL else "auto-replied"),
        ("X-Auto-Response-Suppress", "All"),
        ("MIME-Version", "1.0"),
        ("Content-Type", 'text/plain; charset="utf-8"'),
        ("Content-Transfer-Encoding", "quoted-printable"),
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    text = f"{message.text.rstrip()}\n".replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace")
    body = binascii.b2a_qp(text, istext=True).replace(b"\n", b"\r\n")
    return f"{head}\r\n".encode() + body


def _text(field: str, text: str) -> str:
    """Unstructured text of a field, in encoded words where it must (RFC 2047), folded."""
    text = _one_line(text)
    if text.isascii() and len(field) + len(text) < 74 and "=?" not in text:
        return text
    return _encoded_words(text)


def _mailbox(name: str, address: str) -> str:
    """A name-addr of RFC 5322, section 3.4."""
    name = _one_line(name)
    if not name:
        return address
    if _ATOMS.fullmatch(name):
        return f"{name}\r\n <{address}>" if len(name) + len(address) > 68 else f"{name} <{address}>"
    return f"{_encoded_words(name)}\r\n <{address}>"


def _encoded_words(text: str) -> str:
    """RFC 2047 words in base64, none longer than a line takes, none splitting a character."""
    pieces: list[bytearray] = [bytearray()]
    for character in text:
        octets = character.encode()
        if len(pieces[-1]) + len(octets) > _WORD_OCTETS:
            pieces.append(bytearray())
        pieces[-1] += octets
    return "\r\n ".join(f"=?utf-8?B?{binascii.b2a_base64(piece, newline=False).decode()}?=" for piece in pieces)


def _one_line(text: str) -> str:
    """A line end in a field's text would let its writer add fields of his own."""
    return " ".join(_CONTROLS.sub(" ", text).encode("utf-8", "replace").decode().split())


def _msg_id(text: str) -> str:
    return f"<{_NOT_IN_IDS.sub('', text)}>"


def _msg_ids(texts: Iterable[str]) -> list[str]:
    """Those that can stand in a field. One that is too long for a line cannot be cut, or it would be another mail's."""
    return [found for found in map(_msg_id, texts) if 2 < len(found) <= _LONGEST_ID]


class Outbox(Protocol):
    """Where mails go."""

    async def deliver(self, message: OutboundMessage, mail: bytes) -> None:
        """Hand over one mail."""
        ...

    async def check(self) -> list[Finding]:
        """Try it."""
        ...


class FolderOutbox:
    """A folder of .eml files named by notification: delivering one twice leaves one file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def deliver(self, message: OutboundMessage, mail: bytes) -> None:
        """Write the file whole and lasting before it gets its name."""
        await asyncio.to_thread(self._write, str(message.id), mail)

    async def check(self) -> list[Finding]:
        """Whether the folder can be written: a file is, and removed."""
        try:
            await asyncio.to_thread(self._try)
        except OSError as error:
            text = f"{self._folder} cannot be written: {error.strerror}"
            cure = "set OKIENKO_EMAIL_OUTBOX_DIR to a folder that okienko may write to, or OKIENKO_EMAIL_RELAY_HOST"
            return [Finding("email outbox", Severity.ERROR, text, cure)]
        return [Finding("email outbox", Severity.OK, f"mails are written to {self._folder}; no relay is configured")]

    def _try(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        trial = self._folder / f".trial-{os.getpid()}.part"
        trial.write_bytes(b"okienko")
        trial.unlink()

    def _write(self, name: str, mail: bytes) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f".{name}.part"
            with open(partial, "wb", opener=_private) as stream:
                stream.write(mail)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(self._folder / f"{name}.eml")
            if os.name == "posix":
                # The new name lasts only when its folder is on the disk too.
                descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise TransientError(f"the outbox folder {self._folder} cannot be written: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    # Mails hold personal data: the group may read them, the rest of the machine not.
    return os.open(path, flags, 0o640)
