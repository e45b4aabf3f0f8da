"""`okienko csd diff` and `okienko parked replay --dry-run` by the real program, before the HTTP server of the documents' example."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.service import OKIENKO
from connectors.csd.test_rest_conformance import EXAMPLE
from rigs.rejestr import SECRET, TOKEN, Rejestr, rejestr

MAPPING = EXAMPLE.read_text(encoding="utf-8")
QUEUES = '[queues]\ndefault = "Wsparcie"\nunlock = "Konta"\n'


class Program:
    """An installation whose CSD is Rejestr."""

    def __init__(self, system: Rejestr, home: Path, database_url: str) -> None:
        self.system = system
        self.home = home
        home.mkdir()
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("OKIENKO_")} | {
            "OKIENKO_HOME": str(home), "OKIENKO_DATABASE_URL": database_url, "OKIENKO_CSD": "rest",
            "OKIENKO_CSD_REST_URL": system.url, "OKIENKO_CSD_REST_TOKEN": TOKEN,
            "OKIENKO_CSD_REST_WEBHOOK_SECRET": SECRET, "OKIENKO_CSD_REST_MAPPING": self.mapping("rejestr.toml", QUEUES),
        }  # fmt: skip

    def mapping(self, name: str, queues: str) -> str:
        assert QUEUES in MAPPING
        path = self.home / name
        path.write_text(MAPPING.replace(QUEUES, queues), encoding="utf-8")
        return str(path)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [OKIENKO, *arguments], env=self.environ, capture_output=True, text=True, timeout=90, check=False
        )

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run(*arguments, "--json").stdout.splitlines()]

    def intake(self, *subjects: str) -> list[dict[str, Any]]:
        for number, subject in enumerate(subjects):
            (self.home / f"{number}.eml").write_text(
                f"From: Osoba <o{number}@poczta.example>\nTo: helpdesk@okienko.invalid\nSubject: {subject}\n"
                f"Message-ID: <{subject.split()[-1]}@poczta.example>\n\nTekst.\n",
                encoding="utf-8",
            )
        return self.json("intake", *(str(self.home / f"{number}.eml") for number in range(len(subjects))))


@pytest.fixture
def program(tmp_path: Path, migrated_url: str) -> Iterator[Program]:
    with rejestr() as system:
        yield Program(system, tmp_path / "home", migrated_url)


def test_a_new_mapping_is_tried_on_the_cases(program: Program) -> None:
    lines = program.intake("NOWE pierwsza", "NOWE druga")
    one, other = (line["case"]["csd"]["number"] for line in lines)
    program.system.edit(other, {"dzial": "Druga linia"})
    before = json.dumps(program.system.tickets, sort_keys=True)
    done = program.run("csd", "diff", "--all")
    assert (done.returncode, done.stderr) == (0, "")
    assert one not in done.stdout
    assert f"{other}  different\n    queue  'Druga linia' -> 'Wsparcie'  (csd)\n" in done.stdout
    assert done.stdout.endswith("2 cases: 1 different, 1 the same\n")

    new = program.mapping("new.toml", QUEUES.replace("Wsparcie", "Konta"))
    found = program.json("csd", "diff", f"{one}-{other}", "--mapping", new)
    assert [told["result"] for told in found] == ["differs", "differs"]
    assert found[0]["case_id"] == lines[0]["case"]["id"]
    assert found[0]["differences"] == [{"field": "queue", "now": "Wsparcie", "then": "Konta", "because": "mapping"}]

    broken = program.mapping("broken.toml", "[queues]\ndefault = 7\n")
    done = program.run("csd", "diff", "--open", "--mapping", broken)
    assert done.returncode == 2
    assert "broken.toml:8: queues.default: Input should be a valid string" in done.stderr
    assert json.dumps(program.system.tickets, sort_keys=True) == before


def test_which_cases_and_which_csd_have_to_be_said(program: Program) -> None:
    assert program.run("csd", "diff").returncode == 2
    done = program.run("csd", "diff", "--all", "--csd", "builtin", "--mapping", "x.toml")
    assert done.returncode == 2
    assert "the CSD builtin has no mapping that another could replace" in done.stderr
    done = program.run("csd", "diff", "R-00009")
    assert (done.returncode, "there is no case 'R-00009'" in done.stderr) == (1, True)
    done = program.run("parked", "replay", "1", "--mapping", "x.toml")
    assert (done.returncode, "add --dry-run" in done.stderr) == (2, True)


def test_a_dry_run_of_parked_work_tells_what_would_be_created(program: Program) -> None:
    """The register refuses the queue, the case is parked; the new mapping is tried before anything is replayed."""
    refusing = Path(program.mapping("rejestr.toml", QUEUES.replace("Wsparcie", "Nieznany")))
    text = refusing.read_text(encoding="utf-8")
    refusing.write_text(text.replace('means = "misconfigured"', 'means = "permanent"'), encoding="utf-8")
    program.intake("NOWE pierwsza", "NOWE druga")
    (item, other) = program.json("parked", "list")
    assert (item["job"], item["reason"]) == ("register", "refused")
    new = program.mapping("new.toml", QUEUES)
    done = program.run("parked", "replay", f"{item['id']}-{other['id']}", "--dry-run", "--mapping", new)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("would be created") == 2 + 1
    assert "queue      'Wsparcie'\n" in done.stdout
    (told, _) = program.json("parked", "replay", "--job", "register", "--dry-run")
    assert (told["id"], told["result"]) == (item["id"], "would_be_replayed")
    assert told["forecast"]["case_id"] == item["ref"]
    values = {d["field"]: d["then"] for d in told["forecast"]["differences"]}
    assert (values["subject"], values["queue"], values["priority"]) == ("NOWE pierwsza", "Nieznany", "2")
    wrong = Path(program.mapping("wrong.toml", QUEUES))
    text = wrong.read_text(encoding="utf-8")
    wrong.write_text(text.replace("{{ correlation_id }}", "{{ procedure.upper() }}"), encoding="utf-8")
    done = program.run("parked", "replay", str(item["id"]), "--dry-run", "--mapping", str(wrong))
    assert done.returncode == 1
    assert "(no ticket)  refused\n    wrong.toml:43: the template" in done.stdout
    assert program.system.tickets == {}
