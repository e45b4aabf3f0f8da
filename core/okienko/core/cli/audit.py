"""`okienko audit`: verify, show, anchor, erase."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import cases
from okienko.core.actions.auditing import check_approvals
from okienko.core.actions.seals import Seals
from okienko.core.audit import anchor as anchors
from okienko.core.audit import chain, erasure
from okienko.core.audit.daily import anchor_now
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.keyring import KeySource
from okienko.core.audit.log import record
from okienko.core.audit.vault import Erased, Vault
from okienko.core.audit.verify import Finding, Problem, Report, read_entries, read_head, verify
from okienko.core.cli.output import JsonOption, print_json
from okienko.core.database import raw_connection, transaction
from okienko.core.service import anchor_folder, key_source, open_database, open_service, prepare_home, require_schema
from okienko.core.settings import CoreSettings, load_core_settings
from okienko.plugins.context import utc_now
from okienko.plugins.errors import OkienkoError, PermanentError

CaseArgument = Annotated[str, typer.Argument(metavar="CASE", help="Case id or ZGL number")]
ReasonOption = Annotated[str, typer.Option(help="Why, for the record; name no person")]


def add_to(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help="The audit: verify, show, anchor, erase a person.")
    app.add_typer(group, name="audit")

    @group.command("verify")
    def verify_(
        anchor_folders: Annotated[
            list[Path] | None, typer.Option("--anchors", help="Folder of anchors, besides the service's own; repeat")
        ] = None,
        public_keys: Annotated[
            list[Path] | None,
            typer.Option("--public-key", help="Trust only anchors signed with this PEM's key; repeat"),
        ] = None,
        as_json: JsonOption = False,
    ) -> None:
        """Check the chain, its head, the anchors and the approvals. Exit 1 if anything is wrong; the first broken link is named."""
        for path in (*(anchor_folders or ()), *(public_keys or ())):
            if not path.exists():
                sys.stderr.write(f"okienko: {path} does not exist\n")
                raise typer.Exit(2)
        report = asyncio.run(_verify(anchor_folders or [], public_keys or []))
        if as_json:
            print_json(report_json(report))
        else:
            sys.stdout.write(report_text(report))
        raise typer.Exit(0 if report.intact else 1)

    @group.command()
    def show(
        case: Annotated[
            str | None, typer.Option("--case", metavar="CASE", help="Only of this case, by id or number")
        ] = None,
        personal: Annotated[
            bool,
            typer.Option("--personal", help="Also open what is sealed about the person; this is audited. Needs --case"),
        ] = False,
        reason: Annotated[str, typer.Option(help="Why it is opened, for the record")] = "",
        as_json: JsonOption = False,
    ) -> None:
        """Show entries, oldest first. The JSON lines hold all that an auditor needs to check the chain elsewhere."""
        if personal and not (case and reason):
            sys.stderr.write("okienko: --personal needs --case and --reason\n")
            raise typer.Exit(2)
        asyncio.run(_show(case, reason if personal else None, as_json))

    @group.command()
    def anchor() -> None:
        """Write the chain's end to a signed anchor file now."""
        sys.stdout.write(asyncio.run(_anchor()))

    @group.command()
    def erase(case: CaseArgument, reason: ReasonOption) -> None:
        """Erase the person of a closed case: keys, messages and plain columns. The chain stays whole. It cannot be undone."""
        sys.stdout.write(asyncio.run(_erase(case, reason)))


@asynccontextmanager
async def _database() -> AsyncIterator[tuple[CoreSettings, AsyncEngine, KeySource]]:
    """The database without plugins: the audit can be read when nothing else works."""
    settings = load_core_settings(os.environ)
    prepare_home(settings.home)
    async with open_database(settings) as engine:
        await require_schema(engine)
        yield settings, engine, key_source(settings, os.environ)


async def _verify(folders: list[Path], public_keys: list[Path]) -> Report:
    async with _database() as (settings, engine, keys):
        ring = None if public_keys or not keys.exists() else keys.load()
        trusted = anchors.trusted_keys(ring, public_keys)
        found, unreadable = anchors.read_folders([anchor_folder(settings), *folders])
        report = await verify(engine, found, trusted, unreadable)
        report.findings += await check_approvals(engine, Seals(keys) if keys.exists() else None)
        return report


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "problem": finding.problem.value, "seq": finding.seq, "text": finding.text,
        "after": chain.time_text(finding.after) if finding.after else None,
        "before": chain.time_text(finding.before) if finding.before else None,
    }  # fmt: skip


