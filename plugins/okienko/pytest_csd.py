"""What okienko adds to pytest (entry point `pytest11`): the options of the CSD kit, and the table of capabilities at the end.

It imports nothing of okienko, because every pytest session of an environment with okienko loads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

PROPERTY = "okienko_csd"
"""The user property of each check: backend, the capabilities that it needs, and which of all the backend declares."""
EVERYONE = "basic"
"""The column of the checks that no capability excuses from."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of `pytest --pyargs okienko.plugins.testing.csd_kit`."""
    group = parser.getgroup("okienko", "okienko's kit for CSD backends (okienko.plugins.testing.csd_kit)")
    group.addoption("--csd", metavar="NAME", help="the installed backend to check against its live system")
    group.addoption(
        "--csd-mark", metavar="TEXT", default="[okienko kit] ", help="what each ticket's subject begins with"
    )
    group.addoption("--csd-queue", metavar="NAME", help="a queue that new tickets are not put in, to move one there")
    group.addoption("--csd-assignee", metavar="NAME", help="somebody to whom a ticket may be given")
    group.addoption("--csd-batch", metavar="N", type=int, default=20, help="tickets in the largest batch (20)")


def pytest_configure(config: pytest.Config) -> None:
    """Start the table."""
    config.pluginmanager.register(CapabilityTable(), "okienko-csd-table")


class CapabilityTable:
    """Collects how the checks of CSD backends went and shows it: backends down, capabilities across."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Every phase of every test, from other processes (xdist) as well."""
        told = next((value for name, value in report.user_properties if name == PROPERTY), None)
        if not isinstance(told, str):
            return
        facts = json.loads(told)
        suite = report.nodeid.rpartition("::")[0]
        row = self._rows.setdefault((facts["backend"], suite), _empty(facts["declared"]))
        for name in facts["needs"] or [EVERYONE]:
            if report.failed:
                row[name] = "FAILED"
            elif report.when == "call" and report.passed and row[name] == "untested":
                row[name] = "yes"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, when there is something in it."""
        if not self._rows:
            return
        columns = list(next(iter(self._rows.values())))
        names = [backend for backend, _ in self._rows]
        rows = [
            [f"{backend} ({suite.rpartition('::')[2]})" if names.count(backend) > 1 else backend, *cells.values()]
            for (backend, suite), cells in self._rows.items()
        ]
        table = [["", *(column.replace("_", " ") for column in columns)], *rows]
        widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
        terminalreporter.section("CSD capabilities")
        for line in table:
            terminalreporter.line(
                "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            )
        if any("untested" in row for row in rows):
            terminalreporter.line("untested: declared, and every check of it was skipped; the reasons are under -rs")


def _empty(declared: Mapping[str, bool]) -> dict[str, str]:
    return {EVERYONE: "untested"} | {name: "untested" if has else "no" for name, has in declared.items()}
