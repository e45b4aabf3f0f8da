"""Steps 3 to 5 of a message's way, put together: register, tell, keep in step with the CSD."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.acknowledging import Acknowledging
from okienko.core.actions.links import Links
from okienko.core.attempts import Attempts
from okienko.core.calls import Calls
from okienko.core.csd.ledger import rules_of
from okienko.core.csd.merge import Rule
from okienko.core.csd.syncing import Syncing
from okienko.core.followup import FollowUp
from okienko.core.registering import Registering
from okienko.core.sending import Sending
from okienko.plugins.ports import Channel, CsdBackend, ProcedurePack


class Delivery:
    """Every method takes ids and answers, in order, None or the error to retry."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        channels: Mapping[str, Channel],
        csd: CsdBackend,
        pack: ProcedurePack,
        links: Links,
        message_domain: str,
        spool: Path,
        csd_policy: Mapping[str, Rule],
        calls: Calls,
        patience: timedelta = timedelta(minutes=5),
        doubt: timedelta = timedelta(seconds=30),
    ) -> None:
        """`patience`: how long a case waits for the CSD before the person is told okienko's own number; `doubt`: see Registering."""
        attempts = Attempts(engine, now)
        acknowledging = Acknowledging(
            engine, now, csd=csd, pack=pack, message_domain=message_domain, calls=calls, patience=patience
        )
        registering = Registering(
            engine, now, csd=csd, pack=pack, message_domain=message_domain, calls=calls,
            attempts=attempts, acknowledging=acknowledging, doubt=doubt,
        )  # fmt: skip
        sending = Sending(engine, now, channels=channels, links=links, calls=calls, attempts=attempts)
        following = FollowUp(engine, now, attempts=attempts)
        syncing = Syncing(
            engine, now, channels=channels, csd=csd, pack=pack, message_domain=message_domain, spool=spool,
            rules=rules_of(csd_policy), calls=calls, attempts=attempts,
        )  # fmt: skip
        self.register = registering.register
        self.acknowledge = acknowledging.tell
        self.notify = sending.notify
        self.close = following.close
        self.reopen = following.reopen
        self.follow_up = following.follow_up
        self.sync = syncing.sync
