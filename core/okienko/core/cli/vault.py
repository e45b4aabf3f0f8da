"""`okienko vault`: the keys that personal data is sealed under."""

from __future__ import annotations

import asyncio
import getpass
import sys
from typing import Annotated

import typer

from okienko.core.audit import keys
from okienko.core.audit.keyring import Keyring
from okienko.core.service import open_service


def add_to(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help="The keys that personal data is sealed under: rotate, new-keyring.")
    app.add_typer(group, name="vault")

    @group.command()
    def rotate(
        prune: Annotated[
            bool,
            typer.Option(
                "--prune", help="Only remove all master keys but the current one, with nothing left under them"
            ),
        ] = False,
    ) -> None:
        """Put all data keys under a new master key, in batches, while the service runs. Interrupted, run it again."""
        sys.stdout.write(asyncio.run(_prune() if prune else _rotate()))

    @group.command("new-keyring")
    def new_keyring() -> None:
        """Print a fresh keyring, for a secret store; OKIENKO_KEYRING or OKIENKO_KEYRING_FILE brings it in."""
        sys.stdout.write(Keyring.new().text())


async def _rotate() -> str:
    async with open_service() as service:
        current, count = await keys.rotate(service.engine, service.vault, service.now(), getpass.getuser())
    return (
        f"{count} data key(s) lie under {current} now. Copy {service.vault.source.where} anew; when every machine has it, "
        "`okienko vault rotate --prune` removes the old key, and destroying its copies makes erasure reach old backups\n"
    )


async def _prune() -> str:
    async with open_service() as service:
        gone = await keys.prune(service.engine, service.vault, service.now(), getpass.getuser())
    return f"removed: {', '.join(gone) or 'none, there is only the current one'}\n"
