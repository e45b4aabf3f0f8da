"""Steps 3 to 5 of a message's way, put together: register, tell, close, open again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.attempts import Attempts
from okienko.core.calls import Calls
from okienko.core.followup import FollowUp
from okienko.core.registering import Registering
from okienko.core.sending import Sending
from okienko.plugins.ports import Channel, CsdBackend, IdentityBackend, ProcedurePack


class Delivery:
    """Every method takes ids and answers, in order, None or the error to retry."""

    def __init__(
        self,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        channels: Mapping[str, Channel],
        csd: CsdBackend,
        identity: IdentityBackend,
        pack: ProcedurePack,
        message_domain: str,
        calls: Calls,
    ) -> None:
        attempts = Attempts(engine, now)
        registering = Registering(
            engine, now, csd=csd, identity=identity, pack=pack, message_domain=message_domain, calls=calls,
            attempts=attempts,
        )  # fmt: skip
        sending = Sending(engine, now, channels=channels, calls=calls, attempts=attempts)
        following = FollowUp(
            engine, now, csd=csd, pack=pack, message_domain=message_domain, calls=calls, attempts=attempts
        )
        self.register = registering.register
        self.notify = sending.notify
        self.close = following.close
        self.reopen = following.reopen
        self.follow_up = following.follow_up
