"""Settings of plugins: a wrong one is named with its cure, and no value is ever shown."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from okienko.plugins.context import PluginContext
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.settings import PluginSettings, load_settings


class Mail(PluginSettings):
    """Settings of an invented plugin."""

    model_config = SettingsConfigDict(
        env_prefix="OKIENKO_MAIL_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    host: str = "localhost"
    port: int = Field(default=25, ge=1, le=65535)
    password: SecretStr | None = Field(default=None, min_length=8)
    mode: Literal["plain", "tls"] = "tls"
    desks: list[str] = Field(default_factory=list)


def test_defaults_and_values() -> None:
    assert load_settings(Mail, {}).port == 25
    settings = load_settings(
        Mail, {"OKIENKO_MAIL_PORT": "2525", "okienko_mail_host": "mx", "PATH": "/bin", "OKIENKO_CSD": "x"}
    )
    assert (settings.port, settings.host) == (2525, "mx")


def test_process_environment_is_read_by_default_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OKIENKO_MAIL_HOST", "from-process")
    assert load_settings(Mail).host == "from-process"
    assert load_settings(Mail, {}).host == "localhost"


def test_misspelt_variable_names_the_right_one() -> None:
    with pytest.raises(
        MisconfiguredError, match=r"OKIENKO_MAIL_HOTS is no setting .* did you mean OKIENKO_MAIL_HOST\?"
    ):
        load_settings(Mail, {"OKIENKO_MAIL_HOTS": "mx"})


def test_unlike_variable_lists_what_is_known() -> None:
    with pytest.raises(MisconfiguredError, match="known are: OKIENKO_MAIL_DESKS, OKIENKO_MAIL_HOST"):
        load_settings(Mail, {"OKIENKO_MAIL_QQQQQQQQQQQQQQQQQQQQ": "1"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OKIENKO_MAIL_PASSWORD", "hunter2"),
        ("OKIENKO_MAIL_PORT", "hunter2"),
        ("OKIENKO_MAIL_MODE", "hunter2"),
        ("OKIENKO_MAIL_DESKS", '["hunter2"'),
        ("OKIENKO_MAIL_DESKS", '{"hunter2": 1}'),
        ("OKIENKO_MAIL_PASWORD", "hunter2"),
    ],
)
def test_a_wrong_value_is_never_shown(variable: str, value: str) -> None:
    with pytest.raises(MisconfiguredError) as caught:
        load_settings(Mail, {variable: value})
    assert variable in str(caught.value)
    assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_all_wrong_values_at_once() -> None:
    with pytest.raises(MisconfiguredError, match=r"OKIENKO_MAIL_PORT: .*; OKIENKO_MAIL_MODE: "):
        load_settings(Mail, {"OKIENKO_MAIL_PORT": "0", "OKIENKO_MAIL_MODE": "ssl"})


def test_a_secret_hides_itself() -> None:
    assert "hunter2hunter2" not in repr(load_settings(Mail, {"OKIENKO_MAIL_PASSWORD": "hunter2hunter2"}))


def test_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hasło z pliku\n", encoding="utf-8")
    password = load_settings(Mail, {"OKIENKO_MAIL_PASSWORD_FILE": str(secret)}).password
    assert password is not None
    assert password.get_secret_value() == "hasło z pliku"


def test_a_value_and_a_file_at_once(tmp_path: Path) -> None:
    """Which of them counts would depend on the order of the environment."""
    (tmp_path / "secret").write_text("from-a-file", encoding="utf-8")
    both = {"OKIENKO_MAIL_PASSWORD": "from-value", "OKIENKO_MAIL_PASSWORD_FILE": str(tmp_path / "secret")}
    for environ in (both, dict(reversed(both.items()))):
        with pytest.raises(MisconfiguredError, match="set the same: leave one of them out"):
            load_settings(Mail, environ)


def test_nested_names_are_not_let_through() -> None:
    with pytest.raises(MisconfiguredError, match="OKIENKO_MAIL_HOST__NAME is no setting"):
        load_settings(Mail, {"OKIENKO_MAIL_HOST__NAME": "x"})


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match=r"OKIENKO_MAIL_PASSWORD_FILE: cannot read .*none: No such file"):
        load_settings(Mail, {"OKIENKO_MAIL_PASSWORD_FILE": str(tmp_path / "none")})


def test_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfehunter2")
    with pytest.raises(MisconfiguredError, match="it is not UTF-8 text"):
        load_settings(Mail, {"OKIENKO_MAIL_PASSWORD_FILE": str(tmp_path / "key")})


def test_lists_are_json() -> None:
    assert load_settings(Mail, {"OKIENKO_MAIL_DESKS": '["a@x", "b@x"]'}).desks == ["a@x", "b@x"]
    with pytest.raises(MisconfiguredError, match="OKIENKO_MAIL_DESKS: not valid JSON"):
        load_settings(Mail, {"OKIENKO_MAIL_DESKS": '["a@x"'})


@pytest.mark.parametrize("text", ["{not json}", "[also] not", '["valid"]'])
def test_a_password_is_taken_as_it_stands(text: str) -> None:
    password = load_settings(Mail, {"OKIENKO_MAIL_PASSWORD": text}).password
    assert password is not None
    assert password.get_secret_value() == text


def test_context_reads_once(tmp_path: Path) -> None:
    environ = {"OKIENKO_MAIL_HOST": "mx"}
    context = PluginContext(home=tmp_path, environ=environ)
    first = context.settings(Mail)
    environ["OKIENKO_MAIL_HOST"] = "other"
    assert context.settings(Mail) is first
