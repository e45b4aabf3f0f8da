"""Polish and English: which one a visitor gets, and every text of the pages in both."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import resources

from starlette.requests import Request

LANGUAGES = ("pl", "en")
COOKIE = "okienko_lang"
"""Holds `pl` or `en`, nothing else; anything else in it is ignored."""

Translate = Callable[..., str]


@cache
def catalogue() -> Mapping[str, tuple[str, str]]:
    """Every text by `section.name`, Polish and English. Raises ValueError when a text lacks a language."""
    sections = tomllib.loads(resources.files("okienko.core.site").joinpath("texts.toml").read_text("utf-8"))
    texts: dict[str, tuple[str, str]] = {}
    for section, entries in sections.items():
        for name, value in entries.items():
            if not (isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) and v for v in value)):
                raise ValueError(f"texts.toml: {section}.{name} needs a Polish and an English text")
            texts[f"{section}.{name}"] = (value[0], value[1])
    return texts


def translator(language: str) -> Translate:
    """A function from a text's key, and what stands in its braces, to the text. Raises KeyError for an unknown key."""
    index = LANGUAGES.index(language)

    def translate(key: str, /, **values: object) -> str:
        text = catalogue()[key][index]
        return text.format(**values) if values else text

    return translate


def chosen(request: Request) -> str | None:
    """The language of the switch on this very request (`?lang=`), or None."""
    wanted = request.query_params.get("lang")
    return wanted if wanted in LANGUAGES else None


def language_of(request: Request) -> str:
    """By the switch, else the cookie it left, else what the browser prefers, else Polish."""
    cookie = request.cookies.get(COOKIE)
    return (
        chosen(request)
        or (cookie if cookie in LANGUAGES else None)
        or _accepted(request.headers.getlist("accept-language"))
    )


def _accepted(headers: Iterable[str]) -> str:
    """RFC 9110, section 12.5.4, by primary subtag."""
    best, best_q = LANGUAGES[0], 0.0
    for item in ",".join(headers).split(",")[:32]:
        tag, _, parameter = item.partition(";")
        primary = tag.strip().lower().partition("-")[0]
        try:
            q = float(parameter.strip().removeprefix("q=")) if parameter.strip() else 1.0
        except ValueError:
            continue
        if primary in LANGUAGES and best_q < q <= 1:
            best, best_q = primary, q
    return best
