"""The command line's frame: commands by file, errors as one clear line on stderr."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from okienko.core import logs
from okienko.core.cli import admins, cases, intake, parked, serve, tools
from okienko.plugins.errors import OkienkoError

app = typer.Typer(
    name="okienko", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="One window, many desks: tickets and account recovery from mail, phone and portal. Exit codes: 0 done; 1 something "
    "is wrong and was said on stderr; 2 bad arguments.",
)  # fmt: skip


@app.callback()
def _frame(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to stderr")] = False,
) -> None:
    level = os.environ.get("OKIENKO_LOG_LEVEL", "INFO").upper()
    style = os.environ.get("OKIENKO_LOG_FORMAT", "json")
    quiet = not verbose and "OKIENKO_LOG_LEVEL" not in os.environ and "serve" not in sys.argv
    logs.configure("ERROR" if quiet else level if level in ("DEBUG", "INFO", "WARNING", "ERROR") else "INFO", style)


serve.add_to(app)
intake.add_to(app)
cases.add_to(app)
parked.add_to(app)
tools.add_to(app)
admins.add_to(app)


def main() -> None:
    """Entry point of the `okienko` program."""
    try:
        app()
    except OkienkoError as error:
        sys.stderr.write(f"okienko: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader went away (`| head`); nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
