"""How one installation's CSD is set up, as data: which queue, state, priority and field stands for what.

One TOML file for each connection, named by the connector's setting MAPPING; docs/csd-mapping.md explains every key. What the file
cannot know (does this queue exist, may we write to it?) `okienko check csd` asks the system itself.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from okienko.plugins.csd import Capability, Registration
from okienko.plugins.errors import MisconfiguredError
from okienko.plugins.findings import Finding, Severity
from okienko.plugins.toml_lines import line_of
from okienko.schemas import Model, Priority, TicketStatus

Source = Literal[
    "channel", "kind", "procedure", "priority", "number", "requester", "requester_name", "opened_at", "constant"
]


class MappingError(MisconfiguredError):
    """The mapping has no answer for a case. `finding` has line, message and cure apart."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.subject}: {finding.message}: {finding.cure}")
        self.finding = finding


class StateMapping(Model):
    """States both ways."""

    write: dict[TicketStatus, str]
    """The system's state that is written for each of ours. `pending` may be missing: then `open` is written."""
    read: dict[str, TicketStatus] = Field(default_factory=dict)
    """What each state of the system means; those of `write` need not be repeated. Compared without regard to case."""

    @model_validator(mode="after")
    def _both_ends(self) -> StateMapping:
        missing = [s.value for s in (TicketStatus.OPEN, TicketStatus.CLOSED) if s not in self.write]
        if missing:
            raise ValueError(f"states.write needs {' and '.join(missing)}")
        return self


class FieldMapping(Model):
    """A field of the ticket that is filled when it is created."""

    name: str = Field(min_length=1)
    """The system's name of the field."""
    source: Source = Field(alias="from")
    values: dict[str, str] = Field(default_factory=dict)
    """The system's value for each of ours; without a table the value is written as it is."""
    default: str = ""
    """Written for a value that `values` does not have, and as the constant; empty: the field is left alone then."""


class CsdMapping(Model):
    """The whole file."""

    queues: dict[str, str] = Field(default_factory=dict)
    """By procedure (`unlock`), else by kind (`recovery`), else `default`."""
    types: dict[str, str] = Field(default_factory=dict)
    """Ticket types (issue types, categories), looked up like queues, where the system has them."""
    states: StateMapping
    priorities: dict[Priority, str] = Field(default_factory=dict)
    correlation: str = Field(min_length=1)
    """The field that holds the case id."""
    fields: tuple[FieldMapping, ...] = ()

    def declared(self, always: Collection[Capability], *, webhook: bool) -> frozenset[Capability]:
        """What a backend can do by this file: `always`, and what has to be mapped or, for the webhook, set up first."""
        mapped = {
            Capability.PRIORITY: bool(self.priorities), Capability.PENDING: TicketStatus.PENDING in self.states.write,
            Capability.WEBHOOK: webhook,
        }  # fmt: skip
        return frozenset(always) | {capability for capability, there in mapped.items() if there}

    def queue_for(self, registration: Registration) -> str | None:
        """The queue of a new ticket, None when no table line fits."""
        return self.queues.get(matter(self.queues, registration))

    def type_for(self, registration: Registration) -> str | None:
        """The type of a new ticket, None when no table line fits."""
        return self.types.get(matter(self.types, registration))

    def status_out(self, status: TicketStatus) -> str:
        """The system's state for one of ours."""
        return self.states.write.get(status) or self.states.write[TicketStatus.OPEN]

    def status_in(self, raw: str) -> TicketStatus | None:
        """What a state of the system means; None for one that the file does not know."""
        known = {name.casefold(): status for name, status in self.states.read.items()}
        for status, name in self.states.write.items():
            known.setdefault(name.casefold(), status)
        return known.get(raw.casefold())

    def priority_out(self, priority: Priority) -> str | None:
        """The system's priority, None: leave the system's own default."""
        return self.priorities.get(priority)

    def priority_in(self, raw: str | None) -> Priority | None:
        """Our priority, None for one that the file does not know."""
        return next((p for p, name in self.priorities.items() if raw and name.casefold() == raw.casefold()), None)

    def values_for(self, registration: Registration) -> dict[str, str]:
        """The fields of a new ticket by the system's names, without the correlation field."""
        found: dict[str, str] = {}
        for one in self.fields:
            value = _value(one.source, registration)
            text = (one.values.get(value, one.default) if one.values else value) or one.default
            if text:
                found[one.name] = text
        return found


@dataclass(frozen=True)
class MappingFile:
    """A mapping with the text that it was read from, so that a finding can name the line."""

    mapping: CsdMapping
    path: Path
    text: str

    def where(self, *path: str | int) -> str:
        """`mapping.toml:12`, for the subject of a finding."""
        return f"{self.path.name}:{line_of(self.text, path)}"

    def refusal(self, message: str, cure: str, *path: str | int) -> MappingError:
        """The error for a line of this file."""
        return MappingError(Finding(self.where(*path), Severity.ERROR, message, cure))

    def queue_of(self, registration: Registration, what: str = "queue") -> str:
        """The queue of a new ticket, for systems that need one. Raises MappingError."""
        queue = self.mapping.queue_for(registration)
        if queue is None:
            raise self.refusal(f"no {what} for {registration.kind.value}", "add it, or default", "queues")
        return queue

    def type_of(self, registration: Registration, what: str = "type") -> str:
        """The type of a new ticket, for systems that need one. Raises MappingError."""
        kind = self.mapping.type_for(registration)
        if kind is None:
            raise self.refusal(f"no {what} for {registration.kind.value}", "add it, or default", "types")
        return kind

    def unknown(
        self, what: str, name: str, known: Iterable[str], path: Sequence[str | int], cure: str = ""
    ) -> Finding | None:
        """The finding for a name that the system does not know, with the nearest that it does; None when it knows it."""
        names = sorted(set(known))
        if name in names:
            return None
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"the system has: {', '.join(names[:12]) or 'none'}"
        return Finding(self.where(*path), Severity.ERROR, f"the CSD has no {what} {name!r}", cure or hint)


def load_mapping(path: Path) -> MappingFile:
    """Read a mapping file. Raises MisconfiguredError that names file, line, what is wrong and the cure."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise MisconfiguredError(f"cannot read the mapping {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MisconfiguredError(f"the mapping {path} is no TOML: {error}") from None
    try:
        return MappingFile(CsdMapping.model_validate(data), path, text)
    except ValidationError as error:
        problems = [
            f"{path.name}:{line_of(text, e['loc'])}: {'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        ]
        raise MisconfiguredError(f"the mapping {path} is wrong: {'; '.join(problems)}") from None


def matter(table: Mapping[str, str], registration: Registration) -> str:
    """The key of a table's line that counts for a new ticket: its procedure's, else its kind's, else `default`."""
    keys = [registration.procedure.value] if registration.procedure else []
    return next((key for key in (*keys, registration.kind.value) if key in table), "default")


def _value(source: Source, registration: Registration) -> str:
    if source == "constant":
        return ""
    if source == "opened_at":
        return registration.opened_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(getattr(registration, source) or "")
