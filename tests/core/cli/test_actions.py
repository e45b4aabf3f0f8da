"""`okienko actions` and `okienko action …` on the real program: by hand, step by step, in texts that say what to do."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from acceptance.service import OKIENKO, Installation, installation
from desk import BODY_A, BODY_B, SUBJECT

ME = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


@pytest.fixture(scope="module")
def place() -> Iterator[Installation]:
    with installation() as place:
        yield place


def okienko(place: Installation, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OKIENKO, *arguments], env=place.environ | environ, capture_output=True, text=True, timeout=60, check=False
    )


def asked(place: Installation, folder: Path, text: str = BODY_A, *, attachment: bytes = b"") -> dict[str, Any]:
    """A request, worked off; its reset action."""
    from email.message import EmailMessage

    mail = EmailMessage()
    mail["From"], mail["Subject"] = "Jan Próbny <jan.nowy@poczta.example>", SUBJECT
    mail["Message-ID"] = f"<{uuid4().hex}@poczta.example>"
    mail["Date"] = "Mon, 23 Nov 2026 10:00:00 +0100"
    mail.set_content(f"{text}\n\n-- \n{uuid4().hex}\n")
    if attachment:
        mail.add_attachment(attachment, maintype="application", subtype="pdf", filename="wniosek.pdf")
    (folder / "request.eml").write_bytes(mail.as_bytes())
    (line,) = place.json_lines("intake", str(folder / "request.eml"), "--json")
    (action,) = [a for a in place.json_lines("actions", "--json") if a["case_id"] == line["case"]["id"]]
    return action


def code_of(place: Installation, action: dict[str, Any]) -> str:
    """What `show` says."""
    (shown,) = place.json_lines("action", "show", action["id"], "--json")
    return str(shown["code"])


def test_low_risk_by_hand_is_one_command(place: Installation, tmp_path: Path) -> None:
    action = asked(place, tmp_path)
    assert (action["state"], action["risk"], action["approvals"], action["approvals_wanted"]) == (
        "waiting",
        "low",
        [],
        1,
    )
    assert (action["steps"], action["must_check"], len(action["digest"])) == (["by_hand"], ["A4", "A5"], 64)
    shown = okienko(place, "action", "show", action["id"]).stdout
    code = code_of(place, action)
    assert f"okienko action done {action['id']} --code {code} --checked A4 --checked A5 --solution" in shown
    assert "risk      low: 1 different people must approve it" in shown
    assert action["digest"] in shown
    blind = okienko(
        place, "action", "done", action["id"], "--checked", "A4", "--checked", "A5", "--solution", "Zrobione."
    )
    assert (blind.returncode, "says its --code" in blind.stderr) == (1, True)
    refused = okienko(
        place, "action", "done", action["id"], "--code", code, "--checked", "A4", "--solution", "Zrobione."
    )
    assert (refused.returncode, "must be checked by you first: A5" in refused.stderr) == (1, True)
    done = okienko(
        place, "action", "done", action["id"], "--code", code, "--checked", "A4", "--checked", "A5", "--solution", "Zrobione.", "--json",
        LOGNAME="kto-inny", USER="kto-inny",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"] == "done"
    (ended,) = [a for a in place.json_lines("actions", "--all", "--json") if a["id"] == action["id"]]
    assert (ended["state"], ended["ended_by"]) == ("done", ME), "whatever the environment says"
    assert [(a["who"], a["checked"]) for a in ended["approvals"]] == [(ME, ["A4", "A5"])]
    assert okienko(place, "action", "done", action["id"], "--solution", "x").returncode == 1


def test_high_risk_says_who_has_to_approve_first(place: Installation, tmp_path: Path) -> None:
    action = asked(place, tmp_path, f"{BODY_B}, login jan@poczta.example", attachment=b"%PDF wniosek")
    checked = [part for rule in action["must_check"] for part in ("--checked", rule)]
    assert (action["risk"], action["approvals_wanted"]) == ("high", 2)
    code = code_of(place, action)
    nobody = okienko(place, "action", "approve", action["id"], "--code", code, *checked)
    assert (nobody.returncode, f"nothing says which person {ME} is" in nobody.stderr) == (1, True)
    people = {"OKIENKO_PEOPLE": json.dumps({"ja@urzad.example": [ME]})}
    for _ in range(2):
        done = okienko(
            place, "action", "done", action["id"], "--code", code, *checked, "--solution", "Zrobione.", **people
        )
        assert done.returncode == 1
        assert "it is a high risk: 1 more and different person has to approve it first" in done.stderr
        assert f"okienko action show {action['id']}" in done.stderr
    again = okienko(place, "action", "approve", action["id"], "--code", code, *checked, **people)
    assert (again.returncode, "you approved it already" in again.stderr) == (1, True)
    case = okienko(place, "case", action["number"]).stdout
    assert f"(high risk) waits for an administrator, who must check B4, B5, B6, B7; approved so far by {ME}" in case
    assert "assessed after the first answer: human" in case
    listed = okienko(place, "actions").stdout
    assert "1/2" in listed
    assert "high" in listed


def test_a_code_of_something_else_is_refused(place: Installation, tmp_path: Path) -> None:
    action = asked(place, tmp_path)
    checked = ("--checked", "A4", "--checked", "A5")
    for wrong in ("0" * 16, action["digest"], action["digest"][:16], code_of(place, action)[:15]):
        stale = okienko(place, "action", "approve", action["id"], "--code", wrong, *checked)
        assert (stale.returncode, "not the one that you were shown" in stale.stderr) == (1, True)
    good = okienko(place, "action", "approve", action["id"], "--code", code_of(place, action), *checked)
    assert (good.returncode, f"okienko action done {action['id']}" in good.stdout) == (0, True)


def test_a_refusal_needs_a_reason_and_a_solution(place: Installation, tmp_path: Path) -> None:
    action = asked(place, tmp_path)
    silent = okienko(place, "action", "refuse", action["id"], "--reason", " ", "--solution", "Odmawiamy.")
    assert (silent.returncode, "it must say something" in silent.stderr) == (2, True)
    closing = okienko(place, "close", action["number"], "--solution", "Koniec.")
    assert (closing.returncode, f"its reset action {action['id']} is not at its end" in closing.stderr) == (1, True)
    done = okienko(place, "action", "refuse", action["id"], "--reason", "nie ta osoba", "--solution", "Odmawiamy.")
    assert (done.returncode, "refused" in done.stdout) == (0, True)
    assert "refused: nie ta osoba" in okienko(place, "action", "show", action["id"]).stdout


def test_an_action_that_is_not_there(place: Installation) -> None:
    for command in (("show",), ("approve", "--code", "0" * 16), ("done", "--solution", "x")):
        done = okienko(place, "action", command[0], str(uuid4()), *command[1:])
        assert (done.returncode, "there is no reset action" in done.stderr) == (1, True)
