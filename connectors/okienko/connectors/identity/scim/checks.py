"""`okienko check` of the SCIM connector: what could be wrong, and the cure of each."""

from __future__ import annotations

from uuid import uuid4

from okienko.connectors.identity.scim import mapping
from okienko.connectors.identity.scim.settings import ScimIdentitySettings
from okienko.connectors.identity.scim.wire import Abilities, ScimWire
from okienko.plugins.errors import OkienkoError
from okienko.plugins.ports import Finding, Severity

_RIGHTS = "check URL, TOKEN or CLIENT_ID and CLIENT_SECRET, CA_FILE, and that our client may read users"


async def check(wire: ScimWire, settings: ScimIdentitySettings) -> list[Finding]:
    """Reads only; changes nothing."""
    try:
        abilities = await wire.abilities()
    except OkienkoError as error:
        return [Finding("identity scim", Severity.ERROR, str(error), _RIGHTS)]
    findings = [Finding("identity scim", Severity.OK, f"{settings.url} speaks SCIM 2.0")]
    findings += _abilities(abilities)
    findings += await _listing(wire, abilities)
    for name in ("pesel_path", "birth_year_path", "locked_path", "must_change_path"):
        path = getattr(settings, name)
        if path is not None:
            findings.append(await _path(wire, name.upper(), path))
    if settings.pesel_path is None:
        findings.append(
            Finding("identity scim PESEL", Severity.WARNING, "accounts cannot be found by PESEL", "set PESEL_PATH")
        )
    return findings


def _abilities(found: Abilities) -> list[Finding]:
    result = []
    if not found.patch:
        result.append(
            Finding(
                "identity scim patch", Severity.WARNING, "the server has no PATCH: okienko can look up but change nothing",
                "carry reset actions out by hand, or switch PATCH on in the server",
            )
        )  # fmt: skip
    if not found.etag:
        result.append(
            Finding(
                "identity scim etag", Severity.WARNING,
                "the server has no versions: a change between okienko's look and its write would go unnoticed",
                "switch ETags on in the server; until then let only okienko change logins",
            )
        )  # fmt: skip
    if not found.change_password:
        result.append(
            Finding(
                "identity scim password", Severity.WARNING, "the server takes no new passwords by SCIM",
                "let the portal send its own link, or switch changePassword on in the server",
            )
        )  # fmt: skip
    return result


async def _listing(wire: ScimWire, abilities: Abilities) -> list[Finding]:
    """Ask for a login that nobody has: an honest filter gives nothing."""
    subject = "identity scim filter"
    nobody = f"nobody-{uuid4().hex}@example.invalid"
    listed = 0
    try:
        async for one in wire.users(mapping.equals("userName", nobody) if abilities.filter else None):
            listed += 1
            if abilities.filter or not isinstance(mapping.lookup(one, "id"), str):
                break
    except OkienkoError as error:
        return [Finding(subject, Severity.ERROR, str(error), _RIGHTS)]
    if abilities.filter and listed:
        return [
            Finding(
                subject, Severity.WARNING, "the server says that it filters and lists everyone; okienko reads them all",
                "mend the server's filter; keep MAX_ACCOUNTS above the number of accounts",
            )
        ]  # fmt: skip
    if not abilities.filter:
        return [
            Finding(
                subject, Severity.WARNING, f"the server cannot filter: each look-up reads all {listed} accounts",
                "use a server that filters; keep MAX_ACCOUNTS above the number of accounts",
            )
        ]  # fmt: skip
    return [Finding(subject, Severity.OK, "the server filters")]


async def _path(wire: ScimWire, name: str, path: str) -> Finding:
    subject = f"identity scim {name}"
    try:
        known = await wire.knows_path(path)
    except OkienkoError as error:
        return Finding(subject, Severity.ERROR, str(error), _RIGHTS)
    if known is False:
        return Finding(
            subject, Severity.ERROR, "the server's schemas have no such attribute",
            "look the attribute up under /Schemas; mind the colon between schema and name",
        )  # fmt: skip
    if known is None:
        return Finding(
            subject, Severity.WARNING, "the server does not publish its schemas: the attribute could not be checked",
            "look one account up and see that the value is there",
        )  # fmt: skip
    return Finding(subject, Severity.OK, "the server knows the attribute")
