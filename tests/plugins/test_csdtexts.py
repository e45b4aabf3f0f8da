"""Texts and file names for CSD connectors: whatever a mail brings, every system takes it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.plugins.csdtexts import clean, file_name, one_line, storable

HARD = st.text(alphabet=st.one_of(st.characters(), st.sampled_from('\ud83d\x00\r\n\t\u202e\u200b./\\ "<>|:*?0')))
"""Any text, and often what breaks names."""


def test_texts() -> None:
    assert clean("a\r\nb\rc\x00\x07\td\ud83d🙂") == "a\nb\nc\td?🙂"
    assert storable("a\x00\x07\r\nb\udc80") == "a\x07\r\nb?"
    assert one_line("  dwa\n wiersze \x00 ", 9) == "dwa wiers"
    assert one_line("aaa bbb", 4) == "aaa"
    assert one_line(" a\u2028b\tc ") == "a b c"


@given(HARD)
def test_a_clean_text_can_be_sent_and_kept(text: str) -> None:
    made = clean(text)
    assert json.loads(json.dumps(made).encode()) == made
    assert not {c for c in made if (c < " " and c not in "\n\t") or c == "\x7f"}
    assert clean(made) == made
    assert storable(made) == made
    storable(text).encode()


@given(HARD, st.integers(1, 50))
def test_one_line_is_one_and_short(text: str, length: int) -> None:
    made = one_line(text, length)
    assert len(made.splitlines()) <= 1
    assert len(made) <= length
    assert one_line(made, length) == made


@pytest.mark.parametrize(
    ("given_", "taken"),
    [
        ("Wniosek ąęłżź.pdf", "Wniosek ąęłżź.pdf"),
        ("skan 🙂 (1).tar.gz", "skan 🙂 (1).tar.gz"),
        ("../../etc/passwd", "passwd"),
        ("C:\\a\\b.txt", "b.txt"),
        ('cudzy"słów.txt', "cudzy'słów.txt"),
        ("o 12:30?.txt", "o 12_30_.txt"),
        ("faktura\u202efdp.exe", "fakturafdp.exe"),
        ("dwie\r\nlinie.txt", "dwie linie.txt"),
        ("nul\x00.txt", "nul.txt"),
        ("pół\ud83d.txt", "pół?.txt".replace("?", "_")),
        ("katalog/", "plik"),
        ("", "plik"),
        (" .. ", "plik"),
        ("0", "0"),
    ],
)
def test_file_names(given_: str, taken: str) -> None:
    assert file_name(given_) == taken


@given(HARD, st.integers(40, 250))
def test_a_file_name_is_always_one(name: str, length: int) -> None:
    made = file_name(name, length=length, never=("0",))
    assert 0 < len(made) <= length
    assert made != "0"
    assert not set(made) & set('/\\"<>|:*?\r\n\t\x00\x7f\u202e\u200b')
    assert made == made.strip(". ")
    assert file_name(made, length=length, never=("0",)) == made
    made.encode()


@given(st.text(alphabet="abcą", min_size=200, max_size=400), st.text(alphabet="abcą", min_size=200, max_size=400))
def test_long_names_stay_apart(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)


def test_a_long_name_keeps_its_ending() -> None:
    made = file_name("x" * 300 + ".pdf")
    assert len(made) == 150
    assert made.endswith(".pdf")
    assert len(file_name("x." + "y" * 300)) == 150
