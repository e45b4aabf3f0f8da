"""From the bytes of a mail to a message in the one language. Whatever is odd is read around and named in `defects`."""

from __future__ import annotations

import email
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesHeaderParser
from typing import BinaryIO

from okienko.connectors.email import bodytext, headers, parts, smime
from okienko.connectors.email.addresses import addresses
from okienko.connectors.email.skeleton import Skeleton
from okienko.plugins.errors import UnreadableError
from okienko.plugins.raw import RawContent
from okienko.schemas import Attachment, AutoKind, InboundMessage

WHOLE_LIMIT = 256 << 10
"""Up to this many octets a message is parsed whole; above, as a skeleton."""
MAX_BOUNDARIES = 100
"""More declared multiparts than this are not followed: the standard parser's time grows with their depth."""

_MAIL_FIELDS = (
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "received",
    "content-type",
    "mime-version",
    "return-path",
)


def parse_message(raw: RawContent) -> InboundMessage:
    """Read a mail. Raises UnreadableError when it is empty or carries none of a mail's header fields."""
    message, skeleton, defects = _open(raw)
    texts: list[_Text] = []
    attachments: list[Attachment] = []
    tnef_text = ""
    reported: list[str] = []
    for item in _members(message, skeleton, defects):
        if isinstance(item, _Text):
            texts.append(item)
            continue
        if isinstance(item, str):
            tnef_text = tnef_text or item
            continue
        leaf_type, name, content, part = item
        size, digest = parts.measured(content)
        index = len(attachments)
        filename = parts.safe_name(name, index, leaf_type)
        attachments.append(
            Attachment.model_construct(index=index, filename=filename, content_type=leaf_type, size=size, sha256=digest)
        )
        if leaf_type in ("message/rfc822", "text/rfc822-headers") and part is not None:
            reported += _inner_ids(part, content)
        if not isinstance(content, bytes):
            content.close()
    text, source = _joined(texts)
    if not text and tnef_text:
        text, source = tnef_text, "plain"
    subject = headers.decode_words(message.get("Subject", ""))
    sender = addresses(message.get_all("From", []), 2)
    date_field = message.get("Date")
    date = headers.date(date_field) if date_field else None
    kind = headers.auto_kind(message)
    if not sender:
        defects.append("no_from")
    if len({address.address for address in sender}) > 1:
        # RFC 5322 allows it with a Sender:; for us only the first counts, and what checked another proves nothing.
        defects.append("several_from")
    defects += [f"several_{name}" for name in ("subject", "message-id", "date") if len(message.get_all(name, [])) > 1]
    if date_field and date is None:
        defects.append("bad_date")
    if message.defects:
        defects += sorted({type(d).__name__ for d in message.defects})
    ids = headers.message_ids(message.get_all("Message-ID", []))
    reply_to = next(iter(addresses(message.get_all("Reply-To", []), 1)), None)
    to = addresses(message.get_all("To", []) + message.get_all("Cc", []))
    # Some programs put the correspondent's address where the id of their mail belongs.
    people = {a.address.casefold() for a in (*sender, *to, reply_to) if a}

    def answered(name: str) -> tuple[str, ...]:
        return tuple(i for i in headers.message_ids(message.get_all(name, [])) if i.casefold() not in people)

    return InboundMessage.model_construct(
        message_id=ids[0] if ids else None,
        in_reply_to=answered("In-Reply-To"),
        references=answered("References"),
        subject=subject,
        sender=sender[0] if sender else None,
        reply_to=reply_to,
        to=to,
        date=date,
        text=text,
        text_source=source,
        attachments=tuple(attachments),
        auto=kind,
        suppress_auto_response=headers.wants_no_answer(message, kind, subject),
        reported_message_ids=tuple(dict.fromkeys(reported)) if kind is AutoKind.DELIVERY_REPORT else (),
        authentication_results=tuple(
            " ".join(headers.raw_text(v).split()) for v in message.get_all("Authentication-Results", [])
        ),
        defects=tuple(dict.fromkeys(defects)),
    )


def _joined(texts: list[_Text]) -> tuple[str, str]:
    """The body and what it was made of: of alternatives the plain text where it says anything, of all else everything.

    A scanner's or list's footer in plain text beside a body in HTML must not hide the body.
    """
    plain = {t.leaf.alternative for t in texts if t.leaf.content_type == "text/plain" and t.text.strip()}
    taken = [
        t for t in texts
        if t.text.strip() and (not t.leaf.alternative or (t.leaf.content_type == "text/plain") == (t.leaf.alternative in plain))
    ]  # fmt: skip
    source = "plain" if any(t.leaf.content_type == "text/plain" for t in taken) else "html" if taken else "none"
    return "\n".join(t.text for t in taken)[: bodytext.MAX_TEXT], source


