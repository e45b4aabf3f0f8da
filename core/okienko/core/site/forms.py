"""Reading what a browser sends, within limits."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

MAX_BODY = 64 << 10
"""Octets of a form or a JSON body."""
_MAX_FIELDS = 200
_FORM = "application/x-www-form-urlencoded"


class BadRequestError(Exception):
    """The request is not what one of our own pages would send."""

    def __init__(self, key: str, status: int = 400) -> None:
        super().__init__(key)
        self.key = key
        """Of the text that says so; see texts.toml, section `error`."""
        self.status = status


async def read_body(request: Request) -> bytes:
    """The whole body. Raises BadRequestError over MAX_BODY, before more than that is read."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdigit() or int(announced) > MAX_BODY:
        raise BadRequestError("too_large", 413)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise BadRequestError("too_large", 413)
    return bytes(body)


class Form:
    """The fields of a form, each any number of times."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields

    def one(self, name: str) -> str:
        """The first value, without NUL and with LF line ends; empty when there is none."""
        return next((clean(v) for n, v in self._fields if n == name), "")

    def all(self, name: str) -> list[str]:
        """Every value."""
        return [clean(v) for n, v in self._fields if n == name]


def clean(text: str) -> str:
    """Text that PostgreSQL takes and that reads the same everywhere."""
    return text.replace("\0", "").replace("\r\n", "\n")


async def read_form(request: Request) -> Form:
    """The form of a request. Raises BadRequestError for another media type, wrong encoding, or too much."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (_FORM, ""):
        raise BadRequestError("bad_form", 415)
    body = await read_body(request)
    if body and not kind:
        raise BadRequestError("bad_form", 415)
    try:
        text = body.decode("ascii")
        fields = parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise BadRequestError("bad_form") from None
    return Form(fields)
