"""The arithmetic, held against an independent RFC 8785 implementation and against docs/audit.md."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from okienko.core.audit import chain

DOCS = Path(__file__).parents[3] / "docs" / "audit.md"

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts
names = st.text(st.characters(max_codepoint=127, min_codepoint=1))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4))


@given(values)
def test_canonical_bytes_are_those_of_rfc_8785(value: Any) -> None:
    assert chain.canonical(value) == rfc8785.dumps(value)


@given(values)
def test_what_was_read_back_gives_the_same_bytes(value: Any) -> None:
    assert chain.canonical(json.loads(json.dumps(value))) == chain.canonical(value)


@pytest.mark.parametrize(
    "value", [1.0, float("nan"), 2**53, -(2**53), {"ż": 1}, {1: 2}, b"x", "a\0b", "\ud800", {"a": {1, 2}}]
)
def test_what_has_no_one_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"audit data|surrogates"):
        chain.canonical(value)


def test_times_have_one_form() -> None:
    warsaw = timezone(timedelta(hours=1))
    assert chain.time_text(datetime(2026, 11, 24, 10, 15, tzinfo=warsaw)) == "2026-11-24T09:15:00.000000Z"
    assert chain.parse_time("2026-11-24T09:15:00.000000Z") == datetime(2026, 11, 24, 9, 15, tzinfo=UTC)
    with pytest.raises(ValueError, match="zone"):
        chain.time_text(datetime(2026, 11, 24))  # noqa: DTZ001  that is the point
    with pytest.raises(ValueError, match="not a time"):
        chain.parse_time("2026-11-24T09:15:00Z")


EXAMPLE = chain.Entry(
    at=datetime(2026, 11, 24, 9, 15, tzinfo=UTC), case_id=UUID("00000000-0000-4000-8000-000000000001"), actor="puesc",
    action="decided", subject="procedure unlock", reason="met: C3 S2", origin="service:okienko-1",
    data={"outcome": "met", "rules": {"C3": "met", "S2": "met"}}, commitment=None,
)  # fmt: skip
CHAIN = UUID("6f2c1c5e-8a57-4d0e-9c3b-0d6a4b1f2e3d")


def test_the_example_of_the_docs_is_right() -> None:
    text = DOCS.read_text()
    body = chain.body(EXAMPLE)
    assert body.decode() in text
    for octets in (sha256(body).digest(), chain.genesis(CHAIN), chain.link(chain.genesis(CHAIN), 1, body)):
        assert octets.hex() in text


def test_the_offline_checker_of_the_docs_works(tmp_path: Path) -> None:
    """The script as printed in the docs, run by itself, on an export made here and on damaged copies of it."""
    (script,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (tmp_path / "check.py").write_text(script)
    prev = chain.genesis(CHAIN)
    lines = [{"chain": str(CHAIN), "entries": 3}]
    for seq in (1, 2, 3):
        link = chain.link(prev, seq, chain.body(EXAMPLE))
        fields = json.loads(chain.body(EXAMPLE))
        lines.append(fields | {"seq": seq, "prev": prev.hex(), "hash": link.hex()})
        prev = link

    def run(damaged: list[dict[str, Any]]) -> tuple[int, str]:
        (tmp_path / "audit.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in damaged))
        done = subprocess.run([sys.executable, "check.py", "audit.jsonl"], cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    assert run(lines) == (0, f"3 entries hold; the end is {prev.hex()}\n")
    assert run([lines[0], lines[1], lines[2] | {"actor": "x"}, lines[3]]) == (1, "broken at entry 2\n")
    assert run([lines[0], lines[1], lines[3]]) == (1, "broken at entry 2\n")
    assert run(lines[:3]) == (1, "broken at entry 3\n")
