"""The file: an API described as data. It is read once at the start; a mistake in its form stops the connector, with its line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from okienko.connectors.csd.rest.templates import parse_template
from okienko.plugins.csd import Capability
from okienko.plugins.csdmapping import CsdMapping, MappingFile
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.toml_lines import line_of
from okienko.schemas import Model

RequestName = Literal[
    "search", "create", "get", "notes", "files", "note", "file", "download", "change", "close", "link", "changes", "clock"
]  # fmt: skip
NEEDED: tuple[RequestName, ...] = ("search", "create", "get", "note", "change")
LISTS = ("search", "notes", "files", "changes")
_BY_REQUEST: dict[Capability, RequestName] = {
    Capability.ATTACHMENTS: "file", Capability.LINKS: "link", Capability.CHANGES: "changes",
}  # fmt: skip
_NEVER = (Capability.VERSIONS, Capability.UNIQUE, Capability.ERASE)


def _compiled(text: str) -> str:
    try:
        jmespath.compile(text)
    except JMESPathError as error:
        raise ValueError(f"no JMESPath: {str(error).splitlines()[0]}") from None
    return text


def _template(value: Any) -> Any:
    parse_template(value)
    return value


Path_ = Annotated[str, Field(min_length=1), AfterValidator(_compiled)]
Template = Annotated[str, AfterValidator(_template)]
Body = Annotated[Any, AfterValidator(_template)]


class Authentication(Model):
    """How okienko proves itself; the secrets are settings."""

    kind: Literal["none", "bearer", "basic", "header", "oauth2"] = "none"
    header: str = "X-Api-Key"
    scheme: str = "Bearer"
    token_url: str | None = None
    scope: str | None = None


class Paging(Model):
    """How a list goes on. Without it a list comes whole."""

    kind: Literal["page", "offset", "next"]
    size: int = Field(default=100, ge=1, le=10_000)
    first: int = 1
    """The number of the first page."""
    next: Path_ | None = None
    """Where the answer has what `{{ next }}` is in the request after it; null or empty at the end."""

    @model_validator(mode="after")
    def _next(self) -> Paging:
        if (self.kind == "next") is not (self.next is not None):
            raise ValueError('next = "…" belongs to kind = "next"')
        return self


class Request(Model):
    """One request: templates for everything that changes."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    path: Template
    query: dict[str, Template] = Field(default_factory=dict)
    headers: dict[str, Template] = Field(default_factory=dict)
    body: Body = None
    """Tables, lists and texts, sent as JSON; each text is a template, and one that is a single `{{ … }}` keeps its type."""
    form: dict[str, Template] = Field(default_factory=dict)
    """Fields of a multipart form, beside the file."""
    file: str | None = None
    """The form's field that takes the file's content."""
    items: Path_ | None = None
    """Of a list: where its rows are in the answer."""
    repeatable: bool | None = None
    """Doing it twice is as good as once. Unset: GET and PUT are, others are not."""


class TicketFields(Model):
    """Where a ticket's values are, in an answer or a row."""

    number: Path_
    id: Path_ | None = None
    correlation: Path_
    status: Path_
    subject: Path_
    created: Path_
    updated: Path_
    queue: Path_ | None = None
    priority: Path_ | None = None
    assignee: Path_ | None = None
    solution: Path_ | None = None
    merged_into: Path_ | None = None
    """The number of the ticket into which it was merged."""
    gone: Path_ | None = None
    """True for a ticket that was deleted and is still shown."""
    notes: Path_ | None = None
    files: Path_ | None = None


class NoteFields(Model):
    """Where a note's values are, in its row."""

    id: Path_
    text: Path_
    at: Path_
    public: Path_ | None = None
    author: Path_ | None = None
    ours: Path_ | None = None
    """True for a note by okienko's own account: a reply that quotes one of ours without a sign is told apart by it."""


class FileFields(Model):
    """Where a file's values are, in its row."""

    id: Path_
    filename: Path_
    size: Path_
    sha256: Path_ | None = None


class ChangeFields(Model):
    """Where a changed ticket's values are, in its row."""

    number: Path_
    id: Path_ | None = None
    updated: Path_


class MadeFields(Model):
    """Where the answer of `create` has the new ticket's."""

    number: Path_
    id: Path_ | None = None


