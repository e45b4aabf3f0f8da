"""Everything about account recovery beyond the first answer, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.core.actions.activation import Activation
from okienko.core.actions.approvals import Approvals
from okienko.core.actions.execution import Execution
from okienko.core.actions.links import Links
from okienko.core.actions.machine import ActionPolicy, Risk
from okienko.core.actions.people import People
from okienko.core.actions.pesels import PeselMarks
from okienko.core.actions.seals import Seals
from okienko.core.assessing import Assessing
from okienko.core.attempts import Attempts
from okienko.core.audit.vault import Vault
from okienko.core.calls import Calls
from okienko.core.holding import AccountLimits
from okienko.core.settings import CoreSettings
from okienko.core.starting import Starting
from okienko.core.typing_in import TypingIn
from okienko.core.verifying import Verifying
from okienko.plugins.identity import IdentityBackend
from okienko.plugins.ports import Channel, ProcedurePack
from okienko.plugins.senderproof import SenderProof, SenderProofSettings
from okienko.plugins.settings import load_settings


@dataclass(frozen=True)
class Recovery:
    """The jobs of recovery, and what people do to reset actions."""

    policy: ActionPolicy
    identity: Starting
    assessing: Assessing
    execution: Execution
    approvals: Approvals
    activation: Activation
    typing: TypingIn

    @classmethod
    def build(
        cls,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        *,
        settings: CoreSettings,
        channels: Mapping[str, Channel],
        identity: IdentityBackend,
        pack: ProcedurePack,
        links: Links,
        seals: Seals,
        marks: PeselMarks,
        sender: SenderProof,
        verifying: Verifying | None,
        vault: Vault,
        calls: Calls,
    ) -> Recovery:
        """Put it together by the settings."""
        policy = ActionPolicy(
            approvals={Risk.LOW: settings.approvals_low, Risk.HIGH: settings.approvals_high},
            lifetime=timedelta(hours=settings.action_hours),
            cool_down=timedelta(minutes=settings.cool_down_minutes),
        )
        attempts = Attempts(engine, now)
        limits = AccountLimits(
            seals,
            actions_per_day=settings.actions_per_account_per_day,
            lookups_per_day=settings.lookups_per_account_per_day,
        )
        starting = Starting(identity, calls)
        backends = {identity.name: starting}
        domain = settings.message_domain
        return cls(
            policy=policy,
            identity=starting,
            assessing=Assessing(
                engine, now, channels=channels, pack=pack, identity=identity, starting=starting, sender=sender, verifying=verifying,
                vault=vault, marks=marks, policy=policy, seals=seals, limits=limits, spool=settings.home / "spool",
                calls=calls, attempts=attempts,
            ),
            execution=Execution(
                engine, now, identity=backends, policy=policy, pack=pack, links=links, seals=seals, marks=marks, message_domain=domain,
                activation_lifetime=timedelta(hours=settings.activation_hours), calls=calls, attempts=attempts,
            ),
            approvals=Approvals(
                engine, now, policy=policy, pack=pack, links=links, message_domain=domain, seals=seals, people=People(settings.people)
            ),
            activation=Activation(engine, now, identity=backends, links=links, seals=seals, calls=calls),
            typing=TypingIn(engine, now, vault, seals),
        )  # fmt: skip


def sender_proof(environ: Mapping[str, str]) -> SenderProof:
    """The judge of senders by `OKIENKO_SENDERPROOF_…`. Raises MisconfiguredError."""
    settings = load_settings(SenderProofSettings, environ)
    if not settings.own_dkim:
        return SenderProof(settings)
    from okienko.core.txtrecords import TxtRecords

    return SenderProof(settings, TxtRecords())
