# Everything works on a bare machine with Python 3.11+ and make. PYTHON picks the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: run test check bench ldap lock clean help

run: $(STAMP)  ## the tour: sample mails become decided, registered and answered cases
	@$(BIN)/okienko demo --once

test: $(STAMP) check  ## static checks and all tests
	$(BIN)/python -m pytest

check: $(STAMP)  ## static checks only: ruff, mypy --strict, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## measure okienko beside this machine's limits (docs/benchmarks.md)
	$(BIN)/python -m bench

ldap: $(STAMP)  ## python-ldap for the identity connectors ldap and ad (compiled: docs/identity-ldap.md)
	$(BIN)/python -m pip install --require-hashes -r requirements-ldap.lock

lock: $(STAMP)  ## renew requirements.lock from pyproject.toml
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
