"""The process that makes pictures of one document: a question on standard input, an answer on standard output, and the end.

The renderer (PDFium, Pillow) is native code that meets a stranger's octets, so no process of it lives on to meet another
document. Messages are framed as those of `okienko.core.verifyworker`; the parent is `okienko.core.picturing`.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pypdfium2
from PIL import Image

from okienko.core.verifyworker import answer_once
from okienko.plugins.signature.kinds import Kind
from okienko.plugins.signature.settings import SignatureSettings
from okienko.plugins.signature.shown import Part, parts

MOST_PAGES = 20
MOST_PIXELS = 2_400_000
"""Of one picture: an A4 page at about 160 dpi."""
MOST_SOURCE = 100_000_000
"""Pixels of a photograph that is still decoded."""
MOST_OCTETS = 6 << 20
_LARGEST_SCALE = 4.0
_GREY_FROM = 4 << 20
"""Octets of a picture in colour above which it is sent in grey."""


def answer(question: Mapping[str, Any], blobs: Sequence[bytes]) -> dict[str, Any]:
    """`parts`: what there is to see. `page`: one page of one part as a PNG; IndexError when there is no such page."""
    found = parts(blobs, SignatureSettings())
    if question["do"] == "parts":
        return {"parts": [_described(part) for part in found]}
    return {"png": base64.b64encode(_picture(found[question["part"]], question["page"])).decode("ascii")}


def _described(part: Part) -> dict[str, Any]:
    pages = 0
    try:
        if part.kind is Kind.PDF:
            pages = len(pypdfium2.PdfDocument(part.content))
        elif part.kind is Kind.IMAGE:
            with Image.open(io.BytesIO(part.content), formats=("JPEG", "PNG", "TIFF")) as image:
                pages = int(getattr(image, "n_frames", 1))
    except (pypdfium2.PdfiumError, OSError, ValueError, SyntaxError):
        return {"kind": Kind.NONE.value, "pages": 0, "text": "", "cut": False}
    return {
        "kind": part.kind.value, "pages": min(pages, MOST_PAGES), "text": part.text, "cut": part.cut or pages > MOST_PAGES,
    }  # fmt: skip


def _picture(part: Part, page: int) -> bytes:
    if page >= MOST_PAGES:
        raise IndexError(page)
    if part.kind is Kind.PDF:
        return _png(_page(part.content, page))
    if part.kind is Kind.IMAGE:
        return _png(_photograph(part.content, page))
    raise IndexError(page)


def _page(pdf: bytes, page: int) -> Image.Image:
    document = pypdfium2.PdfDocument(pdf)
    # What somebody typed into a form's fields is part of the page.
    document.init_forms()
    sheet = document[page]
    width, height = sheet.get_size()
    scale = min(_LARGEST_SCALE, math.sqrt(MOST_PIXELS / max(width * height, 1.0)))
    # A page may be a mile long and a hair wide.
    scale = min(scale, MOST_PIXELS / 100 / max(width, height, 1.0))
    image: Image.Image = sheet.render(scale=scale, may_draw_forms=True).to_pil()
    return image


def _photograph(content: bytes, frame: int) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = MOST_SOURCE
    image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "TIFF"))
    if image.width * image.height > MOST_SOURCE:
        raise ValueError("the photograph has too many pixels")
    if frame:
        image.seek(frame)
    # JPEG can be decoded smaller from the start.
    image.draft("RGB", (2000, 2000))
    shrink = math.sqrt(MOST_PIXELS / (image.width * image.height))
    turned = image.convert("RGB")
    if shrink < 1:
        turned.thumbnail((max(1, int(image.width * shrink)), max(1, int(image.height * shrink))))
    return turned


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, "PNG")
    if out.tell() > _GREY_FROM:
        out = io.BytesIO()
        image.convert("L").save(out, "PNG")
    if out.tell() > MOST_OCTETS:
        raise ValueError("the picture has too many octets")
    return out.getvalue()


def main() -> None:
    """Entry point of `python -m okienko.core.pictureworker`."""
    answer_once(answer)


if __name__ == "__main__":
    main()
