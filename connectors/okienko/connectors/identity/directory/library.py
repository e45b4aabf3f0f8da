"""python-ldap, imported only when a directory is used: it has to be compiled, and most installations need it not."""

from __future__ import annotations

import importlib
from typing import Any

from okienko.plugins.errors import MisconfiguredError

CURE = (
    "install it with `pip install 'okienko[ldap]'`; where no ready wheel fits, that needs a compiler and headers first "
    "(Debian: apt-get install gcc python3-dev libldap-dev libsasl2-dev)"
)


def load() -> Any:
    """The module `ldap`. Raises MisconfiguredError that says what to install."""
    try:
        ldap = importlib.import_module("ldap")
        importlib.import_module("ldap.controls.libldap")
    except ImportError as error:
        raise MisconfiguredError(f"the library python-ldap is not usable ({error}); {CURE}") from None
    return ldap
