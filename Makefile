# Each target makes the virtual environment it needs; a second call is quick.
#   make demo                      text -> vocabulary -> data -> training -> results
#   make test                      the quick tests       make test-all   all of them
#   make lint                      style and types      make bench      speed against peers
#   make docs                      the site, into site/
# PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment's place.

VENV ?= .venv
DEMO_OUTPUT ?= demo_run
DEMO_FLAGS ?=
TEST_FLAGS ?=
BENCH ?= all
BENCH_FLAGS ?=

# The first interpreter that runs, is 3.10 to 3.13 and can make environments.
FIND_PYTHON = for python in python3.11 python3.12 python3.13 python3.10 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	2>/dev/null && echo $$python && break; done; true
PYTHON ?= $(shell $(FIND_PYTHON))

INSTALLED = $(VENV)/.installed
RUN = $(VENV)/bin/python

.PHONY: help demo test test-all lint bench docs install clean

help:
	@sed -n 's/^# \{0,1\}//; 1,5p' Makefile

$(INSTALLED): setup.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "needs Python 3.10 to 3.13 with its venv module: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(RUN) || "$(PYTHON)" -m venv $(VENV)
	@echo "installing into $(VENV): some 3 GB, a few minutes the first time"
	$(RUN) -m pip install --disable-pip-version-check --quiet --editable '.[dev]'
	touch $@

install: $(INSTALLED)

demo: $(INSTALLED)
	$(RUN) -m electra_tf demo --output=$(DEMO_OUTPUT) $(DEMO_FLAGS)

test: $(INSTALLED)
	$(RUN) -m pytest -q -m "not slow" -n 2 --dist loadfile $(TEST_FLAGS)

test-all: $(INSTALLED)
	$(RUN) -m pytest -q $(TEST_FLAGS)

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: $(INSTALLED)
	$(RUN) tools/benchmark.py $(BENCH) $(BENCH_FLAGS)

$(VENV)/.docs: $(INSTALLED)
	$(RUN) -m pip install --disable-pip-version-check --quiet --editable '.[docs]'
	touch $@

docs: $(VENV)/.docs
	$(RUN) tools/write_docs.py --check
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

clean:
	rm -rf $(VENV) site $(DEMO_OUTPUT) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
