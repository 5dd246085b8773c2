# Every target sets up what it needs: python3 (3.11 or newer) and make are enough on a fresh machine.

PYTHON := $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
READY := .venv/ready

.PHONY: help demo test check soak bench clean

help:
	@echo 'make demo   train, prune and finetune a small network, and compare them (3 minutes)'
	@echo 'make test   all checks and tests'
	@echo 'make check  formatting, lint and types alone'
	@echo 'make soak   the tests that take long'
	@echo 'make bench  every measurement in benchmarks/'
	@echo 'make clean  remove what the other targets made'

demo: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" benchmarks/demo.sh

test: check
	$(BIN)/pytest -m 'not soak'

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright

soak: $(READY)
	$(BIN)/pytest -m soak

bench: $(READY)
	set -e; for script in $(wildcard benchmarks/bench_*.py); do $(BIN)/python $$script; done

$(READY): pyproject.toml
	@test -n '$(PYTHON)' || { echo 'prune needs Python 3.11 or newer' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf .venv runs build *.egg-info
