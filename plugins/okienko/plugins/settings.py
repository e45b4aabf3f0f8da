"""Settings of plugins: one class and one prefix each, from the environment or from files, and no silent misspelling."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from okienko.plugins.errors import MisconfiguredError

FILE_SUFFIX = "_FILE"
"""`OKIENKO_X_PASSWORD_FILE=/run/secrets/x` sets `OKIENKO_X_PASSWORD` to the file's text without its last line end."""


class PluginSettings(BaseSettings):
    """Base of a plugin's settings. A subclass sets `model_config = SettingsConfigDict(env_prefix="OKIENKO_<NAME>_")`.

    Every field needs a description: `okienko check` and the docs show it. Secrets are `SecretStr`.
    """

    model_config = SettingsConfigDict(env_prefix="OKIENKO_", extra="forbid", frozen=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load_settings` hands in: the environment is read there, so that a test can give its own."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


S = TypeVar("S", bound=PluginSettings)


def load_settings(cls: type[S], environ: Mapping[str, str] | None = None) -> S:
    """Read `cls` from `environ` (default: the process environment).

    Raises MisconfiguredError for a variable under the prefix that no field has (with the nearest right name), for a
    setting given twice (as a value and as a file), for a value that does not fit, and for a file that cannot be
    read. pydantic-settings itself ignores unknown variables.
    """
    environ = os.environ if environ is None else environ
    prefix = str(cls.model_config.get("env_prefix", ""))
    fields = {f"{prefix}{name}".upper(): name for name in cls.model_fields}
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        upper = variable.upper()
        if not upper.startswith(prefix.upper()):
            continue
        from_file = upper not in fields and upper.endswith(FILE_SUFFIX)
        name = fields.get(upper.removesuffix(FILE_SUFFIX) if from_file else upper)
        if name is None:
            near = difflib.get_close_matches(upper, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(sorted(fields))}"
            raise MisconfiguredError(f"{variable} is no setting of this plugin; {hint}")
        if name in values:
            raise MisconfiguredError(f"{variable} and another variable set the same: leave one of them out")
        if from_file:
            values[name] = _read_file(variable, text)
        else:
            values[name] = text if _is_text(cls, name) else _parse(variable, text)
    try:
        return cls(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"{prefix}{'_'.join(str(part) for part in e['loc'])}".upper() + f": {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        )
        raise MisconfiguredError(f"wrong settings: {problems}") from None


def _is_text(cls: type[PluginSettings], name: str) -> bool:
    """Whether the field holds plain text: a password may well begin with a bracket and is no JSON."""
    annotation = cls.model_fields[name].annotation
    parts = set(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else {annotation}
    return parts - {type(None)} <= {str, SecretStr}


def _parse(variable: str, text: str) -> Any:
    """Lists and tables are written as JSON; everything else is taken as text and converted by the field's type."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise MisconfiguredError(f"{variable}: not valid JSON ({error.msg} at character {error.pos})") from None


def _read_file(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise MisconfiguredError(f"{variable}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        # The error itself quotes the bytes, which may be a secret.
        raise MisconfiguredError(f"{variable}: cannot read {path}: it is not UTF-8 text") from None
