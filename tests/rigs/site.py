"""The pages and the API over a real database, with people, actions and a recorder that a test can read."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from okienko.connectors.email.channel import EmailChannel
from okienko.connectors.email.settings import EmailSettings
from okienko.core.actions import store
from okienko.core.actions.activation import Activation, link_parts
from okienko.core.actions.approvals import Approvals
from okienko.core.actions.frozen import Frozen, Step
from okienko.core.actions.links import LinkKind, Links
from okienko.core.actions.machine import Action, ActionPolicy, Risk
from okienko.core.actions.seals import SealKind, Seals
from okienko.core.audit.entries import AuditAction
from okienko.core.audit.keyring import Keyring, KeySource
from okienko.core.audit.vault import Vault
from okienko.core.calls import Calls
from okienko.core.database import raw_connection, transaction
from okienko.core.events import NewEvent, append
from okienko.core.picturing import Picturing
from okienko.core.site.app import make_site
from okienko.core.site.applications import Applications
from okienko.core.site.context import Site
from okienko.core.site.documents import Documents
from okienko.core.site.limits import HOLDER, SIGN_IN, RateLimiter
from okienko.core.site.local import LocalAdmins
from okienko.core.site.oidc import Oidc
from okienko.core.site.people import Person, Role
from okienko.core.site.queue import Queue
from okienko.core.site.security import csrf_token
from okienko.core.site.sessions import Session, Sessions
from okienko.core.site.settings import SiteSettings
from okienko.core.starting import Starting
from okienko.core.typing_in import TypingIn
from okienko.plugins.identity import Done, Expected, PasswordRefusedError
from okienko.plugins.ports import NotificationContext, RenderedText
from okienko.plugins.testing.doubles import FixedClock
from okienko.schemas import ActionState, Decision, EventType, NotificationKind, Procedure, RuleResult, Verdict

ADMIN = frozenset({Role.IDENTITY_ADMIN})
AUDITOR = frozenset({Role.AUDITOR})
OLD, NEW = "jan.stary@poczta.example", "jan.nowy@poczta.example"

DECISION = Decision(
    results=(
        RuleResult(
            rule="B1", verdict=Verdict.MET, evidence="subject is identical",
            text_pl="Temat wiadomości jest identyczny z podanym: HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA",
            text_en="The subject is the one that was given",
        ),
        RuleResult(
            rule="B4", verdict=Verdict.MET, evidence="PAdES, qualified, signed 2026-01-05T07:41:00Z",
            text_pl="Wniosek jest podpisany podpisem kwalifikowanym lub zaufanym",
            text_en="The application carries a qualified or trusted signature",
        ),
        RuleResult(
            rule="B5", verdict=Verdict.UNKNOWN, evidence="the account holds no PESEL; names agree <b>only</b> by inflection",
            text_pl="Podpisał ten, kto składa wniosek", text_en="The signatory is the applicant",
        ),
    )
)  # fmt: skip


def decision_sha256(decision: Decision) -> str:
    """As the engine freezes it."""
    return hashlib.sha256(decision.model_dump_json().encode()).hexdigest()


class Pack:
    """What Approvals asks of a procedure pack."""

    def render(self, kind: NotificationKind, context: NotificationContext) -> RenderedText:
        return RenderedText(kind.value, f"{context.link} {context.new_login}")

    def own_number(self, seq: int) -> str:
        return f"OK{seq:09}"


class Directory:
    """An identity backend that knows one rule about passwords."""

    name = "directory"

    def __init__(self) -> None:
        self.set: list[tuple[str, str]] = []
        self.failure: Exception | None = None

    async def start(self) -> None:
        """Nothing to do."""

    async def set_password(self, expected: Expected, password: Any) -> Done:
        if self.failure is not None:
            raise self.failure
        if len(password.get_secret_value()) < 8:
            raise PasswordRefusedError("the policy asks for at least 8 characters")
        self.set.append((expected.login, password.get_secret_value()))
        return Done(changed=True)


@dataclass
class Record:
    """One entry that the pages wrote."""

    action: AuditAction
    actor: str
    case_id: UUID | None
    reason: str
    origin: str


@dataclass
class Desk:
    """Everything together."""

    engine: AsyncEngine
    folder: Path
    oidc: Oidc | None = None
    public_url: str = "http://localhost:8080"
    settings: Mapping[str, Any] = field(default_factory=dict)
    verifying: Any = None
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = FixedClock()
        self.links = Links(b"k" * 32, self.public_url)
        self.seals = Seals(KeySource(home=self.folder, text=Keyring.new().text()))
        self.policy = ActionPolicy({Risk.LOW: 1, Risk.HIGH: 2}, timedelta(days=3), timedelta(hours=24))
        self.directory = Directory()
        self.vault = Vault(KeySource(home=self.folder, text=Keyring.new().text()))
        self.site = self.make()

    def make(self) -> Site:
        settings = SiteSettings(public_url=self.public_url, **self.settings)
        calls = Calls(5)
        documents = Documents(
            self.engine, channels={"email": EmailChannel(EmailSettings(), self.folder)}, spool=self.folder / "spool", timeout=5
        )  # fmt: skip
        return Site(
            holder_limit=RateLimiter(self.engine, self.clock, HOLDER),
            sign_in_limit=RateLimiter(self.engine, self.clock, SIGN_IN),
            settings=settings,
            now=self.clock,
            approvals=Approvals(
                self.engine, self.clock, policy=self.policy, pack=Pack(), links=self.links, message_domain="okienko.invalid",
                seals=self.seals,
            ),
            activation=Activation(
                self.engine, self.clock, identity={"directory": Starting(self.directory, calls)}, links=self.links,
                seals=self.seals, calls=calls
            ),
            policy=self.policy,
            queue=Queue(self.engine, self.seals),
            documents=documents,
            applications=Applications(
                self.engine, self.clock, vault=self.vault, typing=TypingIn(self.engine, self.clock, self.vault, self.seals),
                documents=documents, verifying=self.verifying, pictures=Picturing(),
            ),
            sessions=Sessions(
                self.engine, self.clock, https=settings.https, recheck=timedelta(minutes=20) if self.oidc else None
            ),
            record=self.record,
            local=LocalAdmins(self.engine, self.clock),
            decision_sha256=decision_sha256,
            oidc=self.oidc,
        )  # fmt: skip

    async def record(self, action: AuditAction, actor: str, case_id: UUID | None, reason: str, origin: str) -> None:
        self.records.append(Record(action, actor, case_id, reason, origin))

    def recorded(self, action: AuditAction) -> list[Record]:
        return [r for r in self.records if r.action is action]

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A browser without JavaScript: it says where its requests come from."""
        transport = httpx.ASGITransport(app=make_site(self.site), client=("203.0.113.7", 50_000))
        headers = {"sec-fetch-site": "same-origin", "accept-language": "pl"} | options.pop("headers", {})
        return httpx.AsyncClient(transport=transport, base_url=self.public_url, headers=headers, **options)

    async def visitor(self, name: str = "anna", roles: frozenset[Role] = ADMIN, *emails: str) -> Visitor:
        """Somebody who is signed in."""
        session = await self.site.sessions.open(Person(f"local:{name}", name, emails, roles, self.clock()))
        client = self.client(cookies={self.site.sessions.cookie: session.token})
        return Visitor(client, session)

    async def rows(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        async with transaction(self.engine) as connection:
            return [dict(row) for row in await (await raw_connection(connection)).fetch(sql, *arguments)]

    async def execute(self, sql: str, *arguments: object) -> None:
        async with transaction(self.engine) as connection:
            await (await raw_connection(connection)).execute(sql, *arguments)

    async def propose(
        self, *, risk: Risk = Risk.HIGH, new_login: str | None = NEW, steps: tuple[Step, ...] = (Step.CHANGE_LOGIN, Step.ACTIVATE),
        must_check: tuple[str, ...] = (), handlers: frozenset[str] = frozenset(), decision: Decision = DECISION, number: str = "ZGL000000001",
        old_login: str = OLD, letter: EmailMessage | None = None, report: str | None = None,
    ) -> UUID:  # fmt: skip
        """A registered case, its mail and a reset action that waits."""
        case_id, action_id, envelope_id, now = uuid4(), uuid4(), uuid4(), self.clock()
        frozen = Frozen(
            action_id,
            case_id,
            "directory",
            f"ref-{action_id}",
            old_login,
            new_login,
            steps,
            decision_sha256(decision),
            must_check,
            secrets.token_bytes(16),
            report,
        )
        action = Action(frozen, risk, ActionState.WAITING, now, now + self.policy.lifetime, handlers=handlers)
        data = (letter or a_letter()).as_bytes()
        async with transaction(self.engine) as connection:
            raw = await raw_connection(connection)
            await raw.execute(
                "INSERT INTO cases (id, kind, procedure, state, channel, connector, mailbox, subject, requester_address, decision, "
                "description, csd_backend, csd_number, opened_at) VALUES ($1, 'recovery', 'emergency_password_and_email', 'registered', "
                "'email', 'email', 'default', 'HASŁO AWARYJNE', $2, $3, '', 'builtin', $4, $5)",
                case_id, NEW, decision.model_dump_json(), number, now,
            )  # fmt: skip
            await raw.execute(
                "INSERT INTO envelope (id, channel, connector, source, mailbox, rcpt_to, received_at, size, raw, outcome, case_id) "
                "VALUES ($1, 'email', 'email', 'lmtp', 'default', '{}', $2, $3, $4, 'cased', $5)",
                envelope_id, now, len(data), data, case_id,
            )  # fmt: skip
            await raw.execute(
                "INSERT INTO case_message (envelope_id, case_id, role, at) VALUES ($1, $2, 'opened', $3)", envelope_id, case_id, now
            )  # fmt: skip
            await store.insert(raw, self.seals, [(action, Procedure.EMERGENCY_PASSWORD_AND_EMAIL)])
            await append(
                raw,
                [
                    NewEvent(case_id, EventType.OPENED, now),
                    NewEvent(case_id, EventType.REGISTERED, now, {"number": number}),
                    NewEvent(case_id, EventType.ACTION_PROPOSED, now, {"action": str(action_id)}),
                ],
            )
        return action_id

    async def digest_of(self, action_id: UUID) -> str:
        return (await self.rows("SELECT digest FROM reset_action WHERE id = $1", action_id))[0]["digest"]

    async def seen(self, action_id: UUID) -> dict[str, Any]:
        """What a form or a call says that its person was shown."""
        (row,) = await self.rows("SELECT digest, decision_sha256 FROM reset_action WHERE id = $1", action_id)
        return {"digest": row["digest"], "decision": row["decision_sha256"]}

    async def state_of(self, action_id: UUID) -> str:
        return (await self.rows("SELECT state FROM reset_action WHERE id = $1", action_id))[0]["state"]

    async def stop_token(self, action_id: UUID) -> str:
        """As it stands in the notice to the old address."""
        (row,) = await self.rows(
            "SELECT n.id FROM notification n JOIN reset_action a USING (case_id) WHERE a.id = $1 AND n.kind = 'login_change'", action_id
        )  # fmt: skip
        return self.links.token(LinkKind.STOP, row["id"])

    async def activation_token(self, action_id: UUID) -> str:
        """A link to set a password, as mail 3 brings it."""
        message_id, now = uuid4(), self.clock()
        until = now + timedelta(hours=24)
        token = self.links.token(LinkKind.ACTIVATE, message_id)
        mark = self.links.fingerprint(token)
        seal = self.seals.make(SealKind.ACTIVATION, link_parts(message_id, action_id, mark, until))
        await self.execute(
            "INSERT INTO activation (id, action_id, token_sha256, created_at, expires_at, attempts, seal, sealed_by) "
            "VALUES ($1, $2, $3, $4, $5, 0, $6, $7)",
            message_id, action_id, mark, now, until, seal.mac, seal.key,
        )  # fmt: skip
        return token


@dataclass
class Visitor:
    """A browser with a session."""

    http: httpx.AsyncClient
    session: Session

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.http.get(path, **options)

    async def post(self, path: str, data: Mapping[str, Any] | None = None, **options: Any) -> httpx.Response:
        """A form of one of our pages."""
        return await self.http.post(path, data={"csrf": csrf_token(self.session.token)} | dict(data or {}), **options)

    async def approve(self, desk: Desk, action_id: UUID, *checked: str) -> httpx.Response:
        form = await desk.seen(action_id) | {"checked": list(checked)}
        return await self.post(f"/actions/{action_id}/approve", form)

    async def call(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """A changing call of the API."""
        return await self.http.post(path, json=dict(body), headers={"x-csrf-token": csrf_token(self.session.token)})


def a_letter(
    name: str = "wniosek <b>Jana</b> ąę.pdf",
    content: bytes = b"%PDF-1.7 synthetic",
    more: str = "<script>alert(1)</script>",
) -> EmailMessage:
    """An application by mail, from an invented person."""
    letter = EmailMessage()
    letter["From"] = f"Jan Testowy <{NEW}>"
    letter["To"] = "pomoc@urzad.example"
    letter["Subject"] = "HASŁO AWARYJNE PUESC PROCEDURA SPECJALNA"
    letter["Date"] = "Mon, 05 Jan 2026 08:30:00 +0100"
    letter["Message-ID"] = f"<{uuid4()}@poczta.example>"
    letter.set_content(
        "Proszę o zmianę hasła awaryjnego oraz zmianę adresu e-mail dla\nJan Testowy, rok urodzenia 2201\n"
        + more
        + "\n"
    )
    letter.add_attachment(content, maintype="application", subtype="pdf", filename=name)
    return letter


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """The problem details of an answer of the API."""
    assert response.headers["content-type"] == "application/problem+json"
    return json.loads(response.text)
