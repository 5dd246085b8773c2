# Every target sets up what it needs: python3 (3.11 or newer) and make are enough on a fresh machine.

first_python = $(shell for python in $(1); do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
PYTHON := $(call first_python,python3 python3.13 python3.12 python3.11)
BIN := .venv/bin
READY := .venv/ready
OLDEST := .venv-oldest

.PHONY: help demo demo-resrep test check soak bench coverage lower-bounds clean

help:
	@echo 'make demo          train, prune and finetune a small network, and compare them (2 minutes)'
	@echo 'make demo-resrep   train compactors, empty their rows and fold them away (3 minutes)'
	@echo 'make test          all checks and tests'
	@echo 'make check         formatting, lint and types alone'
	@echo 'make soak          the tests that take long, and their rows of RELIABILITY.md'
	@echo 'make bench         every measurement in benchmarks/'
	@echo 'make coverage      some 250 networks pruned and checked, beside Torch-Pruning (hours; COVERAGE.md)'
	@echo 'make lower-bounds  the tests with the oldest libraries that are allowed'
	@echo 'make clean         remove what the other targets made'

demo: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" benchmarks/demo.sh

demo-resrep: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" benchmarks/demo_resrep.sh

# Two processes, each a file at a time, one thread each: many tests are too small for more.
test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'not soak' -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright

# An hour and a half of two cores; PRUNE_SOAK=0.1 tries a tenth of the cases. Where there is no atheris, nothing is fuzzed by coverage.
soak: $(READY)
	-$(BIN)/pip install --quiet --editable '.[fuzz]'
	OMP_NUM_THREADS=1 $(BIN)/pytest -m soak -n 2

bench: $(READY)
	set -e; for script in $(wildcard benchmarks/bench_*.py); do $(BIN)/python $$script; done

coverage: $(READY)
	$(BIN)/pip install --quiet --editable '.[coverage]'
	$(BIN)/python benchmarks/coverage.py

# Python 3.13 is too new for the oldest libraries.
lower-bounds: PYTHON := $(call first_python,python3.11 python3.12)
lower-bounds: $(OLDEST)/ready
	$(OLDEST)/bin/pytest -m 'not soak'

$(OLDEST)/ready: pyproject.toml tests/lower-bounds.txt
	@test -n '$(PYTHON)' || { echo 'this needs Python 3.11 or 3.12' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --constraint tests/lower-bounds.txt --editable '.[digits,safetensors]' pytest hypothesis
	touch $@

$(READY): pyproject.toml
	@test -n '$(PYTHON)' || { echo 'prune needs Python 3.11 or newer' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf .venv $(OLDEST) runs/demo runs/demo-resrep build *.egg-info
