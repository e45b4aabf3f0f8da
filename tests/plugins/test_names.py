"""Names and years as people write them. All persons are invented."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.plugins.procedure.model import read_pack
from okienko.plugins.procedure.names import NameReader
from okienko.plugins.puesc import SHIPPED

READER = NameReader(read_pack(SHIPPED / "pack.toml").names)

FORMS = [
    (" Jana Kowalskiego, rok urodzenia 1980", "Jana", "Kowalskiego", 1980),
    (" Jan Kowalski 1980", "Jan", "Kowalski", 1980),
    (" Jan Kowalski, 1980", "Jan", "Kowalski", 1980),
    (" Jan Kowalski,1980", "Jan", "Kowalski", 1980),
    (" Jan Kowalski (1980)", "Jan", "Kowalski", 1980),
    (" Jan Kowalski ur. 1980 r.", "Jan", "Kowalski", 1980),
    (" Jan Kowalski rok ur.1980", "Jan", "Kowalski", 1980),
    (" Jan Kowalski rok urodzenia:1980r", "Jan", "Kowalski", 1980),
    (" Jan Kowalski, r. ur. 1980", "Jan", "Kowalski", 1980),
    (" Jan Kowalski, urodzony 12 III 1980", "Jan", "Kowalski", 1980),
    (" Jan Kowalski urodzony w Przykładowie w 1980", "Jan", "Kowalski", 1980),
    (" Jan Kowalski zam. ul. Zmyślona 1950, ur. 1980", "Jan", "Kowalski", 1980),
    (" Jan Kowalski 1980/03/12", "Jan", "Kowalski", 1980),
    (" Jan Kowalski 12-03-1980", "Jan", "Kowalski", 1980),
    (" Jan kowalski 1980", "Jan", "kowalski", 1980),
    (" jan Kowalski 1980", "jan", "Kowalski", 1980),
    (" Pan Jan Kowalski 1980", "Jan", "Kowalski", 1980),
    (" obywatela Jana Kowalskiego 1980", "Jana", "Kowalskiego", 1980),
    (" dr hab. Jan Kowalski 1980", "Jan", "Kowalski", 1980),
    (" José María López 1980", "José María", "López", 1980),
    (" Conor O’Próbny ur. 1.2.1980", "Conor", "O’Próbny", 1980),
    (" Li Wei, 1990", "Li", "Wei", 1990),
    # Without a label nobody can tell which of two names is the family's: as written, and held against the account by a person.
    (" Kowalski Jan 1980", "Kowalski", "Jan", 1980),
    (" Jan Kowalski ur. w 1980r.", "Jan", "Kowalski", 1980),
    (" Anna Nowak-Kowalska urodzona w roku 1975", "Anna", "Nowak-Kowalska", 1975),
    (" Anny Nowak–Kowalskiej, ur. 1975", "Anny", "Nowak–Kowalskiej", 1975),
    ("\nJan Kowalski\n1980", "Jan", "Kowalski", 1980),
    ("\n\nJan Kowalski\n\nrok urodzenia: 1980\n", "Jan", "Kowalski", 1980),
    (":\nJan\nKowalski\n1980", "Jan", "Kowalski", 1980),
    (" Jana\nKowalskiego, rok\nurodzenia 1980", "Jana", "Kowalskiego", 1980),
    (" Jana Marii\nKowalskiego, rok urodzenia 1980", "Jana Marii", "Kowalskiego", 1980),
    (" Jana Marii Kowalskiego 1980", "Jana Marii", "Kowalskiego", 1980),
    (": imię i nazwisko: Jan Kowalski, rok urodzenia: 1980", "Jan", "Kowalski", 1980),
    ("\nImię: Jan\nNazwisko: Kowalski\nRok urodzenia: 1980", "Jan", "Kowalski", 1980),
    ("\nNazwisko: Kowalski\nImię: Jan\nRok urodzenia: 1980", "Jan", "Kowalski", 1980),
    ("\nimię - Jan\nnazwisko - Kowalski\nur. 1980", "Jan", "Kowalski", 1980),
    ("\nImiona: Jan Maria\nNazwisko: Kowalski\n1980", "Jan Maria", "Kowalski", 1980),
    ("\nNazwisko i imię: Kowalski Jan, 1980", "Jan", "Kowalski", 1980),
    ("\nIMIĘ I NAZWISKO: JAN KOWALSKI\nROK URODZENIA: 1980", "JAN", "KOWALSKI", 1980),
    (" JANA KOWALSKIEGO ROK URODZENIA 1980", "JANA", "KOWALSKIEGO", 1980),
    (" jan kowalski 1980", "jan", "kowalski", 1980),
    (" jana kowalskiego, rok urodzenia 1980", "jana", "kowalskiego", 1980),
    (" Jan Kowalski ur. 12.03.1980", "Jan", "Kowalski", 1980),
    (" Jan Kowalski, 1980-03-12", "Jan", "Kowalski", 1980),
    (" Jan Kowalski 12/03/1980 r.", "Jan", "Kowalski", 1980),
    (" Jan Kowalski ur. 12 marca 1980 roku", "Jan", "Kowalski", 1980),
    (" Jan Kowalski, rocznik 1980", "Jan", "Kowalski", 1980),
    (" Jan Kowalski, data urodzenia: 1980", "Jan", "Kowalski", 1980),
    (" Pana Jana Kowalskiego, rok urodzenia 1980", "Jana", "Kowalskiego", 1980),
    (" Pani Anny Nowak ur. 1975", "Anny", "Nowak", 1975),
    (" mgr inż. Jan Kowalski, 1980", "Jan", "Kowalski", 1980),
    (" użytkownika Jan Kowalski, 1980", "Jan", "Kowalski", 1980),
    (" mojego konta: Jan Kowalski, 1980", "Jan", "Kowalski", 1980),
    (" konta jan@poczta.example Jan Kowalski 1980", "Jan", "Kowalski", 1980),
    (" (podaj swoje imię i nazwisko oraz rok urodzenia) Jan Kowalski 1980", "Jan", "Kowalski", 1980),
    (" „Jan Kowalski”, 1980", "Jan", "Kowalski", 1980),
    (" *Jan Kowalski*, *1980*", "Jan", "Kowalski", 1980),
    ("\u00a0Jana\u00a0Kowalskiego,\u00a0rok\u00a0urodzenia\u00a01980", "Jana", "Kowalskiego", 1980),
    (" 1980 Jan Kowalski", "Jan", "Kowalski", 1980),
    (" Jan, Kowalski, 1980", "Jan", "Kowalski", 1980),
    (" Jan M. Kowalski 1980", "Jan M", "Kowalski", 1980),
    (" Jean van der Próbny 1980", "Jean", "van der Próbny", 1980),
    (" Łucji Żądło ur. 1999", "Łucji", "Żądło", 1999),
    (" Conora O'Próbnego 1990", "Conora", "O'Próbnego", 1990),
    (" Jana Kowalskiego. Rok urodzenia 1980. Proszę o szybką odpowiedź.", "Jana", "Kowalskiego", 1980),
    (" Jan Kowalski PESEL 80031200000 rok urodzenia 1980", "Jan", "Kowalski", 1980),
    (" Jan Kowalski 1980\n24.11.2026", "Jan", "Kowalski", 1980),
    (" Jan Kowalski, dnia 24.11.2026, rok ur. 1980", "Jan", "Kowalski", 1980),
    (" Jana Kowalskiego 1980\n\nPozdrawiam\nEwa Zmyślona\nFirma założona w 1950", "Jana", "Kowalskiego", 1980),
    (" Jana Kowalskiego\n-- \nEwa Zmyślona, istniejemy od 1950", "Jana", "Kowalskiego", None),
    (" Jana Kowalskiego.\nPozdrawiam\nJan Kowalski, ur. 1980", "Jana", "Kowalskiego", 1980),
    (" Jan Kowalski", "Jan", "Kowalski", None),
    (" Jan Kowalski tel. 600 000 000", "Jan", "Kowalski", None),
    (" Jan Kowalski 1880", "Jan", "Kowalski", None),
    (" Jan Kowalski 2031", "Jan", "Kowalski", None),
    (" Jan Kowalski 80", "Jan", "Kowalski", None),
    (" Jana, rok urodzenia 1980", "Jana", None, 1980),
    (" J. Kowalski 1980", None, None, 1980),
    (" mojego konta", None, None, None),
    (" mnie, rok urodzenia 1980", None, None, 1980),
    (" kolegi z pracy", None, None, None),
    ("\n\nPozdrawiam\nJan Kowalski", None, None, None),
    (" [imię i nazwisko], rok urodzenia [rok]", None, None, None),
    ("", None, None, None),
]


@pytest.mark.parametrize(("text", "given", "family", "year"), FORMS)
def test_forms(text: str, given: str | None, family: str | None, year: int | None) -> None:
    person = READER.person_after(text, 2026)
    assert (person.given_name, person.family_name, person.birth_year) == (given, family, year)


def test_there_are_enough_forms() -> None:
    assert len(FORMS) >= 40


@given(st.text(max_size=800))
def test_any_text_can_be_read(text: str) -> None:
    person = READER.person_after(unicodedata.normalize("NFC", text), 2026)
    assert person.birth_year is None or 1900 <= person.birth_year <= 2026
