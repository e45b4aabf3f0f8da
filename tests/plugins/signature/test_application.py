"""B3: what the application says, in every kind of file."""

from __future__ import annotations

import base64
import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.plugins.signature.application import read_application
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signatures import Application, SignedFile
from signing.cms import plain_pdf
from signing.pki import JAN_PESEL
from signing.xml import APPLICATION

OLD, NEW = "jan.stary@poczta.invalid", "jan.nowy@poczta.invalid"
LINES = (
    "Wniosek",
    "Imię: Jan",
    "Nazwisko: Wymyślony",
    f"PESEL: {JAN_PESEL}",
    f"Utracony adres e-mail: {OLD}",
    f"Nowy adres e-mail: {NEW}",
)
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
ODF = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"


def read(*contents: bytes) -> Application:
    return read_application([SignedFile("plik", "application/octet-stream", c) for c in contents], SignatureSettings())


def zipped(name: str, content: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(name, content)
    return out.getvalue()


def docx(*, table: bool = False) -> bytes:
    def paragraph(text: str) -> str:
        half = len(text) // 2
        return f"<w:p><w:r><w:t>{text[:half]}</w:t></w:r><w:r><w:t>{text[half:]}</w:t></w:r></w:p>"

    if table:
        cells = (line.split(": ") for line in LINES if ": " in line)
        rows = "".join(f"<w:tr>{''.join(f'<w:tc>{paragraph(c)}</w:tc>' for c in row)}</w:tr>" for row in cells)
        body = f"<w:tbl>{rows}</w:tbl>"
    else:
        body = "".join(map(paragraph, LINES))
    return zipped("word/document.xml", f'<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>')


def odt() -> bytes:
    body = "".join(f"<t:p>{line.replace(' ', '<t:s/>', 1)}</t:p>" for line in LINES)
    return zipped("content.xml", f'<o xmlns:t="{ODF}">{body}</o>')


def form_pdf() -> bytes:
    """The answers stand in form fields, under technical names with a tooltip."""
    from pyhanko.pdf_utils import generic
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

    writer = IncrementalPdfFileWriter(io.BytesIO(plain_pdf()))
    fields = []
    for number, line in enumerate(LINES[1:]):
        label, value = line.split(": ")
        entry = {
            "/FT": generic.pdf_name("/Tx"),
            "/T": generic.pdf_string(f"f{number}"),
            "/TU": generic.pdf_string(label),
            "/V": generic.pdf_string(value),
        }
        fields.append(writer.add_object(generic.DictionaryObject({generic.pdf_name(k): v for k, v in entry.items()})))
    form = generic.DictionaryObject({generic.pdf_name("/Fields"): generic.ArrayObject(fields)})
    writer.root["/AcroForm"] = writer.add_object(form)
    writer.update_root()
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


TEXT = "\n".join(LINES)
FILES = {
    "text": TEXT.encode(),
    "cp1250": TEXT.encode("cp1250"),
    "on the next line": TEXT.replace(": ", ":\n").encode(),
    "docx": docx(),
    "docx table": docx(table=True),
    "odt": odt(),
    "form": form_pdf(),
    "xml": APPLICATION.replace("<Imie>", f"<Pesel>{JAN_PESEL}</Pesel><Imie>").encode(),
    "file in xml": f"<Zalacznik><Dane>{base64.b64encode(TEXT.encode() * 1).decode()}</Dane></Zalacznik>".encode(),
    "both names": TEXT.replace("Imię: Jan\nNazwisko: Wymyślony", "Imię i nazwisko: Jan Wymyślony").encode(),
    "other words": TEXT.replace("Utracony adres e-mail", "Dotychczasowy login")
    .replace("Nowy adres e-mail", "Nowy login")
    .encode(),
}


@pytest.mark.parametrize("kind", FILES)
def test_read(kind: str) -> None:
    found = read(FILES[kind])
    assert (found.given_name, found.family_name) == ("Jan", "Wymyślony")
    assert (found.old_login, found.new_login) == (OLD, NEW)
    assert found.pesel is not None
    assert found.pesel.reveal() == JAN_PESEL


def test_pdf_text() -> None:
    lines = ("Imie: Jan", "Nazwisko: Nowy", f"Dotychczasowy adres e-mail: {OLD}", f"Nowy adres e-mail: {NEW}")
    found = read(plain_pdf(lines))
    assert (found.given_name, found.family_name, found.old_login, found.new_login) == ("Jan", "Nowy", OLD, NEW)


def test_two_answers_are_no_answer() -> None:
    found = read(TEXT.encode(), "Nowy login: inny@poczta.invalid\nImię: JAN".encode())
    assert found.new_login is None
    assert found.given_name == "Jan"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Nowy adres: brak",
        "Imię:",
        "PESEL: 123",
        f"Adres: {NEW}",
        f"Nowy i stary adres e-mail: {NEW}",
        "Imię: <script>",
    ],
)
def test_nothing_is_guessed(text: str) -> None:
    assert read(text.encode()) == Application()


@given(
    st.one_of(st.binary(max_size=400), st.text(max_size=400).map(str.encode)),
    st.sampled_from(sorted(FILES)),
    st.integers(0, 5000),
)
def test_it_never_raises(noise: bytes, kind: str, place: int) -> None:
    whole = FILES[kind]
    place %= len(whole) + 1
    read(noise, b"%PDF-1.7" + noise, b"PK\x03\x04" + noise, b"<a>" + noise, whole[:place] + noise + whole[place:])
