"""What the pages know of a sign-in by a provider, without the libraries that do it: they are loaded where one is configured."""

from __future__ import annotations

from datetime import timedelta

from okienko.plugins.errors import PermanentError

CALLBACK = "/sign-in/callback"
LIFETIME = timedelta(minutes=10)
"""How long a person may take at the provider."""


class TokenRefusedError(PermanentError):
    """A token does not prove what it should; the message names the claim, never its value."""
