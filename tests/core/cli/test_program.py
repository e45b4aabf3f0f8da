"""The real program: exit codes, the contract for scripts, checks, Ctrl-C. One installation serves them all."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from acceptance.service import OKIENKO, Installation, free_port, installation

FIELDS = {"id", "kind", "procedure", "decision", "unmet", "unknown", "person", "csd", "state"}


def mail(n: int, subject: str = "NOWE sprawa") -> bytes:
    return (
        f"From: Osoba Zmyslona <o{n}@poczta.example>\nTo: helpdesk@okienko.invalid\nSubject: {subject} {n}\n"
        f"Message-ID: <cli.{n}@poczta.example>\nDate: Mon, 23 Nov 2026 10:00:{n % 60:02} +0100\n\nTekst {n}.\n"
    ).encode()


@pytest.fixture(scope="module")
def place() -> Iterator[Installation]:
    with installation() as place:
        yield place


def changed(place: Installation, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OKIENKO, *arguments], env=place.environ | settings, capture_output=True, text=True, timeout=60, check=False
    )


def test_version_and_help(place: Installation) -> None:
    assert place.run("--version").stdout == f"okienko {version('okienko')}\n"
    assert "Exit codes" in place.run("-h").stdout


def test_intake_follows_the_order_of_arguments_and_names(place: Installation, tmp_path: Path) -> None:
    (tmp_path / "single.eml").write_bytes(mail(1))
    (tmp_path / "box.mbox").write_bytes(b"From a\n" + mail(2) + b"\nFrom b\n" + mail(3))
    for folder in ("md/new", "md/cur", "md/tmp", "dir/inner", "empty"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "md/cur/a").write_bytes(mail(4))
    (tmp_path / "md/new/b").write_bytes(mail(5))
    (tmp_path / "md/tmp/c").write_bytes(mail(6))
    (tmp_path / "dir/z.eml").write_bytes(mail(7))
    (tmp_path / "dir/inner/y.eml").write_bytes(mail(8))
    names = ("single.eml", "box.mbox", "md", "empty", "dir")
    lines = place.json_lines("intake", *(str(tmp_path / name) for name in names), "--json")
    assert [line["source"] for line in lines] == [
        "single.eml", "box.mbox#1", "box.mbox#2", "new/b", "cur/a", "inner/y.eml", "z.eml",
    ]  # fmt: skip
    for line in lines:
        assert set(line) == {"source", "outcome", "case", "reason"}
        assert set(line["case"]) == FIELDS
        assert set(line["case"]["csd"]) == {"backend", "number"}
        assert isinstance(line["reason"], str)
        assert line["outcome"] == "cased"


def test_intake_reads_standard_input(place: Installation) -> None:
    done = subprocess.run(
        [OKIENKO, "intake", "-", "--json"],
        env=place.environ,
        input=mail(20),
        capture_output=True,
        check=True,
        timeout=60,
    )
    (line,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (line["source"], line["outcome"]) == ("stdin", "cased")


def test_a_case_without_a_number_has_a_csd_without_one(place: Installation, tmp_path: Path) -> None:
    body = "Pamiętam hasło awaryjne, ale nie mogę się zalogować hasłem podstawowym.\n".encode()
    head = mail(21).partition(b"\n\n")[0] + b"\nContent-Type: text/plain; charset=utf-8\n\n"
    (tmp_path / "a.eml").write_bytes(head + body)
    (line,) = place.json_lines("intake", str(tmp_path), "--json")
    assert (line["case"]["procedure"], line["case"]["csd"]) == ("self_service", {"backend": "builtin", "number": None})


def test_a_missing_path_stops_it_before_anything_is_taken_in(place: Installation, tmp_path: Path) -> None:
    (tmp_path / "good.eml").write_bytes(mail(30))
    done = changed(place, "intake", str(tmp_path / "good.eml"), str(tmp_path / "gone.eml"), "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path / 'gone.eml'} does not exist" in done.stderr
    (line,) = place.json_lines("intake", str(tmp_path / "good.eml"), "--json")
    assert line["outcome"] == "cased"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything; run the tests as an ordinary user to try this")
def test_an_unreadable_file_stops_it_before_anything_is_taken_in(place: Installation, tmp_path: Path) -> None:
    (tmp_path / "shut.eml").write_bytes(mail(31))
    (tmp_path / "shut.eml").chmod(0)
    done = changed(place, "intake", str(tmp_path), "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "shut.eml may not be read" in done.stderr


def test_no_message_is_no_error(place: Installation, tmp_path: Path) -> None:
    assert changed(place, "intake", str(tmp_path), "--json").stdout == ""
    assert changed(place, "intake", str(tmp_path)).stdout == "There was no message in it.\n"


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"OKIENKO_LOG_LEVEL": "LOUD"}, 2, "OKIENKO_LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ({"OKIENKO_WEB_LISTEN": "8080"}, 2, "OKIENKO_WEB_LISTEN: Value error, write host:port"),
        ({"OKIENKO_CDS": "builtin"}, 2, "did you mean OKIENKO_CSD?"),
        ({"OKIENKO_CSD": "rt"}, 2, "OKIENKO_CSD asks for 'rt', but no loaded plugin offers it; there are: builtin"),
        ({"OKIENKO_DATABASE_URL": "mysql://x"}, 2, "okienko needs PostgreSQL"),
        ({"OKIENKO_DATABASE_URL": "postgresql://x@127.0.0.1:1/y"}, 1, "`okienko check` tries every connection"),
    ],
)
def test_wrong_settings_exit_2_and_what_may_pass_exits_1(
    place: Installation, settings: dict[str, str], code: int, said: str
) -> None:
    done = changed(place, "cases", **settings)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    checked = changed(place, "check", "--json", **settings)
    assert checked.returncode == 1
    assert all(json.loads(line)["cure"] for line in checked.stdout.splitlines() if '"error"' in line)


def test_check_names_every_misspelt_setting_and_still_tries_the_rest(place: Installation) -> None:
    done = changed(place, "check", "--json", OKIENKO_CDS="x", OKIENKO_HOMME="y")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f["cure"] for f in found if f["severity"] == "error"] == [
        "did you mean OKIENKO_CSD?", "did you mean OKIENKO_HOME?",
    ]  # fmt: skip
    assert {"home", "database", "schema", "web", "procedure puesc", "csd builtin"} <= {f["subject"] for f in found}


def test_check_names_a_template_that_cannot_be_written(place: Installation, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "plugins/okienko/plugins/puesc/templates"
    for path in shipped.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "closed.txt.j2").write_text("Sprawa {{ no_such_thing }}\n")
    done = changed(place, "check", "--json", OKIENKO_PUESC_TEMPLATES_PATH=str(tmp_path))
    assert done.returncode == 1
    errors = {f["subject"]: f for f in map(json.loads, done.stdout.splitlines()) if f["severity"] == "error"}
    # The pack refuses to load with it, so that the setting that asks for the pack is wrong as well.
    assert set(errors) == {"plugin puesc", "settings"}
    assert "closed.txt.j2: 'no_such_thing' is undefined" in errors["plugin puesc"]["message"]


def test_check_names_a_relay_that_does_not_answer(place: Installation) -> None:
    relay = {"OKIENKO_EMAIL_RELAY_HOST": "127.0.0.1", "OKIENKO_EMAIL_RELAY_PORT": str(free_port())}
    done = changed(place, "check", "--json", **relay)
    assert done.returncode == 1
    assert [
        f for f in map(json.loads, done.stdout.splitlines()) if f["severity"] == "error" and "email" in f["subject"]
    ]


def test_json_is_offered_by_every_command_that_tells_something(place: Installation) -> None:
    commands = (["plugins"], ["actions"], ["cases"], ["parked", "list"], ["check"], ["db", "status"], ["db", "upgrade"])
    for command in commands:
        for line in place.run(*command, "--json").stdout.splitlines():
            assert isinstance(json.loads(line), dict)
    assert place.run("schema").stdout.startswith("{")


def test_a_case_is_shown_with_what_waits(place: Installation, tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(mail(40))
    (line,) = place.json_lines("intake", str(tmp_path), "--json")
    number = line["case"]["csd"]["number"]
    said = place.run("case", number).stdout
    assert f"okienko close {number}" in said
    assert f"registered in the CSD builtin as {number}" in said
    (shown,) = place.json_lines("case", number, "--json")
    assert (shown["case"]["id"], shown["actions"], shown["parked"]) == (line["case"]["id"], [], [])


def test_a_solution_that_says_nothing_is_refused(place: Installation) -> None:
    done = changed(place, "close", "ZGL1", "--solution", " ")
    assert done.returncode == 2
    assert "it is what the person reads" in done.stderr


def test_ctrl_c_at_a_pause_of_the_tour_ends_it_cleanly(place: Installation) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [OKIENKO, "demo"], env=place.environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        # Tests that run in the background of a shell inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    os.close(slave)
    said = b""
    try:
        deadline = time.monotonic() + 60
        while b"Ctrl-C ends" not in said:
            assert time.monotonic() < deadline
            said += os.read(master, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(100) == 130
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert b"Traceback" not in said


def test_fields_are_set_and_conflicts_listed(place: Installation, tmp_path: Path) -> None:
    (tmp_path / "one.eml").write_bytes(mail(991))
    (line,) = place.json_lines("intake", str(tmp_path / "one.eml"), "--json")
    number = line["case"]["csd"]["number"]
    answer = place.run("case", "set", number, "priority=high", "assignee=ola", "--json")
    assert json.loads(answer.stdout) == {"case_id": line["case"]["id"], "result": "set"}
    shown = json.loads(place.run("case", number, "--json").stdout)
    assert (shown["csd"]["fields"]["priority"], shown["csd"]["waits"]) == ("high", ["fields"])
    for wrong in (["case", "set", number, "priority"], ["case", "set", number], ["case", number, "x"]):
        assert changed(place, *wrong).returncode == 2
    assert "no priority" in changed(place, "case", "set", number, "priority=soon").stderr
    assert place.run("csd", "conflicts").stdout == "No conflicts.\n"
    assert changed(place, "csd", "conflicts", "ZGL000000000").returncode == 1
