"""Telling what a message means from its folded text (rules S2, S3, C)."""

from __future__ import annotations

import re

from okienko.plugins.procedure.model import Meaning


class MeaningTest:
    """A compiled Meaning."""

    __slots__ = ("_all", "_keywords", "_none")

    def __init__(self, meaning: Meaning) -> None:
        self._keywords = tuple(meaning.keywords)
        self._all = tuple(re.compile(pattern).search for pattern in meaning.all_of)
        self._none = tuple(re.compile(pattern).search for pattern in meaning.none_of)

    def fits(self, text: str) -> bool:
        """Whether the folded text means this. The keywords come first: they are many times cheaper than patterns."""
        return (
            any(keyword in text for keyword in self._keywords)
            and all(search(text) for search in self._all)
            and not any(search(text) for search in self._none)
        )
