# Bare `make` prints what there is. The virtual environment sets itself up when its requirements change.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
PYTHON ?= $(shell command -v python3.13 || command -v python3)

.DEFAULT_GOAL := help
.PHONY: help demo up down reset test check bench

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## See pings become offers, silver rows and gold tables, in about a minute
	@$(BIN)/footfall demo

up: $(READY) ## Start storage, event hubs and functions, and leave them running
	@$(BIN)/footfall up --detach

down: $(READY) ## Stop them
	@$(BIN)/footfall down

reset: $(READY) ## Stop it and delete its data (asks)
	@$(BIN)/footfall reset

test: $(READY) ## Run every test: unit, integration, end to end
	@$(BIN)/python -m pytest -m ""

check: $(READY) ## Check style, types and the arrows between packages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## Measure the hot paths against their baselines, into build/bench.json
	@$(BIN)/python -m tests.bench

$(READY): requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info[:2] == (3, 13) else "Python 3.13 is needed (PYTHON=/path/to/it); this is " + sys.version)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Python packages into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
