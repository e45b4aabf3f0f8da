"""Pictures of documents: what a person needs is shown, and what a document does to the renderer stays in its process."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from okienko.core import picturing
from okienko.core.pictureworker import MOST_OCTETS, MOST_PAGES, MOST_PIXELS
from okienko.core.picturing import NoPictureError, Picturing
from okienko.plugins.errors import TransientError
from okienko.plugins.signature.kinds import MOST_TEXT, Kind
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signature.shown import MOST_PARTS, parts
from rigs.scans import photograph, scanned_pdf
from signing.cms import plain_pdf


@pytest.fixture
def pictures() -> Picturing:
    return Picturing()


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.width * image.height <= MOST_PIXELS * 1.01
    assert len(png) <= MOST_OCTETS
    return image.convert("L")


async def test_pages_of_a_scan_are_what_the_scan_shows(pictures: Picturing) -> None:
    scan = scanned_pdf(("WNIOSEK", "JAN"), pages=2)
    (part,) = await pictures.parts([scan])
    assert (part.kind, part.pages, part.cut) == (Kind.PDF, 2, False)
    first, second = opened(await pictures.page([scan], 0, 0)), opened(await pictures.page([scan], 0, 1))
    assert first.size == second.size
    assert first.tobytes() != second.tobytes()
    dark = sum(first.point(lambda v: v < 128 and 255).histogram()[255:])
    assert 0 < dark < first.width * first.height // 10


async def test_another_page_is_another_picture(pictures: Picturing) -> None:
    blank, filled = plain_pdf(("Wniosek",)), plain_pdf(("Wniosek", "Nowy adres e-mail: jan@poczta.invalid"))
    assert await pictures.page([blank], 0, 0) != await pictures.page([filled], 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
async def test_photographs(pictures: Picturing, kind: str) -> None:
    photo = photograph(kind)
    (part,) = await pictures.parts([photo])
    assert (part.kind, part.pages) == (Kind.IMAGE, 1)
    opened(await pictures.page([photo], 0, 0))


@pytest.mark.parametrize(
    "box", ["0 0 14400 14400", "0 0 14400 1", "0 0 0.001 14400", "0 0 100000000 100000000", "0 0 0 0", "0 0 -5 -5"]
)
async def test_a_page_of_any_size_is_bounded(pictures: Picturing, box: str) -> None:
    pdf = plain_pdf().replace(b"0 0 595 842", box.encode())
    assert box.encode() in pdf
    try:
        opened(await pictures.page([pdf], 0, 0))
    except NoPictureError:
        assert "0.001" in box or "100000000" in box


async def test_more_pages_than_are_shown(pictures: Picturing) -> None:
    scan = scanned_pdf(pages=MOST_PAGES + 3)
    (part,) = await pictures.parts([scan])
    assert (part.pages, part.cut) == (MOST_PAGES, True)
    with pytest.raises(NoPictureError):
        await pictures.page([scan], 0, MOST_PAGES)


@pytest.mark.parametrize(
    "rubbish", [b"%PDF-1.7 rubbish", b"\x89PNG\r\n\x1a\n rubbish", b"\xff\xd8\xff", b"PK\x03\x04 rubbish", b"<a", b""]
)
async def test_what_is_broken_has_no_picture_and_harms_nobody(pictures: Picturing, rubbish: bytes) -> None:
    found = await pictures.parts([rubbish, scanned_pdf()])
    assert [part.kind for part in found] == [Kind.NONE, Kind.PDF]
    with pytest.raises(NoPictureError):
        await pictures.page([rubbish], 0, 0)
    opened(await pictures.page([rubbish, scanned_pdf()], 1, 0))


async def test_a_page_that_is_not_there(pictures: Picturing) -> None:
    for part, page in ((0, 1), (1, 0), (7, 7)):
        with pytest.raises(NoPictureError):
            await pictures.page([scanned_pdf(), b"tekst"], part, page)


async def test_a_renderer_that_takes_too_long_too_much_or_dies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(NoPictureError):
        await Picturing(time_limit=0.01).page([scanned_pdf()], 0, 0)
    with pytest.raises(NoPictureError):
        await Picturing(memory_limit=1 << 20).page([scanned_pdf()], 0, 0)
    monkeypatch.setattr(picturing.sys, "executable", "/bin/false")
    with pytest.raises(NoPictureError):
        await Picturing().page([scanned_pdf()], 0, 0)
    monkeypatch.setattr(picturing.sys, "executable", str(tmp_path / "missing"))
    with pytest.raises(TransientError):
        await Picturing().page([scanned_pdf()], 0, 0)


async def test_a_process_that_was_taken_over_gives_no_page_but_a_picture(
    pictures: Picturing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    html = base64.b64encode(b"<script>alert(1)</script>").decode()
    fake = tmp_path / "renderer"
    body = f'{{"png": "{html}", "parts": [{{"kind": "page"}}]}}'
    fake.write_text(f"#!/bin/sh\ncat >/dev/null &\nprintf '\\000\\000\\000\\{len(body):03o}%s' '{body}'\nsleep 5\n")
    fake.chmod(0o700)
    monkeypatch.setattr(picturing.sys, "executable", str(fake))
    with pytest.raises(NoPictureError):
        await pictures.page([b"x"], 0, 0)
    with pytest.raises(NoPictureError):
        await pictures.parts([b"x"])


def test_texts_of_xml_and_of_the_file_that_podpis_zaufany_wraps() -> None:
    wrapped = base64.b64encode(scanned_pdf()).decode()
    xml = (
        f'<Wniosek xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><Imie>Jan &lt;b&gt;</Imie><Plik>{wrapped}</Plik>'
        "<ds:Signature><ds:SignatureValue>AAAA</ds:SignatureValue></ds:Signature></Wniosek>"
    )
    text, pdf = parts([xml.encode()], SignatureSettings())
    assert (text.kind, text.text) == (Kind.TEXT, "Imie: Jan <b>")
    assert (pdf.kind, pdf.content) == (Kind.PDF, scanned_pdf())


def test_long_texts_many_parts_and_control_characters() -> None:
    settings = SignatureSettings()
    (text,) = parts(["ą\x1b[31m\x00b\u202ec\n".encode() + b"x" * 30_000], settings)
    assert text.text.startswith("ą[31mbc\n")
    assert (len(text.text), text.cut) == (MOST_TEXT, True)
    (rows,) = parts([b"w\n" * 5_000], settings)
    assert rows.cut
    assert len(parts([b"a"] * 50, settings)) == MOST_PARTS
