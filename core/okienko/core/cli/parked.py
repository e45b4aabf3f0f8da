"""`okienko parked`: what could not be done, and what to do with it."""

from __future__ import annotations

import asyncio
import getpass
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from okienko.core import envelopes, parking
from okienko.core.cli.output import JsonOption, print_json, print_table
from okienko.core.service import open_service
from okienko.plugins.errors import PermanentError

IdsArgument = Annotated[list[int], typer.Argument(metavar="ID…", help="Numbers from `okienko parked list`")]


def add_to(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help="Work that could not be done: list, show, replay, drop.")
    app.add_typer(group, name="parked")

    @group.command("list")
    def list_(
        everything: Annotated[bool, typer.Option("--all", help="Also what was replayed or dropped")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """List parked work."""
        asyncio.run(_list(everything, as_json))

    @group.command()
    def show(
        number: Annotated[int, typer.Argument(metavar="ID")],
        raw: Annotated[bool, typer.Option(help="The bytes, to stdout")] = False,
    ) -> None:
        """Show one parked item; with --raw the message as it came."""
        asyncio.run(_show(number, raw))

    @group.command()
    def replay(numbers: IdsArgument) -> None:
        """Put parked work back in the queue; a running worker does it again."""
        asyncio.run(_end(numbers, "replay"))

    @group.command()
    def drop(numbers: IdsArgument) -> None:
        """Take parked work off the list. The bytes are kept."""
        asyncio.run(_end(numbers, "drop"))


async def _list(everything: bool, as_json: bool) -> None:  # noqa: FBT001  options' values
    async with open_service() as service:
        items = [asdict(item) for item in await parking.list_parked(service.engine, everything=everything)]
    if as_json:
        for item in items:
            print_json(item)
    else:
        print_table(items, ("id", "job", "reason", "source", "size", "state", "problem"), empty="Nothing is parked.")


async def _show(number: int, raw: bool) -> None:  # noqa: FBT001  an option's value
    async with open_service() as service:
        found = [p for p in await parking.list_parked(service.engine, everything=True) if p.id == number]
        if not found:
            raise PermanentError(f"nothing is parked under {number}: `okienko parked list --all` shows the numbers")
        if not raw:
            print_json(asdict(found[0]))
            return
        if found[0].envelope_id is None:
            raise PermanentError(f"{number} is a job about {found[0].job} {found[0].ref}: it has no bytes of its own")
        spool = service.settings.home / "spool"
        async with envelopes.load(service.engine, [found[0].envelope_id], spool=spool, finished=True) as loaded:
            for piece in loaded[0].raw.chunks():
                sys.stdout.buffer.write(piece)


async def _end(numbers: list[int], how: str) -> None:
    async with open_service() as service:
        act = parking.replay if how == "replay" else parking.drop
        done = await act(service.engine, numbers, service.now(), getpass.getuser())
    for number in numbers:
        sys.stdout.write(
            f"{number}: {how + 'ed' if how == 'replay' else 'dropped'}\n"
            if number in done
            else f"{number}: was not parked\n"
        )
    if set(numbers) - set(done):
        raise typer.Exit(1)
