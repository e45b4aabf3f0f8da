"""`okienko demo`, `plugins`, `check`, `db`, `schema`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from okienko.core import database
from okienko.core.cli.output import JsonOption, print_json, print_table
from okienko.core.service import Service, load_plugins, open_database, open_service, prepare_home
from okienko.core.settings import load_core_settings
from okienko.plugins.context import utc_now
from okienko.plugins.errors import OkienkoError
from okienko.plugins.ports import Channel, CsdBackend, Finding, IdentityBackend, Severity


def add_to(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def demo(
        once: Annotated[bool, typer.Option("--once", help="Run the tour without stopping, for scripts")] = False,
    ) -> None:
        """The tour: sample mails become decided, registered and answered cases."""
        from okienko.core.demo import tour

        raise typer.Exit(asyncio.run(tour(pause=not once and sys.stdin.isatty())))

    @app.command()
    def plugins(as_json: JsonOption = False) -> None:
        """List installed plugins: version, origin, hooks and state."""
        settings = load_core_settings(os.environ)
        statuses = [asdict(s) for s in load_plugins(settings, None, os.environ, utc_now).statuses]
        if as_json:
            for status in statuses:
                print_json(status)
            return
        for status in statuses:
            status["hooks"] = " ".join(status["hooks"])
        print_table(
            statuses, ("name", "version", "origin", "state", "hooks", "problem"), empty="No plugin is installed."
        )

    @app.command()
    def check(as_json: JsonOption = False) -> None:
        """Try every setting, connection and mapping; each problem with its cure. Exit 1 if anything is wrong."""
        findings = asyncio.run(_check())
        if as_json:
            for finding in findings:
                print_json(asdict(finding))
        else:
            rows = [asdict(f) | {"severity": f.severity.value} for f in findings]
            print_table(rows, ("severity", "subject", "message", "cure"), empty="There is nothing to check.")
        raise typer.Exit(1 if any(f.severity is Severity.ERROR for f in findings) else 0)

    @app.command()
    def schema() -> None:
        """Print the JSON Schema of okienko's language."""
        from okienko.schemas.export import json_schema

        sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")

    group = typer.Typer(no_args_is_help=True, help="The database: upgrade, status.")
    app.add_typer(group, name="db")

    @group.command()
    def upgrade() -> None:
        """Bring the database to this program's schema."""
        done = asyncio.run(_upgrade())
        sys.stdout.write("\n".join(done or ["nothing to do: the database is up to date"]) + "\n")

    @group.command()
    def status(as_json: JsonOption = False) -> None:
        """Show the database's schema revision and the one this program needs. Exit 1 if they differ."""
        have = asyncio.run(_revision())
        want = database.head_revision()
        if as_json:
            print_json({"have": have, "need": want})
        else:
            sys.stdout.write(f"have {have or 'none'}, need {want}\n")
        raise typer.Exit(0 if have == want else 1)


async def _upgrade() -> list[str]:
    settings = load_core_settings(os.environ)
    prepare_home(settings.home)
    async with open_database(settings, migrate=False) as engine:
        return await database.upgrade(engine)


async def _revision() -> str | None:
    settings = load_core_settings(os.environ)
    prepare_home(settings.home)
    async with open_database(settings, migrate=False) as engine:
        return await database.revision(engine)


async def _check_trust(service: Service) -> list[Finding]:
    """Whether signed applications can be checked, and every trust file that is wrong."""
    if service.verifying is None or not service.verifying.configured:
        cure = "see docs/signatures.md, or leave signed applications to people"
        return [Finding("signatures", Severity.WARNING, "no trust is set up: no signature can be valid", cure)]
    try:
        files = await service.verifying.trust_status()
    except OkienkoError as error:
        return [Finding("signatures", Severity.ERROR, str(error), "the message names it")]
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


async def _check() -> list[Finding]:
    findings: list[Finding] = []
    try:
        async with open_service() as service:
            findings.append(Finding("settings", Severity.OK, f"home is {service.settings.home}"))
            findings.append(Finding("database", Severity.OK, "answers, schema is up to date"))
            for status in service.plugins.statuses:
                if status.state == "failed":
                    findings.append(  # noqa: PERF401  reads better than a filter inside extend
                        Finding(
                            f"plugin {status.name}",
                            Severity.ERROR,
                            status.problem,
                            "mend it, or name it in OKIENKO_DISABLED_PLUGINS",
                        )
                    )
            findings += await _check_trust(service)
            checked: list[Channel | CsdBackend | IdentityBackend] = [
                *service.plugins.channels.values(), *service.plugins.csd_backends.values(), *service.plugins.identity_backends.values(),
            ]  # fmt: skip
            for thing in checked:
                try:
                    async with asyncio.timeout(service.settings.plugin_timeout):
                        findings += await thing.check()
                except (OkienkoError, TimeoutError, OSError) as error:
                    findings.append(
                        Finding(
                            thing.name, Severity.ERROR, f"the check itself failed: {error}", "see the plugin's docs"
                        )
                    )
    except OkienkoError as error:
        findings.append(Finding("start", Severity.ERROR, str(error), "the message names it"))
    return findings
