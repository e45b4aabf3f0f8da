"""`okienko intake`: files taken in by the same way as the connectors' mail, worked on until the queue is idle."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
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
STDIN = Path("-")


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def intake(
        paths: Annotated[
            list[Path], typer.Argument(help=".eml files, folders, Maildirs or mbox files; - for standard input")
        ],
        as_json: JsonOption = False,
    ) -> None:
        """Take messages in from files, durably, and work until the queue is idle. One line per message, in input order."""
        if problems := list(unreadable(paths)):
            for problem in problems:
                sys.stderr.write(f"okienko: {problem}\n")
            sys.stderr.write("okienko: nothing was taken in: correct the paths and run it again\n")
            raise typer.Exit(2)
        with tempfile.TemporaryDirectory(prefix="okienko-stdin-") as folder:
            asyncio.run(_intake([_standard_input(Path(folder)) if path == STDIN else path for path in paths], as_json))


def unreadable(paths: Sequence[Path]) -> Iterator[str]:
    """What is missing or may not be read, so that a wrong path stops us before anything is taken in."""
    for path in paths:
        if path == STDIN:
            continue
        if not path.exists():
            yield f"{path} does not exist"
        elif not path.is_dir():
            if not os.access(path, os.R_OK):
                yield f"{path} may not be read by {getpass.getuser()}"
        else:
            if not os.access(path, os.R_OK | os.X_OK):
                yield f"{path} may not be listed by {getpass.getuser()}"
                continue
            yield from unreadable([part for part in path.iterdir() if not part.name.startswith(".") and part.exists()])


def _standard_input(folder: Path) -> Path:
    """One message or an mbox from standard input, in a file: it may be large. Its lines say `stdin`."""
    path = folder / "stdin"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path


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
                "source": r["source"], "outcome": r["outcome"] or "waits", "reason": r["reason"],
                "number": ((r["case"] or {}).get("csd") or {}).get("number"), "kind": (r["case"] or {}).get("kind"),
                "decision": (r["case"] or {}).get("decision"), "unmet": " ".join((r["case"] or {}).get("unmet", [])),
            }
            for r in rows
        ]  # fmt: skip
        columns = ("source", "outcome", "number", "kind", "decision", "unmet", "reason")
        print_table(flat, columns, empty="There was no message in it.", flexible=("source", "unmet", "reason"))
    if waiting := sum(row["outcome"] is None for row in rows):
        sys.stderr.write(
            f"okienko: {waiting} of {len(rows)} messages are stored but not decided yet; a running `okienko serve` goes on "
            "with them, or run the same command again later; `okienko --verbose intake …` says what stands in the way\n"
        )
        raise typer.Exit(1)


async def take_in(service: Service, paths: Sequence[Path]) -> AsyncIterator[dict[str, Any]]:
    """Take everything in, wait until it is worked off, and yield one result per message, in input order.

    A message that is over the size limit is refused at the door like any other channel's would be; its result says so.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    taken: list[tuple[str, UUID | OkienkoError]] = []
    pending: list[tuple[str, asyncio.Task[UUID]]] = []
    reader = next((c for c in service.plugins.channels.values() if isinstance(c, FileSource)), None)
    if reader is None:
        raise MisconfiguredError("no loaded plugin reads messages from files: load the plugin `email`")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        step = bar.add_task("taken in", total=None)
        for name, raw in reader.read_files(paths):
            item = RawItem(reader.channel, reader.name, name, raw)
            pending.append((name, asyncio.create_task(service.intake.accept(item))))
            bar.advance(step)
            if len(pending) >= _SLICE or not raw.in_memory:
                taken += await _settle(pending)
                pending = []
        taken += await _settle(pending)
        bar.update(step, total=len(taken))
        work = bar.add_task("worked off", total=len(taken))
        await until_idle(service, lambda busy: bar.update(work, completed=max(0, len(taken) - busy)))
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


async def until_idle(service: Service, tell: Callable[[int], object] = lambda _: None) -> None:
    """Wait until no job is due or in work, telling how many are. Jobs that wait for a later retry do not hold us up."""
    pause, patience = 0.02, time.monotonic()
    while True:
        try:
            busy = await busy_jobs(service.engine)
            tell(busy)
            if busy == 0:
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
            "csd": {"backend": row["csd_backend"], "number": row["csd_number"]},
            "state": row["state"],
        }
    if row["outcome"] == "received":
        return {
            "outcome": None,
            "case": case,
            "reason": "stored, not decided yet: its job was put back for a later try",
        }
    return {"outcome": row["outcome"], "case": case, "reason": row["reason"] or ""}
