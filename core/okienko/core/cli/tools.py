"""`okienko demo`, `plugins`, `db`, `schema`."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from okienko.core import database
from okienko.core.audit.entries import AuditAction, NewEntry
from okienko.core.audit.log import record
from okienko.core.cli.output import JsonOption, print_json, print_table
from okienko.core.service import load_plugins, open_database, prepare_home, upgrade_database
from okienko.core.settings import load_core_settings
from okienko.plugins.context import utc_now


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
            statuses, ("name", "version", "origin", "state", "hooks", "problem"),
            empty="No plugin is installed.", flexible=("problem",),
        )  # fmt: skip

    @app.command()
    def schema() -> None:
        """Print the JSON Schema of okienko's language."""
        from okienko.schemas.export import json_schema

        sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")

    group = typer.Typer(no_args_is_help=True, help="The database: upgrade, status.")
    app.add_typer(group, name="db")

    @group.command()
    def upgrade(as_json: JsonOption = False) -> None:
        """Bring the database to this program's schema."""
        done = asyncio.run(_upgrade())
        if as_json:
            print_json({"done": done})
            return
        sys.stdout.write("\n".join(done or ["nothing to do: the database is up to date"]) + "\n")

    @group.command()
    def status(as_json: JsonOption = False) -> None:
        """Show the database's schema revision and the one this program needs. Exit 1 if they differ."""
        have = asyncio.run(_revision())
        want = database.head_revision()
        if as_json:
            print_json({"have": have, "need": want})
        else:
            cure = "up to date" if have == want else "run `okienko db upgrade`"
            sys.stdout.write(f"the database is at schema {have or 'none'}, this okienko needs {want}: {cure}\n")
        raise typer.Exit(0 if have == want else 1)


async def _upgrade() -> list[str]:
    settings = load_core_settings(os.environ)
    prepare_home(settings.home)
    async with open_database(settings, migrate=False) as engine:
        done = await upgrade_database(engine, settings, os.environ)
        if done:
            async with database.transaction(engine) as connection:
                entry = NewEntry(AuditAction.SCHEMA_UPGRADED, utc_now(), getpass.getuser(), data={"done": done})
                record(await database.raw_connection(connection), [entry])
        return done


async def _revision() -> str | None:
    settings = load_core_settings(os.environ)
    prepare_home(settings.home)
    async with open_database(settings, migrate=False) as engine:
        return await database.revision(engine)
