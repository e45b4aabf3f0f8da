"""The command line's frame: commands by file, errors as one clear line on stderr."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from okienko.core import logs
from okienko.core.audit.entries import ORIGIN, cli_origin
from okienko.core.cli import (
    actions,
    admins,
    audit,
    cases,
    check,
    csddiff,
    csdledger,
    intake,
    parked,
    serve,
    tools,
    trust,
    vault,
    verify,
)
from okienko.plugins.errors import MisconfiguredError, OkienkoError, TransientError

DONE, WRONG, MISUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; see docs/operating.md."""

app = typer.Typer(
    name="okienko", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One window, many desks: tickets and account recovery from mail, phone and portal.",
    epilog="Exit codes: 0 done; 1 something went wrong and was said on stderr; 2 wrong arguments or settings, nothing was "
    "done; 130 interrupted.",
)  # fmt: skip


def _version(wanted: bool) -> None:  # noqa: FBT001  an option's value
    if wanted:
        sys.stdout.write(f"okienko {version('okienko')}\n")
        raise typer.Exit


@app.callback()
def _frame(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to stderr")] = False,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    level = os.environ.get("OKIENKO_LOG_LEVEL", "INFO").upper()
    style = os.environ.get("OKIENKO_LOG_FORMAT", "json")
    if context.invoked_subcommand != "serve":
        ORIGIN.set(cli_origin())
    quiet = not verbose and "OKIENKO_LOG_LEVEL" not in os.environ and context.invoked_subcommand != "serve"
    logs.configure("ERROR" if quiet else level if level in ("DEBUG", "INFO", "WARNING", "ERROR") else "INFO", style)


serve.add_to(app)
intake.add_to(app)
cases.add_to(app)
actions.add_to(app)
parked.add_to(app)
csd = typer.Typer(no_args_is_help=True, help="The CSD that cases are registered in: conflicts, diff.")
app.add_typer(csd, name="csd")
csdledger.add_to(csd)
csddiff.add_to(csd)
audit.add_to(app)
vault.add_to(app)
check.add_to(app)
tools.add_to(app)
verify.add_to(app)
trust.add_to(app)
admins.add_to(app)


def main() -> None:
    """Entry point of the `okienko` program."""
    try:
        app()
    except MisconfiguredError as error:
        _fail(str(error), MISUSED)
    except TransientError as error:
        _fail(f"{error}\nThis command gave up. `okienko check` tries every connection; then run it again.", WRONG)
    except OkienkoError as error:
        _fail(str(error), WRONG)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`| head`); nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}", WRONG)
    except Exception as error:
        if {"-v", "--verbose"} & set(sys.argv):
            raise
        # The error's own text may quote a message.
        _fail(
            f"unexpected {type(error).__name__}: this is a defect of okienko or of a plugin; "
            "run it again as `okienko --verbose …` for the traceback, and report that",
            WRONG,
        )


def _fail(text: str, code: int) -> None:
    sys.stderr.write(f"okienko: {text}\n")
    sys.exit(code)
