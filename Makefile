# Everything works on a bare machine with Python 3.11+ and make. PYTHON picks the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: run ldap test check bench lock clean help

run: $(STAMP)  ## the tour: sample mails become decided, registered and answered cases
	@$(BIN)/okienko demo --once

# Compiled without isolation, so that nothing unpinned runs while it is built.
ldap: $(STAMP)  ## the extra ldap; needs gcc and headers, see docs/identity-ldap.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-ldap-build.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation -r requirements-ldap.lock

test: $(STAMP) check  ## static checks and all tests
	$(BIN)/python scripts/test

check: $(STAMP)  ## static checks only: ruff, mypy --strict, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## measure okienko beside this machine's limits (docs/benchmarks.md)
	$(BIN)/python -m bench

lock: $(STAMP)  ## renew the lock files from pyproject.toml
	./scripts/lock $(BIN)/python

clean:  ## remove the environment, builds and caches; the data folder stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("okienko needs Python 3.11 or newer, %s is %d.%d: name another one, e.g. make run PYTHON=python3.13" % (sys.executable, v[0], v[1]))'
	@echo "Making the environment in $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV) || { echo "Python has no venv module: install it (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(STAMP)
