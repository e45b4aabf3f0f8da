"""One connection to a directory server. Blocking; each call has a time limit. Only this file speaks python-ldap."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from okienko.connectors.identity.directory.entry import Change, Entry
from okienko.connectors.identity.directory.faults import CONNECT_ERROR, LOST, SERVER_DOWN, DirectoryError, to_error
from okienko.connectors.identity.directory.probe import Outcome, ca_file, probe
from okienko.connectors.identity.directory.settings import DirectorySettings
from okienko.plugins.errors import MisconfiguredError, TransientError

HITS = 100
"""More hits than this for one login or one PESEL are an error by themselves."""


class Connection:
    """A signed-in connection. Its methods raise DirectoryError."""

    def __init__(self, library: Any, settings: DirectorySettings, *, bind: bool = True) -> None:
        """Connect to the first server that answers, and sign in.

        Raises TransientError when none answers and MisconfiguredError when TLS or the sign-in is refused.
        """
        self._ldap = library
        self._settings = settings
        self.reused = False
        """Whether it has served before, so that the server may have closed it since."""
        self.wrote = False
        """Whether the present work has sent a change."""
        self.used = time.monotonic()
        self._handle: Any = None
        fault: DirectoryError | None = None
        for url in settings.urls:
            try:
                self._open(url, bind=bind)
                return
            except DirectoryError as error:
                if error.result not in LOST:
                    raise to_error(error, f"signing in at {url} as the operator") from None
                fault = error
                self._explain(url, error)
        raise TransientError(f"no directory server of {' '.join(settings.urls)} answers: {fault.text if fault else ''}")

    def search(self, base: str, scope: Literal["base", "sub"], filter_: str, attributes: Sequence[str]) -> list[Entry]:
        """The entries that match; references to other servers are left out."""
        scopes = {"base": self._ldap.SCOPE_BASE, "sub": self._ldap.SCOPE_SUBTREE}
        with self._faults():
            found = self._handle.search_ext_s(
                base, scopes[scope], filter_, list(attributes), timeout=self._settings.timeout, sizelimit=HITS
            )
        return [
            Entry(dn, {name.lower(): tuple(values) for name, values in attributes.items()})
            for dn, attributes in found
            if dn is not None
        ]

    def modify(self, dn: str, changes: Sequence[Change], *, assertion: str | None = None) -> None:
        """Write all changes or none. With `assertion` only if the entry matches that filter (RFC 4528), else result 122."""
        hows = {"add": self._ldap.MOD_ADD, "delete": self._ldap.MOD_DELETE, "replace": self._ldap.MOD_REPLACE}
        wanted = [(hows[change.how], change.attribute, list(change.values) or None) for change in changes]
        controls = [self._ldap.controls.libldap.AssertionControl(True, assertion)] if assertion else None
        with self._faults():
            self.wrote = True
            self._handle.modify_ext_s(dn, wanted, serverctrls=controls)

    def close(self) -> None:
        """Sign out. Never raises: what cannot be closed is gone."""
        if self._handle is not None:
            with contextlib.suppress(self._ldap.LDAPError):
                self._handle.unbind_s()

    def _open(self, url: str, *, bind: bool) -> None:
        ldap, settings = self._ldap, self._settings
        with self._faults():
            handle = self._handle = ldap.initialize(url)
            handle.set_option(ldap.OPT_PROTOCOL_VERSION, 3)
            # A referral would make the library hand the operator's password to whatever host it names.
            handle.set_option(ldap.OPT_REFERRALS, 0)
            handle.set_option(ldap.OPT_NETWORK_TIMEOUT, settings.timeout)
            handle.set_option(ldap.OPT_TIMEOUT, settings.timeout)
            handle.timeout = settings.timeout
            if url.startswith("ldaps://") or settings.starttls:
                if (trusted := ca_file(settings.ca)) is not None:
                    handle.set_option(ldap.OPT_X_TLS_CACERTFILE, trusted)
                handle.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
                handle.set_option(ldap.OPT_X_TLS_PROTOCOL_MIN, ldap.OPT_X_TLS_PROTOCOL_TLS1_2)
                handle.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
            if url.startswith("ldap://") and settings.starttls:
                handle.start_tls_s()
            if bind:
                password = settings.bind_password.get_secret_value() if settings.bind_password else ""
                handle.simple_bind_s(settings.bind_dn or "", password)

    def _explain(self, url: str, fault: DirectoryError) -> None:
        """Raise MisconfiguredError when it is not the server that is away but TLS that is wrong."""
        self.close()
        self._handle = None
        if fault.result not in (SERVER_DOWN, CONNECT_ERROR) or not (
            url.startswith("ldaps://") or self._settings.starttls
        ):
            return
        found = probe(url, self._settings.ca, self._settings.timeout)
        if found.outcome in (Outcome.UNTRUSTED, Outcome.NO_TLS):
            raise MisconfiguredError(
                f"{url}: {found.text}; see the setting ca, and call the server by the name in its certificate"
            ) from None

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except self._ldap.LDAPError as error:
            details = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
            fallback = {
                self._ldap.SERVER_DOWN: SERVER_DOWN,
                self._ldap.TIMEOUT: -5,
                self._ldap.CONNECT_ERROR: CONNECT_ERROR,
            }.get(type(error), 80)
            words = " ".join(str(details[key]) for key in ("desc", "info") if details.get(key))
            # Without its context: the library's error may quote what was sent.
            raise DirectoryError(int(details.get("result", fallback)), words) from None
