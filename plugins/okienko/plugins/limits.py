"""The time limit and the error classes of every call into a plugin."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from okienko.plugins.errors import OkienkoError, PermanentError, TransientError

T = TypeVar("T")


async def guarded(call: Awaitable[T], *, plugin: str, operation: str, seconds: float) -> T:
    """The result of `call`, or an OkienkoError that names `plugin` and `operation`.

    Raises TransientError past the time limit. An OkienkoError of the plugin passes as it is, and so does cancellation;
    anything else is the plugin's bug and becomes PermanentError, because trying again would not mend it.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await call
    except OkienkoError:
        raise
    except TimeoutError as error:
        if limit.expired():
            text = f"plugin {plugin}: {operation} took longer than {seconds:g} s; it will be tried again"
        else:
            text = f"plugin {plugin}: {operation} timed out on its own; it will be tried again"
        raise TransientError(text) from error
    except Exception as error:
        # The message stays out: it may quote a person's text or a secret. The cause carries it for the debugger.
        text = f"plugin {plugin}: {operation} failed with an unexpected {type(error).__name__}"
        raise PermanentError(text) from error
