"""The time limit and the error classes of every call into a plugin."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

from okienko.plugins.errors import OkienkoError, PermanentError, TransientError

T = TypeVar("T")

LONGEST_WAITS = 60.0
"""Seconds that one call may spend, all in all, waiting for its turns."""


class _Allowance:
    def __init__(self, limit: asyncio.Timeout) -> None:
        self.limit = limit
        self.left = LONGEST_WAITS


_ALLOWANCE: ContextVar[_Allowance | None] = ContextVar("_ALLOWANCE", default=None)


def patience() -> float:
    """Seconds that the call in hand may still wait for its turn; without end outside of `guarded`."""
    allowance = _ALLOWANCE.get()
    return math.inf if allowance is None or allowance.limit.when() is None else allowance.left


def waits(seconds: float) -> None:
    """Say, before waiting for one's turn, for how long: the call's time limit moves by as much. At most `patience()`."""
    allowance = _ALLOWANCE.get()
    if allowance is not None and (when := allowance.limit.when()) is not None and not allowance.limit.expired():
        allowance.left -= seconds
        allowance.limit.reschedule(when + seconds)


async def guarded(call: Awaitable[T], *, plugin: str, operation: str, seconds: float) -> T:
    """The result of `call`, or an OkienkoError that names `plugin` and `operation`.

    Raises TransientError past the time limit. An OkienkoError of the plugin passes as it is, and so does cancellation;
    anything else is the plugin's bug and becomes PermanentError, because trying again would not mend it.
    """
    limit = asyncio.timeout(seconds)
    token = _ALLOWANCE.set(_Allowance(limit))
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
    finally:
        _ALLOWANCE.reset(token)


async def in_thread(function: Callable[[], T], *, plugin: str, operation: str, seconds: float) -> T:
    """The result of a plain, perhaps slow `function`, run in a thread of its own while the event loop goes on.

    Raises PermanentError past the time limit: plain code decides without I/O, so the same input would take as long again.
    The thread cannot be ended; it is a daemon, so it holds up neither other calls nor the end of the process. What else
    leaves `function` is treated as in `guarded`; a SystemExit is the plugin's bug too.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[T, None] | tuple[None, BaseException]] = loop.create_future()

    def finish(outcome: tuple[T, None] | tuple[None, BaseException]) -> None:
        if not done.done():
            done.set_result(outcome)

    def run() -> None:
        outcome: tuple[T, None] | tuple[None, BaseException]
        try:
            outcome = (function(), None)
        except BaseException as error:  # it is raised again where it is awaited
            outcome = (None, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, outcome)

    threading.Thread(target=run, name=f"{plugin} {operation}", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            result, error = await done
    except TimeoutError:
        raise PermanentError(f"plugin {plugin}: {operation} took longer than {seconds:g} s") from None
    if error is None:
        return result  # type: ignore[return-value]  # the pair holds a result or an error
    if isinstance(error, OkienkoError):
        raise error
    raise PermanentError(f"plugin {plugin}: {operation} failed with an unexpected {type(error).__name__}") from error
