"""Recovery from the raw mail to the changed account: mails, accounts, and hands for what people do. All persons are invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, BinaryIO
from uuid import UUID, uuid4

from desk import BODY_A, BODY_B, SUBJECT
from okienko.connectors.email import parse
from okienko.core.actions import store
from okienko.core.actions.approvals import Actor
from okienko.core.actions.machine import Action
from okienko.core.actions.seals import SealKind
from okienko.core.verifying import Checked
from okienko.plugins.identity import Operation
from okienko.plugins.raw import RawContent
from okienko.plugins.signatures import (
    Application,
    Signatory,
    SignatureFormat,
    SignatureLevel,
    SignatureProblem,
    SignatureReport,
    Verification,
)
from okienko.plugins.testing import MemoryChannel, invented_pesel
from okienko.plugins.testing.identity import StoredAccount
from okienko.schemas import ChannelName, Envelope, InboundMessage, Person

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
JAN, NEW, OTHER = "jan@poczta.example", "jan.nowy@poczta.example", "ewa@poczta.example"
OLD_PASSWORD, NEW_PASSWORD = "Stare-Haslo-2291!", "Nowe-Haslo-Żółw-2292!"
PROVED = "mx.okienko.invalid; dmarc=pass header.from=poczta.example"
ADA, BEA = Actor("ada", origin="test"), Actor("bea", origin="test")
HOUR = timedelta(hours=1)


class PostChannel(MemoryChannel):
    """Reads real mails; what it sends is kept."""

    def __init__(self) -> None:
        super().__init__(channel=ChannelName.EMAIL)

    def parse(self, envelope: Envelope, raw: RawContent) -> InboundMessage:
        del envelope
        return parse.parse_message(raw)

    def open_attachment(self, envelope: Envelope, raw: RawContent, index: int) -> BinaryIO:
        del envelope
        return parse.open_attachment(raw, index)


class StubVerifier:
    """Knows what the documents are: `reports` by their bytes, anything else is not signed."""

    configured = True

    def __init__(self) -> None:
        self.reports: dict[bytes, Checked] = {}
        self.seen: list[bytes] = []

    async def verify(self, document: bytes, filename: str, at: datetime) -> Checked:
        del filename, at
        self.seen.append(document)
        unsigned = SignatureReport(valid=False, format=SignatureFormat.NONE)
        return self.reports.get(document, Checked(Verification(unsigned), Application()))

    def knows(
        self,
        document: bytes,
        *,
        signatory: Signatory,
        application: Application | None = None,
        valid: bool = True,
    ) -> None:
        """The document is an application signed by that person."""
        report = SignatureReport(
            valid=valid, format=SignatureFormat.PADES, level=SignatureLevel.QUALIFIED, signatory=signatory,
            problems=() if valid else (SignatureProblem(code="revoked", text="revoked"),),
        )  # fmt: skip
        default = Application(given_name="Jan", family_name="Próbny", old_login=JAN, new_login=NEW)
        self.reports[document] = Checked(Verification(report), application or default)


def letter(
    text: str = BODY_A,
    sender: str = JAN,
    *,
    subject: str = SUBJECT,
    proof: str | None = PROVED,
    attachments: Sequence[tuple[str, bytes]] = (),
) -> bytes:
    """A mail as the receiving server hands it over."""
    mail = EmailMessage(policy=SMTP)
    if proof:
        mail["Authentication-Results"] = proof
    mail["From"] = f"Jan Próbny <{sender}>"
    mail["To"] = "helpdesk@okienko.invalid"
    mail["Subject"] = subject
    mail["Date"] = "Tue, 24 Nov 2026 08:59:00 +0100"
    mail["Message-ID"] = f"<{uuid4().hex}@poczta.example>"
    # Without it the same request a second time would rightly be nothing but a duplicate.
    mail.set_content(f"{text}\n\n-- \nwiadomość {uuid4().hex}\n")
    for name, content in attachments:
        mail.add_attachment(content, maintype="application", subtype="pdf", filename=name)
    return mail.as_bytes()


class Counter:
    """A bench at the recovery counter."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        # Mail 3 is okienko's own, as with a directory.
        bench.identity.operations = frozenset(Operation) - {Operation.SEND_ACTIVATION}
        self.pesel = invented_pesel()
        self.jan = self.account(JAN, Person(given_name="Jan", family_name="Próbny", birth_year=1980, pesel=self.pesel))

    def account(self, login: str, person: Person) -> StoredAccount:
        """An account with the old password."""
        return self.bench.identity.add(login, person=person, password=OLD_PASSWORD)

    async def ask(self, mail: bytes | None = None) -> UUID:
        """Take a request in and work on it until nothing is left to do. The case."""
        (envelope,) = await self.bench.take(mail or letter())
        await self.bench.settle()
        return await self.bench.value("SELECT case_id FROM envelope WHERE id = $1", envelope)

    async def ask_for_new_login(self, document: bytes = b"%PDF wniosek", **more: Any) -> UUID:
        """Procedure B with a signed application."""
        return await self.ask(letter(BODY_B, NEW, attachments=[("wniosek.pdf", document)], **more))

    def signs(self, document: bytes = b"%PDF wniosek", **more: Any) -> StubVerifier:
        """From now on documents are checked, and this one is Jan's application, or as told."""
        verifier = self.bench.verifying or StubVerifier()
        more.setdefault("signatory", Signatory(given_names="Jan", family_name="Próbny", pesel=self.pesel))
        verifier.knows(document, **more)
        self.bench.verifying = verifier
        self.bench.build()
        return verifier

    async def actions(self) -> list[Action]:
        """All reset actions, oldest first."""
        rows = await self.bench.rows("SELECT a.id FROM reset_action a JOIN cases c ON c.id = a.case_id ORDER BY c.seq")
        return [await self.bench.recovery.approvals.find(row["id"]) for row in rows]

    async def actions_of(self, case_id: UUID) -> list[Action]:
        """The reset actions of one case: ended ones first, in the order of their ends, then the open one."""
        rows = await self.bench.rows(
            "SELECT id FROM reset_action WHERE case_id = $1 ORDER BY ended_at NULLS LAST", case_id
        )
        return [await self.bench.recovery.approvals.find(row["id"]) for row in rows]

    async def action(self) -> Action:
        """The only reset action."""
        (one,) = await self.actions()
        return one

    async def approve(self, *people: Actor, checked: Sequence[str] = ()) -> Action:
        """Let people approve the only action."""
        action = await self.action()
        for person in people or (ADA,):
            action = await self.bench.recovery.approvals.approve(
                action.frozen.action_id,
                person,
                digest=action.frozen.digest,
                decision=action.frozen.decision_sha256,
                checked=checked,
            )
        return action

    async def handled_by(self, *who: str) -> None:
        """The only action as okienko would have proposed it had these people handled the case."""
        action = replace(await self.action(), handlers=frozenset(who))
        seal = self.bench.seals.make(SealKind.PROPOSAL, store.proposal_parts(action))
        await self.bench.rows(
            "UPDATE reset_action SET handlers = $1, seal = $2, sealed_by = $3 RETURNING 1", sorted(who), seal.mac, seal.key
        )  # fmt: skip

    async def code(self) -> str:
        """What `okienko action show` says of the only action."""
        return (await self.bench.recovery.approvals.shown((await self.action()).frozen.action_id))[2]

    async def case(self) -> dict[str, Any]:
        """The only case, as a row."""
        (row,) = await self.bench.rows("SELECT * FROM cases")
        return row

    async def outcome(self, case_id: UUID) -> tuple[str, str | None]:
        """State of the case, and why there is no reset action."""
        state = await self.bench.value("SELECT state FROM cases WHERE id = $1", case_id)
        why = await self.bench.value(
            "SELECT data->>'why' AS why FROM event WHERE case_id = $1 AND type = 'assessed'", case_id
        )
        return state, why

    async def events(self) -> list[str]:
        """Types of all events, in order."""
        return [row["type"] for row in await self.bench.rows("SELECT type FROM event ORDER BY id")]

    def sent(self) -> list[tuple[str, str]]:
        """Kind and receiver of each message that went out."""
        return [(message.kind.value, message.to.address) for message in self.bench.channel.sent]

    def link(self, kind: str) -> str:
        """The token of the last message of that kind."""
        text = next(m.text for m in reversed(self.bench.channel.sent) if m.kind.value == kind)
        (url,) = {word for word in text.split() if word.startswith("https://okienko.invalid/")}
        return url.rpartition("/")[2]
