"""`okienko csd conflicts`: the ledger of what both sides changed."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from okienko.core import cases
from okienko.core.cli.output import JsonOption, print_json, print_table
from okienko.core.csd import ledger
from okienko.core.database import raw_connection, transaction
from okienko.core.service import open_service
from okienko.plugins.errors import PermanentError


def add_to(group: typer.Typer) -> None:
    """Add the command to the group `csd`."""

    @group.command()
    def conflicts(
        key: Annotated[str | None, typer.Argument(metavar="[ID]", help="Only of this case: its id or number")] = None,
        limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest")] = 100,
        as_json: JsonOption = False,
    ) -> None:
        """Fields that okienko and the CSD changed differently: both values, who won, and by which rule."""
        asyncio.run(_conflicts(key, limit, as_json))


async def _conflicts(key: str | None, limit: int, as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with open_service() as service:
        case_id = None
        if key is not None:
            async with transaction(service.engine) as connection:
                case_id = await cases.find(await raw_connection(connection), key)
            if case_id is None:
                raise PermanentError(f"there is no case {key!r}: give its id or its number; `okienko cases` lists them")
        rows = await ledger.read(service.engine, case_id=case_id, limit=limit)
    if as_json:
        for row in rows:
            print_json(row)
        return
    print_table(
        [row | {"at": f"{row['at']:%Y-%m-%d %H:%M}Z"} for row in rows],
        ("at", "number", "field", "base", "okienko", "csd", "winner", "rule"),
        empty="No conflicts.",
        flexible=("base", "okienko", "csd"),
    )
