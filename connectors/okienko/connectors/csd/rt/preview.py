"""What RT would be sent for a new ticket, and what it has of that. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from okienko.connectors.csd.rt import mapping as rt
from okienko.plugins.csd import RawTicket, Registration
from okienko.plugins.csdmapping import CsdMapping, MappingFile
from okienko.plugins.errors import PermanentError


def preview_of(registration: Registration, file: MappingFile) -> RawTicket:
    """The body of POST /ticket under the mapping's heads. Raises MappingError. RT has no types, and gives the first state itself."""
    file.queue_of(registration)
    try:
        body = rt.body_of(registration, file.mapping, quiet=None)
    except PermanentError as error:
        where = ("priorities", registration.priority.value)
        raise file.refusal(str(error), "a number from 0 to 100, as RT's queue has it", *where) from None
    core = {name: value for name, value in body.items() if name in rt.CORE_FIELDS}
    return RawTicket(
        subject=body["Subject"],
        queue=body["Queue"],
        priority=str(body["Priority"]) if "Priority" in body else None,
        requester=registration.requester,
        fields={**body["CustomFields"], **core},
    )


def raw_of(record: rt.Record, mapping: CsdMapping) -> RawTicket:
    """A ticket as RT tells it. Its own fields, such as Due, it writes in another form than it takes, and a requestor's login need not be the
    address: neither is told then.
    """
    found = {name.casefold(): value for name, value in rt.field_values(record).items()}
    names = [mapping.correlation, *(one.name for one in mapping.fields if one.name not in rt.CORE_FIELDS)]
    people = record.get("Requestor")
    logins = [str(one.get("id", "")) for one in people if isinstance(one, Mapping)] if isinstance(people, list) else []
    return RawTicket(
        subject=str(record.get("Subject") or ""),
        queue=rt.queue_of(record),
        status=str(record.get("Status") or ""),
        priority=str(record.get("Priority") or "0"),
        requester=", ".join(logins) if logins and all("@" in login for login in logins) else None,
        fields={name: found.get(name.casefold(), "") for name in names},
    )
