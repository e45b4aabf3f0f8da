# Everything works on a bare machine with Python 3.11+ and make. PYTHON picks the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run ldap test check bench lock clean

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(STAMP)

run: $(STAMP)  ## the tour: real mails become decided, registered and answered cases
	$(BIN)/okienko demo --once

# Compiled without isolation, so that nothing unpinned runs while it is built.
ldap: $(STAMP)  ## the extra ldap; needs gcc and headers, see docs/identity-ldap.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-ldap-build.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation -r requirements-ldap.lock

test: $(STAMP) check  ## static checks and all tests
	$(BIN)/python -m pytest

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m bench

lock: $(STAMP)  ## renew the lock files from pyproject.toml
	./scripts/lock $(BIN)/python

clean:
	rm -rf $(VENV)
