"""`okienko check csd` by the real program, against a Znuny whose queues, states and fields are known."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.service import OKIENKO
from okienko.core.cli.checkcsd import run_csd_checks
from okienko.core.csd.mappingtext import mend
from okienko.plugins.findings import Severity
from rigs.znunymeta import ZnunyMeta, serving

GOOD = """\
correlation = "OkienkoID"

[queues]
default = "Service desk"
recovery = "Konta"

[types]
default = "Incident"

[states.write]
open = "open"
pending = "pending reminder"
closed = "closed successful"

[states.read]
new = "open"

[priorities]
low = "1 very low"
normal = "3 normal"
high = "4 high"
critical = "5 very high"

[[fields]]
name = "Channel"
from = "channel"
values = { email = "E-mail", phone = "Telephone" }

[[fields]]
name = "Source"
from = "constant"
default = "okienko"
"""
PLANTED = [
    # what is planted, the line, what is said of it, the cure
    ('correlation = "OkienkoID"', 'correlation = "OkienkoIDs"', "ignores the dynamic field 'OkienkoIDs'", "make it in Znuny"),
    ('default = "Service desk"', 'default = Service desk', "this is no TOML", "texts in quotation marks"),
    ('recovery = "Konta"', 'recovery = "Kontta"', "no valid queue 'Kontta'", "correct the name"),
    ('[types]\ndefault = "Incident"', '[types]\ndefault = "Incydent"', "no valid type 'Incydent'", "correct the name"),
    ('closed = "closed successful"\n', "", "no state is written for closed", "add closed = … under [states.write]"),
    ('open = "open"\n', 'open = "opened"\n', "no valid state 'opened'", "correct the name"),
    ('new = "open"', 'new = "opne"', "Input should be", "write 'open', 'pending' or 'closed'"),
    ('normal = "3 normal"', 'normal = "3 normaln"', "no valid priority '3 normaln'", "correct the name"),
    ('name = "Channel"', 'name = "Chanel"', "no dynamic field 'Chanel'", "make it in Znuny"),
    ('from = "constant"\n', 'from = "constant"\nvalue = "x"\n', "there is no key 'value'", "did you mean 'values'?"),
]  # fmt: skip


@pytest.fixture
def znuny() -> Iterator[tuple[ZnunyMeta, str]]:
    meta = ZnunyMeta()
    with serving(meta) as url:
        yield meta, url


def environ(url: str, home: Path, text: str, database_url: str) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    path = home / "znuny.toml"
    path.write_text(text, encoding="utf-8")
    return {name: value for name, value in os.environ.items() if not name.startswith("OKIENKO_")} | {
        "OKIENKO_HOME": str(home), "OKIENKO_DATABASE_URL": database_url, "OKIENKO_CSD_ZNUNY_URL": url,
        "OKIENKO_CSD_ZNUNY_USER": "okienko", "OKIENKO_CSD_ZNUNY_PASSWORD": "sekret", "OKIENKO_CSD_ZNUNY_MAPPING": str(path),
    }  # fmt: skip


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


async def errors(env: dict[str, str]) -> list[tuple[str, str, str]]:
    found = await run_csd_checks(env, "znuny")
    return [(f.subject, f.message, f.cure) for f in found if f.severity is Severity.ERROR]


def test_ten_mistakes_are_ten_lines_by_the_real_program(
    znuny: tuple[ZnunyMeta, str], tmp_path: Path, migrated_url: str
) -> None:
    meta, url = znuny
    text = GOOD
    for good, bad, _, _ in PLANTED:
        assert text.count(good) == 1, good
        text = text.replace(good, bad)
    env = environ(url, tmp_path / "home", text, migrated_url)
    arguments = [OKIENKO, "check", "csd", "znuny"]
    done = subprocess.run([*arguments, "--json"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = [one for one in found if one["severity"] == "error"]
    assert len(wrong) == len(PLANTED), done.stdout
    for (_, _, said, cure), one in zip(PLANTED, wrong, strict=True):
        assert said in one["message"]
        assert cure in one["cure"]
    lines = [int(one["subject"].removeprefix("znuny.toml:")) for one in wrong]
    assert lines == sorted(lines)
    for (_, bad, said, _), line in zip(PLANTED, lines, strict=True):
        there = text.splitlines()[line - 1]
        assert there in bad.splitlines() or "no state" in said, (there, bad)
    assert text.splitlines()[lines[4] - 1] == "[states.write]"
    assert meta.created == 0

    table = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert table.returncode == 1
    assert len(re.findall(r"^error +znuny\.toml:\d+", table.stdout, re.MULTILINE)) == len(PLANTED)


def test_a_right_mapping_passes(znuny: tuple[ZnunyMeta, str], tmp_path: Path, migrated_url: str) -> None:
    env = environ(znuny[1], tmp_path / "home", GOOD, migrated_url)
    done = subprocess.run(
        [OKIENKO, "check", "csd", "znuny"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Znuny lets us in" in done.stdout
    assert znuny[0].created == 0


@pytest.mark.parametrize(
    ("good", "bad", "said", "cure"),
    [
        *PLANTED,
        ('"Konta"', '"Tajne"', "may not create tickets in the queue 'Tajne'", "give the agent's role the right"),
        ('"Telephone"', '"Telefon"', "does not take 'Telefon'", "correct the value"),
        ('default = "Service desk"\n', "", "there is no queue for ticket, service_request, complaint", "add default"),
        ("recovery =", "recovry =", "neither a procedure nor a kind 'recovry'", "did you mean 'recovery'?"),
        ("phone =", "fone =", "the channel is never 'fone'", "did you mean 'phone'?"),
        ('new = "open"', '"closed successful" = "open"', "is written for closed and read as open", "take 'closed succ"),
        ('name = "Source"', 'name = "OkienkoID"', "'OkienkoID' is the correlation field", "take this field out"),
        ('default = "okienko"', "", "a constant without a value", "add default"),
        ('correlation = "OkienkoID"\n', "", "'correlation' is missing", "add correlation"),
        ('name = "Source"\n', "", "'fields.name' is missing", "add name"),
        ("[priorities]", "[prioritis]", "there is no key 'prioritis'", "did you mean 'priorities'?"),
    ],
)  # fmt: skip
async def test_one_mistake_is_one_line(
    znuny: tuple[ZnunyMeta, str], tmp_path: Path, migrated_url: str, good: str, bad: str, said: str, cure: str
) -> None:
    text = GOOD.replace(good, bad)
    assert text != GOOD
    ((subject, message, told),) = await errors(environ(znuny[1], tmp_path / "home", text, migrated_url))
    assert said in message
    assert cure in told
    assert subject.startswith("znuny.toml:")
    if bad and bad.splitlines()[0] in text.splitlines():
        place = int(subject.partition(":")[2])
        assert 0 <= place - line_of(text, bad) <= bad.count("\n")


@pytest.mark.parametrize(
    ("change", "said", "cure"),
    [
        ({"OKIENKO_CSD_ZNUNY_MAPPING": "/nowhere/x.toml"}, "cannot read the mapping", "OKIENKO_CSD_ZNUNY_MAPPING"),
        ({"OKIENKO_CSD_ZNUNY_PASSWORD": "wrong"}, "does not let 'okienko' in", "check"),
        ({"OKIENKO_CSD_ZNUNY_URL": "http://127.0.0.1:1/x"}, "127.0.0.1", "check URL"),
        ({"OKIENKO_CSD_ZNUNY_URL": "http://example.org/x"}, "must begin with https", "mend the settings"),
        ({"OKIENKO_CSD_ZNUNY_USR": "x"}, "did you mean OKIENKO_CSD_ZNUNY_USER?", "mend the settings"),
    ],
)
async def test_what_is_wrong_before_the_mapping(
    znuny: tuple[ZnunyMeta, str], tmp_path: Path, migrated_url: str, change: dict[str, str], said: str, cure: str
) -> None:
    found = await errors(environ(znuny[1], tmp_path / "home", GOOD, migrated_url) | change)
    assert any(said in message and cure in told for _, message, told in found), found


async def test_a_name_that_no_plugin_has(tmp_path: Path, migrated_url: str) -> None:
    env = {"OKIENKO_HOME": str(tmp_path), "OKIENKO_DATABASE_URL": migrated_url}
    (finding,) = await run_csd_checks(env, "znuny")
    assert (finding.severity, "there are: builtin" in finding.message) == (Severity.ERROR, True)
    (well,) = await run_csd_checks(env, None)
    assert (well.subject, well.severity) == ("csd builtin", Severity.OK)


def test_without_states_nothing_else_can_be_tried(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('correlation = "a"\nqueus = 1\n', encoding="utf-8")
    mended = mend(path)
    assert mended.whole is None
    told: list[Any] = sorted((f.subject, f.message) for f in mended.findings)
    assert told == [("m.toml:1", "'states' is missing"), ("m.toml:2", "there is no key 'queus'")]


def test_a_file_of_nothing_but_noise_comes_to_an_end(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text("\n".join(["[[[", '"""', "= =", "x = [", "\x00"] * 60), encoding="utf-8")
    assert mend(path).whole is None
