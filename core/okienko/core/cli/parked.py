"""`okienko parked`: what could not be done, and what to do with it."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import envelopes, parking
from okienko.core.cli.csddiff import MappingOption, open_trial, tell, utc
from okienko.core.cli.output import JsonOption, clean, print_json, print_table
from okienko.core.csd.forecast import Fate
from okienko.core.csd.forecasting import PAGE, Trial, forecasts
from okienko.core.csd.forecasting import Choice as CaseChoice
from okienko.core.jobs import Job
from okienko.core.parking import Choice, ParkReason
from okienko.core.service import open_service
from okienko.plugins.csd import Capability
from okienko.plugins.errors import PermanentError

IdsArgument = Annotated[list[int], typer.Argument(metavar="ID…", help="Numbers from `okienko parked list`")]

_REASONS = {
    ParkReason.UNREADABLE: "the bytes are no message",
    ParkReason.TOO_LARGE: "over a limit; raise it and replay",
    ParkReason.REFUSED: "the other side said no for good",
    ParkReason.MISCONFIGURED: "a setting is wrong; mend it, `okienko check`, then replay",
    ParkReason.DEFECT: "a defect of okienko or of a plugin; see the log of that time",
}

_OF_TICKETS = (Job.REGISTER.value, Job.SYNC.value)
"""Jobs whose work is a case's ticket."""


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
        raw: Annotated[bool, typer.Option("--raw", help="The bytes, to stdout")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Show one parked item; with --raw the message as it came."""
        asyncio.run(_show(number, raw, as_json))

    @group.command()
    def replay(
        numbers: Annotated[
            list[str] | None,
            typer.Argument(metavar="[ID|FIRST-LAST]…", help="Numbers from `okienko parked list`, or ranges of them"),
        ] = None,
        since: Annotated[datetime | None, typer.Option(help="Parked then or later (UTC)")] = None,
        until: Annotated[datetime | None, typer.Option(help="Parked before then (UTC)")] = None,
        reason: Annotated[ParkReason | None, typer.Option(help="Parked for this reason")] = None,
        job: Annotated[Job | None, typer.Option(help="This kind of job")] = None,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Only show what would be replayed, and its tickets")
        ] = False,
        mapping: MappingOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Put parked work back in the queue: these numbers, or all that the options fit. A running worker does it again."""
        if mapping is not None and not dry_run:
            raise typer.BadParameter("--mapping is only tried: add --dry-run; for work, set it in the settings")
        if not numbers and not any((since, until, reason, job)):
            raise typer.BadParameter("say which: numbers, --since, --until, --reason or --job")
        singles = [int(n) for n in numbers or () if n.isascii() and n.isdigit()]
        if singles and len(singles) == len(numbers or ()) and not any((since, until, reason, job, dry_run)):
            asyncio.run(_end(singles, "replayed", as_json))
            return
        choice = Choice(tuple(map(_range, numbers or ())), utc(since), utc(until), reason, job)
        if dry_run:
            asyncio.run(_try(choice, mapping, as_json))
        else:
            asyncio.run(_replay(choice, as_json))

    @group.command()
    def drop(numbers: IdsArgument, as_json: JsonOption = False) -> None:
        """Take parked work off the list. The bytes are kept."""
        asyncio.run(_end(numbers, "dropped", as_json))


async def _list(everything: bool, as_json: bool) -> None:  # noqa: FBT001  options' values
    async with open_service() as service:
        items = [asdict(item) for item in await parking.list_parked(service.engine, everything=everything)]
    if as_json:
        for item in items:
            print_json(item)
    else:
        for item in items:
            item["since"] = f"{item['at']:%Y-%m-%d %H:%M}Z"
        print_table(
            items, ("id", "since", "job", "reason", "source", "size", "state", "problem"),
            empty="Nothing is parked.", flexible=("source", "problem"),
        )  # fmt: skip


async def _show(number: int, raw: bool, as_json: bool) -> None:  # noqa: FBT001  options' values
    async with open_service() as service:
        found = [p for p in await parking.list_parked(service.engine, everything=True) if p.id == number]
        if not found:
            raise PermanentError(f"nothing is parked under {number}: `okienko parked list --all` shows the numbers")
        if not raw:
            if as_json:
                print_json(asdict(found[0]))
            else:
                _describe(found[0])
            return
        if found[0].envelope_id is None:
            raise PermanentError(f"{number} is a job about {found[0].job} {found[0].ref}: it has no bytes of its own")
        spool = service.settings.home / "spool"
        async with envelopes.load(service.engine, [found[0].envelope_id], spool=spool, finished=True) as loaded:
            for piece in loaded[0].raw.chunks():
                sys.stdout.buffer.write(piece)


async def _replay(choice: Choice, as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with open_service() as service:
        chosen = await parking.choose(service.engine, choice)
        done = set(await parking.replay(service.engine, [item.id for item in chosen], service.now(), getpass.getuser()))
    chosen = [item for item in chosen if item.id in done]
    if as_json:
        for item in chosen:
            print_json(_told(item, "replayed"))
    else:
        _table(chosen, "replayed")


async def _try(choice: Choice, mapping: Path | None, as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with open_trial(os.environ, None, mapping) as (engine, trial):
        chosen = await parking.choose(engine, choice)
        if as_json:
            refused = await _tried(engine, trial, chosen)
        else:
            _table(chosen, "would be replayed")
            refused = await _print(engine, trial, chosen)
    if refused:
        raise typer.Exit(1)


async def _tried(engine: AsyncEngine, trial: Trial, chosen: Sequence[parking.Parked]) -> bool:
    """One object for each, with what would become of its case's ticket; whether one is refused."""
    refused = False
    for at in range(0, len(chosen), PAGE):
        some = chosen[at : at + PAGE]
        ids = _cases(trial, some)
        found = {one.case_id: one async for one in forecasts(engine, trial, CaseChoice(ids=ids))} if ids else {}
        for item in some:
            told = found.get(item.ref) if item.job in _OF_TICKETS else None
            refused = refused or (told is not None and told.result is Fate.REFUSED)
            print_json(_told(item, "would_be_replayed") | {"forecast": told.shown() if told is not None else None})
    return refused


async def _print(engine: AsyncEngine, trial: Trial, chosen: Sequence[parking.Parked]) -> bool:
    ids = _cases(trial, chosen)
    if not ids:
        return False
    sys.stdout.write("\n")
    return await tell(forecasts(engine, trial, CaseChoice(ids=ids)), as_json=False)


def _cases(trial: Trial, chosen: Sequence[parking.Parked]) -> tuple[UUID, ...]:
    if Capability.PREVIEW not in trial.csd.capabilities:
        return ()
    return tuple(dict.fromkeys(item.ref for item in chosen if item.job in _OF_TICKETS))


def _told(item: parking.Parked, result: str) -> dict[str, Any]:
    return {"id": item.id, "job": item.job, "ref": str(item.ref), "result": result}


def _table(chosen: Sequence[parking.Parked], result: str) -> None:
    items = [asdict(item) | {"result": result, "since": f"{item.at:%Y-%m-%d %H:%M}Z"} for item in chosen]
    print_table(
        items,
        ("id", "since", "job", "reason", "result", "problem"),
        empty="Nothing parked fits that.",
        flexible=("problem",),
    )


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        return int(first), int(last if dash else first)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor a range such as 12-40") from None


def _describe(item: parking.Parked) -> None:
    lines = [
        ("parked", f"{item.id}, {item.state}, since {item.at:%Y-%m-%d %H:%M:%S}Z"),
        ("what", f"job {item.job} of {item.ref}"),
        ("message", f"{item.source}, {item.size} octets" if item.envelope_id else "none: it is a later step of a case"),
        ("reason", f"{item.reason} ({_REASONS[ParkReason(item.reason)]})"),
        ("problem", item.problem),
    ]
    if item.state == "parked":
        look = f"`okienko parked show {item.id} --raw` prints the message; " if item.envelope_id else ""
        lines.append(("next", f"{look}`okienko parked replay {item.id}` tries again, `… drop {item.id}` gives it up"))
    for name, text in lines:
        sys.stdout.write(f"{name:<9}{clean(text)}\n")


async def _end(numbers: list[int], how: str, as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with open_service() as service:
        act = parking.replay if how == "replayed" else parking.drop
        done = await act(service.engine, numbers, service.now(), getpass.getuser())
    for number in numbers:
        result = how if number in done else "was not parked"
        if as_json:
            print_json({"id": number, "result": how if number in done else "not_parked"})
        else:
            sys.stdout.write(f"{number}: {result}\n")
    if missing := sorted(set(numbers) - set(done)):
        sys.stderr.write(f"okienko: not parked: {', '.join(map(str, missing))}; `okienko parked list` shows what is\n")
        raise typer.Exit(1)
