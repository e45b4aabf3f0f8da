"""Is the name in a request the account's name, perhaps in the genitive ("dla Jana Kowalskiego")?

The rule, in the order it is tried (procedure.md, "Names in the body"):

1. exact: equal after NFC, case folding and folding of white space and hyphens;
2. inflected: every part of the name is the account's part, or a genitive that Polish declension can make of it (the tables
   below; both genders, since an account does not tell);
3. anything else is not decided here: a human looks, and is shown both forms.

The direction is from the account's nominative to the forms it can have, never from the request to a guessed nominative, so
that a request can only ever match the one account it is held against. Sources: Słownik ortograficzny PWN, rules 229-266 on the
declension of given and family names.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

from okienko.schemas import Person

_HYPHENS = re.compile(r"[‐‑‒–—-]+")
_VOWELS = "aąeęioóuy"

# Endings of the nominative, and what the genitive has instead. Every row that fits is used.
_ENDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # Adjectival family names, and given names like Jerzy and Antoni.
    ("ki", ("kiego",)), ("gi", ("giego",)), ("i", ("iego",)), ("y", ("ego",)), ("e", ("ego",)),
    ("ka", ("kiej", "ki")), ("ga", ("giej", "gi")),
    # Nouns in -a, of either gender; hard, soft and hardened stems.
    ("ia", ("ii", "i", "iej")), ("ja", ("ji", "i")), ("la", ("li", "lej")), ("a", ("y", "ej")),
    # Men's names in -o.
    ("ko", ("ki", "ka")), ("go", ("gi", "gona")), ("io", ("ia",)), ("o", ("y", "a", "ona")),
    # Moving vowels and soft ends.
    ("rzec", ("rca",)),
    ("iek", ("ka",)), ("ek", ("ka",)), ("iec", ("ca", "ćca", "ńca", "śca")), ("ec", ("ca",)), ("eł", ("ła",)), ("ieł", ("ła",)),
    ("zioł", ("zła",)), ("er", ("ra",)), ("el", ("la",)), ("iel", ("la",)), ("ień", ("nia",)), ("eń", ("nia",)), ("ew", ("wa",)),
    ("ąb", ("ębia", "ęba")), ("óg", ("oga",)), ("ój", ("oja",)), ("ół", ("oła",)), ("ów", ("owa",)), ("ód", ("oda",)),
    ("ń", ("nia",)), ("ć", ("cia",)), ("ś", ("sia",)), ("ź", ("zia",)), ("b", ("bia",)), ("p", ("pia",)), ("w", ("wia",)),
)  # fmt: skip


class Agreement(StrEnum):
    """How a claimed name stands to the account's."""

    EXACT = "exact"
    INFLECTED = "inflected"
    UNSURE = "unsure"
    """Not the same by these rules; a human decides."""


def agreement(claimed: Person, account: Person) -> Agreement:
    """Hold the names of `claimed` against `account`; a missing part is UNSURE. Years of birth are not looked at."""
    pairs = ((claimed.given_name, account.given_name), (claimed.family_name, account.family_name))
    results = [_part(c, a) for c, a in pairs]
    if Agreement.UNSURE in results:
        return Agreement.UNSURE
    return Agreement.INFLECTED if Agreement.INFLECTED in results else Agreement.EXACT


def _part(claimed: str | None, account: str | None) -> Agreement:
    if not claimed or not account:
        return Agreement.UNSURE
    said, known = _words(claimed), _words(account)
    if said == known:
        return Agreement.EXACT
    if len(said) == len(known) and all(s == k or s in genitives(k) for s, k in zip(said, known, strict=True)):
        return Agreement.INFLECTED
    return Agreement.UNSURE


def _words(name: str) -> list[str]:
    text = unicodedata.normalize("NFC", name).replace("\u00a0", " ")
    return _HYPHENS.sub(" ", text).casefold().split()


def genitives(nominative: str) -> frozenset[str]:
    """Every genitive that the tables make of one word in lower case; the word itself where it may stay as it is."""
    forms = {nominative[: -len(end)] + new for end, news in _ENDINGS if nominative.endswith(end) for new in news}
    if nominative[-1:] not in _VOWELS:
        forms.add(nominative + "a")
        # Women's family names in a consonant are not declined.
        forms.add(nominative)
    return frozenset(form for form in forms if len(form) > 1)


def swapped(claimed: Person, account: Person) -> bool:
    """Whether the names agree when the claimed ones change places: a hint for the human who decides."""
    turned = claimed.model_copy(update={"given_name": claimed.family_name, "family_name": claimed.given_name})
    return agreement(turned, account) is not Agreement.UNSURE


__all__ = ["Agreement", "agreement", "genitives", "swapped"]
