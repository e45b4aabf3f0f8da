"""A broken pack file stops the start, and the error names the field and the cure."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from okienko.plugins.context import PluginContext
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.procedure.model import REQUIRED_RULES, read_pack
from okienko.plugins.procedure.repeats import endless_in_endless
from okienko.plugins.puesc import SHIPPED, okienko_procedures

TEXT = (SHIPPED / "pack.toml").read_text(encoding="utf-8")


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


def test_the_shipped_pack_is_whole() -> None:
    pack = read_pack(SHIPPED / "pack.toml")
    assert pack.name == "puesc"
    assert set(pack.rules) == set(REQUIRED_RULES)
    for name in pack.templates.values():
        assert (SHIPPED / "templates" / name).is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced('name = "puesc"', 'name = "puesc'), r"not valid TOML: .*line 3"),
        (replaced('phone = "33 483 20 55"\n', ""), r"desk\.phone: Field required"),
        (replaced("near_ratio = 0.85", "near_ratio = 2"), r"recovery\.near_ratio: .*less than or equal to 1"),
        (replaced("near_ratio", "near_ration"), r"recovery\.near_ration: there is no such key; is near_ratio meant"),
        (replaced("digits = 9", 'digits = "many"'), r"number\.digits: .*integer"),
        (replaced('procedure = "unlock"', 'procedure = "unlok"'), r"service_requests\.1\.procedure"),
        (replaced(r"'\breklamacj", r"'(\breklamacj"), r"complaint\.all_of\.0: .*not a regular expression"),
        (
            replaced(r"'\breklamacj", r"'(\w+ ?)+\breklamacj"),
            r"complaint\.all_of\.0: .*could run for ever: \(\\w\+ \?\)\+",
        ),
        (replaced('"reklamacj"', '"Reklamację"'), r"complaint\.keywords\.0: .*write it folded .*'reklamacje'"),
        (replaced("[rules.B7]", "[rules.B8]"), r"rules: B7 missing; add rules\.B7"),
        (replaced("[rules.C3]", '[rules.X]\npl = "x"\nen = "x"\n[rules.C3]'), r"rules: X unknown"),
        (replaced('closed = "closed.txt.j2"\n', ""), r"templates: closed missing"),
        (replaced('new_word = "NOWE"', 'new_word = " "'), r"new_word: .*at least one word"),
        (replaced('address = "helpdesk-eclo@mf.gov.pl"', 'address = "helpdesk"'), r"desk\.address"),
        (replaced('phone = "33 483 20 55"', 'phone = "+48 33 483 20 55"'), r"desk\.phone: .*pattern"),
        (replaced('country_code = "+48"', 'country_code = "48"'), r"desk\.country_code: .*pattern"),
        (replaced("hours = { pl", "hours = { de"), r"desk\.hours\.pl: Field required"),
        (replaced("activation_subject", "activation"), r"recovery\.activation_subject: Field required"),
    ],
)
def test_the_error_names_the_field(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(change(TEXT), encoding="utf-8")
    with pytest.raises(MisconfiguredError, match=message) as raised:
        read_pack(path)
    assert "own.toml" in str(raised.value)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("(a+)+", "(a+)+"), ("(a*)*b", "(a*)*"), ("x((?:ab)+c)*", "((?:ab)+c)*"), ("(a{2,})+", "(a{2,})+"), ("(?:(a+))*", "(?:(a+))*"),
        ("(a|b+){1,}", "(a|b+){1,}"), ("(a+){0,5}", None), ("(a)+", None), ("a+b+", None), ("(a+)b*", None), (r"(a\+)+", None),
        ("([+*]b)+", None), ("[(+]*", None), (r"(\(a+)b", None), ("(a+)(b)*", None), ("(a+)?c*", None), ("([^]+]x)*", None),
    ],
)  # fmt: skip
def test_repeats_within_repeats(pattern: str, found: str | None) -> None:
    re.compile(pattern)
    assert endless_in_endless(pattern) == found


@pytest.mark.parametrize(
    ("old", "new", "marker"),
    [
        ("near_ratio = 0.85", "near_ration = 0.85", "near_ration = "),
        ("digits = 9", 'digits = "many"', "digits = "),
        ('procedure = "unlock"', 'procedure = "unlok"', "unlok"),
        (r"'\breklamacj", r"'(\breklamacj", "(\\breklamacj"),
        # What is not there has no line: its table's is named.
        ('phone = "33 483 20 55"\n', "", "[desk]"),
        ('[rules.A1]\npl = "', '[rules.A1]\npl = " "\n# "', 'pl = " "'),
        ("hours = { pl = ", "hours = { de = ", "hours = "),
    ],
)
def test_the_error_names_the_line(tmp_path: Path, old: str, new: str, marker: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(replaced(old, new)(TEXT), encoding="utf-8")
    line = next(n for n, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if marker in text)
    with pytest.raises(MisconfiguredError, match=rf"own\.toml is wrong: .*line {line}, "):
        read_pack(path)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="No such file"):
        read_pack(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes('name = "żółć"'.encode("iso-8859-2"))
    with pytest.raises(MisconfiguredError, match="not UTF-8"):
        read_pack(tmp_path / "latin.toml")


def test_a_pack_of_ones_own_with_the_shipped_templates(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(TEXT.replace('name = "puesc"', 'name = "own"'), encoding="utf-8")
    environ = {"OKIENKO_PUESC_PACK_PATH": str(tmp_path / "own.toml")}
    assert [pack.name for pack in okienko_procedures(PluginContext(tmp_path, environ))] == ["own"]


@pytest.mark.parametrize(("content", "message"), [(None, r"templates\.closed.*missing"), ("{% if %}", "line 1")])
def test_broken_templates(tmp_path: Path, content: str | None, message: str) -> None:
    for path in (SHIPPED / "templates").iterdir():
        if path.name != "closed.txt.j2":
            (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    if content is not None:
        (tmp_path / "closed.txt.j2").write_text(content, encoding="utf-8")
    with pytest.raises(MisconfiguredError, match=message):
        okienko_procedures(PluginContext(tmp_path, {"OKIENKO_PUESC_TEMPLATES_PATH": str(tmp_path)}))
