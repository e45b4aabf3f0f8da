"""`okienko check` of the Keycloak connector: what could be wrong, and the cure of each."""

from __future__ import annotations

from okienko.connectors.identity.keycloak.settings import KeycloakIdentitySettings
from okienko.connectors.identity.keycloak.wire import KeycloakWire
from okienko.plugins.errors import OkienkoError
from okienko.plugins.ports import Finding, Severity

_ACCESS = "check URL, REALM, CLIENT_ID, CLIENT_SECRET, CA_FILE, and that the client's service account is on"
_NEEDED = "manage-users"
_ENOUGH = frozenset({"manage-users", "view-users", "query-users", "query-groups", "view-realm"})
"""manage-users contains reading; view-realm tells whether brute force protection is on."""


async def check(wire: KeycloakWire, settings: KeycloakIdentitySettings) -> list[Finding]:
    """Reads only; changes nothing and mails nobody."""
    try:
        realm = await wire.realm()
        async for _ in wire.users({"email": "nobody@example.invalid", "exact": "true"}):
            break
    except OkienkoError as error:
        return [Finding("identity keycloak", Severity.ERROR, str(error), _ACCESS)]
    findings = [Finding("identity keycloak", Severity.OK, f"realm {settings.realm} at {settings.url} answers")]
    findings.append(_rights(await wire.roles(_role_client(settings)), settings))
    if realm.brute_force_protected is not True:
        findings.append(_protection(realm.brute_force_protected))
    if realm.duplicate_emails is True:
        findings.append(
            Finding(
                "identity keycloak e-mails", Severity.WARNING, "the realm allows two accounts with one e-mail",
                "switch `Duplicate emails` off; okienko refuses such accounts and asks a person",
            )
        )  # fmt: skip
    if realm.email_as_username is None and settings.username_is_email == "auto":
        findings.append(
            Finding(
                "identity keycloak user names", Severity.WARNING,
                "the realm does not tell whether the e-mail is the user name",
                "set USERNAME_IS_EMAIL to yes or no; until then a user name changes only where it equals the old e-mail",
            )
        )  # fmt: skip
    findings.append(await _pesel(wire, settings))
    return findings


def _role_client(settings: KeycloakIdentitySettings) -> str:
    """A realm's own client has its rights under realm-management; one of the master realm under `REALM-realm`."""
    own = settings.client_realm is None or settings.client_realm == settings.realm
    return "realm-management" if own else f"{settings.realm}-realm"


def _rights(roles: frozenset[str] | None, settings: KeycloakIdentitySettings) -> Finding:
    subject, client = "identity keycloak rights", _role_client(settings)
    if roles is None or _NEEDED not in roles:
        return Finding(
            subject, Severity.WARNING, f"our token does not name the role {_NEEDED} of {client}",
            f"give the service account {_NEEDED}; with fine-grained permissions or lightweight tokens this is as it should be",
        )  # fmt: skip
    if roles - _ENOUGH:
        return Finding(
            subject, Severity.WARNING, f"our client may do more than it needs: {', '.join(sorted(roles - _ENOUGH))}",
            f"take these roles of {client} from the service account",
        )  # fmt: skip
    return Finding(subject, Severity.OK, f"our client has {_NEEDED} and no more than it needs")


def _protection(protected: bool | None) -> Finding:  # noqa: FBT001  three-valued
    subject = "identity keycloak lock"
    if protected is False:
        return Finding(
            subject, Severity.WARNING, "brute force protection is off: nobody is ever locked",
            "switch it on under Realm settings, Security defenses",
        )  # fmt: skip
    return Finding(
        subject, Severity.WARNING, "the realm does not tell whether brute force protection is on: `not locked` is unknown",
        "give the service account view-realm too, if you want locks to be known",
    )  # fmt: skip


async def _pesel(wire: KeycloakWire, settings: KeycloakIdentitySettings) -> Finding:
    subject, name = "identity keycloak PESEL", settings.pesel_attribute
    if name is None:
        return Finding(subject, Severity.WARNING, "accounts cannot be found by PESEL", "set PESEL_ATTRIBUTE")
    try:
        profile = await wire.profile()
    except OkienkoError as error:
        return Finding(subject, Severity.ERROR, str(error), _ACCESS)
    if profile is None:
        return Finding(
            subject, Severity.WARNING, "the user profile cannot be read: the attribute could not be checked",
            "see under Realm settings, User profile, that the attribute is there and that users cannot edit it",
        )  # fmt: skip
    declared = profile.get("attributes")
    found = (
        next((a for a in declared if isinstance(a, dict) and a.get("name") == name), None)
        if isinstance(declared, list)
        else None
    )
    if found is None and profile.get("unmanagedAttributePolicy") not in ("ENABLED", "ADMIN_EDIT", "ADMIN_VIEW"):
        return Finding(
            subject, Severity.ERROR, f"the user profile has no attribute {name}: Keycloak hides and drops it",
            "declare it under Realm settings, User profile, editable by administrators only",
        )  # fmt: skip
    permissions = found.get("permissions") if found else None
    edit = permissions.get("edit") if isinstance(permissions, dict) else None
    if (isinstance(edit, list) and "user" in edit) or (
        found is None and profile.get("unmanagedAttributePolicy") == "ENABLED"
    ):
        return Finding(
            subject, Severity.ERROR, f"users may edit {name} themselves: with it, anyone could pass for another",
            "let administrators only edit it, under Realm settings, User profile",
        )  # fmt: skip
    return Finding(subject, Severity.OK, f"the attribute {name} is known and not editable by users")
