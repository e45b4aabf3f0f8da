"""The kinds of job, and how failures of their work are answered."""

from __future__ import annotations

import random
from datetime import timedelta
from enum import StrEnum

from okienko.plugins.errors import TransientError


class Job(StrEnum):
    """What a worker can be asked to do; each payload is one id."""

    PROCESS = "process"
    """An envelope: read, judge, decide."""
    REGISTER = "register"
    """A case: put it in the CSD."""
    NOTIFY = "notify"
    """A notification: hand it to its channel."""
    CLOSE = "close"
    """A case: put its closing into its outbox. Only jobs of before there were outboxes."""
    REOPEN = "reopen"
    """A case: put its opening again into its outbox. Only jobs of before there were outboxes."""
    FOLLOW_UP = "follow_up"
    """An envelope that was merged: put it into its case's outbox. Only jobs of before there were outboxes."""
    SYNC = "sync"
    """A case: tell the CSD what waits in its outbox, and bring both sides in step."""
    ASSESS = "assess"
    """A recovery case whose first answer has gone: look the account up, check the documents, propose an action."""
    EXECUTE = "execute"
    """A reset action: carry it out."""
    ACTIVATE = "activate"
    """A reset action that was carried out: send the person their activation link (mail 3)."""
    EXPIRE = "expire"
    """A reset action whose time is over."""


def backoff(attempts: int, error: TransientError) -> timedelta:
    """Wait before the next attempt: 2^attempts seconds, at most 5 minutes, spread by ±20 %; never less than asked for."""
    seconds = min(300.0, 2.0 ** min(attempts, 9)) * random.uniform(0.8, 1.2)  # noqa: S311  spreads load, guards nothing
    return timedelta(seconds=max(seconds, error.retry_after or 0.0))
