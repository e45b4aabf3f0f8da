"""Plain text to and from what Jira keeps: the Atlassian Document Format (API 3) and wiki markup (API 2). Pure.

Source: "Atlassian Document Format" and "Text Formatting Notation" of Atlassian's documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SPECIAL = re.compile(r"([{}\[\]!|*_+^~])")
_ESCAPED = re.compile(r"\\([{}\[\]!|*_+^~])")
_BACKSLASH = "&#92;"


def to_adf(text: str) -> dict[str, Any]:
    """One paragraph, with a break for each line: nothing in the text becomes markup."""
    content: list[dict[str, Any]] = []
    for place, line in enumerate(text.split("\n")):
        if place:
            content.append({"type": "hardBreak"})
        if line:
            content.append({"type": "text", "text": line})
    return {"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": content}]}


def from_adf(node: object) -> str:
    """The text of a document, whoever wrote it: lines stay lines, a quotation is marked by `>`."""
    return _blocks(node).strip("\n")


def _blocks(node: object) -> str:
    if not isinstance(node, Mapping):
        return ""
    kind, inside = node.get("type"), node.get("content")
    children = inside if isinstance(inside, list) else []
    attributes = node.get("attrs")
    attrs = attributes if isinstance(attributes, Mapping) else {}
    if kind == "text":
        return str(node.get("text") or "")
    if kind == "hardBreak":
        return "\n"
    if kind in ("mention", "emoji", "status", "placeholder"):
        return str(attrs.get("text") or attrs.get("shortName") or "")
    if kind in ("inlineCard", "blockCard", "embedCard"):
        return str(attrs.get("url") or "")
    text = "".join(map(_blocks, children))
    if kind == "blockquote":
        return "".join(f"> {line}\n" for line in text.strip("\n").split("\n"))
    if kind == "listItem":
        return f"- {text.strip()}\n"
    return f"{text}\n" if kind in ("paragraph", "heading", "codeBlock", "rule", "tableRow") else text


def to_wiki(text: str) -> str:
    """Wiki markup that shows exactly the text."""
    return _SPECIAL.sub(r"\\\1", text.replace("\\", _BACKSLASH))


def from_wiki(markup: str) -> str:
    """The text of wiki markup, as far as it is plain: what `to_wiki` made comes back as it was."""
    return _ESCAPED.sub(r"\1", markup.replace("\r\n", "\n")).replace(_BACKSLASH, "\\")
