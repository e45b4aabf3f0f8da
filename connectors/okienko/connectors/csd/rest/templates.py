"""Templates of requests: Jinja in its sandbox, with nothing undefined, and nothing that a value could break out of.

A body is a structure, not a text: only the texts in it are templates, and what they give is put in as a JSON value. In a path each value
is percent-encoded whole; in a header it is one line, and what is not ASCII is percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from jinja2 import StrictUndefined, TemplateError, Undefined, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from okienko.plugins.csdtexts import one_line
from okienko.plugins.errors import MisconfiguredError

_ASCII = "".join(map(chr, range(32, 127)))
_WHOLE = re.compile(r"\s*\{\{((?:(?!\}\}|\{\{).)*)\}\}\s*", re.DOTALL)


def _environment(finalize: Callable[[Any], Any]) -> ImmutableSandboxedEnvironment:
    # Nothing here is HTML; JSON, address and header are made safe by `finalize` and by what takes them.
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, finalize=finalize, autoescape=False)


def _text(value: Any) -> Any:
    return "" if value is None else value


def _segment(value: Any) -> Any:
    if isinstance(value, Undefined):
        return value
    text = "" if value is None else str(value)
    # "." and ".." would climb; percent-encoding leaves them as they are.
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def _one_line(value: Any) -> Any:
    if isinstance(value, Undefined):
        return value
    return quote(one_line("" if value is None else str(value)), safe=_ASCII)


_PLAIN = _environment(_text)
_PATH = _environment(_segment)
_HEADER = _environment(_one_line)


def parse_template(value: Any) -> None:
    """Raises ValueError for a template that Jinja cannot read."""
    if isinstance(value, dict):
        for one in value.values():
            parse_template(one)
    elif isinstance(value, list):
        for one in value:
            parse_template(one)
    elif isinstance(value, str):
        try:
            _PLAIN.from_string(value)
        except TemplateError as error:
            raise ValueError(f"no template: {error}") from None


def names_in(value: Any) -> set[str]:
    """The names that the templates in a structure use."""
    if isinstance(value, dict):
        return set().union(*map(names_in, value.values()))
    if isinstance(value, list):
        return set().union(*map(names_in, value))
    return meta.find_undeclared_variables(_PLAIN.parse(value)) if isinstance(value, str) else set()


def path_of(template: str, values: Mapping[str, Any]) -> str:
    """A path; a value cannot add to it nor leave it. Raises MisconfiguredError for a name that there is not."""
    return _render(_PATH, template, values)


def header_of(template: str, values: Mapping[str, Any]) -> str:
    """A header's value. Raises MisconfiguredError."""
    return _render(_HEADER, template, values)


def text_of(template: str, values: Mapping[str, Any]) -> str:
    """A text. Raises MisconfiguredError."""
    return _render(_PLAIN, template, values)


def body_of(value: Any, values: Mapping[str, Any]) -> Any:
    """A JSON value; keys and rows of which nothing is known (null) are left out. Raises MisconfiguredError."""
    if isinstance(value, dict):
        made = {key: body_of(one, values) for key, one in value.items()}
        return {key: one for key, one in made.items() if one is not None}
    if isinstance(value, list):
        return [one for one in (body_of(one, values) for one in value) if one is not None]
    if not isinstance(value, str):
        return value
    if (whole := _WHOLE.fullmatch(value)) is None:
        return text_of(value, values)
    try:
        found = _expression(whole[1].strip())(**values)
        if isinstance(found, Undefined):
            str(found)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise MisconfiguredError(f"the template {value!r}: {error}") from None
    return found if found is None or isinstance(found, str | int | float | bool | list | dict) else str(found)


@lru_cache(maxsize=500)
def _expression(text: str) -> Callable[..., Any]:
    return _PLAIN.compile_expression(text, undefined_to_none=False)


@lru_cache(maxsize=500)
def _compiled(environment: ImmutableSandboxedEnvironment, template: str) -> Any:
    return environment.from_string(template)


def _render(environment: ImmutableSandboxedEnvironment, template: str, values: Mapping[str, Any]) -> str:
    try:
        return str(_compiled(environment, template).render(values))
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise MisconfiguredError(f"the template {template!r}: {error}") from None
