"""`okienko csd diff`: what a mapping would make of the cases that there are. Nothing is written."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.cli.checkcsd import not_loaded
from okienko.core.cli.output import JsonOption, clean, print_json
from okienko.core.csd.forecast import Fate, Forecast
from okienko.core.csd.forecasting import Choice, Trial, forecasts, places
from okienko.core.csd.mappingtext import mapping_path
from okienko.core.service import load_plugins, open_database, pick, prepare_home, require_schema
from okienko.core.settings import CoreSettings, load_core_settings
from okienko.plugins.context import utc_now
from okienko.plugins.csd import CsdBackend
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.manager import Plugins

MappingOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Try this mapping, instead of the one in the settings")
]
CsdOption = Annotated[str | None, typer.Option("--csd", metavar="NAME", help="This CSD, not that of OKIENKO_CSD")]
_SAID = {
    Fate.CREATE: "would be created", Fate.DIFFERS: "different", Fate.SAME: "the same", Fate.REFUSED: "refused",
    Fate.GONE: "ticket gone", Fate.ELSEWHERE: "in another CSD", Fate.ERASED: "erased",
    Fate.NONE: "gets no ticket",
}  # fmt: skip
_QUIET = (Fate.SAME, Fate.ERASED, Fate.NONE)


def add_to(group: typer.Typer) -> None:
    """Add the command to the group `csd`."""

    @group.command()
    def diff(
        keys: Annotated[
            list[str] | None,
            typer.Argument(metavar="[ID|FIRST-LAST]…", help="Cases by id or number, or ranges of them"),
        ] = None,
        since: Annotated[datetime | None, typer.Option(help="Opened then or later (UTC)")] = None,
        until: Annotated[datetime | None, typer.Option(help="Opened before then (UTC)")] = None,
        only_open: Annotated[bool, typer.Option("--open", help="Only cases that are not closed")] = False,
        everything: Annotated[bool, typer.Option("--all", help="Every case")] = False,
        mapping: MappingOption = None,
        csd: CsdOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """What would be written for these cases, and what that would change in their tickets. Exit 1 if a case is refused."""
        if not (keys or since or until or only_open or everything):
            raise typer.BadParameter("say which cases: numbers, --since, --until, --open or --all")
        asyncio.run(_diff(keys or [], (utc(since), utc(until)), only_open, mapping, csd, as_json))


async def _diff(
    keys: list[str],
    times: tuple[datetime | None, datetime | None],
    only_open: bool,  # noqa: FBT001  an option's value
    mapping: Path | None,
    csd: str | None,
    as_json: bool,  # noqa: FBT001  an option's value
) -> None:
    async with open_trial(os.environ, csd, mapping) as (engine, trial):
        choice = Choice(tuple(await places(engine, keys)), times[0], times[1], only_open)
        refused = await tell(forecasts(engine, trial, choice), as_json=as_json)
    if refused:
        raise typer.Exit(1)


async def tell(found: AsyncIterator[Forecast], *, as_json: bool) -> bool:
    """Print each as it comes, and how many there were of which kind; whether one was refused. JSON has every case."""
    counts: Counter[Fate] = Counter()
    async for one in found:
        counts[one.result] += 1
        if as_json:
            print_json(one.shown())
        elif one.result not in _QUIET:
            _print(one)
    if not as_json:
        counted = ", ".join(f"{counts[fate]} {said}" for fate, said in _SAID.items() if counts[fate])
        sys.stdout.write(
            f"{counts.total()} case{'s' * (counts.total() > 1)}: {counted}\n" if counts else "No case fits that.\n"
        )
    return bool(counts[Fate.REFUSED])


def _print(one: Forecast) -> None:
    sys.stdout.write(clean(f"{one.number}  {one.ticket or '(no ticket)'}  {_SAID[one.result]}") + "\n")
    width = max((len(d.field) for d in one.differences), default=0)
    for d in one.differences:
        values = repr(d.then) if d.now is None else f"{d.now!r} -> {d.then!r}"
        why = f"  ({d.because.value})" if d.because else ""
        sys.stdout.write(f"    {clean(f'{d.field:<{width}}  {values}{why}')}\n")
    if one.problem:
        sys.stdout.write(f"    {clean(one.problem)}{clean(f': {one.cure}' if one.cure else '')}\n")


@asynccontextmanager
async def open_trial(
    environ: Mapping[str, str], name: str | None, mapping: Path | None
) -> AsyncIterator[tuple[AsyncEngine, Trial]]:
    """The database and the CSD, under the mapping of the settings and under the one to be tried. Raises MisconfiguredError."""
    settings = load_core_settings(environ)
    prepare_home(settings.home)
    name = name or settings.csd
    tried = _with(environ, name, mapping) if mapping is not None else environ
    async with open_database(settings, migrate=False) as engine:
        await require_schema(engine)
        plugins = _loaded(settings, engine, tried)
        csd = _csd(plugins, name)
        before: CsdBackend | None = csd
        if mapping is not None:
            # A present mapping that is wrong is what is to be replaced.
            before = _loaded(settings, engine, environ).csd_backends.get(name)
        pack = pick(plugins.procedures, settings.procedure, "OKIENKO_PROCEDURE")
        try:
            yield engine, Trial(csd, before, pack, settings.plugin_timeout)
        finally:
            await csd.stop()
            if before is not None and before is not csd:
                await before.stop()


def _loaded(settings: CoreSettings, engine: AsyncEngine, environ: Mapping[str, str]) -> Plugins:
    return load_plugins(settings.model_copy(update={"required_plugins": []}), engine, environ, utc_now)


def _csd(plugins: Plugins, name: str) -> CsdBackend:
    csd = plugins.csd_backends.get(name)
    if csd is None:
        finding = not_loaded(plugins, name)
        raise MisconfiguredError(f"{finding.subject}: {finding.message}: {finding.cure}")
    return csd


def _with(environ: Mapping[str, str], name: str, mapping: Path) -> dict[str, str]:
    variable = f"OKIENKO_CSD_{name.upper()}_MAPPING"
    if mapping_path(environ, name) is None:
        raise MisconfiguredError(f"the CSD {name} has no mapping that another could replace: {variable} is not set")
    return {key: value for key, value in environ.items() if key.upper() != variable} | {variable: str(mapping)}


def utc(time: datetime | None) -> datetime | None:
    """A time of an option, which is UTC where it says nothing else."""
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)
