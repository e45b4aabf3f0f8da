"""`okienko admin list|invite|remove`: local administrators of the web pages, from the machine itself."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.audit.entries import AuditAction, cli_origin
from okienko.core.cli.output import JsonOption, print_json, print_table
from okienko.core.service import open_database, prepare_home, require_schema
from okienko.core.settings import load_core_settings
from okienko.core.site.build import invitation_url
from okienko.core.site.local import LocalAdmins
from okienko.core.site.people import Role
from okienko.core.site.records import record_in_audit
from okienko.core.site.settings import SiteSettings
from okienko.plugins.context import utc_now
from okienko.plugins.settings import load_settings


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Local administrators of the web pages: list, invite, remove.")
    app.add_typer(group, name="admin")

    @group.command(name="list")
    def list_(as_json: JsonOption = False) -> None:
        """List the local administrators."""
        asyncio.run(_list(as_json))

    @group.command()
    def invite(
        role: Annotated[Role, typer.Option(help="What the new person may do")] = Role.IDENTITY_ADMIN,
    ) -> None:
        """Print a one-time link by which a person sets themself up. It works for 24 hours and is kept as a hash only."""
        asyncio.run(_invite(role))

    @group.command()
    def remove(
        name: Annotated[str, typer.Argument(help="Name of the administrator")],
        even_last: Annotated[bool, typer.Option("--even-last", help="Also the last who may decide")] = False,
    ) -> None:
        """Remove an administrator; their sessions end at once."""
        asyncio.run(_remove(name, even_last))


@asynccontextmanager
async def _admins() -> AsyncIterator[tuple[AsyncEngine, LocalAdmins]]:
    settings = load_core_settings(os.environ)
    prepare_home(settings.home)
    async with open_database(settings) as engine:
        await require_schema(engine)
        yield engine, LocalAdmins(engine, utc_now)


async def _record(engine: AsyncEngine, action: AuditAction, reason: str) -> None:
    await record_in_audit(engine, utc_now)(action, f"cli:{getpass.getuser()}", None, reason, cli_origin())


async def _list(as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with _admins() as (_, admins):
        found = await admins.list()
    rows: list[dict[str, Any]] = [
        {
            "name": a.name, "email": a.email, "roles": sorted(role.value for role in a.roles),
            "created_at": a.created_at, "locked_until": a.locked_until,
        }
        for a in found
    ]  # fmt: skip
    if as_json:
        for row in rows:
            print_json(row)
        return
    for row in rows:
        row["roles"] = " ".join(row["roles"])
    print_table(
        rows, ("name", "roles", "email", "created_at", "locked_until"),
        empty="There is no local administrator: `okienko admin invite` makes a link for one.",
    )  # fmt: skip


async def _invite(role: Role) -> None:
    site = load_settings(SiteSettings, os.environ)
    async with _admins() as (engine, admins):
        await _record(engine, AuditAction.ADMIN_INVITED, role.value)
        token = await admins.invite([role])
    sys.stdout.write(invitation_url(site, token) + "\n")


async def _remove(name: str, even_last: bool) -> None:  # noqa: FBT001  an option's value
    async with _admins() as (engine, admins):
        await admins.remove(name, even_last=even_last)
        await _record(engine, AuditAction.ADMIN_REMOVED, f"local:{name}")
    sys.stdout.write(f"administrator {name} removed\n")
