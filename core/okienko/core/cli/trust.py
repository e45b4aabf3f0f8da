"""`okienko trust status` and `update`: what signatures are held against, and how old it is."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from okienko.core.cli.output import JsonOption, print_json, print_table
from okienko.core.settings import load_core_settings
from okienko.core.verifying import Verifying
from okienko.plugins.context import utc_now
from okienko.plugins.errors import OkienkoError
from okienko.plugins.settings import load_settings


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="What signatures are held against: roots, CRLs, the trusted list.")
    app.add_typer(group, name="trust")

    @group.command()
    def status(as_json: JsonOption = False) -> None:
        """Show every trust file and its age. Exit 1 when one runs out soon, has run out, is missing or refused."""
        files = asyncio.run(_status())
        if as_json:
            for file in files:
                print_json(file)
        else:
            print_table(
                files, ("state", "kind", "name", "issued", "until", "detail"),
                empty="No trust is set up: see docs/signatures.md.",
            )  # fmt: skip
        raise typer.Exit(0 if files and all(file["state"] == "ok" for file in files) else 1)

    @group.command()
    def update(
        trusted_list: Annotated[
            str | None,
            typer.Option(metavar="FILE|URL", help="New trusted list; unset: OKIENKO_SIGNATURE_TRUSTED_LIST_URL"),
        ] = None,
        crl: Annotated[
            list[str] | None,
            typer.Option(metavar="FILE|URL", help="New CRL; repeat; unset: OKIENKO_SIGNATURE_CRL_URLS"),
        ] = None,
    ) -> None:
        """Fetch or read a new list and CRLs, check them against what is pinned, and put them in place in one step each.

        Whatever fails is said, and its old file stays. Exit 1 when anything failed or there was nothing to do.
        """
        raise typer.Exit(0 if _update(trusted_list, crl) else 1)


async def _status() -> list[dict[str, object]]:
    settings = load_core_settings(os.environ)
    verifying = Verifying(os.environ, settings.home, verifier=settings.verifier)
    try:
        return await verifying.trust_status()
    finally:
        await verifying.close()


def _update(trusted_list: str | None, crls: list[str] | None) -> bool:
    from okienko.plugins.signature import update
    from okienko.plugins.signature.settings import SignatureSettings

    own = {name: value for name, value in os.environ.items() if name.upper().startswith("OKIENKO_SIGNATURE_")}
    settings = load_settings(SignatureSettings, own)
    asked = trusted_list is not None or crls is not None
    list_source = trusted_list if asked else settings.trusted_list_url
    crl_sources = (crls or []) if asked else settings.crl_urls
    done: list[update.Updated] = []
    well = True
    for source in [*([list_source] if list_source else []), *crl_sources]:
        try:
            raw = update.fetch(source)
            if source == list_source:
                done.append(update.update_trusted_list(settings, raw, utc_now()))
            else:
                done += update.update_crls(settings, raw, source, utc_now())
        except OkienkoError as error:
            well = False
            sys.stderr.write(f"okienko: {error}\n")
    for item in done:
        sys.stdout.write(f"{'new' if item.changed else 'same'}  {item.what}  {item.path}\n")
    if not list_source and not crl_sources:
        sys.stderr.write(
            "okienko: nothing to do: name a source, or set OKIENKO_SIGNATURE_TRUSTED_LIST_URL or _CRL_URLS\n"
        )
    return well and bool(done)
