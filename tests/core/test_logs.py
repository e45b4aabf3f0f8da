"""Logs say what happened and to which case; never a body, a personal number or a secret."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from okienko.core import logs
from okienko.core.logs import scrub

PESEL = "02670803626"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Log as the service does; what comes out, line by line, as objects."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("INFO")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()


def test_a_line_says_what_and_when(lines: Any) -> None:
    structlog.get_logger().info("case closed", action="close", case_id="7")
    (line,) = lines()
    assert (line["event"], line["action"], line["case_id"], line["level"]) == ("case closed", "close", "7", "info")
    assert line["timestamp"].endswith("Z")


def test_no_personal_number_and_no_secret(lines: Any) -> None:
    structlog.get_logger().warning(
        f"from {PESEL}",
        subject=f"PESEL {PESEL}.",
        body="Proszę",
        password="x",
        nested={"a": [f"n {PESEL}"], "token": "y"},
    )
    text = json.dumps(lines(), ensure_ascii=False)
    assert PESEL not in text
    assert "Proszę" not in text
    assert '"x"' not in text
    assert '"y"' not in text


def test_a_traceback_is_places_only(lines: Any) -> None:
    try:
        int(f"Szanowni Państwo, mój PESEL to {PESEL}")
    except ValueError:
        structlog.get_logger().exception("parse failed")
    (line,) = lines()
    assert line["exception"] == "ValueError"
    assert line["frames"]
    assert "Szanowni" not in json.dumps(line)
    assert PESEL not in json.dumps(line)


@given(
    st.recursive(
        st.text() | st.just(PESEL) | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_nothing_hides_a_personal_number(value: Any) -> None:
    assert PESEL not in json.dumps(scrub(None, "", {"event": "x", "value": value}), ensure_ascii=False, default=str)