class Answers(Model):
    """JMESPath expressions for everything that is read."""

    ticket: TicketFields
    created: MadeFields
    note: NoteFields | None = None
    file: FileFields | None = None
    change: ChangeFields | None = None


class ErrorRule(Model):
    """What an answer with a failure means; the first rule that fits counts, before the usual meaning of its status."""

    status: tuple[int, ...] = ()
    """Empty: any from 400."""
    when: Path_ | None = None
    """True in the body."""
    means: Literal["transient", "permanent", "misconfigured", "gone"]
    message: Path_ | None = None
    cure: str = ""


class Webhook(Model):
    """How the system proves that a notice is its own, and what it tells."""

    kind: Literal["hmac", "secret"]
    header: str
    prefix: str = ""
    """What stands before the hex digits or the secret."""
    algorithm: Literal["sha256", "sha384", "sha512"] = "sha256"
    tickets: Path_
    """A number or id, or a list of them in their order."""


class Recording(Model):
    """An answer that the system gave once."""

    request: RequestName
    answer: str
    """A JSON file beside this one."""
    status: int = 200


class Description(CsdMapping):
    """The whole file: a mapping as every connector has it, and the API."""

    capabilities: tuple[Capability, ...] = ()
    auth: Authentication = Authentication()
    time_zone: str = "UTC"
    paging: Paging | None = None
    requests: dict[RequestName, Request]
    answers: Answers
    errors: tuple[ErrorRule, ...] = ()
    webhook: Webhook | None = None
    recordings: tuple[Recording, ...] = ()

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("no such time zone: write it like Europe/Warsaw") from None
        return value

    @model_validator(mode="after")
    def _whole(self) -> Description:
        wrong = [f"there is no [requests.{name}]" for name in NEEDED if name not in self.requests]
        for capability in self.capabilities:
            if capability in _NEVER:
                wrong.append(f"this connector has no capability {capability.value}")
            needed = _BY_REQUEST.get(capability)
            if needed is not None and needed not in self.requests:
                wrong.append(f"the capability {capability.value} needs [requests.{needed}]")
        wrong += [f"[requests.{n}] needs items" for n in LISTS if n in self.requests and self.requests[n].items is None]
        a, t = self.answers, self.answers.ticket
        if Capability.CHANGES in self.capabilities and a.change is None:
            wrong.append("the capability changes needs [answers.change]")
        if Capability.WEBHOOK in self.capabilities and self.webhook is None:
            wrong.append("the capability webhook needs [webhook]")
        if a.note is None or (t.notes is None and "notes" not in self.requests):
            wrong.append("notes must be read: [answers.note], and answers.ticket.notes or [requests.notes]")
        elif Capability.PUBLIC_NOTES in self.capabilities and a.note.public is None:
            wrong.append("the capability public_notes needs answers.note.public")
        if Capability.ATTACHMENTS in self.capabilities and (
            a.file is None or (t.files is None and "files" not in self.requests)
        ):
            wrong.append("files must be read: [answers.file], and answers.ticket.files or [requests.files]")
        for capability in (Capability.QUEUE, Capability.PRIORITY, Capability.ASSIGNEE):
            if capability in self.capabilities and getattr(t, capability.value) is None:
                wrong.append(f"the capability {capability.value} needs answers.ticket.{capability.value}")
        if self.auth.kind == "oauth2" and self.auth.token_url is None:
            wrong.append("auth.kind oauth2 needs auth.token_url")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class DescriptionFile(MappingFile):
    """The file with its text, so that a finding can name the line."""

    @property
    def description(self) -> Description:
        """The whole of it."""
        assert isinstance(self.mapping, Description)  # noqa: S101  load_description puts nothing else in
        return self.mapping


def load_description(path: Path) -> DescriptionFile:
    """Read the file. Raises MisconfiguredError that names file, line, what is wrong and the cure."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise MisconfiguredError(f"cannot read the description {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MisconfiguredError(f"the description {path} is no TOML: {error}") from None
    try:
        return DescriptionFile(Description.model_validate(data), path, text)
    except ValidationError as error:
        problems = [
            f"{path.name}:{line_of(text, e['loc'])}: {'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        ]
        raise MisconfiguredError(f"the description {path} is wrong: {'; '.join(problems)}") from None
