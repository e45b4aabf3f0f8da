"""What a test does whose real peer is not installed: a visible skip, and in CI a failure."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import NoReturn

import pytest


def program(name: str, install: str) -> str:
    """The path of a program, or a skip that says how to install it."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    return found if found is not None else missing(f"{name} is not installed: {install}")


def need_python_ldap() -> None:
    """Skip when python-ldap is not there."""
    if importlib.util.find_spec("ldap") is None:
        missing(
            "python-ldap is not installed: apt-get install -y --no-install-recommends gcc python3-dev libldap-dev "
            "libsasl2-dev && make ldap"
        )


def missing(what: str) -> NoReturn:
    """Skip, or fail with OKIENKO_TEST_REQUIRE_PEERS=1."""
    if os.environ.get("OKIENKO_TEST_REQUIRE_PEERS") == "1":
        pytest.fail(f"required (OKIENKO_TEST_REQUIRE_PEERS=1): {what}")
    pytest.skip(what)
