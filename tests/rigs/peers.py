"""Real peers that some tests need: found, or the test says how to get them, and fails where they are required (CI)."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

REQUIRE = "OKIENKO_TEST_REQUIRE_PEERS"


def program(name: str, install: str) -> str:
    """The path of a program, looked for where servers lie too. Without it the test is `missing`."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")
    return found or missing(name, install)


def missing(name: str, install: str) -> NoReturn:
    """Skip, telling how to install the peer; fail where OKIENKO_TEST_REQUIRE_PEERS=1 asks for all of them."""
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{name} is required ({REQUIRE}=1) and not installed: {install}", pytrace=False)
    pytest.skip(f"{name} is not installed: {install}")