def open_attachment(raw: RawContent, index: int) -> BinaryIO:
    """The decoded bytes of an attachment, found as `parse_message` numbered it. Raises IndexError when there is none."""
    message, skeleton, defects = _open(raw)
    number = 0
    for item in _members(message, skeleton, defects):
        if isinstance(item, _Text | str):
            continue
        if number == index:
            return parts.as_stream(item[2])
        if not isinstance(item[2], bytes):
            item[2].close()
        number += 1
    raise IndexError(f"the message has no attachment {index}")


class _Text:
    """A text part, read."""

    __slots__ = ("leaf", "text")

    def __init__(self, leaf: parts.Leaf, text: str) -> None:
        self.leaf = leaf
        self.text = text


_Member = _Text | str | tuple[str, str, bytes | BinaryIO, Message | None]


def _open(raw: RawContent) -> tuple[Message, Skeleton | None, list[str]]:
    defects: list[str] = []
    if raw.size == 0:
        raise UnreadableError("the file is empty: there is no message in it")
    skeleton = Skeleton(raw) if raw.size > WHOLE_LIMIT else None
    data = (skeleton.data if skeleton else raw.read()).removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    if data.startswith(b"From "):
        # An mbox separator that a tool left on top.
        data = data.partition(b"\n")[2]
    message = _parsed(data, defects)
    if not any(name in message for name in _MAIL_FIELDS):
        raise UnreadableError(
            "it has none of a mail's header fields (From, To, Subject, Date, Message-ID): it is not a mail"
        )
    return message, skeleton, defects


def _parsed(data: bytes, defects: list[str]) -> Message:
    if data.lower().count(b"boundary=") > MAX_BOUNDARIES or data.lower().count(b"message/rfc822") > MAX_BOUNDARIES:
        defects.append("nested_too_deep")
        message: Message = BytesHeaderParser(policy=headers.RAW).parsebytes(data)
        message.set_type("application/octet-stream") if message.get("Content-Type") else None
        return message
    try:
        return email.message_from_bytes(data, policy=headers.RAW)
    except RecursionError:
        defects.append("nested_too_deep")
        return BytesHeaderParser(policy=headers.RAW).parsebytes(data)


def _opened(message: Message, skeleton: Skeleton | None, defects: list[str]) -> tuple[Message, Skeleton | None]:
    """The MIME entity inside a mail that is opaque-signed as a whole; any other mail as it is."""
    root = next(parts.leaves(message, []), None)
    if root is None or root.part is not message or not smime.may_be_signed(root.content_type, root.filename):
        return message, skeleton
    with parts.as_stream(parts.octets(message, skeleton)) as stream:
        octets = stream.read(smime.MAX_SIGNED + 1)
    try:
        content = smime.signed_content(octets)
    except ValueError:
        defects.append("bad_smime")
        return message, skeleton
    if content is None:
        return message, skeleton
    inner = Skeleton(RawContent(content)) if len(content) > WHOLE_LIMIT else None
    entity = _parsed(inner.data if inner else content, [])
    if not smime.is_mime(entity):
        return message, skeleton
    return entity, inner


def _members(message: Message, skeleton: Skeleton | None, defects: list[str]) -> Iterator[_Member]:
    message, skeleton = _opened(message, skeleton, defects)
    for leaf in parts.leaves(message, defects):
        content = parts.octets(leaf.part, skeleton)
        if leaf.is_text:
            if not isinstance(content, bytes):
                defects.append("text_truncated")
                with content:
                    content = content.read(bodytext.MAX_TEXT)
            read = bodytext.plain if leaf.content_type == "text/plain" else bodytext.from_html
            yield _Text(leaf, read(leaf.part, content, defects))
            continue
        if leaf.content_type in parts.TNEF_TYPES or leaf.filename.lower() == "winmail.dat":
            try:
                with parts.as_stream(content) as stream:
                    members, text = parts.tnef_members(stream.read(parts.MAX_TNEF + 1))
            except ValueError:
                defects.append("bad_tnef")
                content = parts.octets(leaf.part, skeleton)
            else:
                if text:
                    yield bodytext.clean(text)
                for name, data in members:
                    yield "application/octet-stream", name, data, None
                continue
        if content or leaf.filename or not isinstance(content, bytes):
            yield leaf.content_type, leaf.filename, content, leaf.part


def _inner_ids(part: Message, content: bytes | BinaryIO) -> tuple[str, ...]:
    inner = next(iter(parts.contained(part)), None)
    if inner is None:
        inner = BytesHeaderParser(policy=headers.RAW).parsebytes(content if isinstance(content, bytes) else b"")
    return headers.message_ids(inner.get_all("Message-ID", []))
