"""Structured logs: one JSON object a line on stderr, with action and case id, never a body or a personal number."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_ELEVEN_DIGITS = re.compile(r"(?<!\d)\d{11}(?!\d)", re.ASCII)
_SECRET_KEYS = frozenset({"password", "token", "secret", "authorization", "body", "text", "pesel"})


def scrub(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Second line of defence: whatever looks like a PESEL or sits under a secret's name, however deep, does not get out."""
    for key, value in event.items():
        event[key] = _clean(key, value)
    return event


def _clean(key: object, value: Any) -> Any:
    if isinstance(key, str) and key.lower() in _SECRET_KEYS:
        return "[withheld]"
    match value:
        case None | bool() | float():
            return value
        case int() if len(str(value)) == 11:
            return "[11 digits]"
        case int():
            return value
        case str():
            return _ELEVEN_DIGITS.sub("[11 digits]", value)
        case dict():
            return {_clean(None, k): _clean(k, v) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean(None, item) for item in value]
        case _:
            # What the renderer would make of it anyway.
            return _ELEVEN_DIGITS.sub("[11 digits]", str(value))


def _frames_only(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A traceback as places in the code: exception texts and source lines may quote a message."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info
    if isinstance(error, BaseException):
        frames = []
        trace = error.__traceback__
        while trace is not None:
            frames.append(f"{trace.tb_frame.f_code.co_filename.rpartition('okienko/')[2]}:{trace.tb_lineno}")
            trace = trace.tb_next
        event["exception"] = type(error).__name__
        event["frames"] = frames[-12:]
    return event


def configure(level: str = "INFO", style: str = "json") -> None:
    """Set logging up for this process: structlog and the standard library's loggers alike go to stderr."""
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if style == "console"
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _frames_only,
            scrub,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=logging.WARNING, format='{"level":"%(levelname)s","logger":"%(name)s"}', stream=sys.stderr
    )
