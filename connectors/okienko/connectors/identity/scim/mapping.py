"""SCIM resources to accounts and changes to PATCH bodies. Pure: no I/O, no settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from okienko.plugins.errors import PermanentError
from okienko.plugins.identity import Account, AccountFlag, same_login
from okienko.schemas import Person
from okienko.schemas.pesel import Pesel

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"

Resource = Mapping[str, Any]
_NAME = re.compile(r"[A-Za-z$][A-Za-z0-9_$-]*")


@dataclass(frozen=True, slots=True)
class Shape:
    """Where an account's parts stand."""

    username_is_email: bool = True
    email_type: str = "work"
    pesel_path: str | None = None
    birth_year_path: str | None = None
    locked_path: str | None = None
    must_change_path: str | None = None


def split_path(path: str) -> tuple[str | None, tuple[str, ...]]:
    """`urn:…:User:a.b` to its schema (None: the core one) and names. Raises ValueError for what is no attribute path.

    Source: RFC 7644, section 3.10. Value filters are not attributes and are refused.
    """
    schema, _, names = path.rpartition(":") if path.casefold().startswith("urn:") else ("", "", path)
    parts = tuple(names.split("."))
    if not 1 <= len(parts) <= 2 or not all(_NAME.fullmatch(part) for part in parts):
        raise ValueError("not an attribute path of SCIM: write name, name.part or urn:…:name")
    return (None if not schema or schema.casefold() == CORE.casefold() else schema), parts


def lookup(resource: Resource, path: str) -> Any:
    """The value at `path`, or None. Names are compared without regard to case (RFC 7643, section 2.1)."""
    schema, names = split_path(path)
    value: Any = resource if schema is None else _member(resource, schema)
    for name in names:
        value = _member(value, name)
    return value


def _member(value: Any, name: str) -> Any:
    if not isinstance(value, Mapping):
        return None
    if name in value:
        return value[name]
    return next((v for k, v in value.items() if isinstance(k, str) and k.casefold() == name.casefold()), None)


def equals(path: str, value: str) -> str:
    """The filter `path eq "value"`; the value is a JSON string (RFC 7644, section 3.4.2.2)."""
    return f"{path} eq {json.dumps(value, ensure_ascii=False)}"


def emails(resource: Resource) -> tuple[Mapping[str, Any], ...]:
    """The e-mail entries that make sense."""
    found = _member(resource, "emails")
    found = found if isinstance(found, list) else []
    return tuple(entry for entry in found if isinstance(_member(entry, "value"), str))


def login_of(resource: Resource, shape: Shape) -> str | None:
    """The login e-mail: userName, or the e-mail of the configured type (else the primary, else the only one)."""
    if shape.username_is_email:
        name = _member(resource, "userName")
        return name if isinstance(name, str) and name else None
    known = emails(resource)
    typed = [e for e in known if _same(_member(e, "type"), shape.email_type)]
    primary = [e for e in known if as_bool(_member(e, "primary")) is True]
    for choice in (typed, primary, known):
        if len(choice) == 1:
            return str(_member(choice[0], "value"))
    return None


def has_login(resource: Resource, login: str, shape: Shape) -> bool:
    """Whether `login` is this account's login e-mail."""
    return _same(login_of(resource, shape), login)


def uses_address(resource: Resource, address: str) -> bool:
    """Whether the account has `address` in any place that could be a login."""
    return _same(_member(resource, "userName"), address) or any(
        _same(_member(entry, "value"), address) for entry in emails(resource)
    )


def has_pesel(resource: Resource, pesel: Pesel, shape: Shape) -> bool:
    """Whether the account carries the number."""
    return shape.pesel_path is not None and _pesel(lookup(resource, shape.pesel_path)) == pesel


def _same(one: object, other: object) -> bool:
    return isinstance(one, str) and isinstance(other, str) and same_login(one, other)


