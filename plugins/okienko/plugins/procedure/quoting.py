"""What a person wrote, without what their mail program quoted."""

from __future__ import annotations

import re

_SEPARATOR = re.compile(
    r"\W*-{2,}\s*(?:original message|(?:wiadomość )?oryginalna(?: wiadomość)?|wiadomość oryginalna|forwarded message"
    r"|wiadomość przekazana|przekazana wiadomość|treść przekazanej wiadomości)"
    r"|begin forwarded message:|początek przekazanej wiadomości",
    re.IGNORECASE,
)
_VERB = r"(?:napisał\(a\)|napisał\(-a\)|napisała?|pisze|wrote)\s*:?\s*$"
_ATTRIBUTION = re.compile(
    rf"\W*(?:w dniu|dnia|on)\s.{{3,300}}?{_VERB}|\W*wiadomość napisana przez\s.{{3,300}}?\bw dniu\s.{{3,60}}:\s*$",
    re.IGNORECASE,
)
_ENDS_ATTRIBUTION = re.compile(_VERB, re.IGNORECASE)
_DATED = re.compile(rf"(?=.*\b\d{{1,2}}[:.]\d\d\b)(?=.*\b20\d\d\b).{{3,300}}?{_VERB}", re.IGNORECASE)
_FROM = re.compile(r"[\s*_]*(?:from|od|nadawca)[*_]*:", re.IGNORECASE)
_SENT = re.compile(r"[\s*_]*(?:sent|date|wysłano|wysłane|data)[*_]*:", re.IGNORECASE)
_HEADERS_WITHIN = 4
"""Lines in which the `Sent:` of a quoted header block follows its `From:`."""


def unquoted(text: str) -> str:
    """The text above a quoted message, without lines that begin with `>`; below those, the answer goes on (bottom posting)."""
    lines = text.split("\n")
    kept: list[str] = []
    for index, line in enumerate(lines):
        bare = line.strip()
        if not bare:
            kept.append(line)
        elif bare[0] == ">":
            continue
        elif _begins_block(lines, index, bare):
            break
        elif _is_attribution(lines, index, bare):
            if not _marks_follow(lines, index):
                break
        else:
            kept.append(line)
    return "\n".join(kept)


def _begins_block(lines: list[str], index: int, line: str) -> bool:
    """Whether below this line everything is a quoted or forwarded message."""
    if len(line) > 400:
        return False
    lower = line.lower()
    if ("--" in line or "forward" in lower or "przekazanej" in lower) and _SEPARATOR.match(line):
        return True
    if ":" in line and _FROM.match(line):
        return any(_SENT.match(later) for later in lines[index + 1 : index + 1 + _HEADERS_WITHIN])
    return False


def _is_attribution(lines: list[str], index: int, line: str) -> bool:
    """Whether the line says who wrote what is quoted below."""
    if len(line) > 400:
        return False
    if line.lower().lstrip("*_ ").startswith(("w dniu", "dnia", "on ", "wiadomość napisana")) or "20" in line:
        # Programs wrap a long attribution: its verb may stand on the next line.
        for whole in (line, f"{line} {lines[index + 1].strip()}" if index + 1 < len(lines) else line):
            if _ATTRIBUTION.match(whole) or _DATED.match(whole):
                return True
    return False


def _marks_follow(lines: list[str], index: int) -> bool:
    """Whether what is quoted is marked with `>`, so that its end can be seen."""
    for later in lines[index + 1 : index + 5]:
        bare = later.strip()
        if bare and not _ENDS_ATTRIBUTION.search(bare):
            return bare[0] == ">"
    return False
