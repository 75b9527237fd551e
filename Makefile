# `make` lists what it can do. Every target does its own set-up: a virtual environment in .venv,
# the locked packages, and, as root on Debian, the servers that the demo and the tests talk to.

.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
ARGS ?=

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: setup-run ## the demo: a small bank, its customers, and you (ARGS="--http 127.0.0.1:8080")
	@exec $(BIN)/ringback run --demo $(ARGS)

.PHONY: test
test: setup-dev ## all tests (ARGS="tests/risk -k silence")
	@exec $(BIN)/python -m pytest $(ARGS)

.PHONY: lint
lint: setup-dev ## style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: check
check: lint test ## what CI asks for: lint, then test

.PHONY: bench
bench: setup-dev ## the bars of speed, with their floors (minutes; ARGS="population restart")
	@exec $(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-quick
bench-quick: setup-dev ## the same in short, to see that it runs: its figures prove nothing
	@exec $(BIN)/python -m benchmarks --quick $(ARGS)

.PHONY: bench-quality
bench-quality: setup-dev ## the bars of quality, simulated banks and, where given, the Handbook's FILE (ARGS=FILE)
	@exec $(BIN)/python -m benchmarks.quality $(ARGS)

.PHONY: campaign
campaign: setup-dev ## the long kill test: processes killed at random under load (ARGS="--seed 7")
	@exec $(BIN)/python -m benchmarks.campaign $(ARGS)

.PHONY: docs
docs: setup-dev ## check the documentation: its links, its commands, its examples
	@exec $(BIN)/python -m pytest tests/house $(ARGS)

.PHONY: lock
lock: ## write the lock files anew from pyproject.toml
	@scripts/lock.sh

.PHONY: clean
clean: ## remove what make made: .venv and caches (never ./var: a ledger may lie in it)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: setup-run
setup-run:
	@scripts/setup.sh run

.PHONY: setup-dev
setup-dev:
	@scripts/setup.sh dev
