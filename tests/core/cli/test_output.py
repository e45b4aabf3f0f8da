"""Tables: nothing of what people need is cut, and what strangers sent cannot steer the terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.core.cli.output import clean, print_table

ROWS = [{"number": "ZGL000000001", "kind": "recovery", "subject": "HASŁO AWARYJNE " * 4}]


def shown(rows: list[dict[str, str]], columns: int) -> str:
    """What print_table writes to a real pseudo-terminal of that width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {"TERM": "xterm", "COLUMNS": str(columns)}
    with (
        os.fdopen(slave, "w", encoding="utf-8") as stream,
        contextlib.redirect_stdout(stream),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environ.items():
            patch.setenv(name, value)
        print_table(rows, list(rows[0]), empty="none", flexible=("subject",))
        stream.flush()
        os.set_blocking(master, False)
        text = os.read(master, 65536).decode()
    os.close(master)
    return text


def test_a_wide_terminal_shows_a_table_and_wraps_only_running_text() -> None:
    text = shown(ROWS, 70)
    assert "ZGL000000001  recovery" in text
    assert "…" not in text
    assert text.count("AWARYJNE") == 4


def test_a_narrow_terminal_shows_blocks_with_whole_numbers() -> None:
    lines = shown(ROWS, 30).splitlines()
    assert any(line.startswith("\x1b[1mnumber") and "ZGL000000001" in line for line in lines)
    assert "…" not in "".join(lines)
    assert " ".join(lines).count("AWARYJNE") == 4


def test_without_a_terminal_each_row_is_one_line_without_padding(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([*ROWS, {"number": "1", "kind": None}], ("number", "kind", "subject"), empty="none")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0] == "number        kind      subject"
    assert lines[2] == "1"


def test_nothing_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], ("number",), empty="No cases yet.")
    assert capsys.readouterr().out == "No cases yet.\n"


def test_brackets_in_a_subject_are_no_markup() -> None:
    assert "[red]NOWE[/red]" in shown([{"subject": "[red]NOWE[/red]"}], 60)


@given(st.text())
def test_what_strangers_wrote_cannot_steer_the_terminal(text: str) -> None:
    safe = clean(f"{text}\x1b[2J\r\n\u202e")
    assert not any(char < " " or "\x7f" <= char <= "\x9f" or char in "\u202a\u202b\u202c\u202d\u202e" for char in safe)
    assert len(safe) == len(text) + 7
