"""`okienko check csd`: one CSD and every line of its mapping, tried against the system itself before go-live."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from importlib.metadata import entry_points
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.csd.mappinglook import look
from okienko.core.csd.mappingtext import Mended, mapping_path, mend
from okienko.core.service import load_plugins, open_database, pick, prepare_home
from okienko.core.settings import CoreSettings, load_core_settings, unknown_variables
from okienko.plugins.context import utc_now
from okienko.plugins.csd import CsdBackend
from okienko.plugins.errors import OkienkoError
from okienko.plugins.findings import Finding, Severity
from okienko.plugins.manager import GROUP, Plugins


async def run_csd_checks(environ: Mapping[str, str], name: str | None) -> list[Finding]:
    """All findings about the CSD `name` (none: the one of OKIENKO_CSD), in the order of the mapping's lines."""
    try:
        settings = load_core_settings(environ)
        prepare_home(settings.home)
    except OkienkoError as error:
        return [Finding("settings", Severity.ERROR, str(error), "correct it; docs/operating.md has every setting")]
    name = name or settings.csd
    path, mended = mapping_path(environ, name), None
    async with AsyncExitStack() as stack:
        if path is not None:
            try:
                mended = await asyncio.to_thread(mend, path)
            except OkienkoError as error:
                return [
                    Finding(f"csd {name}", Severity.ERROR, str(error), f"correct OKIENKO_CSD_{name.upper()}_MAPPING")
                ]
            if mended.findings and mended.whole is not None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="okienko-check-")))
                environ = _with(environ, name, folder / path.name, "\n".join(mended.lines))
        engine = await _database(stack, settings)
        found = await _try(environ, settings, engine, name, mended)
    return _told(found, mended)


async def _try(
    environ: Mapping[str, str], settings: CoreSettings, engine: AsyncEngine | None, name: str, mended: Mended | None
) -> list[Finding]:
    strange = dict(unknown_variables(environ, [point.name for point in entry_points(group=GROUP)]))
    findings = [
        Finding("settings", Severity.ERROR, f"{variable} is no setting of okienko or of an installed plugin", hint)
        for variable, hint in strange.items()
    ]
    known = {variable: value for variable, value in environ.items() if variable not in strange}
    try:
        plugins = load_plugins(settings.model_copy(update={"required_plugins": []}), engine, known, utc_now)
    except OkienkoError as error:
        return [*findings, Finding("settings", Severity.ERROR, str(error), "correct the name, or install the plugin")]
    if mended is not None and mended.whole is None:
        text = "the rest of the mapping and the CSD itself were not tried"
        return [
            *findings,
            Finding(f"csd {name}", Severity.WARNING, text, "correct the mapping first, then run this again"),
        ]
    if mended is not None and mended.whole is not None:
        try:
            findings += look(mended.whole, pick(plugins.procedures, settings.procedure, "OKIENKO_PROCEDURE"))
        except OkienkoError as error:
            findings.append(Finding("settings", Severity.ERROR, str(error), "set OKIENKO_PROCEDURE to one of these"))
    backend = plugins.csd_backends.get(name)
    if backend is None:
        return [*findings, not_loaded(plugins, name)]
    return findings + await _ask(backend, settings, database_up=engine is not None)


async def _ask(backend: CsdBackend, settings: CoreSettings, *, database_up: bool) -> list[Finding]:
    subject = f"csd {backend.name}"
    try:
        async with asyncio.timeout(settings.plugin_timeout):
            if database_up:
                await backend.start()
            return list(await backend.check())
    except TimeoutError:
        text = f"no answer in {settings.plugin_timeout:g} s (OKIENKO_PLUGIN_TIMEOUT)"
        return [Finding(subject, Severity.ERROR, text, "see whether its server runs and can be reached")]
    except Exception as error:  # a plugin's defect is a finding
        told = str(error) if isinstance(error, OkienkoError | OSError) else type(error).__name__
        return [Finding(subject, Severity.ERROR, f"could not be tried: {told}", "see the connector's documentation")]
    finally:
        await backend.stop()


def not_loaded(plugins: Plugins, name: str) -> Finding:
    """Why no plugin offers the CSD."""
    failed = next((s for s in plugins.statuses if s.state == "failed" and name in s.name.split("_")), None)
    if failed is not None:
        return Finding(f"csd {name}", Severity.ERROR, failed.problem, f"mend the settings OKIENKO_CSD_{name.upper()}_…")
    have = ", ".join(sorted(plugins.csd_backends)) or "none"
    return Finding(
        f"csd {name}", Severity.ERROR, f"no loaded plugin offers it; there are: {have}",
        "set its connector's URL, or correct the name",
    )  # fmt: skip


async def _database(stack: AsyncExitStack, settings: CoreSettings) -> AsyncEngine | None:
    """The database, for a CSD that is kept in it; one elsewhere can be tried without."""
    try:
        return await stack.enter_async_context(open_database(settings))
    except (OkienkoError, OSError):
        return None


def _with(environ: Mapping[str, str], name: str, path: Path, text: str) -> dict[str, str]:
    path.write_text(text, encoding="utf-8")
    variable = f"OKIENKO_CSD_{name.upper()}_MAPPING"
    return {key: value for key, value in environ.items() if key.upper() != variable} | {variable: str(path)}


def _told(found: list[Finding], mended: Mended | None) -> list[Finding]:
    """One line for each mistake, by the lines of the file as it is."""
    if mended is None:
        return found
    findings = list(dict.fromkeys([*mended.findings, *_placed(found, mended)]))
    wrong = {finding.subject for finding in findings if finding.severity is Severity.ERROR}
    kept = [f for f in findings if f.severity is not Severity.WARNING or f.subject not in wrong]
    return sorted(kept, key=lambda f: _line(f.subject, mended))


def _placed(found: list[Finding], mended: Mended) -> Iterator[Finding]:
    for finding in found:
        line = _line(finding.subject, mended)
        if line == 0:
            yield finding
        elif mended.origin[line - 1]:
            yield Finding(mended.place(line), finding.severity, finding.message, finding.cure)


def _line(subject: str, mended: Mended) -> int:
    found = re.fullmatch(rf"{re.escape(mended.path.name)}:(\d+)", subject)
    return int(found[1]) if found else 0
