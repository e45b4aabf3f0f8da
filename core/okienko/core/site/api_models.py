"""What the JSON API takes and gives."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from okienko.core.actions.frozen import Step
from okienko.core.actions.machine import Action, Risk
from okienko.core.actions.pesels import ShownReport, shown_report
from okienko.core.site.actionview import MOST_TEXT
from okienko.core.site.applications import Line as ApplicationRow
from okienko.core.site.applications import Look
from okienko.core.site.applications import Whole as WholeApplication
from okienko.core.site.people import Role
from okienko.core.site.queue import Line, Whole
from okienko.core.typing_in import Refusal
from okienko.plugins.signature.kinds import Kind
from okienko.plugins.signatures import Application
from okienko.schemas import ActionState, EventType, Procedure, RuleResult
from okienko.schemas.base import Model, UtcDatetime

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_TEXT)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class SessionInfo(Model):
    """Who calls."""

    who: str
    name: str
    roles: tuple[Role, ...]
    csrf: str | None = Field(description="For the header X-CSRF-Token of changing calls; null with an access token")


class ActionLine(Model):
    """One action in a list."""

    id: UUID
    case_id: UUID
    number: str | None
    procedure: Procedure
    risk: Risk
    state: ActionState
    old_login: str
    new_login: str | None
    created_at: UtcDatetime
    expires_at: UtcDatetime
    not_before: UtcDatetime | None
    ended_at: UtcDatetime | None
    approved_by: tuple[str, ...]
    approvals_needed: int
    further_requests: int = Field(
        description="The same request again, and other cases for the account that wait because of this action"
    )


class ActionList(Model):
    """A page of the queue."""

    items: tuple[ActionLine, ...]
    next: str | None = Field(description="Cursor of the next page; null on the last one")


class ApprovalInfo(Model):
    """One person's yes."""

    who: str
    at: UtcDatetime
    counts: bool = Field(description="False when it was for another digest or by somebody who may not approve")


class EventInfo(Model):
    """One thing that happened to the case."""

    at: UtcDatetime
    type: EventType
    actor: str


class ActionDetail(ActionLine):
    """One action with all that a decision needs."""

    backend: str
    account_ref: str | None
    steps: tuple[Step, ...]
    must_check: tuple[str, ...]
    report: ShownReport | None = Field(description="Of a PESEL conflict: who carries the number, which is masked")
    digest: Digest
    decision: Digest = Field(description="SHA-256 of the decision, with its rules, that this answer shows")
    decision_unchanged: bool = Field(
        description="False: the case differs from what was proposed; it cannot be approved"
    )
    reason: str | None
    ended_by: str | None
    rules: tuple[RuleResult, ...]
    approvals: tuple[ApprovalInfo, ...]
    events: tuple[EventInfo, ...]


class ApproveRequest(Model):
    """A yes to exactly what was shown."""

    digest: Digest = Field(description="The digest of the action that you were shown")
    decision: Digest = Field(description="The field decision of the action that you were shown")
    checked: tuple[str, ...] = Field(default=(), max_length=100, description="Rules that you checked yourself")


class RefuseRequest(Model):
    """A no."""

    reason: Text = Field(description="For the file")
    solution: Text = Field(description="What the person is told, in Polish")


class DoneRequest(Model):
    """Carried out by hand."""

    solution: Text = Field(description="What the person is told, in Polish")


class ActionChanged(Model):
    """The action after a decision."""

    id: UUID
    state: ActionState
    approved_by: tuple[str, ...]
    approvals_needed: int
    not_before: UtcDatetime | None


class ApplicationLine(Model):
    """One application that could not be read in full."""

    case_id: UUID
    number: str | None
    missing: tuple[str, ...] = Field(description="Data that a person types")
    noted_at: UtcDatetime
    typed_at: UtcDatetime | None
    typed_by: str | None


class ApplicationList(Model):
    """A page of the list."""

    items: tuple[ApplicationLine, ...]
    next: str | None = Field(description="Cursor of the next page; null on the last one")


class ApplicationData(Model):
    """What an application says; null: not read, or not typed."""

    given_name: str | None = Field(default=None, max_length=400)
    family_name: str | None = Field(default=None, max_length=400)
    old_login: str | None = Field(default=None, max_length=400, description="The lost e-mail address")
    new_login: str | None = Field(default=None, max_length=400)


class PartInfo(Model):
    """One signed file of the document."""

    kind: Kind
    pictures: tuple[str, ...] = Field(description="Addresses of its pages as PNG, on this site, for a session")
    text: str
    cut: bool = Field(description="Whether the document holds more than that")


