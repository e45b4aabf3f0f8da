"""The guarded PESEL type."""

import datetime as dt
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from okienko.schemas import Person, Pesel
from okienko.schemas.pesel import mask_pesels


def pesel_of(date: dt.date, serial: int) -> str:
    """A PESEL with a valid check digit for a date and a serial number."""
    offset = {18: 80, 19: 0, 20: 20, 21: 40, 22: 60}[date.year // 100]
    head = f"{date.year % 100:02}{date.month + offset:02}{date.day:02}{serial:04}"
    total = sum(w * int(d) for w, d in zip((1, 3, 7, 9, 1, 3, 7, 9, 1, 3), head, strict=True))
    return head + str(-total % 10)


@given(st.dates(dt.date(1800, 1, 1), dt.date(2299, 12, 31)), st.integers(0, 9999))
def test_every_century_is_read_back(date: dt.date, serial: int) -> None:
    assert Pesel(pesel_of(date, serial)).birth_date == date


@given(
    st.dates(dt.date(1800, 1, 1), dt.date(2299, 12, 31)), st.integers(0, 9999), st.integers(0, 10), st.integers(1, 9)
)
def test_one_changed_digit_is_refused_without_telling_it(date: dt.date, serial: int, place: int, shift: int) -> None:
    digits = pesel_of(date, serial)
    changed = digits[:place] + str((int(digits[place]) + shift) % 10) + digits[place + 1 :]
    with pytest.raises(ValueError, match="not a PESEL") as caught:
        Pesel(changed)
    assert changed not in str(caught.value)


@pytest.mark.parametrize("text", ["", "123", "0207080362x", "٠٢٠٧٠٨٠٣٦٢٨", "02070803629", " 02070803628"])
def test_what_is_no_pesel(text: str) -> None:
    with pytest.raises(ValueError, match="not a PESEL"):
        Pesel(text)


def test_no_way_out_but_reveal() -> None:
    digits = pesel_of(dt.date(2198, 2, 28), 1234)
    person = Person(given_name="Próbny", pesel=Pesel(digits))
    shown = [
        repr(person),
        str(person.pesel),
        f"{person.pesel}",
        person.model_dump_json(),
        str(person.model_dump()["pesel"]),
    ]
    assert all(digits not in text for text in shown)
    assert json.loads(person.model_dump_json())["pesel"].startswith("*********")
    assert person.pesel is not None
    assert person.pesel.reveal() == digits
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(person.pesel)


def test_a_wrong_one_does_not_show_in_a_validation_error() -> None:
    wrong = "44051401358"
    with pytest.raises(ValidationError) as caught:
        Person.model_validate({"pesel": wrong})
    assert wrong not in json.dumps(caught.value.errors(include_input=False), default=str)


@given(st.dates(dt.date(1800, 1, 1), dt.date(2299, 12, 31)), st.integers(0, 9999), st.text(max_size=20))
def test_in_a_text_it_is_masked(date: dt.date, serial: int, around: str) -> None:
    digits = pesel_of(date, serial)
    masked = mask_pesels(f"{around} PESEL:{digits}, {around}")
    assert digits not in masked
    assert masked == f"{mask_pesels(around)} PESEL:*********{digits[-2:]}, {mask_pesels(around)}"


@pytest.mark.parametrize(
    "text", ["", "48334832055", "02070803629", "0207080362800", "tel. 33 483 20 55", "ZGL000000012"]
)
def test_other_numbers_stay_in_a_text(text: str) -> None:
    assert mask_pesels(text) == text
