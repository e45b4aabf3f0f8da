"""The conformance kit against a live system: `pytest --pyargs okienko.plugins.testing.csd_kit --csd NAME`.

NAME is the backend of an installed plugin; its settings come from the environment as those of the service do. The kit makes some
hundreds of tickets there, whose subjects begin with `--csd-mark`, and closes each when it has finished with it. It deletes nothing.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from okienko.plugins.context import PluginContext
from okienko.plugins.csd import CsdBackend
from okienko.plugins.manager import Plugins
from okienko.plugins.testing.conformance.csd import CsdConformance
from okienko.plugins.testing.conformance.csdbase import insist


@pytest.fixture(scope="session")
def csd_plugin(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The plugin with the backend that --csd names. Ends the session when there is none."""
    name = pytestconfig.getoption("--csd")
    plugins = Plugins.load(PluginContext(home=tmp_path_factory.mktemp("okienko"), environ=os.environ))
    if name not in plugins.csd_backends:
        failed = [f"{status.name} failed: {status.problem}" for status in plugins.statuses if status.state == "failed"]
        what = f"no installed plugin has a CSD backend {name!r}" if name else "the kit needs a backend: give --csd NAME"
        known = f"there are: {', '.join(sorted(plugins.csd_backends)) or 'none'}"
        pytest.exit("; ".join([what, known, *failed]), returncode=pytest.ExitCode.USAGE_ERROR)
    return next(status.name for status in plugins.statuses if name in status.objects)


class TestCsd(CsdConformance):
    """The whole kit but for what needs the hands of a `CsdWorkshop`."""

    @pytest_asyncio.fixture
    async def backend(  # type: ignore[override]  # an asynchronous fixture in place of a plain one
        self, csd_plugin: str, pytestconfig: pytest.Config, tmp_path: Path
    ) -> AsyncIterator[CsdBackend]:
        """The installed backend, on its own settings."""
        self.mark = str(pytestconfig.getoption("--csd-mark"))
        self.batch = int(pytestconfig.getoption("--csd-batch"))
        database = os.environ.get("OKIENKO_DATABASE_URL")
        engine = create_async_engine(make_url(database).set(drivername="postgresql+asyncpg")) if database else None
        try:
            ctx = PluginContext(home=tmp_path, environ=os.environ, database=engine)
            yield Plugins.load(ctx, only=[csd_plugin]).csd_backends[pytestconfig.getoption("--csd")]
        finally:
            if engine is not None:
                await engine.dispose()

    @pytest.fixture
    def other_queue(self, pytestconfig: pytest.Config) -> str | None:
        """See --csd-queue."""
        given = pytestconfig.getoption("--csd-queue")
        return str(given) if given else None

    @pytest.fixture
    def assignee(self, pytestconfig: pytest.Config) -> str | None:
        """See --csd-assignee."""
        given = pytestconfig.getoption("--csd-assignee")
        return str(given) if given else None

    async def clean(self, backend: CsdBackend) -> None:
        """Close every ticket that the check has made."""
        await backend.start()
        for ref in (await insist(lambda: backend.find(self.made))).values():
            await insist(lambda ref=ref: backend.close(ref, "The conformance kit of okienko has finished."))  # type: ignore[misc]  # a default binds the loop's value
