"""`okienko actions`, `okienko action …`: reset actions in a terminal, by the person who is signed in at it."""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from uuid import UUID

import typer

from okienko.core import desk
from okienko.core.actions.approvals import Actor
from okienko.core.actions.machine import Action
from okienko.core.audit.entries import cli_origin
from okienko.core.cli.output import JsonOption, clean, print_json, print_table
from okienko.core.service import open_service
from okienko.schemas import ActionState

IdArgument = Annotated[UUID, typer.Argument(metavar="ID", help="From `okienko actions`")]
CheckedOption = Annotated[
    list[str] | None, typer.Option(help="Rule that you checked yourself; repeat for each", show_default=False)
]
CodeOption = Annotated[str, typer.Option(help="What `show` says: you approve exactly what you saw")]
SolutionOption = Annotated[str, typer.Option(help="What the person is told, in Polish")]

_WORKER = "a running `okienko serve` does it"
_SHORT_DIGEST = 12


def add_to(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def actions(
        everything: Annotated[bool, typer.Option("--all", help="Also those that ended")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """List reset actions that are not at their end."""
        asyncio.run(_list(everything, as_json))

    group = typer.Typer(no_args_is_help=True, help="One reset action: show, approve, refuse, done.")
    app.add_typer(group, name="action")

    @group.command()
    def show(action_id: IdArgument, as_json: JsonOption = False) -> None:
        """Show what will change and why it may."""
        asyncio.run(_show(action_id, as_json))

    @group.command()
    def approve(
        action_id: IdArgument,
        code: CodeOption,
        checked: CheckedOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Approve it. When enough different people have, okienko carries it out, or you do by hand."""
        asyncio.run(_approve(action_id, code, checked or [], as_json))

    @group.command()
    def refuse(
        action_id: IdArgument,
        reason: Annotated[str, typer.Option(help="Why, for the file; the person does not read it")],
        solution: SolutionOption,
        as_json: JsonOption = False,
    ) -> None:
        """Refuse it: its case is closed with the solution."""
        asyncio.run(_refuse(action_id, _said(reason, "--reason"), _said(solution, "--solution"), as_json))

    @group.command()
    def done(
        action_id: IdArgument,
        solution: SolutionOption,
        code: Annotated[
            str | None, typer.Option(help="What `show` says; needed unless you approved it already", show_default=False)
        ] = None,
        checked: CheckedOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Mark it done, after you carried it out in your own tool; it approves it as you, if you have not yet."""
        asyncio.run(_done(action_id, code, checked or [], _said(solution, "--solution"), as_json))


def _actor() -> Actor:
    """Whoever is signed in at the operating system; nobody says under whose name they approve."""
    try:
        # Not getpass.getuser(), which believes the environment.
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        user = str(os.getuid())
    return Actor(f"cli:{user}", origin=cli_origin())


async def _list(everything: bool, as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with open_service() as service:
        rows = await desk.list_actions(service.engine, service.recovery.approvals.seals, everything=everything)
        wanted = service.recovery.policy.approvals
    for row in rows:
        row["approvals_wanted"] = wanted.get(row["risk"])
    if as_json:
        for row in rows:
            print_json(row)
        return
    for row in rows:
        row["steps"], row["must_check"] = " ".join(row["steps"]), " ".join(row["must_check"])
        row["approvals"] = f"{row['agreed']}/{row['approvals_wanted']}" + (" FORGED" if row["forged"] else "")
        row["digest"] = "TAMPERED" if row["tampered"] else row["digest"][:_SHORT_DIGEST]
    print_table(
        rows,
        ("id", "number", "procedure", "backend", "state", "risk", "approvals", "must_check", "steps", "digest"),
        empty="No reset action waits.",
        flexible=("must_check", "steps"),
    )


async def _show(action_id: UUID, as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with open_service() as service:
        shown = await desk.show_action(service.engine, service.recovery.approvals.seals, action_id)
        shown["approvals_wanted"] = service.recovery.policy.approvals.get(shown["risk"])
    if as_json:
        print_json(shown)
        return
    sys.stdout.write("\n".join(describe(shown)) + "\n")


def describe(shown: Mapping[str, Any]) -> Iterator[str]:
    """The action of `desk.show_action` as lines of text."""
    yield f"reset action {shown['id']} of case {shown['number'] or shown['case_id']}"
    if shown["tampered"]:
        yield "  IT WAS CHANGED IN THE DATABASE after it was proposed. It cannot be approved: find out who did it."
    elif shown["forged"]:
        yield "  AN APPROVAL HAS NO RIGHT SEAL: nobody gave it, or the keyring lacks its key. Run `okienko audit verify`."
    elif not shown["sealed"] and shown["state"] == ActionState.WAITING:
        yield "  It is not sealed: an older okienko proposed it, or somebody put it there. Refuse it; the person asks again."
    yield f"  state     {shown['state']}" + (f": {clean(shown['reason'])}" if shown["reason"] else "")
    yield f"  risk      {shown['risk']}: {shown['approvals_wanted']} different people must approve it"
    yield f"  backend   {shown['backend']}" + (
        f", account {clean(shown['account_ref'])}" if shown["account_ref"] else ""
    )
    yield f"  login     {clean(shown['old_login'])}" + (
        f" -> {clean(shown['new_login'])}" if shown["new_login"] else ""
    )
    yield f"  steps     {', '.join(shown['steps'])}"
    if shown["further_requests"]:
        yield f"  further   {shown['further_requests']} more requests for the account came in"
    yield f"  expires   {shown['expires_at']:%Y-%m-%d %H:%M} UTC"
    if shown["not_before"]:
        yield f"  not before {shown['not_before']:%Y-%m-%d %H:%M} UTC"
    if shown["report"] is not None:
        yield from _describe_report(shown["report"])
    for approval in shown["approvals"]:
        mark = "" if approval["counts"] else ", NOT COUNTED"
        checked = f", who checked {', '.join(approval['checked'])}" if approval["checked"] else ""
        yield f"  approved  {approval['at']:%Y-%m-%d %H:%M} UTC by {clean(approval['who'])}{checked}{mark}"
    yield f"  digest    {shown['digest']}"
    yield ""
    yield "Why it may be done:"
    marks = {"met": "ok ", "unmet": "NO ", "unknown": " ? "}
    for result in shown["decision"]["results"]:
        yield f"  {marks[result['verdict']]} {result['rule']:<3} {clean(result['text_en'])}"
        yield f"          {clean(result['evidence'])}"
    if shown["state"] == ActionState.WAITING and shown["sealed"] and not shown["tampered"]:
        checked = "".join(f" --checked {rule}" for rule in shown["must_check"])
        yield ""
        yield f"Look at {', '.join(shown['must_check']) or 'it'} yourself, then one of:"
        yield f"  okienko action approve {shown['id']} --code {shown['code']}{checked}"
        yield f"  okienko action refuse {shown['id']} --reason '…' --solution '…'"
        if "by_hand" in shown["steps"]:
            yield f"  okienko action done {shown['id']} --code {shown['code']}{checked} --solution '…'   (when you did it in your own tool)"


def _describe_report(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"  PESEL     {report['pesel']} is carried by:"
    for one in report["accounts"]:
        flags = ", ".join([*one["flags"], *(f"perhaps {flag}" for flag in one["unknown_flags"])]) or "usable"
        whose = "the applicant's name" if one["holder_agrees"] else "NOT exactly the applicant's name"
        advice = one["suggestion"].replace("_", " ")
        yield f"    {clean(one['login'])} (account {clean(one['ref'])}; {flags}; {whose}): {advice}"


async def _approve(action_id: UUID, code: str, checked: list[str], as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with open_service() as service:
        approvals = service.recovery.approvals
        action = await desk.approve_shown(approvals, action_id, _actor(), code=code, checked=checked)
        missing = approvals.wanted(action) - len(action.agreed_by)
    _tell(action, as_json, _after_approval(action, missing))


def _after_approval(action: Action, missing: int) -> str:
    if missing > 0:
        return f"approved; it needs {missing} more approval{'s' if missing > 1 else ''}, by somebody else"
    if action.state is ActionState.COOLING and action.not_before is not None:
        return f"approved; the holder of the old address is told and may stop it until {action.not_before:%Y-%m-%d %H:%M} UTC"
    if "by_hand" in action.frozen.steps:
        return f"approved; carry it out, then: okienko action done {action.frozen.action_id} --solution '…'"
    return f"approved; {_WORKER}"


async def _refuse(action_id: UUID, reason: str, solution: str, as_json: bool) -> None:  # noqa: FBT001  an option's value
    async with open_service() as service:
        action = await service.recovery.approvals.refuse(action_id, _actor(), reason=reason, solution=solution)
    _tell(action, as_json, f"refused; closing of case {action.frozen.case_id} was requested; {_WORKER}")


async def _done(
    action_id: UUID,
    code: str | None,
    checked: list[str],
    solution: str,
    as_json: bool,  # noqa: FBT001  an option's value
) -> None:
    async with open_service() as service:
        action = await desk.do_by_hand(
            service.recovery.approvals, action_id, _actor(), code=code, checked=checked, solution=solution
        )
    _tell(action, as_json, f"done; closing of case {action.frozen.case_id} was requested; {_WORKER}")


def _tell(action: Action, as_json: bool, text: str) -> None:  # noqa: FBT001  an option's value
    if as_json:
        result = {"action_id": action.frozen.action_id, "case_id": action.frozen.case_id, "result": action.state.value}
        print_json(result | {"approvals": len(action.agreed_by)})
    else:
        sys.stdout.write(f"reset action {text}\n")


def _said(text: str, option: str) -> str:
    """The text, unless it says nothing: somebody will read it."""
    if not text.strip():
        raise typer.BadParameter("it must say something", param_hint=option)
    return text
