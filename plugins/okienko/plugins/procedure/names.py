"""Given name, family name and year of birth as people write them after the phrase (rules A2, A3, B2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from okienko.plugins.procedure.identical import folded
from okienko.plugins.procedure.model import Names
from okienko.schemas import Person

_TOKEN = re.compile(
    r"(?P<mail>[\w.+-]+@[\w.-]+)|(?P<number>\d[\d.,/-]*)|(?P<word>[^\W\d_][\w'’]*(?:[-‐‑–][^\W\d_][\w'’]*)*)"
    r"|(?P<line>\n)|(?P<mark>[^\w\s])"
)
_YEAR = re.compile(
    r"(?<!\d)(?:(?:0?[1-9]|[12]\d|3[01])[./-](?:0?[1-9]|1[0-2])[./-](\d{4})|(\d{4})[./-]\d{1,2}[./-]\d{1,2}|"
    r"(?<!\d[./-])(\d{4})(?![/-]\d))(?!\d)"
)
_LOOK_AHEAD = 600
"""Characters after the phrase in which name and year are looked for."""
_LABEL_REACH = 30
"""Characters before a year in which a word of birth makes it a year of birth."""
_EARLIEST = 1900
_MOST_WORDS = 4


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    plain: str


class NameReader:
    """Reads names with a pack's words. What is not found is None; names are kept as written, genitive and all."""

    def __init__(self, words: Names) -> None:
        self._given = frozenset(words.given_labels)
        self._family = frozenset(words.family_labels)
        self._skip = frozenset(words.skip)
        self._particles = frozenset(words.particles)
        self._born = re.compile(rf"\b(?:{'|'.join(words.born)})\b")
        self._closing = re.compile(
            r"^[ \t]*(?:--|—)[ \t]*$|\b(?:" + "|".join(map(re.escape, words.closing)) + ")",
            re.IGNORECASE | re.MULTILINE,
        )

    def person_after(self, text: str, this_year: int) -> Person:
        """Who is named in `text`, which follows the phrase. A year must be one in which a living person is born."""
        text = text[:_LOOK_AHEAD].replace("\u00a0", " ").replace("\u200b", "")
        closing = self._closing.search(text)
        body = text[: closing.start()] if closing else text
        tokens = [self._token(match) for match in _TOKEN.finditer(body)]
        given, family = self._labelled(tokens)
        if given is None or family is None:
            given, family = self._free(tokens)
            if given and family and self._family_first(tokens):
                given, family = family, given
        return Person(given_name=given, family_name=family, birth_year=self._year(text, len(body), this_year))

    def _token(self, match: re.Match[str]) -> _Token:
        kind = match.lastgroup or "mark"
        return _Token(kind, match[0], folded(match[0]) if kind == "word" else "")

    def _stops(self, token: _Token) -> bool:
        return token.plain in self._skip or token.plain in self._family or bool(self._born.match(token.plain))

    def _labelled(self, tokens: list[_Token]) -> tuple[str | None, str | None]:
        """`Imię: Jan` and `Nazwisko: Kowalski`, in any order."""
        found: dict[str, str] = {}
        for index, token in enumerate(tokens[:-2]):
            label = "given" if token.plain in self._given else "family" if token.plain in self._family else None
            if label is None or label in found or tokens[index + 1].text not in (":", "-", "=", "–"):
                continue
            if label == "family" and any(t.plain in self._given for t in tokens[max(0, index - 2) : index]):
                # "imię i nazwisko:" is one label for both.
                return None, None
            words = []
            for value in tokens[index + 2 :]:
                if value.kind != "word" or self._stops(value) or value.plain in self._given:
                    break
                words.append(value.text)
            if words:
                found[label] = " ".join(words[:_MOST_WORDS])
        return found.get("given"), found.get("family")

    def _family_first(self, tokens: list[_Token]) -> bool:
        """Whether one label asks for both, the family name first: `nazwisko i imię:`."""
        plain = [token.plain or token.text for token in tokens if token.kind != "line"][:8]
        return any(
            word in self._family and any(p in self._given for p in plain[at + 1 : at + 3]) and ":" in plain[at:]
            for at, word in enumerate(plain)
        )

    def _free(self, tokens: list[_Token]) -> tuple[str | None, str | None]:
        words = self._run(tokens, capitals=True)
        if len(words) < 2:
            words = self._run(tokens, capitals=False) or words
        if not words or len(words[0]) < 2:
            return None, None
        if len(words) == 1:
            return words[0], None
        cut = len(words) - 1
        while cut > 1 and folded(words[cut - 1]) in self._particles:
            cut -= 1
        return " ".join(words[:cut]), " ".join(words[cut:])

    def _run(self, tokens: list[_Token], *, capitals: bool) -> list[str]:
        """The first run of name words. In lower case it counts only when a year follows, lest any two words were a name."""
        words: list[str] = []
        for index, token in enumerate(tokens):
            if token.kind == "word":
                if self._stops(token) or token.plain in self._given:
                    if words:
                        break
                elif token.text[0].isupper() or not capitals or (words and token.plain in self._particles):
                    words.append(token.text)
                    if len(words) == _MOST_WORDS:
                        break
                else:
                    # An ordinary word: the name has ended, or there is none here.
                    break
            elif token.kind == "line":
                if len(words) >= 2 and not self._wrapped(tokens[index + 1 :]):
                    break
            elif (
                words
                and not (len(words) == 1 and token.text == ",")
                and not (token.text == "." and len(words[-1]) == 1)
            ):
                break
        if not capitals and (len(words) not in (2, 3) or not self._year_follows(tokens, words[-1])):
            return []
        return words

    def _wrapped(self, tokens: list[_Token]) -> bool:
        """Whether the family name stands alone at the head of a line that a mail program broke."""
        if len(tokens) < 2 or tokens[0].kind != "word" or self._stops(tokens[0]) or not tokens[0].text[0].isupper():
            return False
        after = tokens[1]
        return after.text == "," or after.kind == "number" or bool(self._born.match(after.plain))

    def _year_follows(self, tokens: list[_Token], last: str) -> bool:
        at = next(index for index, token in enumerate(tokens) if token.text == last)
        rest = [t for t in tokens[at + 1 :] if t.kind not in ("mark", "line") and not self._stops(t)]
        return bool(rest) and rest[0].kind == "number"

    def _year(self, text: str, body_end: int, this_year: int) -> int | None:
        years = [
            (match.start(), year)
            for match in _YEAR.finditer(text)
            if _EARLIEST <= (year := int(next(filter(None, match.groups())))) <= this_year
        ]
        previous = 0
        for start, year in years:
            before = folded(text[max(previous, start - _LABEL_REACH) : start])
            if self._born.search(before):
                return year
            previous = start + 4
        # A year that nothing calls a year of birth counts above the signature only.
        return next((year for start, year in years if start < body_end), None)
