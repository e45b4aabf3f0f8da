"""What the LDAP connectors decide without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from okienko.connectors.identity.ad import mapping as ad
from okienko.connectors.identity.ad.settings import AdSettings
from okienko.connectors.identity.directory import library
from okienko.connectors.identity.directory.backend import without
from okienko.connectors.identity.directory.entry import Change, Entry, login_changes
from okienko.connectors.identity.directory.faults import DirectoryError, scrub, sign_in_reason, to_error
from okienko.connectors.identity.directory.features import attribute_names
from okienko.connectors.identity.directory.filters import any_of, both, equals, escape
from okienko.connectors.identity.ldap import mapping as ldap
from okienko.connectors.identity.ldap.client import LdapIdentity
from okienko.connectors.identity.ldap.settings import LdapSettings
from okienko.plugins.errors import MisconfiguredError, PermanentError, TransientError
from okienko.plugins.identity import AccountFlag, PasswordRefusedError
from okienko.plugins.ports import Severity
from okienko.plugins.settings import load_settings
from okienko.plugins.testing import invented_pesel

NOW = datetime(2291, 5, 5, 12, tzinfo=UTC)
WHOLE = {"URL": "ldaps://x", "BIND_DN": "cn=x", "BIND_PASSWORD": "tajne", "BASE": "dc=x"}


def entry(**attributes: str | bytes | list[str]) -> Entry:
    def octets(value: str | bytes | list[str]) -> tuple[bytes, ...]:
        if isinstance(value, list):
            return tuple(one.encode() for one in value)
        return (value.encode() if isinstance(value, str) else value,)

    return Entry("cn=x", {name.lower().replace("_", "-"): octets(value) for name, value in attributes.items()})


def settings(prefix: str = "OKIENKO_IDENTITY_LDAP_", **more: str) -> LdapSettings:
    return load_settings(LdapSettings, {prefix + name: value for name, value in (WHOLE | more).items()})


# --- filters ----------------------------------------------------------------------------------------------------------


@given(st.one_of(st.text(), st.binary()))
def test_no_value_ends_its_filter(value: str | bytes) -> None:
    """Nothing special is left, and undoing the escapes gives the value back (RFC 4515, section 3)."""
    escaped = escape(value)
    assert escaped.isascii()
    assert not set(escaped) & set("()*&|!=\0")
    octets, rest = bytearray(), escaped
    while rest:
        step = 3 if rest[0] == "\\" else 1
        octets += bytes.fromhex(rest[1:3]) if step == 3 else rest[0].encode()
        rest = rest[step:]
    assert bytes(octets) == (value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value)


def test_filters() -> None:
    assert both("(a=b)", equals("mail", "a*")) == "(&(a=b)(mail=a\\2a))"
    assert any_of(["mail", "upn"], "ó") == "(|(mail=\\c3\\b3)(upn=\\c3\\b3))"


@given(st.uuids())
def test_ids_find_themselves(ref: UUID) -> None:
    assert ldap.ref_filter(str(ref)) == f"(entryUUID={ref})"
    assert ad.account(entry(objectGUID=ref.bytes_le, mail="a@b"), ad_settings(), NOW).ref == str(ref)


def ad_settings() -> AdSettings:
    return load_settings(AdSettings, {})


# --- changes ----------------------------------------------------------------------------------------------------------


def test_login_changes_write_as_stored() -> None:
    one = entry(mail="Jan@Example.org", userPrincipalName="jan@example.org", other="x@example.org")
    assert login_changes(one, ["mail", "userPrincipalName", "other"], "JAN@example.org", "new@example.org") == (
        Change("delete", "mail", (b"Jan@Example.org",)),
        Change("add", "mail", (b"new@example.org",)),
        Change("delete", "userPrincipalName", (b"jan@example.org",)),
        Change("add", "userPrincipalName", (b"new@example.org",)),
    )
    assert login_changes(one, ["mail"], "anna@example.org", "new@example.org") == ()


def test_a_new_login_that_stands_there_already_is_not_added_twice() -> None:
    two = entry(mail=["old@example.org", "new@example.org"])
    assert login_changes(two, ["mail"], "old@example.org", "NEW@example.org") == (
        Change("delete", "mail", (b"old@example.org",)),
    )


def test_passwords_stay_out_of_representations() -> None:
    changes = [*ldap.password_changes("Bardzo-Tajne-1"), *ad.password_changes(entry(), "Bardzo-Tajne-1")]
    assert "Tajne" not in repr(changes)
    assert changes[2].values[0].decode("utf-16-le") == '"Bardzo-Tajne-1"'
    assert without(SecretStr("Bardzo-Tajne-1"), "bad: Bardzo-Tajne-1") == "the password policy refuses it"


@pytest.mark.parametrize("password", ["{SSHA}x", "{CLEARTEXT}abcdefgh", "{SASL}jan@example.org", "{x}"])
def test_what_slapd_takes_for_a_hash(password: str) -> None:
    with pytest.raises(PasswordRefusedError):
        ldap.password_changes(password)


# --- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "seconds", "expected"),
    [
        ({}, 0, set()),
        ({"pwdAccountLockedTime": "22910505110000Z"}, 0, {AccountFlag.LOCKED}),
        ({"pwdAccountLockedTime": "22910505110000Z"}, 3600, set()),
        ({"pwdAccountLockedTime": "22910505110001Z"}, 3600, {AccountFlag.LOCKED}),
        ({"pwdAccountLockedTime": "22910505110000.123456Z"}, 3599, set()),
        ({"pwdAccountLockedTime": "000001010000Z"}, 1, {AccountFlag.DISABLED}),
        ({"pwdAccountLockedTime": "nonsense"}, 1, {AccountFlag.LOCKED}),
        ({"pwdAccountLockedTime": "22911305110000Z"}, 1, {AccountFlag.LOCKED}),
        ({"pwdReset": "TRUE"}, 0, {AccountFlag.MUST_CHANGE}),
        ({"pwdReset": "FALSE"}, 0, set()),
        ({"pwdEndTime": "229105051200Z"}, 0, {AccountFlag.DISABLED}),
        ({"pwdStartTime": "2291050513Z", "pwdReset": "TRUE"}, 0, {AccountFlag.DISABLED, AccountFlag.MUST_CHANGE}),
    ],
)
def test_states_in_openldap(attributes: dict[str, Any], seconds: int, expected: set[AccountFlag]) -> None:
    assert ldap.flags(entry(**attributes), seconds, NOW) == expected


PAST = str(int((NOW - timedelta(days=1) - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10_000_000)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, set()),
        ({"userAccountControl": "512", "msDS_User_Account_Control_Computed": "0", "lockoutTime": "1"}, set()),
        ({"msDS_User_Account_Control_Computed": "16"}, {AccountFlag.LOCKED}),
        ({"msDS_User_Account_Control_Computed": "8388608"}, {AccountFlag.MUST_CHANGE}),
        ({"lockoutTime": "133"}, {AccountFlag.LOCKED}),
        ({"lockoutTime": "0", "pwdLastSet": "0"}, {AccountFlag.MUST_CHANGE}),
        ({"userAccountControl": str(0x10200), "pwdLastSet": "0"}, set()),
        ({"userAccountControl": "514"}, {AccountFlag.DISABLED}),
        ({"accountExpires": PAST}, {AccountFlag.DISABLED}),
        ({"accountExpires": "0"}, set()),
        ({"accountExpires": "9223372036854775807"}, set()),
        ({"userAccountControl": "nonsense"}, set()),
    ],
)
def test_states_in_active_directory(attributes: dict[str, Any], expected: set[AccountFlag]) -> None:
    assert ad.flags(entry(**attributes), NOW) == expected


def test_people() -> None:
    """A PESEL that is none is left out; a year that the schema does not take, too; a stated date of birth wins."""
    given_settings = settings(BIRTH_DATE_ATTRIBUTE="born")
    account = ldap.account(
        entry(entryUUID=str(uuid4()), mail="a@b", pesel="12345678901", born="1980-05-05"), given_settings, NOW
    )
    assert (account.person.pesel, account.person.birth_year) == (None, 1980)
    pesel = invented_pesel()
    account = ldap.account(
        entry(entryUUID=str(uuid4()), mail="a@b", pesel=pesel.reveal(), born="?"), given_settings, NOW
    )
    assert (account.person.pesel, account.person.birth_year) == (pesel, None)
    with pytest.raises(PermanentError):
        ldap.account(entry(mail="a@b"), given_settings, NOW)


# --- results ----------------------------------------------------------------------------------------------------------


@given(st.text(), st.integers(0, 2**31))
def test_no_pesel_in_messages(text: str, number: int) -> None:
    pesel = invented_pesel().reveal()
    for words in (f"{text} {pesel} {number}", f"non-unique attributes found with (|(pesel={pesel}))"):
        assert pesel not in str(to_error(DirectoryError(19, words), "trying"))
        assert pesel not in scrub(words)


@pytest.mark.parametrize(
    ("result", "error"),
    [(-1, TransientError), (-5, TransientError), (51, TransientError), (52, TransientError), (3, TransientError),
     (49, MisconfiguredError), (50, MisconfiguredError), (10, MisconfiguredError), (32, MisconfiguredError),
     (4, PermanentError), (19, PermanentError), (80, PermanentError)],
)  # fmt: skip
def test_results(result: int, error: type[Exception]) -> None:
    assert isinstance(to_error(DirectoryError(result, "words"), "trying"), error)


def test_words_of_domain_controllers() -> None:
    short = (
        "0000052D: Constraint violation - check_password_restrictions: the password is too short. "
        "It should be equal to or longer than 7 characters!"
    )
    assert ad.password_refusal(DirectoryError(19, short)) == (
        "the password is too short. It should be equal to or longer than 7 characters!"
    )
    windows = "0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0"
    assert "policy" in (ad.password_refusal(DirectoryError(53, windows)) or "")
    assert ad.password_refusal(DirectoryError(53, "0000001F: SvcErr: problem 5003 (WILL_NOT_PERFORM)")) is None
    assert ad.is_taken(DirectoryError(19, "000021C8: AtrErr: DSID-03200BBA, problem 1005 (CONSTRAINT_ATT_TYPE)"))
    assert sign_in_reason(
        "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data 775, v3839"
    ) == ("the account is locked")


def test_schema_names() -> None:
    types = [
        "( 2.5.4.4 NAME ( 'sn' 'surname' ) DESC 'NAME (x)' SUP name )",
        "( 1.2 NAME 'pesel' SYNTAX 1.3 )",
        "( 1.3 )",
    ]
    assert attribute_names(types) == {"sn", "surname", "pesel"}


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"URL": "https://x"}, "ldaps://"),
        ({"URL": "ldaps://x/dc=y"}, "without a path"),
        ({"URL": "ldaps://x:port"}, "URL"),
        ({"URL": "ldap://x", "INSECURE": "true"}, "this machine"),
        ({"BIND_PASSWORD": ""}, "BIND_PASSWORD"),
        ({"LOGIN_ATTRIBUTES": '["mail)(x"]'}, "LOGIN_ATTRIBUTES"),
        ({"ALLOWED": '["send_activation"]'}, "cannot send_activation"),
        ({"BAES": "dc=x"}, "OKIENKO_IDENTITY_LDAP_BASE"),
    ],
)
def test_wrong_settings(more: dict[str, str], named: str) -> None:
    with pytest.raises(MisconfiguredError, match=named.replace("(", r"\(")) as caught:
        settings(**more)
    assert "tajne" not in str(caught.value)


def test_half_a_configuration() -> None:
    with pytest.raises(MisconfiguredError, match="bind_password"):
        load_settings(LdapSettings, {"OKIENKO_IDENTITY_LDAP_URL": "ldaps://x", "OKIENKO_IDENTITY_LDAP_BASE": "dc=x"})
    with pytest.raises(MisconfiguredError, match="url is missing"):
        load_settings(LdapSettings, {"OKIENKO_IDENTITY_LDAP_BASE": "dc=x"})


@pytest.mark.parametrize("document", ["identity-ldap.md"])
def test_every_setting_is_documented(document: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / document).read_text(encoding="utf-8")
    assert [name for name in LdapSettings.model_fields if f"`{name.upper()}`" not in text] == []


async def test_without_python_ldap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin loads; using it says what to install."""

    def missing(name: str, *arguments: Any) -> Any:
        if name.split(".")[0] == "ldap":
            raise ImportError("No module named 'ldap'")
        return original(name, *arguments)

    original = library.importlib.import_module
    monkeypatch.setattr(library.importlib, "import_module", missing)
    identity = LdapIdentity(settings(), lambda: NOW)
    with pytest.raises(MisconfiguredError, match=r"pip install 'okienko\[ldap\]'"):
        await identity.start()
    (finding,) = await identity.check()
    assert finding.severity is Severity.ERROR
    assert "libldap-dev" in finding.cure
    await identity.close()
