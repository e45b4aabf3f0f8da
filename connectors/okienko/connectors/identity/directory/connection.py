"""One connection to a directory server. Blocking; each call has a time limit. Only this file speaks python-ldap."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from okienko.connectors.identity.directory.entry import Change, Entry
from okienko.connectors.identity.directory.faults import (
    CONNECT_ERROR,
    LOST,
    SERVER_DOWN,
    TIMEOUT,
    DirectoryError,
    to_error,
)
from okienko.connectors.identity.directory.settings import DirectorySettings
from okienko.connectors.identity.directory.tunnel import Trouble, TunnelError, connect, tunnel
from okienko.plugins.errors import MisconfiguredError, TransientError

HITS = 100
"""More hits than this for one login or one PESEL are an error by themselves."""


class Connection:
    """A signed-in connection. Its methods raise DirectoryError."""

    def __init__(self, library: Any, settings: DirectorySettings) -> None:
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
        reasons: list[str] = []
        for url in settings.urls:
            try:
                self._open(url)
                return
            except TunnelError as error:
                if error.trouble is not Trouble.DOWN:
                    raise MisconfiguredError(
                        f"{url}: {error}; see the setting ca, and call the server by the name in its certificate"
                    ) from None
                reasons.append(f"{url} is {error}")
            except DirectoryError as error:
                self.close()
                if error.result not in LOST:
                    raise to_error(error, f"signing in at {url} as the operator") from None
                reasons.append(f"{url}: {error.text}")
        raise TransientError(f"no directory server answers: {'; '.join(reasons)}")

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

    def _open(self, url: str) -> None:
        ldap, settings = self._ldap, self._settings
        safe = url.startswith("ldaps://") or settings.starttls
        end = tunnel(connect(url, settings.ca, settings.timeout), settings.timeout) if safe else None
        with self._faults():
            # The far end of the tunnel is plain LDAP to the library, so its URL must not ask for TLS.
            handle = self._handle = ldap.initialize("ldap://tunnel", fileno=end) if safe else ldap.initialize(url)
            handle.set_option(ldap.OPT_PROTOCOL_VERSION, 3)
            # A referral would make the library hand the operator's password to whatever host it names.
            handle.set_option(ldap.OPT_REFERRALS, 0)
            handle.set_option(ldap.OPT_NETWORK_TIMEOUT, settings.timeout)
            handle.set_option(ldap.OPT_TIMEOUT, settings.timeout)
            handle.timeout = settings.timeout
            password = settings.bind_password.get_secret_value() if settings.bind_password else ""
            handle.simple_bind_s(settings.bind_dn or "", password)

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except self._ldap.LDAPError as error:
            details = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
            fallback = {
                self._ldap.SERVER_DOWN: SERVER_DOWN,
                self._ldap.TIMEOUT: TIMEOUT,
                self._ldap.CONNECT_ERROR: CONNECT_ERROR,
            }.get(type(error), 80)
            words = " ".join(str(details[key]) for key in ("desc", "info") if details.get(key))
            # Without its context: the library's error may quote what was sent.
            raise DirectoryError(int(details.get("result", fallback)), words) from None
