"""`okienko verify`: one signed document, checked as the service does it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from okienko.core.cli.output import print_json
from okienko.core.settings import load_core_settings
from okienko.core.verifying import Checked, Verifying
from okienko.plugins.context import utc_now
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.signature.problems import Code
from okienko.plugins.signatures import MissingFile, SignatureReport

_PREFIX = "OKIENKO_SIGNATURE_"
_SIGNATURES = (".p7s", ".p7m", ".sig", ".xades", ".asice", ".sce")
_MOST_BESIDE = 20
_PLAIN_NAME = re.compile(rb'URI="([^"#:/\\%?]{1,200})"')


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def verify(
        file: Annotated[
            Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="PDF, XML, .p7m, .p7s or ASiC")
        ],
        trust: Annotated[
            list[Path] | None, typer.Option(exists=True, dir_okay=False, help="Trusted root (PEM); repeat for each")
        ] = None,
        intermediate: Annotated[
            list[Path] | None,
            typer.Option(exists=True, dir_okay=False, help="Issuing authority (PEM); repeat for each"),
        ] = None,
        crl: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Folder of CRLs")] = None,
        trusted_list: Annotated[
            Path | None, typer.Option(exists=True, dir_okay=False, help="National trusted list (XML)")
        ] = None,
        pin_seal: Annotated[
            list[str] | None,
            typer.Option(help="SHA-256 of the public key (SPKI) of a podpis zaufany seal; repeat for each"),
        ] = None,
        at: Annotated[
            str | None, typer.Option(metavar="TIME", help="Moment to check for, ISO 8601, UTC unless it says otherwise")
        ] = None,
        content: Annotated[
            Path | None,
            typer.Option(
                exists=True, dir_okay=False, help="The signed file, for a detached signature; else looked for beside it"
            ),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object")] = False,
    ) -> None:
        """Check a signed document: valid (good enough for rule B4), by whom, and every reason why not.

        What no option gives is taken from the settings (OKIENKO_SIGNATURE_…). Exit codes: 0 valid, 1 not, 2 bad use.
        """
        moment = _moment(at)
        given = {
            "ANCHORS": _paths(trust), "INTERMEDIATES": _paths(intermediate), "CRL_DIR": crl and str(crl),
            "TRUSTED_LIST": trusted_list and str(trusted_list), "PINNED_SEALS": pin_seal and json.dumps(pin_seal),
        }  # fmt: skip
        for pin in pin_seal or ():
            if not re.fullmatch(r"[0-9A-Fa-f]{64}", pin.replace(":", "")):
                raise typer.BadParameter(
                    "the SHA-256 of a public key is 64 hexadecimal digits", param_hint="--pin-seal"
                )
        environ = dict(os.environ) | {_PREFIX + name: value for name, value in given.items() if value}
        try:
            checked = asyncio.run(_verify(environ, file, moment, content))
        except MisconfiguredError as error:
            # An option or a setting names a file that is no certificate, CRL or list.
            sys.stderr.write(f"okienko: {error}\n")
            raise typer.Exit(2) from None
        report = checked.verification.report
        if as_json:
            print_json(as_contract(report))
        else:
            _show(report)
        raise typer.Exit(0 if report.valid else 1)


def as_contract(report: SignatureReport) -> dict[str, Any]:
    """The object that scripts rely on."""
    who = report.signatory
    return {
        "valid": report.valid,
        "format": report.format.value,
        "level": report.level.value if report.level else None,
        "signatory": {
            "given_names": who.given_names,
            "family_name": who.family_name,
            "pesel_masked": who.pesel.masked if who.pesel else None,
            "birth_year": who.birth_year,
        }
        if who
        else None,
        "signed_at": report.signed_at.isoformat() if report.signed_at else None,
        "coverage": report.coverage,
        "problems": [{"code": p.code, "text": p.text} for p in report.problems],
    }


async def _verify(environ: dict[str, str], file: Path, at: datetime, content: Path | None) -> Checked:
    settings = load_core_settings(environ)
    verifying = Verifying(environ, settings.home, verifier=settings.verifier)
    document = file.read_bytes()  # noqa: ASYNC240  nothing else runs
    try:
        checked = await verifying.verify(document, file.name, at, detached=_read(content))
        if content is None and Code.CONTENT_MISSING in {p.code for p in checked.verification.report.problems}:
            beside = find_beside(file, document, checked.verification.missing)
            if beside is not None:
                checked = await verifying.verify(document, file.name, at, detached=_read(beside))
        return checked
    finally:
        await verifying.close()


def find_beside(file: Path, document: bytes, missing: Sequence[MissingFile] = ()) -> Path | None:
    """The file that a detached signature may sign: named in it, or its namesake in the same folder.

    Of several, the one whose digest is `missing`. The verifier hashes it again.
    """
    names = {name.decode("utf-8", "replace") for name in _PLAIN_NAME.findall(document)}
    named = [file.parent / name for name in sorted(names) if name not in (".", "..")]
    namesakes = [
        path
        for path in sorted(file.parent.glob(f"{_globbed(file.stem)}*"))
        if file.stem in (path.stem, path.name) and path.suffix.lower() not in _SIGNATURES
    ]
    found = list(dict.fromkeys(path for path in (*named, *namesakes) if path != file and path.is_file()))
    if len(found) > 1 and len(missing) == 1:
        found = [path for path in found[:_MOST_BESIDE] if _digest(path, missing[0].algorithm) == missing[0].digest][:1]
    return found[0] if len(found) == 1 else None


def _digest(path: Path, algorithm: str) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).digest()


def _globbed(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path else None


def _paths(paths: list[Path] | None) -> str | None:
    return json.dumps([str(path) for path in paths]) if paths else None


def _moment(text: str | None) -> datetime:
    if text is None:
        return utc_now()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time in ISO 8601", param_hint="--at") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _show(report: SignatureReport) -> None:
    contract = as_contract(report)
    who = report.signatory
    lines = [
        "valid" if report.valid else "NOT valid",
        f"format    {report.format.value}, {report.level.value if report.level else 'no level'}, covers: {report.coverage}",
        f"signed by {who.given_names} {who.family_name}, PESEL {who.pesel or 'not given'}"
        if who
        else "signed by nobody that it names",
        f"signed at {contract['signed_at'] or 'not given'} (claimed)",
        *(f"- {p.code}: {p.text}" for p in report.problems),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
