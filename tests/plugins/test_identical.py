"""What is the same subject and what is not (rules A1, A2)."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.plugins.procedure.identical import after_folded, folded, identical, normal, phrase_pattern

SUBJECT = "HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA"
PHRASE = "Proszę o zmianę hasła awaryjnego dla"
SPACE = st.text(st.sampled_from(" \t\n\r\u00a0\u2009\u202f"), min_size=1, max_size=4)


@given(st.lists(SPACE, min_size=7, max_size=7), st.sampled_from(["NFC", "NFD"]), st.booleans())
def test_transport_and_copying_change_nothing(spaces: list[str], form: str, trimmed: bool) -> None:
    words = unicodedata.normalize(form, PHRASE).split()
    text = "".join(word + space for word, space in zip(words, spaces, strict=False))
    text = text.strip() if trimmed else spaces[-1] + text
    assert identical(text, PHRASE)
    assert phrase_pattern(PHRASE).search(unicodedata.normalize("NFC", text))


@given(st.integers(0, len(SUBJECT) - 1), st.characters(blacklist_categories=("Zs", "Zl", "Zp", "Cc", "Cs", "Mn")))
def test_every_other_single_edit_breaks_it(place: int, letter: str) -> None:
    assert not identical(SUBJECT[:place] + letter + SUBJECT[place:], SUBJECT)
    assert not identical(SUBJECT[:place] + SUBJECT[place + 1 :], SUBJECT)
    if unicodedata.normalize("NFC", letter) != SUBJECT[place]:
        assert not identical(SUBJECT[:place] + letter + SUBJECT[place + 1 :], SUBJECT)


@pytest.mark.parametrize(
    "text",
    [
        SUBJECT.lower(),
        SUBJECT.title(),
        SUBJECT.replace("Ł", "L"),
        *(f"{prefix} {SUBJECT}" for prefix in ("Re:", "RE:", "Fwd:", "Odp:", "PD:", "NOWE")),
        f"{SUBJECT}.",
        f"{SUBJECT} pilne",
        SUBJECT.replace(" PROCEDURA", " - PROCEDURA"),
        SUBJECT.replace(" ", ""),
        SUBJECT.replace(" ", "_"),
        "",
    ],
)
def test_differences(text: str) -> None:
    assert not identical(text, SUBJECT)


def test_another_dash_is_a_difference() -> None:
    phrase = "zmianę adresu e-mail dla"
    for dash in "‐‑–—−":
        assert not identical(phrase.replace("-", dash), phrase)
        assert folded(phrase.replace("-", dash)) == folded(phrase)


@given(st.text(max_size=60))
def test_normal_and_folded_are_stable(text: str) -> None:
    assert normal(normal(text)) == normal(text)
    assert folded(folded(text)) == folded(text)
    assert folded(text).isascii()


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Zażółć GĘŚLĄ jaźń", "zazolc gesla jazn"),
        (unicodedata.normalize("NFD", "Zażółć"), "zazolc"),
        ("hasło\u00a0awaryjne–PUESC", "haslo awaryjne puesc"),
        ("  e-mail,\tadres!  ", "e mail adres"),
        ("Łódź", "lodz"),
    ],
)
def test_folded(text: str, plain: str) -> None:
    assert folded(text) == plain


def test_a_phrase_ends_where_its_word_ends() -> None:
    assert not phrase_pattern(PHRASE).search(f"{PHRASE}czego")
    assert phrase_pattern(PHRASE).search(f"Witam.{PHRASE}: Jan")


def test_after_folded_gives_the_text_as_written() -> None:
    assert after_folded("Witam,\nPROSZE  o zmiane\nhasla awaryjnego dla: Łucji", folded(PHRASE)) == ": Łucji"
    assert after_folded("Witam", folded(PHRASE)) is None
    assert after_folded(PHRASE, folded(PHRASE)) == ""
