"""`okienko check`: every setting, connection and mapping is tried; one problem hides no other."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core import database
from okienko.core.audit import health
from okienko.core.audit import keys as audit_keys
from okienko.core.cli.checkcsd import run_csd_checks
from okienko.core.cli.output import JsonOption, print_json, print_table
from okienko.core.database import raw_connection, transaction
from okienko.core.service import (
    anchor_folder,
    find_verifying,
    key_source,
    load_plugins,
    open_database,
    pick,
    prepare_home,
)
from okienko.core.settings import CoreSettings, load_core_settings, unknown_variables
from okienko.core.verifying import Verifying
from okienko.plugins.context import utc_now
from okienko.plugins.errors import MisconfiguredError, OkienkoError
from okienko.plugins.manager import GROUP, Plugins
from okienko.plugins.ports import Finding, NotificationContext, ProcedurePack, Severity
from okienko.schemas import Case, CaseKind, CaseState, CsdRef, Decision, NotificationKind, RuleResult, Verdict
from okienko.schemas.envelope import ChannelName

LEAST_FREE = 256 << 20
"""Octets of free disk under which a check fails; under four times as much it warns."""
OLDEST_POSTGRES = 150000


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def check(
        part: Annotated[
            Literal["csd"] | None, typer.Argument(help="Only this: a CSD and every line of its mapping")
        ] = None,
        name: Annotated[str | None, typer.Argument(help="Which CSD", show_default="that of OKIENKO_CSD")] = None,
        as_json: JsonOption = False,
    ) -> None:
        """Try every setting, connection and mapping; each problem with its cure. Exit 1 if anything is wrong."""
        findings = asyncio.run(run_csd_checks(os.environ, name) if part else run_checks(os.environ))
        if as_json:
            for finding in findings:
                print_json(asdict(finding))
        else:
            rows = [asdict(f) | {"severity": f.severity.value} for f in findings]
            columns = ("severity", "subject", "message", "cure")
            print_table(rows, columns, empty="There is nothing to check.", flexible=("message", "cure"))
        raise typer.Exit(1 if any(f.severity is Severity.ERROR for f in findings) else 0)


async def run_checks(environ: Mapping[str, str]) -> list[Finding]:
    """All findings, in the order in which things depend on each other."""
    try:
        settings = load_core_settings(environ)
    except OkienkoError as error:
        return [Finding("settings", Severity.ERROR, str(error), "correct it; docs/operating.md has every setting")]
    findings = list(_home(settings.home))
    if findings[-1].severity is Severity.ERROR:
        return findings
    async with AsyncExitStack() as stack:
        engine: AsyncEngine | None = None
        try:
            engine = await stack.enter_async_context(open_database(settings))
            findings += await _database(engine)
            if findings[-1].severity is Severity.OK:
                findings += await _audit(engine, settings, environ)
        except (OkienkoError, OSError) as error:
            engine = None
            cure = "see whether it runs and OKIENKO_DATABASE_URL is right" if settings.database_url else "as it says"
            findings.append(Finding("database", Severity.ERROR, str(error), cure))
        findings += _web(settings)
        strange = dict(unknown_variables(environ, [point.name for point in entry_points(group=GROUP)]))
        for variable, hint in strange.items():
            text = f"{variable} is no setting of okienko or of an installed plugin"
            findings.append(Finding("settings", Severity.ERROR, text, hint))
        # Nothing is required here: a missing plugin is a finding, and the others are tried all the same.
        everything = settings.model_copy(update={"required_plugins": []})
        try:
            known = {name: value for name, value in environ.items() if name not in strange}
            plugins = load_plugins(everything, engine, known, utc_now)
        except OkienkoError as error:
            findings.append(Finding("settings", Severity.ERROR, str(error), "correct the name, or install the plugin"))
            return findings
        findings += _plugins(plugins, settings.required_plugins)
        findings += _choices(plugins, settings)
        findings += await _trust(find_verifying(plugins, settings, environ))
        findings += await _ask(plugins, settings, database_up=engine is not None)
    return findings


def _home(home: Path) -> Iterator[Finding]:
    try:
        prepare_home(home)
        with tempfile.NamedTemporaryFile(dir=home / "spool"):
            pass
        free = shutil.disk_usage(home).free
    except (OkienkoError, OSError) as error:
        yield Finding("home", Severity.ERROR, str(error), "set OKIENKO_HOME to a folder that okienko may write")
        return
    severity = Severity.ERROR if free < LEAST_FREE else Severity.WARNING if free < 4 * LEAST_FREE else Severity.OK
    cure = "" if severity is Severity.OK else "make room: without disk no message can be taken in (senders get 451)"
    yield Finding("home", severity, f"{home} can be written, {free / (1 << 30):.1f} GiB free", cure)


async def _audit(engine: AsyncEngine, settings: CoreSettings, environ: Mapping[str, str]) -> list[Finding]:
    keys = key_source(settings, environ)
    try:
        await audit_keys.prepare(engine, keys, utc_now())
    except MisconfiguredError as error:
        return [Finding("keyring", Severity.ERROR, str(error), "the message names it")]
    return await health.check(engine, keys, anchor_folder(settings), utc_now())


async def _database(engine: AsyncEngine) -> list[Finding]:
    async with transaction(engine) as connection:
        raw = await raw_connection(connection)
        number = int(await raw.fetchval("SHOW server_version_num"))
        name = await raw.fetchval("SHOW server_version")
    have, want = await database.revision(engine), database.head_revision()
    old = number < OLDEST_POSTGRES
    return [
        Finding(
            "database",
            Severity.ERROR if old else Severity.OK,
            f"PostgreSQL {name} answers",
            "okienko needs PostgreSQL 15 or newer" if old else "",
        ),
        Finding("schema", Severity.OK, f"{have}, up to date")
        if have == want
        else Finding("schema", Severity.ERROR, f"{have or 'none'}, needed is {want}", "run `okienko db upgrade`"),
    ]


def _web(settings: CoreSettings) -> list[Finding]:
    where = settings.web_listen
    host, _, port = where.rpartition(":")
    host = host.strip("[]")
    try:
        with socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        cure = "set OKIENKO_WEB_LISTEN to a free address, or stop what listens there (okienko itself, if it is running)"
        severity = Severity.WARNING if taken else Severity.ERROR
        return [Finding("web", severity, f"cannot listen on {where}: {error.strerror or error}", cure)]
    return [Finding("web", Severity.OK, f"can listen on {where}")]


def _plugins(plugins: Plugins, required: list[str]) -> Iterator[Finding]:
    states = {status.name: status for status in plugins.statuses}
    for name in (*required, *(name for name in states if name not in required)):
        status, subject = states.get(name), f"plugin {name}"
        if status is None:
            yield Finding(subject, Severity.ERROR, "required and not installed", "correct OKIENKO_REQUIRED_PLUGINS")
        elif status.state == "failed":
            yield Finding(subject, Severity.ERROR, status.problem, "mend it, or name it in OKIENKO_DISABLED_PLUGINS")
        elif status.state == "disabled" and name in required:
            cure = "enable it, or take it out of OKIENKO_REQUIRED_PLUGINS"
            yield Finding(subject, Severity.ERROR, "required and disabled", cure)


def _choices(plugins: Plugins, settings: CoreSettings) -> Iterator[Finding]:
    wanted: list[tuple[str, Mapping[str, Any], str]] = [
        ("OKIENKO_CSD", plugins.csd_backends, settings.csd),
        ("OKIENKO_IDENTITY", plugins.identity_backends, settings.identity),
        ("OKIENKO_PROCEDURE", plugins.procedures, settings.procedure),
        *(("OKIENKO_POLICIES", plugins.policies, name) for name in settings.policies),
    ]
    for variable, things, name in wanted:
        try:
            thing = pick(things, name, variable)
        except OkienkoError as error:
            yield Finding(
                "settings", Severity.ERROR, str(error), f"set {variable} to one of these, or install its plugin"
            )
            continue
        if variable == "OKIENKO_PROCEDURE":
            yield _templates(thing)
    if settings.message_domain == CoreSettings.model_fields["message_domain"].default:
        cure = "set OKIENKO_MESSAGE_DOMAIN to a domain of yours"
        yield Finding(
            "settings", Severity.WARNING, f"Message-IDs end in {settings.message_domain}, which is nobody's", cure
        )


def _templates(pack: ProcedurePack) -> Finding:
    """Every message to people is written once, for a case that has everything in it."""
    unmet = RuleResult(rule="A1", verdict=Verdict.UNMET, evidence="a trial", text_pl="próba", text_en="a trial")
    case = Case(
        id=UUID(int=0), kind=CaseKind.TICKET, state=CaseState.REGISTERED, channel=ChannelName.EMAIL, subject="a trial",
        decision=Decision(results=(unmet,)), csd=CsdRef(backend="check", number="ZGL0"), opened_at=utc_now(),
    )  # fmt: skip
    subject = f"procedure {pack.name}"
    try:
        for kind in NotificationKind:
            pack.render(kind, NotificationContext(case, solution="próba", own_number=pack.own_number(0)))
    except OkienkoError as error:
        return Finding(subject, Severity.ERROR, str(error), "correct the template")
    return Finding(subject, Severity.OK, f"the pack loads and its {len(NotificationKind)} messages can be written")


async def _ask(plugins: Plugins, settings: CoreSettings, *, database_up: bool) -> list[Finding]:
    findings: list[Finding] = []
    things: list[Any] = [
        *plugins.channels.values(),
        *plugins.csd_backends.values(),
        *plugins.identity_backends.values(),
    ]
    for thing in things:
        try:
            async with asyncio.timeout(settings.plugin_timeout):
                if database_up and thing.name == settings.csd and thing in plugins.csd_backends.values():
                    await thing.start()
                findings += await thing.check()
        except TimeoutError:
            text = f"no answer in {settings.plugin_timeout:g} s (OKIENKO_PLUGIN_TIMEOUT)"
            findings.append(Finding(thing.name, Severity.ERROR, text, "see whether its server runs and can be reached"))
        except Exception as error:  # a plugin's defect must not hide what the others say
            told = str(error) if isinstance(error, OkienkoError | OSError) else type(error).__name__
            cure = "see the plugin's documentation" if database_up else "mend the database first"
            findings.append(Finding(thing.name, Severity.ERROR, f"could not be tried: {told}", cure))
    return findings


async def _trust(verifying: Verifying | None) -> list[Finding]:
    """Whether signed applications can be checked, and every trust file that is wrong."""
    if verifying is None or not verifying.configured:
        cure = "see docs/signatures.md, or leave signed applications to people"
        return [Finding("signatures", Severity.WARNING, "no trust is set up: no signature can be valid", cure)]
    try:
        files = await verifying.trust_status()
    except OkienkoError as error:
        return [Finding("signatures", Severity.ERROR, str(error), "the message names it")]
    finally:
        await verifying.close()
    wrong = [file for file in files if file["state"] != "ok"]
    return [
        Finding(
            f"signatures {file['kind']}",
            Severity.WARNING if file["state"] == "soon" else Severity.ERROR,
            f"{file['state']}: {file['name']}",
            "run `okienko trust update`",
        )
        for file in wrong
    ] or [Finding("signatures", Severity.OK, f"{len(files)} trust files are in date")]
