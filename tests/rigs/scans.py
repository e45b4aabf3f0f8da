"""Documents without a word that a machine could read."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw


def scanned_pdf(lines: tuple[str, ...] = ("WNIOSEK",), *, pages: int = 1) -> bytes:
    """A PDF whose pages are nothing but photographs of text, as a scanner makes them."""
    sheets = []
    for number in range(pages):
        sheet = Image.new("RGB", (620, 877), "white")
        for row, line in enumerate((*lines, f"{number + 1}/{pages}")):
            ImageDraw.Draw(sheet).text((60, 80 + 40 * row), line, fill="black", font_size=24)
        sheets.append(sheet)
    out = io.BytesIO()
    sheets[0].save(out, "PDF", save_all=True, append_images=sheets[1:], resolution=75)
    return out.getvalue()


def photograph(kind: str = "JPEG") -> bytes:
    """A photograph of a sheet of paper."""
    out = io.BytesIO()
    Image.effect_noise((1200, 1700), 60).convert("RGB").save(out, kind)
    return out.getvalue()