def as_bool(value: Any) -> bool | None:
    """A boolean, also in the words of servers that write "True"; None for what is neither."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.casefold()) if isinstance(value, str) else None


def _pesel(value: Any) -> Pesel | None:
    try:
        return Pesel(value.strip()) if isinstance(value, str) else None
    except ValueError:
        return None


def _year(value: Any, pesel: Pesel | None) -> int | None:
    found = re.match(r"\s*(\d{4})(?!\d)", str(value)) if isinstance(value, str | int) else None
    year = int(found[1]) if found else pesel.birth_date.year if pesel else None
    return year if year is not None and 1880 <= year <= 2100 else None


def account(resource: Resource, shape: Shape, etag: str | None = None) -> Account:
    """A User resource as an account. Raises PermanentError when it has no id or no login e-mail."""
    ref, login = _member(resource, "id"), login_of(resource, shape)
    if not isinstance(ref, str) or not ref or not login:
        raise PermanentError("the SCIM server sent an account without id or login e-mail: a person has to look at it")
    pesel = _pesel(lookup(resource, shape.pesel_path)) if shape.pesel_path else None
    flags, unknown = set(), set()
    active = as_bool(_member(resource, "active"))
    states = (
        (AccountFlag.DISABLED, None if active is None else not active),
        (AccountFlag.LOCKED, _told(resource, shape.locked_path)),
        (AccountFlag.MUST_CHANGE, _told(resource, shape.must_change_path)),
    )
    for flag, holds in states:
        if holds is None:
            unknown.add(flag)
        elif holds:
            flags.add(flag)
    return Account(
        ref=ref,
        login=login,
        person=Person(
            given_name=_text(lookup(resource, "name.givenName")),
            family_name=_text(lookup(resource, "name.familyName")),
            birth_year=_year(lookup(resource, shape.birth_year_path) if shape.birth_year_path else None, pesel),
            pesel=pesel,
        ),
        flags=frozenset(flags),
        unknown_flags=frozenset(unknown),
        version=_text(lookup(resource, "meta.version")) or etag,
    )


def _told(resource: Resource, path: str | None) -> bool | None:
    """An attribute that the server knows and has not set is null (RFC 7643, section 2.5): not locked."""
    value = lookup(resource, path) if path else None
    return as_bool(value) if value is not None or path is None else False


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def patch(operations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The body of a PATCH (RFC 7644, section 3.5.2)."""
    return {"schemas": [PATCH_OP], "Operations": list(operations)}


def replace(path: str, value: Any) -> dict[str, Any]:
    """One operation."""
    return {"op": "replace", "path": path, "value": value}


def remove(path: str) -> dict[str, Any]:
    """The operation that takes an attribute away (RFC 7644, section 3.5.2.2)."""
    return {"op": "remove", "path": path}


def login_changes(
    resource: Resource, old: str, new: str, shape: Shape
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The operations that make `new` the login: first by a value filter, then with the whole e-mail list.

    The first is what RFC 7644 intends; it is empty where a value filter would not hit exactly one e-mail. The second
    is for servers that refuse value filters; it keeps every other e-mail as it was read.
    """
    name = [replace("userName", new)] if shape.username_is_email else []
    known = emails(resource)
    typed = [e for e in known if _same(_member(e, "type"), shape.email_type)]
    targets = [e for e in known if _same(_member(e, "value"), old)] or typed
    whole = [{**e, _key(e, "value"): new} if any(e is t for t in targets) else dict(e) for e in known]
    if not known and shape.username_is_email:
        return name, name
    if not targets:
        whole.append({"type": shape.email_type, "value": new})
    whole_list = [*name, replace("emails", whole)]
    if len(targets) == 1 and len(typed) == 1 and targets[0] is typed[0]:
        by_filter = [*name, replace(f"emails[{equals('type', str(_member(typed[0], 'type')))}].value", new)]
        return by_filter, whole_list
    return [], whole_list


def _key(entry: Mapping[str, Any], name: str) -> str:
    return next(k for k in entry if k.casefold() == name.casefold())


def login_is(resource: Resource, new: str, shape: Shape) -> bool:
    """Whether a change to `new` is done in every place: login, and the e-mails too."""
    known = emails(resource)
    return has_login(resource, new, shape) and (not known or any(_same(_member(e, "value"), new) for e in known))
