"""`okienko cases`, `case`, `close`: the desk in a terminal."""

from __future__ import annotations

import asyncio
import getpass
import shutil
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from okienko.core import desk, parking
from okienko.core.cli import casetext
from okienko.core.cli.output import JsonOption, print_json, print_table
from okienko.core.csd import edits
from okienko.core.service import open_service
from okienko.schemas import CaseState, Decision, Verdict

WhoOption = Annotated[str, typer.Option("--by", help="Who does it, for the record", show_default="your login")]

_CSD_HEARS = "a running `okienko serve` tells the CSD"
_WORKER = "a running `okienko serve` does it"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def cases(
        state: Annotated[CaseState | None, typer.Option(help="Only cases in this state")] = None,
        limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest")] = 50,
        as_json: JsonOption = False,
    ) -> None:
        """List cases."""
        asyncio.run(_cases(state, limit, as_json))

    @app.command()
    def case(
        words: Annotated[
            list[str], typer.Argument(metavar="ID | set ID FIELD=VALUE…", help="Case id or ZGL number; or what to set")
        ],
        by: WhoOption = "",
        as_json: JsonOption = False,
    ) -> None:
        """Show a case: its time line, decision by decision. `case set ID priority=high` changes fields, here and in the CSD."""
        if words[0] == "set":
            asyncio.run(_set(words[1:], by or getpass.getuser(), as_json))
        elif len(words) == 1:
            asyncio.run(_case(words[0], as_json))
        else:
            raise typer.BadParameter("give one case; to change fields: okienko case set ID FIELD=VALUE")

    @app.command()
    def close(
        key: Annotated[str, typer.Argument(metavar="ID", help="Case id or ZGL number")],
        solution: Annotated[str, typer.Option(help="What the person is told, in Polish")],
        by: WhoOption = "",
        as_json: JsonOption = False,
    ) -> None:
        """Close a case with its solution. A running worker tells the CSD and sends mail 2."""
        asyncio.run(_close(key, _told(solution), by or getpass.getuser(), as_json))


async def _cases(state: CaseState | None, limit: int, as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with open_service() as service:
        rows = await desk.list_cases(service.engine, state=state, limit=limit)
    out: list[dict[str, Any]] = []
    for row in rows:
        decision = Decision.model_validate_json(row["decision"])
        out.append(
            dict(row)
            | {
                "decision": decision.outcome.value if decision.outcome else None,
                "unmet": list(decision.rules(Verdict.UNMET)),
                "unknown": list(decision.rules(Verdict.UNKNOWN)),
            }
        )
    if as_json:
        for line in out:
            print_json(line)
    else:
        for line in out:
            line["opened"] = f"{line['opened_at']:%Y-%m-%d %H:%M}Z"
            line["unmet"] = " ".join(line["unmet"])
        print_table(
            out,
            ("number", "kind", "procedure", "state", "decision", "unmet", "opened", "subject"),
            empty="No cases yet." if state is None else f"No case is {state.value}.",
            flexible=("subject", "unmet"),
        )


async def _case(key: str, as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with open_service() as service:
        shown = await desk.show_case(service.engine, key)
        actions = await desk.list_actions(service.engine, service.recovery.approvals.seals, everything=True)
        parked = await parking.list_parked(service.engine)
    case_id = str(shown["case"]["id"])
    mine = {case_id} | {
        str(e["data"][part]) for e in shown["events"] for part in ("notification", "envelope") if part in e["data"]
    }
    actions = [action for action in actions if str(action["case_id"]) == case_id]
    parked = [item for item in parked if str(item.ref) in mine]
    if as_json:
        print_json(shown | {"actions": actions, "parked": [asdict(item) for item in parked]})
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
    sys.stdout.write(casetext.describe(shown, actions, parked, max(width, 40)))


async def _set(words: list[str], who: str, as_json: bool) -> None:  # noqa: FBT001  an option's value
    pairs = [word.partition("=") for word in words[1:]]
    if not pairs or any(not sign for _, sign, _ in pairs):
        raise typer.BadParameter("write: okienko case set ID FIELD=VALUE, such as priority=high")
    async with open_service() as service:
        values = {name: value for name, _, value in pairs}
        case_id = await edits.set_fields(service.engine, service.csd, words[0], values, who, service.now())
    if as_json:
        print_json({"case_id": case_id, "result": "set"})
    else:
        sys.stdout.write(f"case {case_id}: set; {_CSD_HEARS}\n")


async def _close(key: str, solution: str, who: str, as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with open_service() as service:
        case_id = await desk.request_close(service.engine, key, solution, who, service.now())
    if as_json:
        print_json({"case_id": case_id, "result": "closing_requested"})
    else:
        sys.stdout.write(f"case {case_id}: closing was requested; {_WORKER}\n")


def _told(solution: str) -> str:
    """The solution, unless it says nothing: it becomes a mail to the person."""
    if not solution.strip():
        raise typer.BadParameter("it must say something: it is what the person reads", param_hint="--solution")
    return solution
