"""How a signed file can be shown: apart from the parsers, which the service itself never loads."""

from __future__ import annotations

from enum import StrEnum

MOST_TEXT = 20_000
"""Characters of a part's text; the whole is in the downloaded document."""


class Kind(StrEnum):
    """How a part can be shown."""

    PDF = "pdf"
    IMAGE = "image"
    TEXT = "text"
    NONE = "none"
    """Not at all: the document can only be downloaded."""