class ApplicationDetail(ApplicationLine):
    """One application with what could be read and what was typed."""

    sha256: str = Field(description="Of the document, in hex; empty when the person was erased")
    revision: int = Field(description="How often it was typed; send it back with the data")
    read: ApplicationData | None = Field(description="Out of signed octets; null: the document cannot be read now")
    typed: ApplicationData
    signature_valid: bool | None = Field(description="Whether the signature counts at this moment")
    parts: tuple[PartInfo, ...]
    closed_for: Refusal | None = Field(description="Why nobody can type any more")
    action_id: UUID | None


class TypeRequest(Model):
    """The data that could not be read, as the document shows them: all that are missing and no others."""

    sha256: Digest = Field(description="Of the document that you were shown")
    revision: int = Field(ge=0, description="Which you were shown")
    data: ApplicationData


class ApplicationTyped(Model):
    """The data were recorded, and the case is checked anew."""

    case_id: UUID
    revision: int
    typed_by: str | None


def to_application_line(line: ApplicationRow) -> ApplicationLine:
    """A line of the list."""
    return ApplicationLine(
        case_id=line.case_id, number=line.number, missing=line.missing, noted_at=line.noted_at, typed_at=line.typed_at,
        typed_by=line.typed_by,
    )  # fmt: skip


def to_application(whole: WholeApplication, look: Look | None) -> ApplicationDetail:
    """One application."""
    a = whole.application
    parts = tuple(
        PartInfo(
            kind=part.kind, text=part.text, cut=part.cut,
            pictures=tuple(f"/applications/{a.case_id}/pictures/{nth}/{page}" for page in range(part.pages)),
        )
        for nth, part in enumerate(look.parts if look else ())
    )  # fmt: skip
    return ApplicationDetail(
        case_id=a.case_id, number=whole.case.csd.number if whole.case.csd else None, missing=a.missing, noted_at=a.noted_at,
        typed_at=a.typed_at, typed_by=a.typed_by, sha256=a.sha256, revision=a.revision,
        read=_data(look.read) if look else None, typed=_data(whole.typed), signature_valid=look.valid if look else None,
        parts=parts, closed_for=whole.closed_for, action_id=whole.action_id,
    )  # fmt: skip


def _data(application: Application) -> ApplicationData:
    return ApplicationData(
        given_name=application.given_name, family_name=application.family_name, old_login=application.old_login,
        new_login=application.new_login,
    )  # fmt: skip


def to_line(line: Line, needed: int) -> ActionLine:
    """A line of the queue."""
    return ActionLine(
        id=line.id, case_id=line.case_id, number=line.number, procedure=line.procedure, risk=line.risk, state=line.state,
        old_login=line.old_login, new_login=line.new_login, created_at=line.created_at, expires_at=line.expires_at,
        not_before=line.not_before, ended_at=line.ended_at, approved_by=line.approvers, approvals_needed=needed,
        further_requests=line.further,
    )  # fmt: skip


def to_detail(whole: Whole, needed: int, *, decision: str) -> ActionDetail:
    """One action."""
    a = whole.action
    return ActionDetail(
        id=a.frozen.action_id, case_id=a.frozen.case_id, number=whole.case.csd.number if whole.case.csd else None,
        procedure=whole.procedure, risk=a.risk, state=a.state, old_login=a.frozen.old_login, new_login=a.frozen.new_login,
        created_at=a.created_at, expires_at=a.expires_at, not_before=a.not_before, ended_at=whole.ended_at,
        approved_by=tuple(sorted(a.agreed_by)), approvals_needed=needed,
        further_requests=whole.further.repeats + whole.further.others, backend=a.frozen.backend,
        account_ref=a.frozen.account_ref, steps=a.frozen.steps, must_check=a.frozen.must_check,
        report=shown_report(a.frozen.report), digest=a.frozen.digest,
        decision=decision, decision_unchanged=decision == a.frozen.decision_sha256, reason=a.reason,
        ended_by=whole.ended_by, rules=whole.case.decision.results,
        approvals=tuple(ApprovalInfo(who=p.who, at=p.at, counts=p.who in a.agreed_by) for p in a.approvals),
        events=tuple(EventInfo(at=e.at, type=e.type, actor=e.actor) for e in whole.events),
    )  # fmt: skip


def to_changed(action: Action, needed: int) -> ActionChanged:
    """What a decision made of an action."""
    return ActionChanged(
        id=action.frozen.action_id, state=action.state, approved_by=tuple(sorted(action.agreed_by)), approvals_needed=needed,
        not_before=action.not_before,
    )  # fmt: skip
