"""Tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

JsonOption = Annotated[
    bool, typer.Option("--json", help="JSON instead of a table, one object a line where there are many")
]

_LEAST = 24
"""Columns of the terminal that a cell of running text needs to be readable."""
_BIDI = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def print_json(value: Any) -> None:
    """One line of JSON; times in ISO 8601, ids as text."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def clean(value: Any) -> str:
    """Text that is safe on a terminal: what people sent us may hold control sequences or turn the writing direction."""
    text = "" if value is None else str(value)
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if char in _BIDI or unicodedata.category(char) == "Cc" else char for char in text
    )


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Iterable[str], *, empty: str, flexible: Collection[str] = ()
) -> None:
    """A table on stdout, or the sentence `empty` when there is nothing.

    Cells of `flexible` columns may be wrapped. Where the terminal is too narrow even for that, each row becomes a block of
    `name value` lines, so that an id or a number is never cut. Without a terminal every row is one line.
    """
    if not rows:
        sys.stdout.write(f"{empty}\n")
        return
    # Rich is loaded by what prints a table: a service never does.
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = list(columns)
    cells = [[clean(row.get(name)) for name in names] for row in rows]
    widths = [max(cell_len(name), *(cell_len(line[n]) for line in cells)) for n, name in enumerate(names)]
    if not sys.stdout.isatty():
        _plain(names, cells, widths)
        return
    console = Console(highlight=False)
    needed = sum(min(w, _LEAST) if name in flexible else w for name, w in zip(names, widths, strict=True))
    if needed + 2 * len(names) > console.width:
        _blocks(console, names, cells)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=name not in flexible, overflow="fold")
    for line in cells:
        # Text, not markup: what people wrote must not be read as formatting.
        table.add_row(*map(Text, line))
    console.print(table)


def _plain(names: list[str], cells: list[list[str]], widths: list[int]) -> None:
    from rich.cells import cell_len

    for line in (names, *cells):
        padded = (text + " " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _blocks(console: Console, names: list[str], cells: list[list[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    for number, line in enumerate(cells):
        block = Table.grid(padding=(0, 2, 0, 0))
        block.add_column(no_wrap=True, style="bold")
        block.add_column(overflow="fold")
        for name, text in zip(names, line, strict=True):
            if text:
                block.add_row(name, Text(text))
        if number:
            console.print()
        console.print(block)