def report_json(report: Report) -> dict[str, Any]:
    """The contract's object."""
    return {
        "intact": report.intact,
        "chain": str(report.chain) if report.chain else None,
        "entries": report.entries,
        "hash": report.hash.hex(),
        "anchors": report.anchors,
        "anchored_seq": report.anchored_seq,
        "first_broken": _finding_json(report.first_broken) if report.first_broken else None,
        "problems": [_finding_json(finding) for finding in report.findings],
    }


def report_text(report: Report) -> str:
    """For people."""
    if report.intact:
        span = f", {report.first_at:%Y-%m-%d %H:%M} to {report.last_at:%Y-%m-%d %H:%M} UTC" if report.first_at else ""
        return (
            f"intact: {report.entries} entries{span}; {report.anchors} anchor(s), the last over entry {report.anchored_seq}\n"
            f"chain {report.chain}, end {report.hash.hex()}\n"
        )
    lines = [f"BROKEN: {report.entries} entries hold"]
    for finding in sorted(report.findings, key=lambda f: f is not report.first_broken):
        between = " and ".join(f"{at:%Y-%m-%d %H:%M:%S} UTC" for at in (finding.after, finding.before) if at)
        span = f" (between {between})" if finding.after and finding.before else f" (time: {between})" if between else ""
        where = f" at entry {finding.seq}" if finding.seq or finding.problem is not Problem.APPROVAL else ""
        lines.append(f"  {finding.problem.value}{where}: {finding.text}{span}")
    return "\n".join(lines) + "\n"


async def _show(key: str | None, reason: str | None, as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with _database() as (_, engine, keys):
        vault = Vault(keys)
        async with transaction(engine) as connection:
            raw = await raw_connection(connection)
            case_id = await _case_id(raw, key) if key else None
            if reason is not None:
                # Committed before anything is shown.
                who = getpass.getuser()
                record(raw, [NewEntry(AuditAction.DISCLOSED, utc_now(), who, case_id, "audit", reason)])
        async with transaction(engine, snapshot=True) as connection:
            raw = await raw_connection(connection)
            head = await read_head(raw)
            if as_json and case_id is None:
                print_json({"chain": str(head.chain) if head else None, "entries": head.seq if head else 0})
            show = print_json if as_json else _print_line
            async for row in read_entries(raw, case_id=case_id):
                line = entry_json(row)
                if reason is not None and row["personal"] is not None:
                    line["opened"] = await _opened(raw, vault, row)
                show(line)


async def _case_id(raw: Any, key: str) -> UUID:
    case_id = await cases.find(raw, key)
    if case_id is None:
        raise PermanentError(f"there is no case {key!r}: give its id or its number; `okienko cases` lists them")
    return case_id


async def _opened(raw: Any, vault: Vault, row: Mapping[str, Any]) -> Any:
    try:
        text = await vault.open(raw, row["case_id"], "audit", row["personal"])
    except OkienkoError as error:
        return {"problem": str(error)}
    if isinstance(text, Erased):
        return {"erased_at": chain.time_text(text.at)}
    return cases.loads(text.decode())


def entry_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """An entry as docs/audit.md describes it: its body's fields under their names there, then prev and hash."""
    return {
        "seq": row["seq"], "at": chain.time_text(row["at"]), "case": str(row["case_id"]) if row["case_id"] else None,
        "actor": row["actor"], "action": row["action"], "subject": row["subject"], "reason": row["reason"],
        "origin": row["origin"], "data": cases.loads(row["data"]), "personal": chain.commit(row["personal"]),
        "prev": row["prev"].hex(), "hash": row["hash"].hex(),
    }  # fmt: skip


def _print_line(line: Mapping[str, Any]) -> None:
    """One line each, as it comes: the whole audit does not fit into a table."""
    sealed = "" if line["personal"] is None else "  [sealed]"
    told = f"  {line['opened']}" if "opened" in line else sealed
    parts = (line["at"][:19] + "Z", line["action"], line["actor"], line["origin"], line["subject"], line["reason"])
    sys.stdout.write(f"{line['seq']:>8}  " + "  ".join(part for part in parts if part) + told + "\n")


async def _anchor() -> str:
    async with open_service() as service:
        made = await anchor_now(
            service.engine, service.now(), keys=service.vault.source, folder=service.anchors, who=getpass.getuser()
        )
    return f"{service.anchors / made.file_name}: entry {made.seq}, {made.hash.hex()}\nKeep a copy on another machine.\n"


async def _erase(key: str, reason: str) -> str:
    async with open_service() as service:
        done = await erasure.erase(
            service.engine, service.vault, key, reason=reason, who=getpass.getuser(), now=service.now()
        )
    csd = (
        f" The ticket {done.number} in the CSD and mails already sent are not okienko's to erase."
        if done.number
        else ""
    )
    return f"case {done.case_id}: {done.keys} key(s) destroyed, {done.messages} message(s) emptied.{csd}\n"
