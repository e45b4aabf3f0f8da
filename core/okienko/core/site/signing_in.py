"""What the pages know of signing in, without the libraries for a provider: those are loaded where one is configured."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum

from okienko.plugins.errors import PermanentError

CALLBACK = "/sign-in/callback"
LIFETIME = timedelta(minutes=10)
"""How long a person may take at the provider."""


HOME = "/actions"
_OURS = re.compile(r"/actions(\?state=[a-z]{1,16}|/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?|/administrators")


def is_page(path: str) -> bool:
    """Whether it is the address of a page that a person can come back to."""
    return _OURS.fullmatch(path) is not None


def local_path(wanted: str) -> str:
    """The page that a person wanted before they had to sign in; anything that is not one of ours becomes the queue."""
    return wanted if is_page(wanted) else HOME


class Why(StrEnum):
    """Why somebody is sent to the identity provider."""

    SIGN_IN = "sign_in"
    CHECK = "check"
    """To hear, unseen, whether they still have their roles."""
    AGAIN = "again"
    """To let them prove once more who they are."""


class TokenRefusedError(PermanentError):
    """A token does not prove what it should; the message names the claim, never its value."""
