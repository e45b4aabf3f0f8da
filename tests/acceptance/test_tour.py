"""The whole service as its first user meets it."""

import subprocess
from pathlib import Path

import pytest

from acceptance.service import OKIENKO, installation

MAIL = """From: Jan Próbny <jan{n}@poczta.example>
To: helpdesk@okienko.invalid
Subject: {subject}
Message-ID: <tour.{n}@poczta.example>
Date: Mon, 23 Nov 2026 10:00:{n:02} +0100
Content-Type: text/plain; charset=utf-8

{text}
"""
SUBJECT = "HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA"
PHRASE = "Proszę o zmianę hasła awaryjnego dla"


@pytest.fixture(scope="module")
def place():
    with installation() as place:
        yield place


def test_demo_runs_twice_and_every_sample_ends_well(place) -> None:
    for _ in range(2):
        done = place.run("demo", "--once")
        assert "BAD" not in done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mails")
    texts = [
        ("NOWE problem", "Nie działa."),
        (SUBJECT, f"{PHRASE} Jana Próbnego, rok urodzenia 1980"),
        (f"Fwd: {SUBJECT}", f"{PHRASE} Jana Próbnego, rok urodzenia 1980"),
        (SUBJECT.lower(), "nic"),
        (SUBJECT, "Proszę o zmianę hasła awaryjnego oraz zmianę adresu e-mail dla Jan Próbny ur. 1980"),
    ]
    for n, (subject, text) in enumerate(texts):
        (folder / f"{n}.eml").write_text(MAIL.format(n=n, subject=subject, text=text))
    (folder / "5.eml").write_bytes(b"")
    (folder / "6.eml").write_bytes(bytes(range(256)) * 10)
    return folder


def test_intake_prints_the_contract_and_the_second_time_only_duplicates(place, folder: Path) -> None:
    first = place.json_lines("intake", str(folder), "--json")
    assert [line["source"] for line in first] == [f"{n}.eml" for n in range(7)]
    assert [line["outcome"] for line in first] == ["cased"] * 5 + ["parked"] * 2
    cases = [line["case"] for line in first[:5]]
    assert [c["decision"] for c in cases] == ["met", "human", "unmet", "unmet", "unmet"]
    assert [c["unmet"] for c in cases] == [[], [], ["A1"], ["A1", "A2", "A3"], ["B3"]]
    assert cases[1]["unknown"] == ["A4", "A5"]
    assert cases[1]["person"] == {"given_name": "Jana", "family_name": "Próbnego", "birth_year": 1980}
    assert all(c["csd"]["backend"] == "builtin" for c in cases)
    assert len({c["csd"]["number"] for c in cases}) == 5
    second = place.json_lines("intake", str(folder), "--json")
    assert [line["outcome"] for line in second] == ["duplicate"] * 5 + ["parked"] * 2
    assert [line["case"]["id"] for line in second[:5]] == [c["id"] for c in cases]


def test_parked_is_listed_shown_replayed_and_dropped(place, folder: Path) -> None:
    place.run("intake", str(folder / "6.eml"))
    items = place.json_lines("parked", "list", "--json")
    number = str(items[-1]["id"])
    assert items[-1]["reason"] == "unreadable"
    shown = subprocess.run(
        [OKIENKO, "parked", "show", number, "--raw"], env=place.environ, check=True, capture_output=True
    )
    assert shown.stdout == (folder / "6.eml").read_bytes()
    assert "replayed" in place.run("parked", "replay", number).stdout
    assert place.run("parked", "drop", number, check=False).returncode == 1


def test_a_wrong_argument_exits_2(place) -> None:
    assert place.run("intake", "/no/such/folder", check=False).returncode == 2
    assert place.run("cases", "--state", "nonsense", check=False).returncode == 2


def test_a_misspelt_setting_is_named_with_the_right_one() -> None:
    with installation(OKIENKO_CDS="builtin") as wrong:
        done = wrong.run("check", check=False)
        assert done.returncode == 1
        assert "did you mean OKIENKO_CSD" in done.stdout + done.stderr


def test_health_readiness_and_metrics(place) -> None:
    with place.serving():
        assert place.get("/healthz") == (200, "ok\n")
        place.until(lambda: place.metric("okienko_mail_balance") == 0)
        assert 'okienko_plugin_up{plugin="email"} 1.0' in place.get("/metrics")[1]
