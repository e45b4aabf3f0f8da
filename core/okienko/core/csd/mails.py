"""What a message adds to a ticket: a note of its text, and its files as streams out of the stored envelope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import envelopes
from okienko.core.calls import Calls
from okienko.core.csd.twoway import own_file_keys
from okienko.plugins.csd import Capability, CsdBackend, NewFile
from okienko.plugins.csdtexts import file_name
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.ports import Channel
from okienko.schemas import Attachment, CsdRef, InboundMessage
from okienko.schemas.pesel import mask_pesels

LONGEST = 60_000
"""Characters of a message's text in a note; ServiceNow's and Jira's fields end not far above."""
_CUT = "\n\n[…] Dalszy ciąg jest w okienku. / The rest is kept in okienko."


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it."""

    file_keys: tuple[str, ...]
    """The files that are in the ticket now."""
    problem: PermanentError | None = None
    """The first refusal; everything else was done."""


class Mails:
    """Takes stored messages to tickets."""

    def __init__(
        self, engine: AsyncEngine, *, channels: Mapping[str, Channel], csd: CsdBackend, spool: Path, calls: Calls
    ) -> None:
        self._engine = engine
        self._channels = channels
        self._csd = csd
        self._spool = spool
        self._calls = calls

    async def tell(self, ref: CsdRef, envelope_id: UUID, *, note: bool, files: bool) -> Told:
        """Put the message's files into the ticket, and with `note` its text before them. It may be done again without harm.

        Without `files` they stay here: a signed application names its signatory by the personal number, and who works in a CSD
        has no need to see it.

        A refused note or file holds up none of the others. Raises TransientError for all of it.
        """
        async with envelopes.load(self._engine, [envelope_id], spool=self._spool, finished=True) as loaded:
            if not loaded or loaded[0].raw.size == 0:
                return Told(())  # erased
            item = loaded[0]
            channel = self._channels.get(item.envelope.connector)
            if channel is None:
                raise MisconfiguredError(
                    f"the plugin {item.envelope.connector!r} that took this in is not loaded: load it, then replay"
                )
            message = await self._calls.apart(channel, "parse", lambda: channel.parse(item.envelope, item.raw))
            problems: list[PermanentError] = []
            if note:
                text = note_text(message, f"{item.envelope.received_at:%Y-%m-%d %H:%M}")
                await self._try(problems, "comment", lambda: self._csd.comment(ref, str(envelope_id), text))
            keys: list[str] = []
            if files and Capability.ATTACHMENTS in self._csd.capabilities:
                done: set[str] = set()
                for attachment in message.attachments:
                    # The same content twice in one message, as mail programs send pictures, is one file.
                    if attachment.sha256 in done:
                        continue
                    done.add(attachment.sha256)

                    def opened(index: int = attachment.index) -> BinaryIO:
                        return channel.open_attachment(item.envelope, item.raw, index)

                    file = _file(attachment, opened)
                    if await self._try(problems, "attach", lambda f=file: self._csd.attach(ref, f)):  # type: ignore[misc]  # a default binds the loop's value
                        keys += own_file_keys(file.filename, file.size, file.sha256)
        return Told(tuple(keys), problems[0] if problems else None)

    async def _try(self, problems: list[PermanentError], operation: str, make: Callable[[], object]) -> bool:
        try:
            await self._calls.call(self._csd, operation, make)  # type: ignore[arg-type]  # both make a coroutine
        except TransientError:
            raise
        except PermanentError as error:
            problems.append(error)
            return False
        return True


def _file(attachment: Attachment, opened: Callable[[], BinaryIO]) -> NewFile:
    # Named here as every CSD takes it, so that the file is known again by its name when the ticket is read.
    return NewFile(file_name(attachment.filename), attachment.content_type, attachment.size, attachment.sha256, opened)


def note_text(message: InboundMessage, received: str) -> str:
    """A further message as the clerk reads it in the ticket."""
    sender = message.sender
    who = f"{sender.name} <{sender.address}>".strip() if sender else "?"
    names = ", ".join(attachment.filename for attachment in message.attachments)
    head = [
        "Kolejna wiadomość w sprawie / A further message in the case",
        f"Od / From: {who}",
        f"Data / Date: {received} UTC",
        f"Temat / Subject: {message.subject}",
        *([f"Pliki / Files: {names}"] if names else []),
    ]
    text = message.text if len(message.text) <= LONGEST else message.text[:LONGEST] + _CUT
    return mask_pesels("\n".join(head) + f"\n\n{text}".rstrip())
