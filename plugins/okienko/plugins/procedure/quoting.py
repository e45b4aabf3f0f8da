"""What the writer wrote, without what they quoted."""

from __future__ import annotations

import re

_QUOTE_HEAD = re.compile(
    r"^[ \t]*(?:-{2,}[ \t]*(?:original message|wiadomość oryginalna|oryginalna wiadomość|forwarded message|przekazana wiadomość)"
    r"|W dniu .{3,120}(?:napisał|pisze|wrote)|(?:On|Dnia) .{3,120}(?:wrote|napisał|pisze)"
    r"|(?:From|Od): .{1,200}\n[ \t]*(?:Sent|Date|Wysłano|Data|Wysłane): )",
    re.IGNORECASE | re.MULTILINE,
)


def unquoted(text: str) -> str:
    """The text above a quoted message, without lines that begin with `>`."""
    if ">" in text:
        text = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith(">"))
    match = _QUOTE_HEAD.search(text)
    return text[: match.start()] if match else text
