"""What `apirest.php` answers: a body, or `["ERROR_…", "text"]`, and what that means."""

from __future__ import annotations

from typing import Any

from okienko.connectors.csd.glpi.base import GlpiRefusedError
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.httpapi import Answer, harmless

_CREDENTIALS = (
    "ERROR_APP_TOKEN_PARAMETERS_MISSING", "ERROR_WRONG_APP_TOKEN_PARAMETER", "ERROR_NOT_ALLOWED_IP", "ERROR_GLPI_LOGIN",
    "ERROR_GLPI_LOGIN_USER_TOKEN", "ERROR_LOGIN_PARAMETERS_MISSING", "ERROR_LOGIN_WITH_CREDENTIALS_DISABLED",
)  # fmt: skip


def id_in(made: Any) -> int:
    """The id of what was made. Raises PermanentError without one."""
    number = made.get("id") if isinstance(made, dict) else None
    if not number:
        raise PermanentError("GLPI answered without the id of what it made: look at its logs (files/_log)")
    return int(number)


def read(answer: Answer, what: str) -> Any:
    """The body. Raises for what is none, by GLPI's own code."""
    body, status = answer.json(), answer.status
    if 200 <= status < 300:
        if body is None and answer.content:
            raise MisconfiguredError(f"{what}: {answer.kind} instead of JSON: is URL GLPI's address, and its API on?")
        return body
    if status >= 500:
        raise TransientError(f"{what}: GLPI failed with {status}")
    if not (isinstance(body, list) and body and isinstance(body[0], str)):
        raise MisconfiguredError(f"{what}: {status} ({answer.kind}): is URL GLPI's address, and its API switched on?")
    code, text = harmless(body[0]), harmless(body[1] if len(body) > 1 else "")
    if code in _CREDENTIALS:
        raise MisconfiguredError(
            f"{what}: {code}: {text}: check APP_TOKEN, USER_TOKEN and the addresses of the API client"
        )
    if code == "ERROR_RIGHT_MISSING":
        raise MisconfiguredError(
            f"{what}: okienko's user may not do this: give its profile the rights of docs/csd-glpi.md"
        )
    if code == "ERROR_SQL":
        raise TransientError(f"{what}: GLPI's database failed ({code})")
    raise GlpiRefusedError(what, code, text)
