# Everything sets itself up in .venv; only Python and make have to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup quickstart test test-configs lint node docs bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Lookalike needs Python 3.10 or newer: make PYTHON=python3.12 setup"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); PyTorch takes a few minutes the first time."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[train,quickstart,dev]"
	@touch $(STAMP)

quickstart: setup
	$(BIN)/lookalike quickstart

lint: setup
	$(BIN)/ruff check lookalike tests benchmarks examples
	$(BIN)/ruff format --check lookalike tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

# A process of tests for each core, at most eight: they load PyTorch each. A file of tests stays in one.
test: lint
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile

# What the tests of onnxruntime-web need beside Node; without it they are skipped.
node:
	cd tests/node && npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts

# Every recognition config of the reference with networks of their full width: about a minute a config on one core.
test-configs: setup
	$(BIN)/pytest -m slow --durations=0 tests/configs

docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	$(BIN)/mkdocs build --strict

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	$(BIN)/python benchmarks/training_speed.py

clean:
	rm -rf $(VENV) site dist .pytest_cache .mypy_cache .ruff_cache
