"""The error tree. The class says what happens next; the message says what happened, to what, and what to do.

OkienkoError
├── TransientError       try again later, with backoff
├── PermanentError       it will never work like this: park it for a person
│   ├── UnreadableError  the bytes cannot be made into a message
│   └── TooLargeError    over a configured limit
└── MisconfiguredError   the installation is wrong: stop this plugin, loudly
    └── PluginLoadError  a plugin could not be loaded or refused its settings
"""

from __future__ import annotations


class OkienkoError(Exception):
    """Something in okienko failed."""


class TransientError(OkienkoError):
    """It may work later: a time-out, a refused connection, a busy server."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the other side asked us to wait, or None."""


class PermanentError(OkienkoError):
    """It will never work as it is: a person has to look."""


class UnreadableError(PermanentError):
    """The bytes cannot be made into a message."""


class TooLargeError(PermanentError):
    """It is over a configured limit."""


class MisconfiguredError(OkienkoError):
    """A setting, a mapping or a right is wrong; the message names it and the cure."""


class PluginLoadError(MisconfiguredError):
    """A plugin could not be loaded."""
