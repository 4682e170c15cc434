# The verbs of the house. Each makes what it needs: a fresh clone may start with any of them.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Where torch comes from, if not from pip's own configuration: name an index of CPU-only or of CUDA wheels.
TORCH_INDEX_URL ?=
PIP := $(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL))
CODE := autoencoders store service worker cli tests benchmarks docs deploy

.DEFAULT_GOAL := help
.PHONY: help setup up demo check fix test test-all test-gpu cover docs bench image audit

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp for each extra: installed anew when pyproject.toml has changed since.
$(VENV)/.cli: pyproject.toml | $(BIN)/python
	@echo "installing what running needs (a minute or two; only now and when pyproject.toml changes)"
	@$(PIP) -e '.[cli]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing what developing needs (a minute or two; only now and when pyproject.toml changes)"
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.cli

setup: $(VENV)/.dev ## everything that developing needs, in .venv

up: $(VENV)/.cli ## the whole house in this terminal
	@exec $(BIN)/hourglass up

demo: $(VENV)/.cli ## train on real digits over HTTP and beat PCA, in under two minutes
	@exec $(BIN)/hourglass demo

check: $(VENV)/.dev ## format, lint, types, layers, stale docs
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

fix: $(VENV)/.dev ## format, and what the linter can mend by itself
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

test: $(VENV)/.dev ## all tests but the slow ones, two files at a time: many of them wait
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow and not gpu'

test-all: $(VENV)/.dev ## all tests that need no GPU
	$(BIN)/python -m pytest -m 'not gpu'

test-gpu: $(VENV)/.dev ## the laws again on CUDA
	$(BIN)/python -m pytest -m gpu

cover: $(VENV)/.dev ## which lines the tests run
	@$(PIP) coverage
	$(BIN)/python -m coverage run -m pytest -m 'not slow and not gpu'
	$(BIN)/python -m coverage report --skip-covered

docs: $(VENV)/.dev ## write the generated pages anew
	$(BIN)/python docs/generate.py

bench: $(VENV)/.dev ## how fast training and serving are on this machine
	for each in benchmarks/*.py; do $(BIN)/python $$each || exit 1; done

image: ## the three container images
	docker build --target proxy --tag hourglass-proxy .
	docker build --target service --build-arg TORCH_INDEX_URL=$(TORCH_INDEX_URL) --tag hourglass-service .
	docker build --target worker --build-arg TORCH_INDEX_URL=$(TORCH_INDEX_URL) --tag hourglass-worker .

audit: $(VENV)/.dev ## known holes in what is installed
	@$(PIP) pip-audit
	$(BIN)/python -m pip_audit --skip-editable
