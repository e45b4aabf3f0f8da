"""`okienko intake`: files taken in by the same way as the connectors' mail, worked on until the queue is idle."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from okienko.core.cases import loads
from okienko.core.cli.output import JsonOption, print_json, print_table
from okienko.core.database import raw_connection, transaction
from okienko.core.service import Service, open_service, working
from okienko.core.worker import busy_jobs
from okienko.plugins.errors import MisconfiguredError, OkienkoError, TransientError
from okienko.plugins.ports import FileSource, RawItem
from okienko.schemas import Decision, Verdict

_RESULT = """
SELECT e.id, e.outcome, e.reason, c.id AS case_id, c.kind, c.procedure,
       c.decision::text AS decision, c.person::text AS person, c.csd_backend, c.csd_number, c.state
FROM envelope e LEFT JOIN cases c ON c.id = e.case_id WHERE e.id = ANY($1::uuid[])
"""
_SLICE = 500


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def intake(
        paths: Annotated[list[Path], typer.Argument(help=".eml files, folders, Maildirs or mbox files")],
        as_json: JsonOption = False,
    ) -> None:
        """Take messages in from files, durably, and work until the queue is idle. One line per message, in input order."""
        for path in paths:
            if not path.exists():
                sys.stderr.write(f"okienko: {path} does not exist\n")
                raise typer.Exit(2)
        asyncio.run(_intake(paths, as_json))


async def _intake(paths: list[Path], as_json: bool) -> None:  # noqa: FBT001  an option's value
    rows = []
    async with open_service() as service, working(service.worker):
        async for line in take_in(service, paths):
            if as_json:
                print_json(line)
            rows.append(line)
    if not as_json:
        flat = [
            {
                "source": r["source"], "outcome": r["outcome"], "reason": r["reason"],
                "number": ((r["case"] or {}).get("csd") or {}).get("number"), "kind": (r["case"] or {}).get("kind"),
                "decision": (r["case"] or {}).get("decision"), "unmet": " ".join((r["case"] or {}).get("unmet", [])),
            }
            for r in rows
        ]  # fmt: skip
        columns = ("source", "outcome", "number", "kind", "decision", "unmet", "reason")
        print_table(flat, columns, empty="There was no message in it.")


async def take_in(service: Service, paths: Sequence[Path]) -> AsyncIterator[dict[str, Any]]:
    """Take everything in, wait until it is worked off, and yield one result per message, in input order.

    A message that is over the size limit is refused at the door like any other channel's would be; its result says so.
    """
    from rich.console import Console
    from rich.progress import Progress

    taken: list[tuple[str, UUID | OkienkoError]] = []
    pending: list[tuple[str, asyncio.Task[UUID]]] = []
    reader = next((c for c in service.plugins.channels.values() if isinstance(c, FileSource)), None)
    if reader is None:
        raise MisconfiguredError("no loaded plugin reads messages from files: load the plugin `email`")
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        step = bar.add_task("taking in", total=None)
        for name, raw in reader.read_files(paths):
            item = RawItem(reader.channel, reader.name, name, raw)
            pending.append((name, asyncio.create_task(service.intake.accept(item))))
            bar.advance(step)
            if len(pending) >= _SLICE or not raw.in_memory:
                taken += await _settle(pending)
                pending = []
        taken += await _settle(pending)
        await until_idle(service)
    for start in range(0, len(taken), _SLICE):
        part = taken[start : start + _SLICE]
        results = await _results(service, [i for _, i in part if isinstance(i, UUID)])
        for name, envelope_id in part:
            if isinstance(envelope_id, UUID):
                yield {"source": name, **results[envelope_id]}
            else:
                yield {
                    "source": name,
                    "outcome": "parked",
                    "case": None,
                    "reason": f"refused at the door: {envelope_id}",
                }


async def _settle(pending: Sequence[tuple[str, asyncio.Task[UUID]]]) -> list[tuple[str, UUID | OkienkoError]]:
    results = await asyncio.gather(*(task for _, task in pending), return_exceptions=True)
    settled: list[tuple[str, UUID | OkienkoError]] = []
    for (name, _), result in zip(pending, results, strict=True):
        if isinstance(result, TransientError):
            raise result
        if isinstance(result, BaseException) and not isinstance(result, OkienkoError):
            raise result
        settled.append((name, result))
    return settled


async def until_idle(service: Service) -> None:
    """Wait until no job is due or in work. Jobs that wait for a later retry do not hold us up."""
    pause, patience = 0.02, time.monotonic()
    while True:
        try:
            if await busy_jobs(service.engine) == 0:
                return
        except TransientError:
            if time.monotonic() - patience > 60:
                raise
        else:
            patience = time.monotonic()
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.25)


async def _results(service: Service, ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
    async with transaction(service.engine) as connection:
        rows = await (await raw_connection(connection)).fetch(_RESULT, ids)
    return {row["id"]: result_line(row) for row in rows}


def result_line(row: Any) -> dict[str, Any]:
    """The contract's object for one message."""
    case: dict[str, Any] | None = None
    if row["case_id"] is not None:
        decision = Decision.model_validate_json(row["decision"])
        person = loads(row["person"])
        merged = row["outcome"] == "merged"
        case = {
            "id": str(row["case_id"]),
            "kind": "follow_up" if merged else row["kind"],
            "procedure": row["procedure"],
            "decision": decision.outcome.value if decision.outcome else None,
            "unmet": list(decision.rules(Verdict.UNMET)),
            "unknown": list(decision.rules(Verdict.UNKNOWN)),
            "person": {key: person.get(key) for key in ("given_name", "family_name", "birth_year")} if person else None,
            "csd": {"backend": row["csd_backend"], "number": row["csd_number"]} if row["csd_number"] else None,
            "state": row["state"],
        }
    return {"outcome": row["outcome"], "case": case, "reason": row["reason"]}
