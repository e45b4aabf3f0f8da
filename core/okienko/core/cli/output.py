"""Tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="JSON instead of a table, one object a line where there are many")
]


def print_json(value: Any) -> None:
    """One line of JSON; times in ISO 8601, ids as text."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def print_table(rows: Sequence[Mapping[str, Any]], columns: Iterable[str], *, empty: str) -> None:
    """A table on stdout, or the sentence `empty` when there is nothing."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 1000)
    if not rows:
        console.print(Text(empty))
        return
    names = list(columns)
    table = Table(*names, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        # Text, not markup: what people wrote must not be read as formatting.
        table.add_row(*(Text("" if row.get(name) is None else str(row.get(name))) for name in names))
    console.print(table)
